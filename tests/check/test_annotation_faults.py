"""Each kind of faulty annotation is found, named, and judged as training judges it."""

from __future__ import annotations

import re

import pytest
from dataset_to_check import (
    BOW_TIE,
    ERROR,
    HEIGHT,
    SQUARE,
    WARNING,
    WIDTH,
    check,
    polygon_annotation,
    the_one,
)

from mask2former_mt.dataset.catalog import read_dataset_file
from mask2former_mt.dataset.split import read_split

HOLE = [7, 7, 13, 7, 13, 13, 7, 13]  # 6 x 6 pixels of SQUARE


@pytest.mark.parametrize(
    ("labels", "is_wrong"),
    [
        ({"ripeness": "green"}, True),
        ({"ripeness": 0}, True),
        ({"ripeness": None}, False),
        ({"ripeness": 2}, False),
        ({"ripeness": -1}, False),
        ({}, False),
    ],
)
def test_a_value_on_an_object_of_a_class_that_has_none(dataset, labels, is_wrong):
    for document in dataset.documents.values():
        document["subcategories"][1]["applies_to"] = ["dog"]
        for annotation in document["annotations"]:
            annotation["subcategories"]["ripeness"] = "green"
            annotation["category_id"] = 9
    # A cat.
    dataset.annotation.update(category_id=7, subcategories={"style": "photo", **labels})
    result = check(dataset)
    assert dataset.is_refused() == is_wrong
    if is_wrong:
        problem = the_one(result, "value-of-other-class")
        assert (problem.severity, problem.annotation_id) == (ERROR, 100)
        assert "of class 'cat' has value 'green' of subcategory 'ripeness', which" in problem.text
        assert "applies to ['dog'] only; remove the value, correct the class" in problem.text
        return
    split = read_split(read_dataset_file(dataset.yaml).files_of("train"))
    (cat,) = [a for r in split.records for a in r["annotations"] if a["id"] == 100]
    # None, 2, by definition; the cat is not counted among objects without a value.
    assert cat["subcategories"] == [0, 2]
    ripeness = result.statistics["train"].to_json()["subcategories"][1]
    assert ripeness["class_by_value"] == [[0, 0, 0, 0], [2, 0, 0, 0]]
    assert (ripeness["share_none"], ripeness["share_unknown"]) == (0, 0)


def test_a_sound_dataset_has_no_problem(dataset):
    result = check(dataset)
    assert (result.problems, result.exit_code) == ([], 0)
    assert not dataset.is_refused()


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"category_id": [7]}, "unknown-category"),
        ({"subcategories": {"colour": "red"}}, "unknown-subcategory"),
        ({"subcategories": ["photo"]}, "unknown-subcategory"),
        ({"subcategories": {"style": "oil"}}, "unknown-value"),
        ({"segmentation": []}, "zero-area"),
        ({"segmentation": None}, "bad-annotation"),
        ({"segmentation": [[1, 1, 9, 9]]}, "too-few-points"),
        ({"segmentation": [["1", 1, 9, 9, 5, 1]]}, "bad-polygon"),
        ({"segmentation": [[30, 5, 43, 5, 43, 15]]}, "out-of-bounds"),
        ({"segmentation": [[0.1, 0.1, 0.9, 0.1, 0.9, 0.9]]}, "bad-polygon"),  # normalised?
        ({"segmentation": {"size": [40, 30], "counts": [600, 600]}}, "rle-size-mismatch"),
        ({"segmentation": {"counts": [600, 600]}}, "bad-rle"),
        ({"segmentation": {"size": [30, 40], "counts": [1200]}}, "zero-area"),
        # "hb0" is 600 in COCO's text, and "2" is 2.
        ({"segmentation": {"size": [30, 40], "counts": "hb02"}}, "bad-rle"),
        ({"id": None}, "bad-annotation"),
        ({"id": 101}, "duplicate-annotation-id"),
        ({"image_id": 99}, "unknown-image"),
        ({"image_id": [10]}, "unknown-image"),
    ],
)
def test_what_training_refuses_is_an_error(dataset, fields, kind):
    dataset.annotation.update(fields)
    result = check(dataset)
    assert result.exit_code == 2
    assert dataset.is_refused()
    found = {
        (problem.severity, problem.file, problem.image_id, problem.annotation_id)
        for problem in result.problems
        if problem.kind == kind
    }
    place = (str(dataset.image("train", "a.png")), 10)
    if kind == "unknown-image":
        place = (str(dataset.json_file()), None)
    assert found == {(ERROR, *place, fields.get("id", 100))}


@pytest.mark.parametrize(
    "fields",
    [
        # In the first pixel, if it is not normalised.
        {"segmentation": [[0.1, 0.1, 0.9, 0.1, 0.9, 0.9]], "bbox": [0.1, 0.1, 0.8, 0.8]},
        # A pixel beyond the left edge, as its box is.
        {"segmentation": [[-1, 5, 9, 5, 9, 15, -1, 15]], "bbox": [-1, 5, 10, 10]},
        {"segmentation": {"size": [30, 40], "counts": [600, 60]}},
        {"segmentation": [[5, 5, 5, 5, 5, 5]], "bbox": [1, 1, 30, 20]},
    ],
)
def test_one_finding_for_an_object(dataset, fields):
    dataset.annotation.update(fields)
    dataset.annotation.pop("area", None)
    found = [p.text for p in check(dataset).problems if p.annotation_id is not None]
    assert len(found) == 1, found
    assert not re.search(r"[?];|export.*export", found[0])


def test_an_outline_in_doubt_says_nothing_of_the_area(dataset):
    outline = {"size": [40, 30], "counts": [600, 600]}
    dataset.annotation.update(segmentation=outline, area="600")
    kinds = {problem.kind for problem in check(dataset).problems}
    assert "rle-size-mismatch" in kinds
    assert "area-unlike-mask" not in kinds


@pytest.mark.parametrize(
    ("fields", "severity", "kind", "match"),
    [
        # The picture is 40 wide: one pixel too far is cut off by training.
        (
            {"segmentation": [[30, 5, 41, 5, 41, 15, 30, 15]], "bbox": [30, 5, 10, 10]},
            WARNING,
            "out-of-bounds",
            r"the outline leaves the 40x30 picture .*x in \[30, 41\].*--write-clean does so",
        ),
        (
            {"bbox": [5, -1, 10, 16], "segmentation": [[5, 0, 15, 0, 15, 15, 5, 15]], "area": 150},
            WARNING,
            "out-of-bounds",
            r"'bbox' leaves .*y in \[-1, 15\]",
        ),
        # 10 x 10 at (5, 5) against 10 x 10 at (9, 5): 60 shared of 140 pixels.
        ({"bbox": [9, 5, 10, 10]}, WARNING, "box-unlike-mask", r"\[9, 5, .* own is \[5, 5, 10, 10"),
        ({"area": 300}, WARNING, "area-unlike-mask", "'area' is 300, the mask has 100 pixels"),
        ({"area": "big"}, WARNING, "area-unlike-mask", "'area' must be .* got 'big'"),
        ({"bbox": [5, 5, -1, 5]}, WARNING, "bad-box", "taken from the outline"),
        ({"iscrowd": 2}, WARNING, "bad-crowd-mark", "taken for one object"),
        ({"iscrowd": 1}, WARNING, "crowd", "left out of training: 1 of 2 'cat'"),
        ({"segmentation": SQUARE}, WARNING, "bad-polygon", "one flat list"),
        ({"segmentation": [SQUARE, [1, 1, 9, 9]]}, WARNING, "too-few-points", "is left out"),
        ({"segmentation": [SQUARE, HOLE]}, WARNING, "hole-filled", "COCO fills it; .*even-odd"),
        # 100 - 36 = 64 pixels.
        (
            {"segmentation": [SQUARE, HOLE], "area": 64},
            WARNING,
            "hole-filled",
            "COCO fills it, but the area, 64, is that of an outline with holes",
        ),
        ({"segmentation": [BOW_TIE], "area": 50}, WARNING, "self-intersecting", r"near \(10, 10\)"),
        ({"segmentation": [[5, 5, 9, 9, 15, 15]]}, ERROR, "zero-area", "encloses nothing; draw"),
        ({"segmentation": [SQUARE, [5, 5, 9, 9, 7, 7]]}, WARNING, "zero-area", "3 points in a"),
        # 0.4 x 0.4 between the centres at 5.5 and 6.5.
        ({"segmentation": [[5.6, 5.6, 6, 5.6, 6, 6]]}, ERROR, "zero-area", "no pixel's centre"),
        # 3 x 3 = 9 pixels, a cell has 4 x 4 = 16.
        (
            {"segmentation": [[5, 5, 8, 5, 8, 8, 5, 8]], "bbox": [5, 5, 3, 3], "area": 9},
            WARNING,
            "smaller-than-stride",
            "has 9 pixels, less than one cell .4 x 4.*larger input size",
        ),
    ],
)
def test_what_the_outline_shows_is_told(dataset, fields, severity, kind, match):
    dataset.annotation.update(fields)
    result = check(dataset)
    problem = the_one(result, kind)
    assert problem.severity == severity
    assert problem.annotation_id == (None if kind == "crowd" else 100)
    assert re.search(match, problem.text)
    assert result.exit_code == (2 if severity == ERROR else 1)
    assert not dataset.is_refused()


def test_an_annotation_that_training_refuses_is_checked_further(dataset):
    dataset.annotation.update(
        category_id=5, segmentation=[BOW_TIE, [1, "x", 9, 9]], bbox=[20, 20, 5, 5], area=900
    )
    found = [problem.kind for problem in check(dataset).problems if problem.annotation_id == 100]
    # A part of the outline is missing, so nothing is said of box and area.
    assert found == ["bad-polygon", "unknown-category", "self-intersecting"]


def test_an_outline_declared_normalised_is_measured_in_pixels(dataset):
    for document in dataset.documents.values():
        for annotation in document["annotations"]:
            if isinstance(annotation["segmentation"], list):
                normalised = [v / (WIDTH, HEIGHT)[i % 2] for i, v in enumerate(SQUARE)]
                annotation["segmentation"] = [normalised]
    with dataset.yaml.open("a", encoding="utf-8") as file:
        file.write("polygon_coords: normalized\n")
    result = check(dataset)
    assert result.problems == []
    assert result.statistics["train"].sides[0] == pytest.approx(10)  # of 10 x 10 pixels


def test_one_object_annotated_twice(dataset):
    # The run lengths [600, 600] as COCO's text.
    again = {**dataset.train["annotations"][1], "id": 105}
    again["segmentation"] = {"size": [30, 40], "counts": "hb0hb0"}
    dataset.train["annotations"].append(again)
    problem = the_one(check(dataset), "duplicate-annotation")
    assert (problem.severity, problem.annotation_id) == (WARNING, 105)
    # Another label is another opinion, not the same annotation.
    again["subcategories"] = {"style": "photo"}
    assert check(dataset).problems == []


def test_one_annotation_listed_twice_is_no_new_object(dataset):
    dataset.train["annotations"].append(polygon_annotation(100, 10))
    found = {problem.kind for problem in check(dataset).problems}
    assert found == {"duplicate-annotation-id", "duplicate-annotation"}
