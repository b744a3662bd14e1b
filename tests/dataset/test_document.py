"""A JSON is read whole or refused by name, and its objects are not searched for garbage."""

from __future__ import annotations

import gc
import json
import math
import re

import pytest

from mask2former_mt.dataset.document import read_document, read_header


def test_everything_that_json_can_say_is_read(dataset):
    dataset.document["extra"] = {
        "accents": "\u00e9\u4e2d",
        "numbers": [1, -2.5, 1e30, 10**25, None],
    }
    assert read_document(dataset.write_json()) == dataset.document


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_a_byte_order_mark_is_no_part_of_the_text(dataset, encoding):
    path = dataset.write_json()
    path.write_text(json.dumps({**dataset.document, "x": "\u00e9"}, ensure_ascii=False), encoding)
    assert read_document(path) == {**dataset.document, "x": "\u00e9"}


def test_nan_and_infinity_are_read_so_that_their_annotation_can_be_named(dataset):
    dataset.document["annotations"][0]["bbox"] = [math.nan, 0, 1e400, 1]
    path = dataset.write_json()
    box = read_document(path)["annotations"][0]["bbox"]
    assert math.isnan(box[0])
    assert box[2] == math.inf


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b'{"images": [', "not valid JSON: .*line 1 column 13.*cut short"),
        (b"\xff\xd8", "JSON text in UTF-8"),
        (b"[" * 200_000, "not valid JSON"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not valid JSON|must be|needs a list"),
        (b"", "not valid JSON"),
        (b"[]", "must be a COCO file, a JSON object .* got a list"),
        (b'{"images": [], "annotations": []}', "needs a list 'categories', got no such key"),
        (b'{"images": {}, "annotations": [], "categories": []}', "a list 'images', got dict"),
        (b'{"images": [1], "annotations": [], "categories": []}', "every entry of 'images'"),
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


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"categories": []}, "'categories' is empty"),
        ({"categories": [{"id": 7, "name": "a"}, {"id": 7, "name": "b"}]}, "id 7 is listed twice"),
        ({"categories": [{"id": 7, "name": "a"}, {"id": 8, "name": "a"}]}, "are named 'a'; give"),
        ({"categories": [{"id": "x8", "name": "x"}]}, "got {'id': 'x8'"),
        ({"categories": [{"id": 8}]}, "must be .*got {'id': 8}"),
        ({"subcategories": {"style": []}}, "'subcategories' must be a list of .*got a dict"),
        ({"subcategories": [{"name": "style", "values": []}]}, "'style' has 0 values"),
        ({"subcategories": [{"name": "style", "values": "ab"}]}, "'values' must be a list"),
        ({"subcategories": [{"name": "s", "values": ["x"]}] * 2}, "a subcategory is listed twice"),
        (
            {"subcategories": [{"name": "s", "values": ["x"], "applies_to": ["cat", "cow"]}]},
            r"'s': 'applies_to' names 'cow', which is no class; listed are \['cat'\]",
        ),
    ],
)
def test_lists_that_cannot_be_used_are_named(change, match):
    header, faults = read_header({"categories": [{"id": 1, "name": "cat"}], **change})
    assert header is None
    assert len(faults) == 1
    assert re.search(match, faults[0])


def test_classes_are_in_the_order_of_their_ids():
    header, faults = read_header(
        {"categories": [{"id": 7, "name": "cat"}, {"id": 3, "name": "cup"}]}
    )
    assert faults == []
    assert header.class_names == ("cup", "cat")
    assert header.contiguous_ids == {3: 0, 7: 1}
    assert len(header.spec) == 0


@pytest.mark.parametrize(("above", "is_root"), [("shoe", True), ("clothes", False)])
def test_a_root_that_is_called_as_the_class_has_its_own_remedy(above, is_root):
    categories = [
        {"id": 0, "name": "shoe", "supercategory": "none"},
        {"id": 1, "name": "shoe", "supercategory": above},
    ]
    header, (fault,) = read_header({"categories": categories})
    assert header is None
    assert fault.startswith("two categories are named 'shoe'; give each its own name")
    assert ("--write-clean takes it out" in fault) == is_root
