"""VIA's JSON: the round trip, its forms and shapes, which attribute is the class, and refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest
from importer_scenes import SQUARE as SQUARE_POLYGON
from importer_scenes import Case, check_masks_and_classes, views, write_via

SQUARE = {
    "name": "polygon",
    "all_points_x": SQUARE_POLYGON[0::2],
    "all_points_y": SQUARE_POLYGON[1::2],
}


@pytest.fixture
def via(tmp_path):
    return Case("via", tmp_path / "out", write_via(tmp_path / "in", views()))


def set_regions(case: Case, *shapes: dict, **attributes: object) -> None:
    """Gives the one picture of validation, v.png of 64x48, regions with the same attributes."""

    def change(project):
        (entry,) = project["_via_img_metadata"].values()
        attributes.setdefault("class", "dog")
        entry["regions"] = [
            {"shape_attributes": shape, "region_attributes": attributes} for shape in shapes
        ]

    case.edit("val", change)


def test_the_scene_comes_back(via):
    done = via.run()
    check_masks_and_classes(via.load(), views())
    unknown = {"colour": "unknown", "occluded": "unknown"}
    blue = {"colour": "blue", "occluded": "no"}
    assert via.labels() == [{"colour": "red", "occluded": "yes"}, unknown, blue, blue]
    (note,) = done.notes
    assert note.startswith("pictures without a region, taken as without objects: 1, ")


def test_exported_annotations_of_via_2_and_1(via):
    for split in via.inputs:
        via.edit(split, lambda project: only_metadata(project))
    via.run()
    check_masks_and_classes(via.load(), views())

    def number_regions(entries):
        for entry in entries.values():
            entry["regions"] = {str(i): region for i, region in enumerate(entry["regions"])}

    via.edit("val", number_regions)
    via.run()
    check_masks_and_classes(via.load(), views())


def only_metadata(project: dict) -> None:
    metadata = project["_via_img_metadata"]
    project.clear()
    project.update(metadata)


@pytest.mark.parametrize(
    ("shape", "height", "width", "area"),
    [
        ({"name": "circle", "cx": 32, "cy": 24, "r": 10}, 20, 20, math.pi * 100),
        # Turned by a quarter, the radius of 20 is along y.
        (
            {"name": "ellipse", "cx": 32, "cy": 24, "rx": 20, "ry": 5, "theta": math.pi / 2},
            40,
            10,
            math.pi * 100,
        ),
        # A closed polyline encloses a triangle.
        (
            {"name": "polyline", "all_points_x": [2, 22, 2, 2], "all_points_y": [2, 2, 22, 2]},
            19,
            19,
            200,
        ),
    ],
)
def test_shapes(via, shape, height, width, area):
    set_regions(via, shape)
    via.run()
    ((_, mask, _),) = via.load()["val"]["v.png"]
    ys, xs = np.nonzero(mask)
    assert (np.ptp(ys) + 1, np.ptp(xs) + 1) == (height, width)
    assert mask.sum() == pytest.approx(area, abs=12)


def test_which_attribute_is_the_class(via):
    for split in via.inputs:
        via.edit(split, lambda project: rename(project, "class", "Label"))
    via.run()
    check_masks_and_classes(via.load(), views())
    for split in via.inputs:
        via.edit(split, lambda project: rename(project, "Label", "what"))
    via.refuses(r"which attribute of the regions is the class\? There are \['colour', 'occ.*'what'")
    via.refuses("no region has 'x'; there are", class_attribute="x")
    via.run(class_attribute="what")
    check_masks_and_classes(via.load(), views())
    assert via.run(classes=("thing",)).num_classes == 1
    assert [labels["what"] for labels in via.labels()] == ["dog", "cat", "cat", "dog"]


def rename(project: dict, old: str, new: str) -> None:
    for entry in project["_via_img_metadata"].values():
        for region in entry["regions"]:
            region["region_attributes"][new] = region["region_attributes"].pop(old)


def test_check_boxes_and_attributes_of_the_file(via):
    set_regions(via, SQUARE, **{"class": {"dog": True}, "colour": {"red": True, "blue": False}})

    def describe(project):
        (entry,) = project["_via_img_metadata"].values()
        entry["file_attributes"] = {"caption": "", "weather": "sunny"}

    via.edit("val", describe)
    assert any(note.endswith("{'weather': ['sunny']}") for note in via.run().notes)
    assert via.labels()[-1] == {"colour": "red", "occluded": "unknown"}
    via.run(picture_attributes=True, subcategories=("weather",))
    assert via.labels()[-1] == {"weather": "sunny"}


@pytest.mark.parametrize(
    ("shape", "match"),
    [
        ({"name": "rect", "x": 1, "y": 1, "width": 5, "height": 5}, "a rect has no outline"),
        ({"name": "point", "cx": 1, "cy": 1}, "a point has no outline"),
        ({**SQUARE, "name": "polyline"}, "a polyline has no outline"),
        ({"name": "circle", "cx": 3, "cy": 3, "r": 0}, "radii must be positive"),
        ({**SQUARE, "all_points_x": [1]}, "as many x as y, got 1 and 4"),
        ({**SQUARE, "all_points_x": 3}, "'all_points_x' must be a list, got 3"),
        ({"name": 3}, "'name' must be a text, got 3"),
    ],
)
def test_a_region_without_a_mask(via, shape, match):
    set_regions(via, SQUARE, shape)
    via.refuses(rf"project.json: 'v.png', region 1: .*{match}.*--unusable skip")
    via.skips_unusable()


def test_a_broken_file_is_named(via):
    set_regions(via, SQUARE, **{"class": {"dog": True, "cat": True}})
    via.refuses("region 0: 'class' must be one text, the class, got {'dog': True, 'cat': True}")
    set_regions(via, SQUARE)
    via.edit("val", lambda p: p["_via_img_metadata"].update(x={"filename": "w.png", "regions": []}))
    via.refuses("'w.png': the picture 'w.png' is in none of")
    via.edit("val", lambda p: p["_via_img_metadata"].update(x={"filename": 3, "regions": []}))
    via.refuses("3: 'filename' must be a text, got 3")
    via.edit("val", lambda p: p["_via_img_metadata"].update(x={"filename": "v.png", "regions": 3}))
    via.refuses("'regions' must be a list, got 3")
    via.edit("val", lambda p: p.update(_via_img_metadata=[]))
    via.refuses(r"must be JSON of VIA 1 or 2, with 'regions' for each picture, got \[\]")
