"""Keys that nothing reads are told where they look like one that is read."""

from __future__ import annotations

import pytest

from mask2former_mt.dataset.catalog import read_dataset_file
from mask2former_mt.dataset.misnamed_keys import MisnamedKeys
from mask2former_mt.dataset.split import read_split


@pytest.mark.parametrize(
    ("listed", "key", "meant"),
    [
        ("annotations", "Subcategories", "subcategories"),
        ("annotations", "subcategories ", "subcategories"),
        ("annotations", "subcategory", "subcategories"),
        ("annotations", "is_crowd", "iscrowd"),
        ("annotations", "crowd", "iscrowd"),
        ("subcategories", "appliesTo", "applies_to"),
        ("subcategories", "apply_to", "applies_to"),
        ("subcategories", "flips", "flip"),
        ("", "sub-categories", "subcategories"),
        # Keys of other programs are nobody's slip, nor are those that are read.
        ("annotations", "attributes", None),
        ("annotations", "num_keypoints", None),
        ("annotations", "iscrowd", None),
        ("subcategories", "description", None),
        ("", "info", None),
    ],
)
def test_a_key_like_one_that_is_read_is_told(listed, key, meant):
    keys = MisnamedKeys()
    keys.look_at({key: 1}, listed)
    keys.look_at({key: 2}, listed)
    if meant is None:
        assert keys.messages() == []
    else:
        (message,) = keys.messages()
        assert f"nothing reads the key {key!r}" in message
        assert message.endswith(f"but {meant!r} is read")
        assert ("2 entries of 'annotations'" in message) == (listed == "annotations")


def test_beside_the_key_that_is_meant_another_is_no_slip():
    keys = MisnamedKeys()
    keys.look_at({"subcategories": {}, "subcategory": "photo"}, "annotations")
    assert keys.messages() == []


def test_a_split_tells_of_them(dataset):
    annotation = dataset.document["annotations"][0]
    annotation["Subcategories"] = annotation.pop("subcategories")
    dataset.document["subcategories"][0]["Flip"] = {"photo": "cartoon"}
    dataset.write_json()
    split = read_split(read_dataset_file(dataset.write_yaml()).files_of("train"))
    assert [(p.kind, p.severity) for p in split.problems] == [("misnamed-key", "warning")] * 2
