"""What --write-clean repairs, and that it leaves the rest alone."""

from __future__ import annotations

import copy
import json
from pathlib import Path

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
from mask2former_mt.data.rasterize import rasterize
from mask2former_mt.dataset.conventions import COCO_CONVENTIONS, Conventions
from mask2former_mt.dataset.split import SplitFiles


def clean(document, conventions=COCO_CONVENTIONS):
    """The repaired document and how often which repair was made; there are no pictures."""
    files = SplitFiles("train", Path(), Path(), conventions)
    cleaned = clean_document(document, files, opens_pictures=False)
    return cleaned.document, +cleaned.repairs


def clean_one(annotation, conventions=COCO_CONVENTIONS):
    document = {
        "images": [image_entry(10, "a.png")],
        "annotations": [annotation],
        "categories": [{"id": 7, "name": "cat"}],
        "info": {"kept": True},
    }
    before = copy.deepcopy(document)
    cleaned, repairs = clean(document, conventions)
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
        ({"segmentation": [[], SQUARE]}, {}, 1),
        ({"segmentation": SQUARE}, {}, 1),
        ({"segmentation": [[5, 5], [15, 5], [15, 15], [5, 15]]}, {}, 1),
        ({"segmentation": [[[5, 5], [15, 5], [15, 15], [5, 15]]]}, {}, 1),
        ({"bbox": [9, 5, 10, 10], "area": 300}, {}, 2),
        ({"bbox": None, "area": None, "iscrowd": None}, {}, 3),
        ({"bbox": [5, 5, 15, 15], "area": "100", "iscrowd": "0"}, {}, 3),
        ({"area": 10**400, "iscrowd": False}, {}, 2),
        ({"id": "1", "image_id": "10", "category_id": 7.0}, {}, 3),
        # 40 wide, one pixel too far; the area is within what COCO's own are off by.
        (TOO_FAR, CUT, 2),
    ],
)
def test_an_outline_is_mended_and_box_and_area_follow(changes, repaired, num_repairs):
    expected = polygon_annotation(1, 10, **repaired)
    assert clean_one(polygon_annotation(1, 10) | changes) == (expected, num_repairs)


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
        {"image_id": 99},
    ],
)
def test_nothing_is_guessed(changes):
    annotation = polygon_annotation(1, 10) | changes
    assert clean_one(annotation) == (annotation, 0)


HOLED = {"segmentation": [SQUARE, [7, 7, 13, 7, 13, 13, 7, 13]], "area": 64}


def test_a_hole_is_joined_where_polygons_inside_others_are_holes():
    annotation = polygon_annotation(1, 10, **HOLED)
    assert clean_one(annotation) == (annotation, 0)
    cleaned, num_repairs = clean_one(annotation, Conventions(holes="even-odd"))
    assert num_repairs == 1
    assert (len(cleaned["segmentation"]), cleaned["bbox"], cleaned["area"]) == (
        1,
        [5, 5, 10, 10],
        64,
    )
    # 10 x 10 pixels without 6 x 6.
    assert rasterize([cleaned["segmentation"]], size=(30, 40)).sum() == 64


def test_crowds_become_objects_where_the_dataset_means_so():
    annotation = rle_annotation(1, 10, iscrowd=1)
    assert clean_one(annotation) == (annotation, 0)
    assert clean_one(annotation, Conventions(crowd="object")) == (rle_annotation(1, 10), 1)


def test_a_root_category_without_objects_goes():
    document = {
        "images": [image_entry(10, "a.png")],
        "annotations": [polygon_annotation(1, 10)],
        "categories": [
            {"id": 0, "name": "animals", "supercategory": "none"},
            {"id": 7, "name": "cat", "supercategory": "animals"},
            {"id": "8", "name": "dog", "supercategory": "animals"},
        ],
    }
    cleaned, repairs = clean(document)
    assert [(c["id"], c["name"]) for c in cleaned["categories"]] == [(7, "cat"), (8, "dog")]
    assert sum(repairs.values()) == 2
    document["annotations"][0]["category_id"] = 0
    cleaned, _ = clean(document)
    assert len(cleaned["categories"]) == 3


def test_names_and_sizes_are_the_pictures(dataset):
    first, second = dataset.train["images"]
    first.update(file_name="data\\A.png", height=None)
    second["width"] = 44
    dataset.write()
    split = find_splits(dataset.yaml)[0][0]
    cleaned = clean_document(dataset.train, split)
    assert cleaned.document["images"] == [image_entry(10, "a.png"), image_entry(11, "b.png")]
    assert sum(cleaned.repairs.values()) == 3


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
    cleaned, repairs = clean(document)
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
