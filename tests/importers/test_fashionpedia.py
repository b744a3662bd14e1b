"""Fashionpedia's attribute ids: the round trip, and one value out of several."""

from __future__ import annotations

import pytest
from importer_scenes import (
    MISSING,
    check_masks_and_classes,
    edit,
    importer,
    load,
    views,
    write_coco,
)

# The ids have gaps, and are not in the order of the supercategories.
ATTRIBUTES = [
    {"id": 2, "name": "short", "supercategory": "length", "level": 1, "taxonomy_id": "a2"},
    {"id": 9, "name": "red", "supercategory": "textile, colour", "level": 1, "taxonomy_id": "a9"},
    {"id": 0, "name": "long", "supercategory": "length", "level": 1, "taxonomy_id": "a0"},
    {"id": 40, "name": "blue", "supercategory": "textile, colour", "level": 1, "taxonomy_id": "b"},
    {"id": 41, "name": "no waist", "supercategory": "waist", "level": 2, "taxonomy_id": "c"},
]
IDS = {"red": 9, "blue": 40}


def attribute_ids(thing) -> dict:
    colour = [] if thing.colour is MISSING else [IDS[thing.colour]]
    return {"attribute_ids": [*colour, *([2] if thing.occluded is True else [])]}


@pytest.fixture
def fashion(tmp_path):
    scene = views()
    inputs, images = write_coco(
        tmp_path / "in", scene, attribute_ids, attributes=ATTRIBUTES, info={"year": 2020}
    )
    out = tmp_path / "out"
    return scene, inputs, importer("fashionpedia", inputs, out, images), out


def first_labels(out) -> dict:
    return load(out / "tiny.yaml")["train"]["a b.png"][0][2]


def test_the_scene_comes_back(fashion):
    scene, _, run, out = fashion
    done = run()
    loaded = load(out / "tiny.yaml")
    check_masks_and_classes(loaded, scene, least=1.0)
    # By supercategory in the order of the ids; what nobody uses is a value all the same.
    assert done.spec.to_json() == [
        {"name": "length", "values": ["long", "short"]},
        {"name": "textile, colour", "values": ["red", "blue"]},
        {"name": "waist", "values": ["no waist"]},
    ]
    unknown = {"length": "unknown", "textile, colour": "unknown", "waist": "unknown"}
    assert [labels for _, _, labels in loaded["train"]["a b.png"]] == [
        unknown | {"length": "short", "textile, colour": "red"},
        unknown,
    ]
    assert loaded["val"]["v.png"][0][2] == unknown | {"textile, colour": "blue"}
    assert done.notes == []


def test_absent_and_subcategories(fashion):
    _, _, run, out = fashion
    run(subcategories=("waist", "length"), absent="none", none_values=("long",))
    assert first_labels(out) == {"waist": None, "length": "short"}
    run(absent="by-class")
    # No dog ever has a waist; a dog has a length.
    assert first_labels(out) == {"length": "short", "textile, colour": "red", "waist": None}
    assert load(out / "tiny.yaml")["val"]["v.png"][0][2]["length"] == "unknown"


@pytest.mark.parametrize(
    ("several", "label", "note"),
    [("unknown", "unknown", "now unknown: 1"), ("first", "blue", "the first taken: 1")],
)
def test_several_attributes_of_one_supercategory(fashion, several, label, note):
    _, inputs, run, out = fashion
    edit(inputs["train"], lambda d: d["annotations"][0].update(attribute_ids=[40, 2, 9]))
    done = run(several=several)
    assert first_labels(out) == {"length": "short", "textile, colour": label, "waist": "unknown"}
    assert len(done.notes) == 1
    assert note in done.notes[0]
    with pytest.raises(ValueError, match=r"annotation 5: .* got \['blue', 'red'\]"):
        run(several="refuse")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda d: d.pop("attributes"), "'attributes' must be a list of JSON objects, got no such"),
        (lambda d: d["attributes"][0].update(id="x"), "an entry of 'attributes' must have an int"),
        (lambda d: d["attributes"][0].update(id=9), "id 9 is used twice in 'attributes'"),
        (lambda d: d["attributes"][0].pop("supercategory"), "attribute 2 .short. must have a 'sup"),
        (lambda d: d["attributes"][0].update(name="tiny"), "attribute 2 is 'tiny' of 'length' her"),
        (lambda d: d["annotations"][0].update(attribute_ids=[3]), "attribute id 3 is not listed"),
        (lambda d: d["annotations"][0].update(attribute_ids=5), "must be a list of integers, got"),
        (lambda d: d["annotations"][0].update(attribute_ids=[True]), "must be a list of integers"),
    ],
)
def test_broken_files_are_named(fashion, change, match):
    _, inputs, run, out = fashion
    edit(inputs["val"], change)
    with pytest.raises(ValueError, match=f"instances_val.json.*{match}"):
        run()
    assert not out.exists()


def test_an_unlisted_subcategory_is_refused(fashion):
    _, _, run, _ = fashion
    with pytest.raises(ValueError, match=r"no attributes are listed under 'size'; there are \["):
        run(subcategories=("size",))
