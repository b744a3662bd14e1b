"""The picture of what predictions and annotations disagree on."""

import dataclasses

import numpy as np
import pytest
from visualization_tools import NO_SPEC, OWN_SIZE, box_masks, grey, lines_of, result

from mask2former_mt.evaluation.disagreements import compare_results
from mask2former_mt.structures import Subcategory, SubcategorySpec
from mask2former_mt.visualization import LabelNames, draw_disagreements
from mask2former_mt.visualization.disagreement_overlay import KIND_COLOURS

SPEC = SubcategorySpec((Subcategory("ink", ("black", "red")), Subcategory("size", ("S", "L"))))


def predicted(box: tuple[int, int, int, int], category: int, ink: str | None, size: str) -> dict:
    (mask,) = box_masks(300, 400, [box])
    return result(mask, category, 0.75, ink=(ink, 0.5), size=(size, 0.25))


def annotated(box: tuple[int, int, int, int], category: int, values: list[int] | None) -> dict:
    x0, y0, x1, y1 = box
    entry = {"segmentation": [[x0, y0, x1, y0, x1, y1, x0, y1]], "category_id": category}
    return entry if values is None else {**entry, "subcategories": values}


RIGHT, WRONG, CONFUSED = (10, 10, 60, 60), (110, 10, 160, 60), (210, 10, 260, 60)
LOST, INVENTED = (10, 200, 60, 250), (210, 200, 260, 250)
RESULTS = [
    predicted(RIGHT, 10, "red", "S"),
    predicted(WRONG, 10, "red", "S"),
    predicted(CONFUSED, 20, None, "L"),
    predicted(INVENTED, 30, "black", "L"),
]
ANNOTATIONS = [
    annotated(RIGHT, 0, [1, 0]),
    annotated(WRONG, 0, [2, 0]),
    annotated(CONFUSED, 2, None),
    annotated(LOST, 1, [0, -1]),
]


def draw(results: list[dict], annotations: list[dict], spec: SubcategorySpec = SPEC) -> np.ndarray:
    names = LabelNames(["cat", "dog", "owl"], spec, [10, 20, 30])
    compared = compare_results(
        results, annotations, (300, 400), category_ids=names.category_ids, spec=spec
    )
    return draw_disagreements(grey(300, 400), results, annotations, *compared, names, OWN_SIZE)


def test_picture_shows_only_what_is_wrong_and_what_is_right(drawn):
    picture = draw(RESULTS, ANNOTATIONS)
    assert sorted(lines for lines, _, _ in drawn) == [
        ["cat .75", "ink red .50, is –", "size S .25"],
        ["dog .75, is owl", "ink – .50", "size L .25"],
        ["missed dog", "ink black", "size ?"],
        ["spurious owl .75", "ink black .50", "size L .25"],
    ]
    # A fifth of the kind's colour over grey, away from labels and pointers; what agrees is grey.
    boxes = {"wrong class": CONFUSED, "wrong subcategory": WRONG}
    boxes |= {"missed": LOST, "spurious": INVENTED, "agrees": RIGHT}
    for kind, (x0, y0, x1, y1) in boxes.items():
        colour = np.array(KIND_COLOURS.get(kind, (128,) * 3))
        expected = np.round(0.8 * 128 + 0.2 * colour)
        assert (picture[y0:y1, x0:x1] == expected).all(axis=2).any(), kind
    # The legend has a square of each kind.
    for colour in KIND_COLOURS.values():
        assert (picture[300:] == colour).all(axis=2).any()


def test_what_a_class_does_not_have_is_neither_shown_nor_wrong(drawn):
    ink, size = SPEC.subcategories
    spec = SubcategorySpec((dataclasses.replace(ink, applies_to=("cat",)), size))
    # A dog taken for a cat; a dog, whose ink is none by definition, of another size; a cat.
    results = [
        predicted(RIGHT, 10, "red", "S"),
        predicted(WRONG, 20, None, "S"),
        predicted(CONFUSED, 10, "red", "S"),
    ]
    annotations = [
        annotated(RIGHT, 1, [2, 1]),
        annotated(WRONG, 1, [2, 1]),
        annotated(CONFUSED, 0, [0, 0]),
    ]
    draw(results, annotations, spec)
    assert sorted(lines for lines, _, _ in drawn) == [
        ["cat .75", "ink red .50, is black", "size S .25"],
        ["cat .75, is dog", "ink red .50", "size S .25, is L"],
        ["dog .75", "size S .25, is L"],
    ]


def test_without_subcategories(drawn):
    draw([{**RESULTS[3], "subcategories": {}}], [], NO_SPEC)
    assert lines_of(drawn) == ["spurious owl .75"]


@pytest.mark.parametrize(
    ("results", "annotations"),
    [(RESULTS[:1], ANNOTATIONS[:1]), ([predicted((5, 5, 5, 5), 10, "red", "S")], [])],
    ids=["all agrees", "empty mask"],
)
def test_nothing_to_show(drawn, results, annotations):
    picture = draw(results, annotations)
    assert drawn == []
    assert (picture[:300, :400] == 128).all()
