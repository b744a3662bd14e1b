"""What --write-clean repairs, and that it leaves the rest alone."""

from __future__ import annotations

import copy
import json

import pytest
from dataset_to_check import (
    BOW_TIE,
    HEADER,
    SQUARE,
    check,
    image_entry,
    polygon_annotation,
    rle_annotation,
)

from mask2former_mt.check.check import find_splits
from mask2former_mt.check.repair import clean_document, write_clean
from mask2former_mt.dataset.annotation import COCO_CONVENTIONS, Conventions


def clean_one(annotation, conventions=COCO_CONVENTIONS):
    document = {
        "images": [image_entry(10, "a.png")],
        "annotations": [annotation],
        "categories": [{"id": 7, "name": "cat"}],
        "info": {"kept": True},
    }
    before = copy.deepcopy(document)
    cleaned, repairs = clean_document(document, conventions)
    assert document == before  # the input stays
    assert cleaned["info"] == {"kept": True}
    return cleaned["annotations"][0], sum(repairs.values())


CUT = {"segmentation": [[30, 5, 40, 5, 40, 15, 30, 15]], "bbox": [30, 5, 10, 10], "area": 110}
TOO_FAR = {**CUT, "segmentation": [[30, 5, 41, 5, 41, 15, 30, 15]], "bbox": [30, 5, 11, 10]}


@pytest.mark.parametrize(
    ("changes", "repaired", "num_repairs"),
    [
        ({}, {}, 0),
        ({"segmentation": [SQUARE, [1, 1, 9, 9]]}, {}, 1),
        ({"segmentation": [SQUARE, [1, 1, 5, 5, 9, 9]]}, {}, 1),  # three points in a line
        ({"bbox": [9, 5, 10, 10], "area": 300}, {}, 2),
        # 40 wide, one pixel too far; the area is within what COCO's own are off by.
        (TOO_FAR, CUT, 2),
    ],
)
def test_an_outline_is_mended_and_box_and_area_follow(changes, repaired, num_repairs):
    expected = polygon_annotation(1, 10, **repaired)
    assert clean_one(polygon_annotation(1, 10, **changes)) == (expected, num_repairs)


def test_box_and_area_follow_an_rle():
    annotation = rle_annotation(1, 10, bbox=[0, 0, -1, 1], area="big")
    assert clean_one(annotation) == (rle_annotation(1, 10), 2)
    assert clean_one(rle_annotation(1, 10)) == (rle_annotation(1, 10), 0)


def test_normalised_numbers_stay_normalised():
    normalized = [5 / 40, 5 / 30, 41 / 40, 5 / 30, 41 / 40, 15 / 30, 5 / 40, 15 / 30]
    annotation = polygon_annotation(1, 10, segmentation=[normalized], bbox=[0.5, 0.5, 0.1, 0.1])
    cleaned, _ = clean_one(annotation, Conventions("normalized", "normalized"))
    # x from 5 to 40 of 40, y from 5 to 15 of 30.
    assert cleaned["segmentation"][0] == pytest.approx(
        [5 / 40, 5 / 30, 1, 5 / 30, 1, 15 / 30, 5 / 40, 15 / 30]
    )
    assert cleaned["bbox"] == pytest.approx([5 / 40, 5 / 30, 35 / 40, 10 / 30], abs=1e-6)


@pytest.mark.parametrize(
    "changes",
    [
        {"segmentation": [[30, 5, 45, 5, 45, 15, 30, 15]]},  # five pixels too far
        {"segmentation": [[1, 1, 9, 9]]},  # nothing would be left
        {"segmentation": [list(SQUARE), ["a"] * 6]},
        {"segmentation": [[40.5, 5, 41, 5, 41, 15, 40.5, 15]]},  # all of it beyond the edge
        {"segmentation": [BOW_TIE], "area": 50},  # which loop is meant?
        {"segmentation": {"size": [40, 30], "counts": [600, 600]}},
        {"segmentation": None},
        {"category_id": 99},
        {"subcategories": {"style": "oil"}},
        {"iscrowd": 5},
        {"image_id": 99},
    ],
)
def test_nothing_is_guessed(changes):
    annotation = polygon_annotation(1, 10) | changes
    assert clean_one(annotation) == (annotation, 0)


def test_doubles_go_and_ids_become_unique():
    document = {
        **HEADER,
        "images": [image_entry(10, "a.png"), image_entry(10, "a.png"), image_entry(10, "b.png")],
        "annotations": [
            polygon_annotation(1, 10),
            polygon_annotation(2, 10),  # the same again
            polygon_annotation(1, 10, subcategories={}),
            rle_annotation(None, 10),
            rle_annotation(7, 10, iscrowd=1),
        ],
    }
    cleaned, repairs = clean_document(document, COCO_CONVENTIONS)
    assert [entry["file_name"] for entry in cleaned["images"]] == ["a.png", "b.png"]
    # 7 is the highest id in use: the new ones are 8 and 9.
    assert [entry["id"] for entry in cleaned["annotations"]] == [1, 8, 9, 7]
    assert sum(repairs.values()) == 4


def test_the_written_file_passes_where_only_repairs_were_needed(dataset):
    dataset.train["annotations"] += [
        polygon_annotation(100, 11, segmentation=[[20, 5, 41, 5, 41, 15, 20, 15]], area=1),
        rle_annotation(105, 10),
    ]
    assert {problem.kind for problem in check(dataset).problems} == {
        "duplicate-annotation-id",
        "out-of-bounds",
        "box-unlike-mask",
        "area-unlike-mask",
        "duplicate-annotation",
    }
    before = dataset.json_file().read_bytes()
    split = find_splits(dataset.yaml)[0][0]
    output = dataset.folder / "clean.json"
    assert sum(write_clean(split, output).values()) == 5
    assert dataset.json_file().read_bytes() == before
    dataset.documents["train"] = json.loads(output.read_text(encoding="utf-8"))
    assert check(dataset).problems == []
    assert not dataset.is_refused()
