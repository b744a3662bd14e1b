"""box_coords and polygon_coords: everything behind the loader is in pixels, or refused."""

from __future__ import annotations

import re

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from mask2former_mt.data.rasterize import rasterize
from mask2former_mt.dataset import catalog
from mask2former_mt.dataset.conventions import Conventions

YAML = "name: tiny\nroot: .\ntrain: {images: images, annotations: train.json}\n"
# The image is 40 wide and 30 high: x from 10 to 20, y from 6 to 24.
BOX, POLYGON = [10, 6, 10, 18], [10, 6, 20, 6, 20, 24, 10, 24]
NORMALIZED_BOX = [0.25, 0.2, 0.25, 0.6]
NORMALIZED_POLYGON = [0.25, 0.2, 0.5, 0.2, 0.5, 0.8, 0.25, 0.8]


def load(dataset, *, keys="", **fields):
    """The first image's annotations with `fields` in the first, id 100; the other is RLE."""
    dataset.document["annotations"][0].update(fields)
    dataset.document["annotations"][1].pop("bbox")
    dataset.write_json()
    catalog.register_dataset_files([dataset.write_yaml(YAML + keys)])
    return DatasetCatalog.get("tiny_train")[0]["annotations"]


@pytest.mark.parametrize(
    ("keys", "box", "polygon"),
    [
        ("", BOX, POLYGON),
        ("box_coords: pixel\npolygon_coords: pixel\n", BOX, POLYGON),
        # Boxes normalised, outlines in pixels: neither is taken for the other.
        ("box_coords: normalized\n", NORMALIZED_BOX, POLYGON),
        ("polygon_coords: normalized\n", BOX, NORMALIZED_POLYGON),
        (
            "box_coords: normalized\npolygon_coords: normalized\n",
            NORMALIZED_BOX,
            NORMALIZED_POLYGON,
        ),
    ],
)
def test_each_is_scaled_by_what_is_said_of_it(dataset, keys, box, polygon):
    annotation, rle = load(dataset, keys=keys, bbox=box, segmentation=[polygon])
    assert annotation["bbox"] == pytest.approx(BOX)
    assert annotation["segmentation"][0] == pytest.approx(POLYGON)
    (mask,) = rasterize([annotation["segmentation"]], size=(30, 40))
    # Not zero but near the origin: 10 x 18 pixels where the box is.
    assert mask[6:24, 10:20].all()
    assert mask.sum() == 180
    # Nobody says what the area of a normalised outline is normalised by.
    assert annotation["area"] == (100 if polygon == POLYGON else None)
    # RLE is in pixels, whatever the polygons are; a box that is left out is the mask's extent.
    assert rasterize([rle["segmentation"]], size=(30, 40)).sum() == 600
    assert rle["bbox"] == [20, 0, 20, 30]


@pytest.mark.parametrize(
    ("keys", "fields", "match"),
    [
        (
            "",
            {"segmentation": [NORMALIZED_POLYGON]},
            "a polygon must be in pixels of the image, 40 wide, .*above 0.8, .*polygon_coords: n",
        ),
        (
            "polygon_coords: normalized\n",
            {"segmentation": [POLYGON]},
            r"a polygon must lie in \[0, 1\].*x in \[10, 20\], y in \[6, 24\].*polygon_coords: pix",
        ),
        # One of them right does not excuse the other.
        (
            "box_coords: normalized\n",
            {"bbox": NORMALIZED_BOX, "segmentation": [NORMALIZED_POLYGON]},
            "a polygon must be in pixels",
        ),
        # Both parts are in the first pixel; the test below has one that is not.
        (
            "",
            {"segmentation": [NORMALIZED_POLYGON, [0, 0, 1, 0, 1, 1]]},
            "got no coordinate above 1, as if normalised",
        ),
    ],
)
def test_the_other_unit_is_refused_with_the_annotations_id(dataset, keys, fields, match):
    fields = {"bbox": BOX, "segmentation": [POLYGON], **fields}
    with pytest.raises(ValueError, match=f"annotation 100 of image 10 .a.png.: .*{match}"):
        load(dataset, keys=keys, **fields)


@pytest.mark.parametrize(
    ("keys", "box", "match"),
    [
        ("", NORMALIZED_BOX, "own is \\[10, 6, 10, 18\\].*if it is normalised, .*box_coords: norm"),
        ("box_coords: normalized\n", BOX, "if it is in pixels, write 'box_coords: pixel'"),
    ],
)
def test_a_box_of_the_other_unit_is_taken_from_the_outline(dataset, caplog, keys, box, match):
    annotation, _ = load(dataset, keys=keys, bbox=box, segmentation=[POLYGON])
    assert annotation["bbox"] == BOX
    assert re.search(f"annotation 100 of image 10 .a.png.: .*{match}", caplog.text)


def test_small_things_in_pixels_are_not_taken_for_normalised(dataset):
    corner = [0, 0, 1, 0, 1, 1, 0, 1]
    annotation, _ = load(dataset, bbox=BOX, segmentation=[POLYGON, corner])
    assert annotation["segmentation"] == [POLYGON, corner]
    # Two pixels of 40 at the corner: 2 > 1.
    dataset.document["annotations"][0]["segmentation"] = [[0, 0, 2, 0, 2, 2, 0, 2]]
    dataset.document["annotations"][0]["bbox"] = [0, 0, 2, 2]
    dataset.write_json()
    assert DatasetCatalog.get("tiny_train")[0]["annotations"][0]["bbox"] == [0, 0, 2, 2]


def test_an_rle_of_the_first_pixel_may_have_its_box(dataset):
    dataset.document["annotations"][0].update(
        segmentation={"size": [30, 40], "counts": [0, 1, 1199]}, bbox=[0, 0, 1, 1]
    )
    dataset.document["annotations"].pop()
    dataset.write_json()
    catalog.register_dataset_files([dataset.write_yaml(YAML)])
    assert DatasetCatalog.get("tiny_train")[0]["annotations"][0]["bbox"] == [0, 0, 1, 1]


def test_normalised_numbers_may_round_outwards(dataset):
    # 2 pixels of 40 are 0.05.
    annotation, _ = load(
        dataset,
        keys="polygon_coords: normalized\n",
        bbox=[0, 0, 40, 30],
        segmentation=[[-0.04, 0, 1.04, 0, 1.04, 1, -0.04, 1]],
    )
    assert annotation["segmentation"][0] == pytest.approx([-1.6, 0, 41.6, 0, 41.6, 30, -1.6, 30])


@pytest.mark.parametrize(
    ("key", "unit"),
    [("box_coords", "relative"), ("polygon_coords", "1"), ("box_coords", "[pixel]")],
)
def test_an_unknown_unit_is_named(dataset, key, unit):
    dataset.write_json()
    path = dataset.write_yaml(f"{YAML}{key}: {unit}\n")
    with pytest.raises(ValueError, match=f"'{key}' must be 'pixel' or 'normalized', got"):
        catalog.register_dataset_files([path])


def test_a_changed_unit_replaces_the_registration(dataset):
    dataset.write_json()
    catalog.register_dataset_files([dataset.write_yaml(YAML)])
    metadata = MetadataCatalog.get("tiny_train")
    assert metadata.split_files.conventions == Conventions()
    catalog.register_dataset_files([dataset.write_yaml(YAML + "polygon_coords: normalized\n")])
    assert MetadataCatalog.get("tiny_train").split_files.conventions == Conventions(
        "pixel", "normalized"
    )
