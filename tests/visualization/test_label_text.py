"""The words of a label."""

import numpy as np
import pytest
from visualization_tools import NAMES, NO_SPEC

from mask2former_mt.structures import Subcategory, SubcategorySpec
from mask2former_mt.visualization import Label, LabelNames


def test_scores_none_and_unknown():
    # 2 is ink's index of none (two values), -1 is unknown
    label = Label(7, [1, 0], score=0.98, value_scores=[0.99, 0.91])
    assert label.lines(NAMES) == ["7 .98", "ink red .99", "size small .91"]
    crowd = Label(7, [2, -1], note="crowd")
    full = ["7 crowd", "ink –", "size ?"]
    assert crowd.versions(NAMES) == [full, ["7 crowd – ?"], ["7 crowd"]]


def test_only_what_the_class_has_is_shown():
    breed = Subcategory("breed", ("pug",), applies_to=("dog",))
    names = LabelNames(["cat", "dog"], SubcategorySpec((breed, Subcategory("size", ("S",)))))
    cat, dog = (Label(k, [1 - k, 0], value_scores=[1.0, 0.5]) for k in (0, 1))
    assert cat.versions(names) == [["cat", "size S .50"], ["cat S"], ["cat"]]
    assert dog.lines(names) == ["dog", "breed pug 1.00", "size S .50"]


@pytest.mark.parametrize(
    ("score", "shown"),
    [(0.999, ".99"), (1.0, "1.00"), (0.0, ".00"), (np.float32(0.29), ".29"), (1.25, "1.25")],
)
def test_scores_are_rounded_down(score: float, shown: str):
    names = LabelNames(["a"], NO_SPEC)
    assert Label(0, score=score).versions(names) == [[f"a {shown}"]]


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (Label(7, [0, 0], score=float("nan")), "a score must be a finite number, got nan"),
        (Label(7, [3, 0]), r"'ink': index must be in \[0, 2\], got 3"),
        (Label(7, [0, 0, 0]), "values must have 2 entries, one per subcategory, got 3"),
        (Label(7, [0, 0], value_scores=[0.5]), "value_scores must have 2 entries, .* got 1"),
        (Label(10, [0, 0]), "class 10 has no name: there are 10 class names"),
    ],
)
def test_labels_that_do_not_fit_are_refused(label: Label, message: str):
    with pytest.raises(ValueError, match=message):
        label.lines(NAMES)


def test_result_of_another_dataset_is_refused():
    result = {"category_id": 3, "score": 0.5, "subcategories": {}}
    with pytest.raises(ValueError, match=r"category_id must be one of \[1, 2\], got 3"):
        Label.of_result(result, LabelNames(["a", "b"], NO_SPEC, [1, 2]))
