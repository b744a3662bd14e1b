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


# Results, annotations, what disagrees, and how many pairs agree.
SCENES = {
    "nothing at all": ([], [], [], 0),
    "IoU one half agrees": ([result(0, 50, 20)], [annotation(0, 100, 1)], [], 1),
    "IoU below one half": (
        [result(0, 49, 20)],
        [annotation(0, 100, 1)],
        [(SPURIOUS, 0, None), (MISSED, None, 0)],
        0,
    ),
    "wrong class": ([result(0, 80, 20)], [annotation(0, 100, 2)], [(WRONG_CLASS, 0, 0)], 0),
    "wrong value": (
        [result(0, 80, 20)],
        [annotation(0, 100, 1, (0, 1))],
        [(WRONG_SUBCATEGORY, 0, 0)],
        0,
    ),
    "unknown agrees with every value": (
        [result(0, 80, 20), result(100, 190, 20, ink=None)],
        [annotation(0, 100, 1, (-1, 0)), annotation(100, 200, 1, None)],
        [],
        2,
    ),
    "none is a value": (
        [result(0, 80, 20)],
        [annotation(0, 100, 1, (2, 0))],
        [(WRONG_SUBCATEGORY, 0, 0)],
        0,
    ),
    # Both lie on the one object; the second, of its class, takes it.
    "the right class goes before a better score": (
        [result(0, 90, 20, 0.99), result(0, 60, 10, 0.5)],
        [annotation(0, 100, 0)],
        [(SPURIOUS, 0, None)],
        1,
    ),
    "a duplicate is spurious": (
        [result(0, 95, 10, 0.7), result(0, 90, 10, 0.8)],
        [annotation(0, 100, 0)],
        [(SPURIOUS, 0, None)],
        1,
    ),
    # 60 / 100 and 60 / 80
    "the larger overlap is taken": (
        [result(0, 60, 10)],
        [annotation(0, 100, 0), annotation(0, 80, 0)],
        [(MISSED, None, 0)],
        1,
    ),
    # The second lies on both annotations; the first took the better one.
    "what is left is matched without regard to the class": (
        [result(0, 100, 10, 0.9), result(0, 100, 10, 0.8, ink="red")],
        [annotation(0, 100, 0), annotation(0, 60, 1, (1, 0))],
        [(WRONG_CLASS, 1, 1)],
        1,
    ),
    "inside a crowd of its class it counts for nothing": (
        [result(0, 60, 10), result(100, 160, 20)],
        [annotation(0, 200, 0, iscrowd=1)],
        [(SPURIOUS, 1, None)],
        0,
    ),
    "an object of another class goes before the crowd": (
        [result(0, 100, 10)],
        [annotation(0, 200, 0, iscrowd=1), annotation(0, 80, 1)],
        [(WRONG_CLASS, 0, 1)],
        0,
    ),
}


@pytest.mark.parametrize("name", SCENES)
def test_disagreements(name):
    results, annotations, disagreements, num_agreeing = SCENES[name]
    compared = compare_results(results, annotations, SIZE, category_ids=IDS, spec=SPEC)
    assert compared == (disagreements, num_agreeing)


def test_results_without_subcategories():
    entry = {**result(0, 50, 10), "subcategories": {}}
    polygon = {"segmentation": [[0, 0, 50, 0, 50, 4, 0, 4]], "category_id": 0}
    compared = compare_results([entry], [polygon], SIZE, category_ids=IDS, spec=SubcategorySpec())
    assert compared == ([], 1)
