"""Fashionpedia's attribute ids: the round trip, and one value out of several."""

from __future__ import annotations

import pytest
from importer_scenes import MISSING, Case, check_masks_and_classes, views, write_coco

# The ids have gaps, and are not in the order of the supercategories.
ATTRIBUTES = [
    {"id": 2, "name": "short", "supercategory": "length", "level": 1, "taxonomy_id": "a2"},
    {"id": 9, "name": "red", "supercategory": "textile, colour", "level": 1, "taxonomy_id": "a9"},
    {"id": 0, "name": "long", "supercategory": "length", "level": 1, "taxonomy_id": "a0"},
    {"id": 40, "name": "blue", "supercategory": "textile, colour", "level": 1, "taxonomy_id": "b"},
    {"id": 41, "name": "no waist", "supercategory": "waist", "level": 2, "taxonomy_id": "c"},
]
IDS = {"red": 9, "blue": 40}
UNKNOWN = {"length": "unknown", "textile, colour": "unknown", "waist": "unknown"}


def attribute_ids(thing) -> dict:
    colour = [] if thing.colour is MISSING else [IDS[thing.colour]]
    return {"attribute_ids": [*colour, *([2] if thing.occluded is True else [])]}


@pytest.fixture
def fashion(tmp_path):
    written = write_coco(tmp_path / "in", views(), attribute_ids, attributes=ATTRIBUTES)
    return Case("fashionpedia", tmp_path / "out", *written)


def test_the_scene_comes_back(fashion):
    done = fashion.run()
    check_masks_and_classes(fashion.load(), views())
    # By supercategory in the order of the ids; what nobody uses is a value all the same.
    assert done.spec.to_json() == [
        {"name": "length", "values": ["long", "short"]},
        {"name": "textile, colour", "values": ["red", "blue"]},
        {"name": "waist", "values": ["no waist"]},
    ]
    blue = UNKNOWN | {"textile, colour": "blue"}
    red = UNKNOWN | {"length": "short", "textile, colour": "red"}
    assert fashion.labels() == [red, UNKNOWN, blue, blue]
    assert done.notes == []


def test_absent_and_subcategories(fashion):
    fashion.run(subcategories=("waist", "length"), absent="none", none_values=("long",))
    assert fashion.labels()[0] == {"waist": None, "length": "short"}
    fashion.run(absent="by-class")
    # No dog ever has a waist; a dog has a length.
    assert fashion.labels()[0] == {"length": "short", "textile, colour": "red", "waist": None}
    assert fashion.labels()[3]["length"] == "unknown"
    fashion.refuses(r"no attributes are listed under 'size'; there are \[", subcategories=("size",))


@pytest.mark.parametrize(
    ("several", "label", "note"),
    [("unknown", "unknown", "now unknown: 1"), ("first", "blue", "the first taken: 1")],
)
def test_several_attributes_of_one_supercategory(fashion, several, label, note):
    fashion.edit("train", lambda d: d["annotations"][0].update(attribute_ids=[40, 2, 9]))
    done = fashion.run(several=several)
    assert fashion.labels()[0] == UNKNOWN | {"length": "short", "textile, colour": label}
    assert len(done.notes) == 1
    assert note in done.notes[0]
    fashion.refuses(r"annotation 5: .* got \['blue', 'red'\]", several="refuse")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda d: d.pop("attributes"), "'attributes' must be a list of JSON objects, got no such"),
        (lambda d: d["attributes"][0].update(id="x"), "an entry of 'attributes' must have an int"),
        (lambda d: d["attributes"][0].update(id=9), "id 9 is used twice in 'attributes'"),
        (lambda d: d["attributes"][0].pop("supercategory"), "attribute 2 .short. must have a 'sup"),
        (lambda d: d["attributes"][0].update(name="tiny"), "attribute 2 is 'tiny' of 'length' her"),
        (lambda d: d["annotations"][0].update(attribute_ids=[3]), "attribute id 3 is not listed"),
        (lambda d: d["annotations"][0].update(attribute_ids=[True]), "must be a list of integers"),
    ],
)
def test_broken_files_are_named(fashion, change, match):
    fashion.edit("val", change)
    fashion.refuses(f"instances_val.json.*{match}")
