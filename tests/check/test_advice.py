"""What the training split's numbers say about the labels, and which settings they suggest."""

from __future__ import annotations

import numpy as np
import pytest
from dataset_to_check import WARNING, check, kinds_of, the_one

from mask2former_mt.check.advice import suggest
from mask2former_mt.check.pictures import Picture
from mask2former_mt.check.statistics import SplitStatistics
from mask2former_mt.dataset.document import Header
from mask2former_mt.structures import SubcategorySpec

UNSEEN = "; add pictures of it, or take it off the list"
UNTAUGHT = ", but 1 in the others: it is asked for and never taught; add pictures of it"
ALIKE = (
    " are 'photo': there is nothing to tell apart; annotate the other values, or take the "
    "subcategory off the list"
)
HEADER = Header((1,), ("cat",), SubcategorySpec())


def test_what_is_never_seen_and_never_varies_is_told(dataset):
    for document in dataset.documents.values():
        document["categories"].append({"id": 12, "name": "owl"})
    dataset.train["annotations"][1]["subcategories"] = {"style": "photo"}
    dataset.documents["val"]["annotations"][0]["subcategories"] = {"style": "cartoon"}
    lines = [f"{problem.kind}: {problem.text}" for problem in check(dataset).problems]
    assert [line.split(" in split 'train'") for line in lines] == [
        ["class-never-seen: class 'owl' has no object", UNSEEN],
        ["value-never-seen: value 'cartoon' of subcategory 'style' has no object", UNTAUGHT],
        ["label-never-varies: all 2 labels of subcategory 'style'", ALIKE],
        # Green and none are left, so it varies.
        ["value-never-seen: value 'brown' of subcategory 'ripeness' has no object", UNSEEN],
    ]


def test_a_subcategory_without_a_label_is_told_once(dataset):
    for annotation in dataset.train["annotations"]:
        annotation["subcategories"].pop("style", None)
    problem = the_one(check(dataset), "value-never-seen")
    assert "no object of split 'train' has a label of subcategory 'style'" in problem.text


def test_a_plain_coco_file_without_annotations_is_checked(dataset):
    for document in dataset.documents.values():
        document.pop("subcategories")
        document["annotations"] = []
    assert kinds_of(check(dataset)) == [(WARNING, "class-never-seen")]


def settings_of(counts, *, side=20.0, size=(480, 640), deviation=50.0) -> dict:
    """Suggestions for pictures with so many objects, each of side x side pixels."""
    statistics = SplitStatistics(HEADER)
    picture = Picture(size, 1, np.full(3, 100.0), np.full(3, 100.0**2 + deviation**2))
    annotation = {"category_id": 0, "subcategories": (), "iscrowd": 0}
    for count in counts:
        statistics.add(picture, [(annotation, side**2)] * count)
    return {k: v for suggestion in suggest(statistics) for k, v in suggestion.settings.items()}


@pytest.mark.parametrize(
    ("counts", "queries"),
    [
        ([4] * 1000, 10),  # twice 4 is 8
        ([4] * 1000 + [23], 30),  # 99 % have 4, but the busiest has 23
        ([40] * 1000, 80),
        ([0] * 10 + [1], 10),
    ],
)
def test_queries(counts, queries):
    assert settings_of(counts)["MODEL.MASK_FORMER.NUM_OBJECT_QUERIES"] == queries


@pytest.mark.parametrize(
    ("side", "size", "expected"),
    [
        # 4 cells of 4 pixels are 16: at 20 of 480 pixels, 480 * 16 / 20 = 384.
        (20, (480, 640), 384),
        (20, (640, 480), 384),  # the short side, whichever it is
        (10, (480, 640), 768),
        (2, (480, 640), 960),  # at most twice the picture's own
        (200, (480, 640), 256),  # and at least half of it: 240, rounded up to 32s
    ],
)
def test_input_size(side, size, expected):
    settings = settings_of([1] * 10, side=side, size=size)
    assert settings["INPUT.MIN_SIZE_TEST"] == expected
    assert settings["INPUT.MIN_SIZE_TRAIN"] == [expected]


@pytest.mark.parametrize(("deviation", "expected"), [(50, 50), (0.1, 0.1), (0.04, 1), (0, 1)])
def test_a_deviation_of_zero_is_not_suggested(deviation, expected):
    # Rounded to a tenth, 0.04 is 0, too.
    assert settings_of([1], deviation=deviation)["MODEL.PIXEL_STD"] == [expected] * 3


def test_what_a_config_may_not_hold_is_not_suggested():
    # The queries of a picture with 60,000 objects, twice the busiest, are more than 100,000.
    assert "MODEL.MASK_FORMER.NUM_OBJECT_QUERIES" not in settings_of([60_000])


def test_what_the_other_split_lacks_is_told(dataset):
    # Two of three are cartoons to learn, and none of four to judge, where 2.7 were to be expected;
    # of the one dog it was 1.3, which may be chance.
    val = dataset.documents["val"]["annotations"]
    val += [{**val[0], "id": 990 + number} for number in range(3)]
    for annotation in dataset.train["annotations"][:2]:
        annotation["subcategories"] = {"style": "cartoon"}
    for annotation in val:
        annotation["subcategories"] = {"style": "photo"}
    problems = [p for p in check(dataset).problems if p.kind.endswith("-never-judged")]
    (problem,) = problems
    assert (problem.kind, problem.severity) == ("value-never-judged", WARNING)
    assert problem.text == (
        "value 'cartoon' of subcategory 'style' has 2 objects in split 'train' and none in split "
        "'val': no number there says whether it was learned; move some pictures of it to split "
        "'val'"
    )
    # Without an object, a split judges nothing.
    dataset.documents["val"]["annotations"] = []
    assert not any(p.kind.endswith("-never-judged") for p in check(dataset).problems)


def test_a_class_that_the_other_split_does_not_even_list_is_told(dataset):
    dataset.train["categories"].append({"id": 12, "name": "owl"})
    for annotation in dataset.train["annotations"][:2]:
        annotation["category_id"] = 12
    val = dataset.documents["val"]["annotations"]
    val += [{**val[0], "id": 990 + number} for number in range(3)]
    problem = the_one(check(dataset), "class-never-judged")
    assert problem.text.startswith("class 'owl' has 2 objects in split 'train' and none in split ")


def test_nothing_is_suggested_from_nothing():
    assert suggest(SplitStatistics(None)) == []
