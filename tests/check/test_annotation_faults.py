"""Each kind of faulty annotation is found, named, and judged as training judges it."""

from __future__ import annotations

import re

import pytest
from dataset_to_check import (
    ERROR,
    SQUARE,
    WARNING,
    check,
    polygon_annotation,
    the_one,
)


def test_a_sound_dataset_has_no_finding(dataset):
    result = check(dataset)
    assert result.problems == []
    assert result.exit_code == 0
    assert not dataset.is_refused()


BOW_TIE = [5, 5, 15, 15, 15, 5, 5, 15]
# (fields of annotation 100, severity, kind, message)
POLYGON_FAULTS = [
    ({"category_id": 5}, ERROR, "unknown-category", r"5 is not listed.*\[7, 9\].*correct"),
    ({"category_id": [7]}, ERROR, "unknown-category", r"\[7\] is not listed"),
    ({"subcategories": {"colour": "red"}}, ERROR, "unknown-subcategory", "'colour' is not listed"),
    ({"subcategories": ["photo"]}, ERROR, "unknown-subcategory", "must be an object"),
    ({"subcategories": {"style": "oil"}}, ERROR, "unknown-value", "no value 'oil'.*or correct"),
    ({"subcategories": {"style": 3}}, ERROR, "unknown-value", r"index must be in \[-1, 2\]"),
    ({"segmentation": []}, ERROR, "zero-area", "is empty; draw"),
    ({"segmentation": None}, ERROR, "bad-annotation", "got None; boxes alone teach no masks"),
    ({"segmentation": [[1, 1, 9, 9]]}, ERROR, "too-few-points", "at least 3 points, got 2"),
    ({"segmentation": [[1, 1, 9, 9, 5]]}, ERROR, "bad-polygon", "flat list of finite numbers"),
    (
        {"segmentation": [["1", 1, 9, 9, 5, 1]]},
        ERROR,
        "bad-polygon",
        "a flat list of finite numbers",
    ),
    ({"segmentation": [[float("nan"), 1, 9, 9, 5, 1]]}, ERROR, "bad-polygon", "of finite numbers"),
    ({"segmentation": [[10**400, 1, 9, 9, 5, 1]]}, ERROR, "bad-polygon", "a polygon must be"),
    (
        {"segmentation": [[30, 5, 43, 5, 43, 15]]},
        ERROR,
        "out-of-bounds",
        r"must lie inside the image, x in \[0, 40\].* got x in \[30, 43\].*another image or size",
    ),
    # The picture is 40 wide: one pixel too far is cut off by training.
    (
        {"segmentation": [[30, 5, 41, 5, 41, 15, 30, 15]], "bbox": [30, 5, 10, 10]},
        WARNING,
        "out-of-bounds",
        "training cuts it off, --write-clean does so",
    ),
    ({"bbox": [100, 100, 5, 5]}, ERROR, "out-of-bounds", r"'bbox' must lie inside .*\[100, 105\]"),
    ({"bbox": [5, 5, -1, 5]}, ERROR, "bad-box", r"must be \[x, y, width, height\]"),
    ({"bbox": [5, 5, 10]}, ERROR, "bad-box", r"got \[5, 5, 10\]; remove it"),
    ({"bbox": [5, 5, 10**400, 5]}, ERROR, "bad-box", "must be"),
    # 10 x 10 at (5, 5) against 10 x 10 at (9, 5): 60 shared of 140 pixels.
    ({"bbox": [9, 5, 10, 10]}, WARNING, "box-unlike-mask", r"\[9, 5, 10, 10\], the mask's own is"),
    ({"area": 300}, WARNING, "area-unlike-mask", "'area' is 300, the mask has 100 pixels"),
    ({"area": "big"}, WARNING, "area-unlike-mask", "'area' is 'big'"),
    (
        {"segmentation": [BOW_TIE], "area": 50},
        WARNING,
        "self-intersecting",
        r"near \(10, 10\).*draw it again",
    ),
    ({"segmentation": [[5, 5, 9, 9, 15, 15]]}, ERROR, "zero-area", "encloses nothing"),
    (
        {"segmentation": [SQUARE, [5, 5, 9, 9, 15, 15]]},
        WARNING,
        "zero-area",
        "a part .*3 points in a line; remove the part",
    ),
    # 0.4 x 0.4 between the centres at 5.5 and 6.5.
    (
        {"segmentation": [[5.6, 5.6, 6, 5.6, 6, 6, 5.6, 6]]},
        ERROR,
        "zero-area",
        "no pixel's centre lies inside",
    ),
    # 3 x 3 = 9 pixels, a cell has 4 x 4 = 16.
    (
        {"segmentation": [[5, 5, 8, 5, 8, 8, 5, 8]], "bbox": [5, 5, 3, 3], "area": 9},
        WARNING,
        "smaller-than-stride",
        "has 9 pixels, less than one cell .4 x 4.*larger input size",
    ),
    ({"iscrowd": 2}, ERROR, "bad-annotation", "'iscrowd' must be 0 or 1"),
    # Read as pixels, all of it lies in the first one.
    (
        {"segmentation": [[0.1, 0.1, 0.9, 0.1, 0.9, 0.9]], "bbox": [0.1, 0.1, 0.8, 0.8]},
        ERROR,
        "bad-polygon",
        "no coordinate above 0.9: normalised",
    ),
    ({"id": None}, ERROR, "bad-annotation", "must have an integer 'id', got None"),
    ({"id": 101}, ERROR, "duplicate-annotation-id", "101 is used twice; ids must be unique"),
    ({"image_id": 99}, ERROR, "unknown-image", "image_id 99 is not listed"),
    ({"image_id": [10]}, ERROR, "unknown-image", r"image_id \[10\] is not listed"),
]


@pytest.mark.parametrize(("fields", "severity", "kind", "match"), POLYGON_FAULTS)
def test_a_faulty_annotation_is_named(dataset, fields, severity, kind, match):
    dataset.train["annotations"][0].update(fields)
    # Further labels, so that the fault is the only thing wrong.
    dataset.train["annotations"] += [polygon_annotation(103, 11, segmentation=[[1, 1, 9, 1, 9, 9]])]
    for field in ("bbox", "area"):
        dataset.train["annotations"][-1].pop(field)
    result = check(dataset)
    found = [f for f in result.problems if (f.severity, f.kind) == (severity, kind)]
    assert found, result.problems
    assert any(re.search(match, finding.text) for finding in found), found
    for finding in found:
        if isinstance(fields.get("image_id", 10), int) and fields.get("image_id") != 99:
            assert finding.file.endswith("a.png") or "twice" in finding.text
    # What training refuses is an error; a warning it takes.
    assert not dataset.is_refused() or result.exit_code == 2
    if severity == WARNING:
        assert not dataset.is_refused()
        assert result.exit_code == 1


def test_a_finding_names_file_image_and_annotation(dataset):
    dataset.train["annotations"][0]["segmentation"] = [[1, 1, 9, 9]]
    finding = the_one(check(dataset), "too-few-points")
    assert finding.file == str(dataset.image("train", "a.png"))
    assert (finding.image_id, finding.annotation_id) == (10, 100)


RLE_FAULTS = [
    ({"size": [40, 30], "counts": [600, 600]}, "rle-size-mismatch", r"\[30, 40\], got \[40, 30\]"),
    ({"counts": [600, 600]}, "bad-rle", "RLE size must be"),
    ({"size": [30, 40]}, "bad-rle", "must be a list of run lengths .*, got 'None'"),
    ({"size": [30, 40], "counts": [600, 599]}, "bad-rle", "add up to height .* = 1200, got 1199"),
    ({"size": [30, 40], "counts": [600, 10**400]}, "bad-rle", "from 0 to"),
    ({"size": [30, 40], "counts": [1200]}, "zero-area", "the RLE has no pixel"),
    # "hb0" is 600 in COCO's text: 0x18 | more, 0x12 | more, 0; without "0" it has no end.
    ({"size": [30, 40], "counts": "hb0hb"}, "bad-rle", "compressed text"),
    ({"size": [30, 40], "counts": "hb02"}, "bad-rle", "got 602"),
    ({"size": [30, 40], "counts": "\u00e9"}, "bad-rle", "compressed text"),
]


@pytest.mark.parametrize(("rle", "kind", "match"), RLE_FAULTS)
def test_faulty_run_lengths_are_named(dataset, rle, kind, match):
    dataset.train["annotations"][1]["segmentation"] = rle
    result = check(dataset)
    finding = the_one(result, kind)
    assert finding.severity == ERROR
    assert finding.annotation_id == 101
    assert re.search(match, finding.text)
    assert dataset.is_refused()


def test_crossing_is_told_from_a_seam(dataset):
    # A frame: out, in along a seam, around the hole the other way, back. It encloses 100 - 36.
    seam = [5, 5, 15, 5, 15, 15, 5, 15, 5, 5, 7, 7, 7, 13, 13, 13, 13, 7, 7, 7]
    dataset.train["annotations"][0].update(segmentation=[seam], area=64)
    assert check(dataset).problems == []


def test_normalised_numbers_declared_as_such_are_sound(dataset):
    for document in dataset.documents.values():
        for annotation in document["annotations"]:
            x, y, w, h = annotation["bbox"]
            annotation["bbox"] = [x / 40, y / 30, w / 40, h / 30]
            if isinstance(annotation["segmentation"], list):
                xy = annotation["segmentation"][0]
                annotation["segmentation"] = [
                    [v / (40, 30)[i % 2] for i, v in enumerate(xy)],
                ]
    with dataset.yaml.open("a", encoding="utf-8") as file:
        file.write("box_coords: normalized\npolygon_coords: normalized\n")
    result = check(dataset)
    assert result.problems == []
    assert result.statistics["train"].sides[0] == pytest.approx(10)  # of 10 x 10 pixels


def test_pixels_declared_normalised_are_an_error(dataset):
    with dataset.yaml.open("a", encoding="utf-8") as file:
        file.write("polygon_coords: normalized\n")
    result = check(dataset)
    found = [f for f in result.problems if f.kind == "out-of-bounds"]
    assert {f.annotation_id for f in found} == {100, 102, 1}
    assert "polygon_coords: pixel" in found[0].text
    assert dataset.is_refused()


def test_one_object_annotated_twice(dataset):
    dataset.train["annotations"].append({**dataset.train["annotations"][1], "id": 105})
    finding = the_one(check(dataset), "duplicate-annotation")
    assert (finding.severity, finding.annotation_id) == (WARNING, 105)
    # Another label is another opinion, not the same annotation.
    dataset.train["annotations"][-1]["subcategories"] = {"style": "photo"}
    assert check(dataset).problems == []
