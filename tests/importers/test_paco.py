"""PACO's attribute lists: the round trip, its marks of the unknown, dominant colours and parts."""

from __future__ import annotations

import pytest
from importer_scenes import MISSING, Case, check_masks_and_classes, views, write_coco

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
    written = write_coco(tmp_path / "in", views(), paco_attributes, **HEADER)
    return Case("paco", tmp_path / "out", *written)


# material: annotated, and no listed material applies: none. transparency: marked unknown.
RED = {"color": "red", "pattern_marking": "plain", "material": None, "transparency": "unknown"}


@pytest.mark.parametrize("absent", ["unknown", "none"])
def test_the_scene_comes_back(paco, absent):
    done = paco.run(absent=absent)
    check_masks_and_classes(paco.load(), views())
    assert done.spec.names == ("color", "pattern_marking", "material", "transparency")
    assert done.spec.subcategories[0].values == ("black", "red", "blue", "other(color)")
    # Without attribute_ids nobody looked, whatever else a missing attribute may mean.
    assert paco.labels()[:2] == [RED, dict.fromkeys(RED, "unknown")]


@pytest.mark.parametrize(
    ("change", "several", "labels"),
    [
        ({"attribute_ids": [1, 2, 4], "dom_color_ids": [2]}, "unknown", {"color": "blue"}),
        ({"attribute_ids": [1, 2, 4]}, "unknown", {"color": "unknown"}),
        (
            {"attribute_ids": [1, 2, 0, 4], "dom_color_ids": [1, 2]},
            "unknown",
            {"color": "unknown"},
        ),
        # A dominant colour that the object does not have.
        ({"attribute_ids": [1, 2, 4], "dom_color_ids": [0]}, "unknown", {"color": "unknown"}),
        ({"attribute_ids": [1, 4], "dom_color_ids": [2]}, "unknown", {"color": "red"}),
        ({"attribute_ids": [4]}, "unknown", {"color": None}),
        (
            {"attribute_ids": [0, 2, 1, 5, 4], "dom_color_ids": [1, 2]},
            "first",
            {"color": "blue", "pattern_marking": "dotted"},
        ),
        ({"unknown_color": 1}, "unknown", {"color": "unknown"}),  # wins over the ids
    ],
)
def test_what_attribute_ids_mean(paco, change, several, labels):
    paco.edit("train", lambda d: d["annotations"][0].update(change))
    paco.run(several=several)
    assert paco.labels()[0] == RED | labels


def test_parts_can_be_left_out(paco):
    def add_part(document):
        document["categories"].append({"id": 100, "name": "dog:leg", "supercategory": "PART"})
        whole = document["annotations"][0]
        whole["obj_ann_id"] = whole["id"]
        document["annotations"].append(whole | {"id": 99, "category_id": 100})

    paco.edit("train", add_part)
    assert paco.run().num_instances == {"train": 4, "val": 1}
    done = paco.run(parts=False)
    assert (done.num_instances, done.num_classes) == ({"train": 3, "val": 1}, 2)
    assert [c["name"] for c in paco.document("train")["categories"]] == ["cat", "dog"]


def test_what_is_not_annotated_everywhere_is_kept_and_said(paco):
    federated = {"neg_category_ids": [4], "not_exhaustive_category_ids": [9]}
    paco.edit("val", lambda d: d["images"][0].update(federated))
    (note,) = paco.run().notes
    assert "classes of which not every object is annotated" in note
    assert note.endswith("instances_val.json: image 7")
    assert paco.document("val")["images"][0].items() >= federated.items()


def of_object(**fields):
    return lambda document: document["annotations"][0].update(fields)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda d: d.pop("attr_type_to_attr_idxs"), "is no PACO file.*use the format fashionpedia"),
        (lambda d: d["attr_type_to_attr_idxs"].update(color=[77]), "'color' must be a list of ids"),
        (lambda d: d["attributes"][0].update(name="ink"), "differ from the files before"),
        (of_object(attribute_ids=[50]), "attribute id 50 is of no type"),
        (of_object(attribute_ids=None), "'attribute_ids' must be a list"),
        (of_object(dom_color_ids="1"), "'dom_color_ids' must be a list"),
        (of_object(unknown_color=2), "'unknown_color' must be 0 or 1"),
    ],
)
def test_broken_files_are_named(paco, change, match):
    paco.edit("val", change)
    paco.refuses(f"instances_val.json.*{match}")
