"""PACO's attribute lists: the round trip, its marks of the unknown, dominant colours and parts."""

from __future__ import annotations

import json

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

NAMES = ["black", "red", "blue", "other(color)", "plain", "dotted", "wood", "opaque"]
HEADER = {
    "attributes": [
        {"supercategory": "ATTR", "id": i, "name": name} for i, name in enumerate(NAMES)
    ],
    "attr_type_to_attr_idxs": {
        "color": [0, 1, 2, 3],
        "pattern_marking": [4, 5],
        "material": [6],
        "transparency": [7],
    },
    "part_categories": [{"supercategory": "PART", "id": 1, "name": "leg"}],
}


def paco_attributes(thing) -> dict:
    """Objects without a colour have no attributes; the others' transparency cannot be told."""
    if thing.colour is MISSING:
        return {}
    return {
        "attribute_ids": [NAMES.index(thing.colour), 4],
        "dom_color_ids": [],
        "unknown_color": 0,
        "unknown_pattern_marking": 0,
        "unknown_material": 0,
        "unknown_transparency": 1,
    }


@pytest.fixture
def paco(tmp_path):
    scene = views()
    inputs, images = write_coco(tmp_path / "in", scene, paco_attributes, **HEADER)
    out = tmp_path / "out"
    return scene, inputs, importer("paco", inputs, out, images), out


def first_labels(out) -> dict:
    return load(out / "tiny.yaml")["train"]["a b.png"][0][2]


# material: annotated, and no listed material applies: none. transparency: marked unknown.
RED = {"color": "red", "pattern_marking": "plain", "material": None, "transparency": "unknown"}


@pytest.mark.parametrize("absent", ["unknown", "none"])
def test_the_scene_comes_back(paco, absent):
    scene, _, run, out = paco
    done = run(absent=absent)
    loaded = load(out / "tiny.yaml")
    check_masks_and_classes(loaded, scene, least=1.0)
    assert done.spec.names == ("color", "pattern_marking", "material", "transparency")
    assert done.spec.subcategories[0].values == ("black", "red", "blue", "other(color)")
    # Without attribute_ids nobody looked, whatever else a missing attribute may mean.
    assert [labels for _, _, labels in loaded["train"]["a b.png"]] == [
        RED,
        dict.fromkeys(RED, "unknown"),
    ]


@pytest.mark.parametrize(
    ("colors", "dominant", "label"),
    [
        ([1, 2], [2], "blue"),
        ([1, 2], [], "unknown"),
        ([1, 2, 0], [1, 2], "unknown"),
        ([1, 2], [0], "unknown"),  # a dominant colour that the object does not have
        ([1], [2], "red"),
        ([], [], None),
    ],
)
def test_dominant_colours(paco, colors, dominant, label):
    _, inputs, run, out = paco
    edit(
        inputs["train"],
        lambda d: d["annotations"][0].update(attribute_ids=[*colors, 4], dom_color_ids=dominant),
    )
    run()
    assert first_labels(out) == RED | {"color": label}


def test_several_take_the_first_dominant_colour(paco):
    _, inputs, run, out = paco
    edit(
        inputs["train"],
        lambda d: d["annotations"][0].update(attribute_ids=[0, 2, 1, 5, 4], dom_color_ids=[1, 2]),
    )
    run(several="first")
    assert first_labels(out) == RED | {"color": "blue", "pattern_marking": "dotted"}


def test_unknown_wins_over_ids(paco):
    _, inputs, run, out = paco
    edit(inputs["train"], lambda d: d["annotations"][0].update(unknown_color=1))
    run()
    assert first_labels(out) == RED | {"color": "unknown"}


def test_parts_can_be_left_out(paco):
    _, inputs, run, out = paco

    def add_part(document):
        document["categories"].append({"id": 100, "name": "dog:leg", "supercategory": "PART"})
        whole = document["annotations"][0]
        whole["obj_ann_id"] = whole["id"]
        part = whole | {"id": 99, "category_id": 100}
        document["annotations"].append(part)

    edit(inputs["train"], add_part)
    assert run().num_instances == {"train": 4, "val": 1}
    done = run(parts=False)
    assert (done.num_instances, done.num_classes) == ({"train": 3, "val": 1}, 2)
    assert [c["name"] for c in json.loads((out / "train.json").read_text())["categories"]] == [
        "cat",
        "dog",
    ]


def test_what_is_not_annotated_everywhere_is_kept_and_said(paco):
    _, inputs, run, out = paco
    edit(
        inputs["val"],
        lambda d: d["images"][0].update(neg_category_ids=[4], not_exhaustive_category_ids=[9]),
    )
    (note,) = run().notes
    assert "classes of which not every object is annotated" in note
    assert note.endswith("instances_val.json: image 7")
    image = json.loads((out / "val.json").read_text())["images"][0]
    assert (image["neg_category_ids"], image["not_exhaustive_category_ids"]) == ([4], [9])


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda d: d.pop("attr_type_to_attr_idxs"), "is no PACO file.*use the format fashionpedia"),
        (
            lambda d: d["attr_type_to_attr_idxs"].update(color=[77]),
            r"'color' must be a list of ids",
        ),
        (lambda d: d["attributes"][0].update(name="ink"), "differ from the files before"),
        (lambda d: d["annotations"][0].update(attribute_ids=[50]), "attribute id 50 is of no type"),
        (
            lambda d: d["annotations"][0].update(attribute_ids=None),
            "'attribute_ids' must be a list",
        ),
        (lambda d: d["annotations"][0].update(dom_color_ids="1"), "'dom_color_ids' must be a list"),
        (lambda d: d["annotations"][0].update(unknown_color=2), "'unknown_color' must be 0 or 1"),
    ],
)
def test_broken_files_are_named(paco, change, match):
    _, inputs, run, out = paco
    edit(inputs["val"], change)
    with pytest.raises(ValueError, match=f"instances_val.json.*{match}"):
        run()
    assert not out.exists()
