"""What counts as a disagreement, on hand-made overlaps, and the picture of them."""

import numpy as np
import pycocotools.mask as mask_util
import pytest

from mask2former_mt.structures import Subcategory, SubcategorySpec
from mask2former_mt.visualization import compare_results, draw_disagreements, labels
from mask2former_mt.visualization.disagreements import (
    KIND_COLOURS,
    MISSED,
    SPURIOUS,
    WRONG_CLASS,
    WRONG_SUBCATEGORY,
    Disagreement,
    compare_labels,
)

SPEC = SubcategorySpec((Subcategory("ink", ("black", "red")), Subcategory("size", ("S", "L"))))
NAMES = ["cat", "dog", "owl"]
IDS = [10, 20, 30]


def compare(ious, scores, predicted_classes, annotated_classes, **labels_of):
    count, others = len(scores), len(annotated_classes)
    arguments = {
        "predicted": np.zeros((count, 2), dtype=np.int64),
        "annotated": np.zeros((others, 2), dtype=np.int64),
        "crowd": [False] * others,
        **labels_of,
    }
    return compare_labels(
        np.array(ious, dtype=float).reshape(count, others),
        scores=scores,
        predicted_classes=predicted_classes,
        annotated_classes=annotated_classes,
        **arguments,
    )


class TestCompareLabels:
    def test_agreement(self):
        found = compare([[0.5]], [0.9], [1], [1])
        assert found.disagreements == []
        assert found.num_agreeing == 1

    def test_below_half_it_is_missed_and_spurious(self):
        found = compare([[0.49]], [0.9], [1], [1])
        assert found.disagreements == [
            Disagreement(SPURIOUS, 0, None),
            Disagreement(MISSED, None, 0),
        ]

    def test_wrong_class_and_wrong_subcategory(self):
        found = compare([[0.8]], [0.9], [1], [2])
        assert found.disagreements == [Disagreement(WRONG_CLASS, 0, 0)]
        found = compare([[0.8]], [0.9], [1], [1], annotated=np.array([[0, 1]]))
        assert found.disagreements == [Disagreement(WRONG_SUBCATEGORY, 0, 0)]

    def test_unknown_agrees_with_everything_and_none_does_not(self):
        assert compare([[1]], [0.9], [1], [1], annotated=np.array([[-1, -1]])).num_agreeing == 1
        found = compare([[1]], [0.9], [1], [1], annotated=np.array([[2, 0]]))
        assert found.disagreements == [Disagreement(WRONG_SUBCATEGORY, 0, 0)]

    def test_the_right_class_goes_before_a_better_score(self):
        # Both lie on the one object; the cat, scored lower, is right: the dog is one too many.
        found = compare([[0.9], [0.6]], [0.99, 0.5], [1, 0], [0])
        assert found.disagreements == [Disagreement(SPURIOUS, 0, None)]
        assert found.num_agreeing == 1

    def test_duplicate_is_spurious(self):
        found = compare([[0.9], [0.95]], [0.8, 0.7], [0, 0], [0])
        assert found.disagreements == [Disagreement(SPURIOUS, 1, None)]

    def test_best_overlap_is_taken(self):
        found = compare([[0.6, 0.7]], [0.8], [0], [0, 0])
        assert found.disagreements == [Disagreement(MISSED, None, 0)]

    def test_inside_a_crowd_of_its_class_it_counts_for_nothing(self):
        found = compare([[0.9]], [0.8], [0], [0], crowd=[True])
        assert found.disagreements == []
        assert found.num_agreeing == 0
        found = compare([[0.9]], [0.8], [1], [0], crowd=[True])
        assert found.disagreements == [Disagreement(SPURIOUS, 0, None)]

    def test_nothing_at_all(self):
        assert compare([], [], [], []).disagreements == []


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


def test_results_against_annotations():
    found = compare_results(RESULTS, ANNOTATIONS, (300, 400), category_ids=IDS, spec=SPEC)
    assert sorted(found.disagreements, key=lambda d: d.kind) == [
        Disagreement(MISSED, None, 3),
        Disagreement(SPURIOUS, 3, None),
        Disagreement(WRONG_CLASS, 2, 2),
        Disagreement(WRONG_SUBCATEGORY, 1, 1),
    ]
    assert found.num_agreeing == 1


@pytest.fixture
def texts(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    found = []
    paint_block = labels._paint_block

    def record(picture, place, block, colour):
        found.append(block.lines)
        paint_block(picture, place, block, colour)

    monkeypatch.setattr(labels, "_paint_block", record)
    return found


def draw(results: list[dict], annotations: list[dict], spec: SubcategorySpec = SPEC) -> np.ndarray:
    image = np.full((300, 400, 3), 128, dtype=np.uint8)
    return draw_disagreements(
        image, results, annotations, class_names=NAMES, category_ids=IDS, spec=spec, min_side=0
    )


def test_picture_shows_only_what_is_wrong_and_what_is_right(texts):
    picture = draw(RESULTS, ANNOTATIONS)
    assert sorted(texts) == [
        ["cat .75", "ink red .50, is –", "size S .25"],
        ["dog .75, is owl", "ink – .50", "size L .25"],
        ["missed dog", "ink black", "size ?"],
        ["spurious owl .75", "ink black .50", "size L .25"],
    ]
    # A fifth of the kind's colour over grey, away from labels and pointers; what agrees is grey.
    corners = {WRONG_SUBCATEGORY: WRONG, WRONG_CLASS: CONFUSED, MISSED: LOST, SPURIOUS: INVENTED}
    for kind, (x0, y0, x1, y1) in corners.items():
        expected = np.round(0.8 * 128 + 0.2 * np.array(KIND_COLOURS[kind]))
        assert (picture[y0:y1, x0:x1] == expected).all(axis=2).any(), kind
    x0, y0, x1, y1 = RIGHT
    assert (picture[y0:y1, x0:x1] == 128).all(axis=2).any()
    # The legend has a square of each kind.
    for colour in KIND_COLOURS.values():
        assert (picture[300:] == colour).all(axis=2).any()


def test_without_subcategories(texts):
    results = [{**RESULTS[3], "subcategories": {}}]
    draw(results, [], SubcategorySpec())
    assert texts == [["spurious owl .75"]]


def test_all_agrees(texts):
    picture = draw(RESULTS[:1], ANNOTATIONS[:1])
    assert texts == []
    assert (picture[:300, :400] == 128).all()


def test_empty_mask_is_spurious(texts):
    draw([result((5, 5, 5, 5), 10, "red", "S")], [])
    assert texts == []  # it has no place for a label, and does not fail
