"""A JSON is read whole or refused by name, and its objects are not searched for garbage."""

from __future__ import annotations

import gc
import json
import math

import pytest

from mask2former_mt.dataset.document import parse_header, read_document, read_header
from mask2former_mt.dataset.split import load_dataset_dicts


def test_everything_that_json_can_say_is_read(dataset):
    dataset.document["extra"] = {
        "accents": "\u00e9\u4e2d",
        "numbers": [1, -2.5, 1e30, 10**25, None],
    }
    assert read_document(dataset.write_json()) == dataset.document


def test_not_a_number_is_read_so_that_its_annotation_can_be_named(dataset):
    dataset.document["annotations"][0]["bbox"] = [math.nan, 0, 1e400, 1]
    path = dataset.write_json()
    box = read_document(path)["annotations"][0]["bbox"]
    assert math.isnan(box[0])
    assert box[2] == math.inf
    with pytest.raises(ValueError, match=r"annotation 100 .*'bbox' must be .*got \[nan"):
        load_dataset_dicts(path, dataset.folder / "images", read_header(path))


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b'{"images": [', "not valid JSON: .*line 1 column 13.*cut short"),
        (b"\xff\xd8", "JSON text in UTF-8"),
        (b"[" * 200_000, "not valid JSON"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not valid JSON|must be|needs a list"),
        (b"[]", "must be a COCO file"),
    ],
)
def test_a_broken_file_is_named(tmp_path, content, match):
    path = tmp_path / "broken.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"broken.json.*{match}"):
        read_document(path)


def test_the_garbage_collector_is_left_as_it_was(dataset):
    path = dataset.write_json()
    assert gc.isenabled()
    read_document(path)
    assert gc.isenabled()
    path.write_text("{")
    with pytest.raises(ValueError, match="not valid JSON"):
        read_document(path)
    assert gc.isenabled()
    gc.disable()
    try:
        with pytest.raises(ValueError, match="not valid JSON"):
            read_document(path)
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_images_need_not_be_looked_at(dataset):
    dataset.document["images"][0]["file_name"] = "gone.png"
    path = dataset.write_json()
    header = parse_header(dataset.document, path)
    with pytest.raises(ValueError, match="1 of 2 image files are missing"):
        load_dataset_dicts(path, dataset.folder / "images", header)
    records = load_dataset_dicts(path, dataset.folder / "images", header, check_images=False)
    assert [len(record["annotations"]) for record in records] == [2, 0]


def test_many_images_are_reported_in_the_lists_order(dataset):
    dataset.document["images"] = [
        {"id": i, "file_name": "a.png", "height": 30, "width": 40 + (i in (70, 150))}
        for i in range(200)
    ]
    dataset.document["annotations"] = []
    path = dataset.write_json()
    with pytest.raises(ValueError, match="2 problems") as caught:
        load_dataset_dicts(path, dataset.folder / "images", read_header(path))
    lines = str(caught.value).splitlines()
    assert lines[1].startswith("  image 70 (a.png): the JSON says 41x30")
    assert lines[2].startswith("  image 150 (a.png)")


def test_a_text_cut_between_two_run_lengths_is_found_when_the_file_is_read(dataset):
    # "hb0hb0" is 600, 600.
    segmentation = {"size": [30, 40], "counts": "hb0hb0"}
    dataset.document["annotations"][1].update(segmentation=segmentation, bbox=[20, 0, 20, 30])
    path = dataset.write_json()
    load_dataset_dicts(path, dataset.folder / "images", read_header(path))
    # 500 = 0b01111_10100: "d" (20 + 32 + 48), "?" (15 + 48); bit 4 of 15 is 0: not negative.
    segmentation["counts"] = "hb0d?"
    path = dataset.write_json()
    match = r"annotation 101 of image 10 \(a.png\): RLE counts must .*= 1200, got 1100; they may be"
    with pytest.raises(ValueError, match=match):
        load_dataset_dicts(path, dataset.folder / "images", read_header(path))


def test_equal_labels_are_looked_up_once_but_not_shared(dataset):
    first = dataset.document["annotations"][0]
    # True equals 1, and only one of them is a label.
    dataset.document["annotations"] = [
        {**first, "id": 1, "subcategories": {"style": 1}},
        {**first, "id": 2, "subcategories": {"style": 1}},
    ]
    path = dataset.write_json()
    header = read_header(path)
    one, two = load_dataset_dicts(path, dataset.folder / "images", header)[0]["annotations"]
    assert one["subcategories"] == two["subcategories"] == [1, -1]
    assert one["subcategories"] is not two["subcategories"]
    dataset.document["annotations"][1]["subcategories"] = {"style": True}
    path.write_text(json.dumps(dataset.document))
    with pytest.raises(ValueError, match=r"annotation 2 .*got True"):
        load_dataset_dicts(path, dataset.folder / "images", header)
