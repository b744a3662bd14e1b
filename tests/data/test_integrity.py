"""The guard on each sample passes what is right and names what is wrong."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from detectron2.structures import Boxes
from scenes_on_disk import SPEC, mapper_of, record_of, write_coordinates

from mask2former_mt.data.integrity import IntegrityError, check_sample


@pytest.fixture
def record(tmp_path) -> dict:
    return record_of(write_coordinates(tmp_path / "xy.png"), kinds="prp")


@pytest.fixture
def sample(record) -> dict:
    """Three objects in a frame of 128, the picture's 100x150 fitted to 85x128."""
    return mapper_of([{"name": "lsj", "size": 128, "min_scale": 1, "max_scale": 1}])(record)


def check(sample: dict) -> None:
    check_sample(sample, num_subcategories=len(SPEC))


def test_the_mapper_guards_each_sample(record, monkeypatch):
    mapper = mapper_of([])
    # Not a share of a mask is left, and nobody drops it.
    monkeypatch.setattr(mapper.targets, "min_visible_pixels", 0)
    record["annotations"][0]["segmentation"] = [[3.1, 3.1, 3.2, 3.1, 3.2, 3.2]]
    with pytest.raises(IntegrityError, match=r"xy\.png .*instance 0: the mask has no pixel"):
        mapper(record)


def test_a_right_sample_passes(record, sample):
    check(sample)
    record["annotations"] = []
    check(mapper_of([])(record))


def spoiled(change):
    """A change of the sample's instances."""

    def spoil(sample):
        change(sample["instances"])

    return spoil


def put(name, value):
    return spoiled(lambda instances: instances.set(name, value(instances.get(name))))


def write(name, index, value):
    """Writes into a field as it is, without telling `areas`."""

    def change(instances):
        field = instances.get(name)
        (field.tensor if isinstance(field, Boxes) else field)[index] = value

    return spoiled(change)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (
            lambda s: s.update(image=s["image"].float()),
            r"image must be torch.uint8 \(3, H, W\), got .*32",
        ),
        (lambda s: s.update(image=s["image"][:1]), r"image must be torch.uint8 .*\(1, 128, 128\)"),
        (lambda s: s.update(image=s["image"].numpy()), r"image must be torch.uint8 .* got ndarray"),
        (lambda s: s.pop("instances"), r"instances must be detectron2 Instances, got NoneT"),
        (
            lambda s: s.update(image=s["image"][:, :100].clone()),
            r"image_size must be the image's \(100, 128\), got \(128, 128\)",
        ),
        (put("gt_masks", lambda m: m.float()), r"gt_masks must be torch.bool \(3, 128, 128\), got"),
        (put("gt_masks", lambda m: m[:, :64].clone()), r"gt_masks .*got torch.bool \(3, 64, 128\)"),
        (
            put("gt_classes", lambda c: c.int()),
            r"gt_classes must be torch.int64 \(3,\), got .*int32",
        ),
        (put("gt_subcategories", lambda x: x[:, :1].clone()), r"gt_subcategories .*\(3, 2\).*3, 1"),
        (spoiled(lambda i: i.remove("gt_boxes")), r"gt_boxes must be detectron2 Boxes, got NoneT"),
        (spoiled(lambda i: i.remove("gt_classes")), r"gt_classes must be .* got NoneType"),
        (write("gt_boxes", (0, 0), 4.5), r"gt_boxes must be whole pixels"),
        # One pixel too small, and too large, on each side.
        *[
            (
                put("gt_boxes", lambda b, side=side, step=step: moved(b, side, step)),
                r"instance 1: the box must be the mask's extent, xyxy \[\d+, \d+, \d+, \d+\] with",
            )
            for side in range(4)
            for step in (-1, 1)
        ],
        # A pixel far outside of the box, which `areas` knows of.
        (
            lambda s: (
                s["instances"].gt_masks[0, 0].index_fill_(0, torch.tensor([120]), True),
                s["areas"].index_add_(0, torch.tensor([0]), torch.tensor([1])),
            ),
            r"instance 0: the box must be the mask's extent",
        ),
        (
            lambda s: (s["instances"].gt_masks[2].fill_(False), s["areas"][2:].fill_(0)),
            r"instance 2: the mask has no pixel",
        ),
    ],
)
def test_what_breaks_the_contract_is_named(sample, change, match):
    sample = copy.deepcopy(sample)
    change(sample)
    with pytest.raises(IntegrityError, match=rf"xy\.png \(draw None\): .*{match}"):
        check(sample)


def moved(boxes: Boxes, side: int, step: int) -> Boxes:
    tensor = boxes.tensor.clone()
    tensor[1, side] += step
    return Boxes(tensor)


def test_a_mask_in_the_padding_is_found(sample):
    # The picture, 100x150, becomes 85 rows of 128 pixels; below is padding.
    sample["instances"].gt_masks[1] = False
    sample["instances"].gt_masks[1, 80:86, 10:20] = True
    sample["instances"].gt_boxes.tensor[1] = torch.tensor([10.0, 80.0, 20.0, 86.0])
    sample["areas"][1] = 60
    match = r"instance 1: no mask may reach into the padding, .* \[0, 0, 128, 85\], got .* 86\]"
    with pytest.raises(IntegrityError, match=match):
        check(sample)


def test_bitmaps_that_are_resized_twice_may_round_over_the_paddings_edge(record):
    record["annotations"] = record_of(Path(record["file_name"]), kinds="rrr")["annotations"]
    entries = [
        {"name": "flip"},
        {"name": "lsj", "size": 60, "min_scale": 0.734375, "max_scale": 0.734375},
        {"name": "lsj", "size": 74, "min_scale": 0.875, "max_scale": 1.625},
        {"name": "resize", "short_side": 129},
    ]
    # The picture ends at x = 89.9: two roundings to the nearest pixel moved its edge to 91.
    instances = mapper_of(entries)({**record, "draw": 1})["instances"]
    assert instances.gt_boxes.tensor.tolist() == [[17, 0, 91, 38]]
