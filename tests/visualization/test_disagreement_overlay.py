"""The picture of what predictions and annotations disagree on."""

import numpy as np
import pycocotools.mask as mask_util

from mask2former_mt.evaluation.disagreements import compare_results
from mask2former_mt.structures import Subcategory, SubcategorySpec
from mask2former_mt.visualization import draw_disagreements
from mask2former_mt.visualization.disagreement_overlay import KIND_COLOURS

SPEC = SubcategorySpec((Subcategory("ink", ("black", "red")), Subcategory("size", ("S", "L"))))
NAMES = ["cat", "dog", "owl"]
IDS = [10, 20, 30]


def rectangle(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    mask = np.zeros((300, 400), dtype=np.uint8, order="F")
    mask[y0:y1, x0:x1] = 1
    return mask


def result(box: tuple[int, int, int, int], category: int, ink: str | None, size: str) -> dict:
    rle = mask_util.encode(rectangle(*box))
    return {
        "category_id": category,
        "segmentation": {"size": rle["size"], "counts": rle["counts"].decode("ascii")},
        "score": 0.75,
        "subcategories": {
            "ink": {"value": ink, "score": 0.5},
            "size": {"value": size, "score": 0.25},
        },
    }


def annotation(box: tuple[int, int, int, int], category: int, values: list[int] | None) -> dict:
    x0, y0, x1, y1 = box
    entry = {"segmentation": [[x0, y0, x1, y0, x1, y1, x0, y1]], "category_id": category}
    return entry if values is None else {**entry, "subcategories": values}


RIGHT, WRONG, CONFUSED = (10, 10, 60, 60), (110, 10, 160, 60), (210, 10, 260, 60)
LOST, INVENTED = (10, 200, 60, 250), (210, 200, 260, 250)
RESULTS = [
    result(RIGHT, 10, "red", "S"),
    result(WRONG, 10, "red", "S"),
    result(CONFUSED, 20, None, "L"),
    result(INVENTED, 30, "black", "L"),
]
ANNOTATIONS = [
    annotation(RIGHT, 0, [1, 0]),
    annotation(WRONG, 0, [2, 0]),
    annotation(CONFUSED, 2, None),
    annotation(LOST, 1, [0, -1]),
]


def draw(results: list[dict], annotations: list[dict], spec: SubcategorySpec = SPEC) -> np.ndarray:
    image = np.full((300, 400, 3), 128, dtype=np.uint8)
    ids = {"category_ids": IDS, "spec": spec}
    compared = compare_results(results, annotations, (300, 400), **ids)._asdict()
    return draw_disagreements(
        image, results, annotations, **compared, **ids, class_names=NAMES, min_side=0
    )


def test_picture_shows_only_what_is_wrong_and_what_is_right(drawn):
    picture = draw(RESULTS, ANNOTATIONS)
    assert sorted(lines for lines, _, _ in drawn) == [
        ["cat .75", "ink red .50, is –", "size S .25"],
        ["dog .75, is owl", "ink – .50", "size L .25"],
        ["missed dog", "ink black", "size ?"],
        ["spurious owl .75", "ink black .50", "size L .25"],
    ]
    # A fifth of the kind's colour over grey, away from labels and pointers; what agrees is grey.
    corners = {
        "wrong subcategory": WRONG,
        "wrong class": CONFUSED,
        "missed": LOST,
        "spurious": INVENTED,
    }
    for kind, (x0, y0, x1, y1) in corners.items():
        expected = np.round(0.8 * 128 + 0.2 * np.array(KIND_COLOURS[kind]))
        assert (picture[y0:y1, x0:x1] == expected).all(axis=2).any(), kind
    x0, y0, x1, y1 = RIGHT
    assert (picture[y0:y1, x0:x1] == 128).all(axis=2).any()
    # The legend has a square of each kind.
    for colour in KIND_COLOURS.values():
        assert (picture[300:] == colour).all(axis=2).any()


def test_without_subcategories(drawn):
    results = [{**RESULTS[3], "subcategories": {}}]
    draw(results, [], SubcategorySpec())
    assert [lines for lines, _, _ in drawn] == [["spurious owl .75"]]


def test_all_agrees(drawn):
    picture = draw(RESULTS[:1], ANNOTATIONS[:1])
    assert drawn == []
    assert (picture[:300, :400] == 128).all()


def test_empty_mask_is_spurious(drawn):
    draw([result((5, 5, 5, 5), 10, "red", "S")], [])
    assert drawn == []  # it has no place for a label, and does not fail
