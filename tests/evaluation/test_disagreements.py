"""What counts as a disagreement: overlaps of strips, whose IoU is plain to see."""

import numpy as np
import pycocotools.mask as mask_util
import pytest

from mask2former_mt.evaluation.disagreements import (
    MISSED,
    SPURIOUS,
    WRONG_CLASS,
    WRONG_SUBCATEGORY,
    compare_results,
)
from mask2former_mt.structures import Subcategory, SubcategorySpec

SPEC = SubcategorySpec((Subcategory("ink", ("black", "red")), Subcategory("size", ("S", "L"))))
IDS = [10, 20, 30]
SIZE = (4, 200)


def strip(start: int, stop: int) -> dict:
    mask = np.zeros(SIZE, dtype=np.uint8, order="F")
    mask[:, start:stop] = 1
    return mask_util.encode(mask)


def result(start: int, stop: int, category_id: int, score: float = 0.5, ink="black") -> dict:
    return {
        "category_id": category_id,
        "segmentation": strip(start, stop),
        "score": score,
        "subcategories": {"ink": {"value": ink}, "size": {"value": "S"}},
    }


def annotation(start: int, stop: int, class_: int, values=(0, 0), **keys) -> dict:
    entry = {"segmentation": strip(start, stop), "category_id": class_, **keys}
    return entry if values is None else {**entry, "subcategories": list(values)}


@pytest.mark.parametrize(
    ("results", "annotations", "disagreements", "num_agreeing"),
    [
        pytest.param([], [], [], 0, id="nothing at all"),
        pytest.param([result(0, 50, 20)], [annotation(0, 100, 1)], [], 1, id="IoU one half agrees"),
        pytest.param(
            [result(0, 49, 20)],
            [annotation(0, 100, 1)],
            [(SPURIOUS, 0, None), (MISSED, None, 0)],
            0,
            id="IoU below one half",
        ),
        pytest.param(
            [result(0, 80, 20)],
            [annotation(0, 100, 2)],
            [(WRONG_CLASS, 0, 0)],
            0,
            id="wrong class",
        ),
        pytest.param(
            [result(0, 80, 20)],
            [annotation(0, 100, 1, (0, 1))],
            [(WRONG_SUBCATEGORY, 0, 0)],
            0,
            id="wrong value",
        ),
        pytest.param(
            [result(0, 80, 20), result(100, 190, 20, ink=None)],
            [annotation(0, 100, 1, (-1, 0)), annotation(100, 200, 1, None)],
            [],
            2,
            id="unknown agrees with every value",
        ),
        pytest.param(
            [result(0, 80, 20)],
            [annotation(0, 100, 1, (2, 0))],
            [(WRONG_SUBCATEGORY, 0, 0)],
            0,
            id="none is a value",
        ),
        pytest.param(
            # Both lie on the one object; the second, of its class, takes it.
            [result(0, 90, 20, 0.99), result(0, 60, 10, 0.5)],
            [annotation(0, 100, 0)],
            [(SPURIOUS, 0, None)],
            1,
            id="the right class goes before a better score",
        ),
        pytest.param(
            [result(0, 95, 10, 0.7), result(0, 90, 10, 0.8)],
            [annotation(0, 100, 0)],
            [(SPURIOUS, 0, None)],
            1,
            id="a duplicate is spurious",
        ),
        pytest.param(
            # 60 / 100 and 60 / 80
            [result(0, 60, 10)],
            [annotation(0, 100, 0), annotation(0, 80, 0)],
            [(MISSED, None, 0)],
            1,
            id="the larger overlap is taken",
        ),
        pytest.param(
            # The second lies on both annotations; the first took the better one.
            [result(0, 100, 10, 0.9), result(0, 100, 10, 0.8, ink="red")],
            [annotation(0, 100, 0), annotation(0, 60, 1, (1, 0))],
            [(WRONG_CLASS, 1, 1)],
            1,
            id="what is left is matched without regard to the class",
        ),
        pytest.param(
            [result(0, 60, 10), result(100, 160, 20)],
            [annotation(0, 200, 0, iscrowd=1)],
            [(SPURIOUS, 1, None)],
            0,
            id="inside a crowd of its class it counts for nothing",
        ),
        pytest.param(
            [result(0, 100, 10)],
            [annotation(0, 200, 0, iscrowd=1), annotation(0, 80, 1)],
            [(WRONG_CLASS, 0, 1)],
            0,
            id="an object of another class goes before the crowd",
        ),
    ],
)
def test_disagreements(results, annotations, disagreements, num_agreeing):
    compared = compare_results(results, annotations, SIZE, category_ids=IDS, spec=SPEC)
    assert compared == (disagreements, num_agreeing)


def test_results_without_subcategories():
    entry = {**result(0, 50, 10), "subcategories": {}}
    polygon = {"segmentation": [[0, 0, 50, 0, 50, 4, 0, 4]], "category_id": 0}
    compared = compare_results([entry], [polygon], SIZE, category_ids=IDS, spec=SubcategorySpec())
    assert compared == ([], 1)
