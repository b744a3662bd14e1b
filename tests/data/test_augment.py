"""INPUT.AUGMENTATIONS: what is built and what is refused."""

from __future__ import annotations

import pickle
import re

import numpy as np
import pytest
import torch
import yaml
from detectron2.config import CfgNode, get_cfg
from detectron2.data import transforms as T
from scenes_on_disk import mapper_of, record_of, write_coordinates

from mask2former_mt.config import add_mask2former_mt_config
from mask2former_mt.data.augment import build_train_augmentations, flips_of, named_augmentations

LISTED = [
    {"name": "color", "brightness": 0.2, "contrast": 0.1, "saturation": 0.3, "prob": 0.7},
    {"name": "flip", "prob": 0.4, "direction": "vertical"},
    {"name": "resize", "short_side": [40, 50], "max_size": 90},
    {"name": "rotate", "max_angle": 15, "prob": 0.6, "expand": True},
    {"name": "crop", "size": [30, 50]},
    {"name": "lsj", "size": 64, "min_scale": 0.5, "max_scale": 1.5},
    {"name": "copy_paste", "prob": 0.3, "max_instances": 2},
]


def _built(entries) -> list[T.Augmentation]:
    return named_augmentations(entries, image_format="BGR")


def test_every_name_and_parameter_changes_what_is_built():
    *colors, flip, resize, rotate, crop, scale, cut, paste = _built(LISTED)
    bright, contrast, saturation = (c.aug for c in colors)
    assert {c.prob for c in colors} == {0.7}
    assert (bright.intensity_min, bright.intensity_max) == (0.8, 1.2)
    assert (contrast.intensity_min, contrast.intensity_max) == (0.9, 1.1)
    assert (saturation.low, saturation.high, saturation.image_format) == (0.7, 1.3, "BGR")
    assert (flip.prob, flip.horizontal, flip.vertical) == (0.4, False, True)
    assert (resize.short_edge_length, resize.max_size, resize.is_range) == ([40, 50], 90, False)
    assert (rotate.prob, rotate.aug.max_angle, rotate.aug.expand) == (0.6, 15, True)
    assert (crop.crop_size, crop.pad_value, crop.seg_pad_value) == ((30, 50), 128, 255)
    assert (scale.target_height, scale.min_scale, scale.max_scale) == (64, 0.5, 1.5)
    assert cut.crop_size == (64, 64)
    assert (paste.prob, paste.max_instances) == (0.3, 2)
    # The other picture goes through all that stands before, in that order.
    assert paste.before == [*colors, flip, resize, rotate, crop, scale, cut]


def test_nobody_pastes_into_the_picture_that_is_pasted_from():
    entries = [{"name": "copy_paste"}, {"name": "flip"}, {"name": "copy_paste"}]
    first, flip, second = _built(entries)
    assert first.before == []
    assert second.before == [flip]


@pytest.mark.parametrize(
    ("entries", "flips"),
    [
        (LISTED, {"vertical"}),
        ([{"name": "flip"}, {"name": "flip", "direction": "vertical"}], {"horizontal", "vertical"}),
        ([{"name": "flip", "prob": 0}, {"name": "rotate", "max_angle": 180}], set()),
    ],
)
def test_which_flips_may_be_drawn(entries, flips):
    assert flips_of(_built(entries)) == flips


def test_the_defaults_are_the_published_ones():
    cfg = get_cfg()
    add_mask2former_mt_config(cfg)
    cfg.INPUT.COLOR_AUG_SSD = True
    published = build_train_augmentations(cfg)
    cfg.INPUT.AUGMENTATIONS = [{"name": "color"}, {"name": "flip"}, {"name": "lsj", "size": 1024}]
    listed = build_train_augmentations(cfg)
    assert [type(a) for a in listed] == [type(a) for a in published]
    for ours, theirs in zip(listed, published, strict=True):
        ours, theirs = ({**vars(getattr(a, "aug", a))} for a in (ours, theirs))
        assert {k: v for k, v in ours.items() if not callable(v)} == {
            k: v for k, v in theirs.items() if not callable(v)
        }


@pytest.mark.parametrize(
    ("entry", "match"),
    [
        ({"name": "mixup"}, "[1]: no augmentation is named 'mixup'; known are ['color', 'copy_"),
        (
            {"name": "flip", "p": 0.5},
            "[1]: flip has no parameter 'p'; it has ['direction', 'prob']",
        ),
        ({"name": "color", "image_format": "RGB"}, "color has no parameter 'image_format'; it has"),
        ({"name": "copy_paste", "before": []}, "has no parameter 'before'"),
        ({"name": "lsj"}, "[1]: lsj needs the parameter 'size'"),
        ({"name": "flip", "prob": 1.5}, "[1] (flip): prob must be a number in [0, 1], got 1.5"),
        ({"name": "flip", "prob": True}, "prob must be a number in [0, 1], got True"),
        ({"name": "flip", "prob": "often"}, "prob must be a number in [0, 1], got 'often'"),
        ({"name": "flip", "direction": "both"}, "direction must be horizontal or vertical, got 'b"),
        ({"name": "lsj", "size": 0}, "size must be an integer of at least 1, got 0"),
        ({"name": "crop", "size": [1, 2, 3]}, "size must be pixels, or [height, width], got [1, 2"),
        ({"name": "lsj", "size": 8, "min_scale": 0}, "min_scale must be a number above 0, got 0"),
        ({"name": "lsj", "size": 8, "min_scale": 3}, "min_scale must be at most max_scale, 2.0"),
        ({"name": "lsj", "size": 8, "max_scale": float("nan")}, "max_scale must be a number above"),
        ({"name": "resize", "short_side": []}, "short_side must be a number of pixels, or a list"),
        ({"name": "resize", "short_side": [9, 9.5]}, "short_side must be an integer of at least 1"),
        ({"name": "rotate", "max_angle": 181}, "max_angle must be at most 180 degrees, got 181"),
        ({"name": "rotate", "max_angle": 9, "expand": 1}, "expand must be True or False, got 1"),
        ({"name": "color", "contrast": 2}, "contrast must be a number in [0, 1], got 2"),
        ({"name": "copy_paste", "max_instances": 0}, "max_instances must be an integer of at leas"),
        ({"prob": 0.5}, "[1] must be a name with parameters such as {name: flip, prob: 0.5}, got"),
        ("flip", "[1] must be a name with parameters"),
    ],
)
def test_what_is_not_known_is_refused_by_name(entry, match):
    with pytest.raises(ValueError, match=re.escape(match)):
        _built([{"name": "flip"}, entry])


def test_the_list_survives_yaml_overrides_and_the_saved_config(tmp_path):
    def fresh() -> CfgNode:
        cfg = get_cfg()
        add_mask2former_mt_config(cfg)
        return cfg

    path = tmp_path / "leaf.yaml"
    path.write_text(yaml.safe_dump({"INPUT": {"AUGMENTATIONS": LISTED}, "VERSION": 2}))
    cfg = fresh()
    cfg.merge_from_file(str(path), allow_unsafe=False)
    assert cfg.INPUT.AUGMENTATIONS == LISTED
    # As the trainer saves it, and as a resumed run reads it.
    saved = tmp_path / "config.yaml"
    saved.write_text(cfg.dump())
    again = fresh()
    again.merge_from_file(str(saved), allow_unsafe=False)
    assert again.INPUT.AUGMENTATIONS == LISTED
    # From the command line, a leaf that empties its base's list, and a frozen clone.
    cfg.merge_from_list(["INPUT.AUGMENTATIONS", "[{'name': 'flip', 'prob': 0.25}]"])
    cfg = cfg.clone()
    cfg.freeze()
    (flip,) = build_train_augmentations(cfg)
    assert flip.prob == 0.25
    again.merge_from_list(["INPUT.AUGMENTATIONS", "[]"])
    assert len(build_train_augmentations(again)) == 3  # what DATASET_MAPPER_NAME says


@pytest.mark.parametrize("size", [(1, 400), (400, 1), (1, 1), (3, 900)])
def test_thin_and_tiny_pictures_keep_a_pixel(size):
    entries = [
        {"name": "lsj", "size": 16, "min_scale": 0.05, "max_scale": 0.1},
        {"name": "resize", "short_side": 20, "max_size": 30},
    ]
    image = np.zeros((*size, 3), np.uint8)
    for entry in entries:
        transforms = T.AugmentationList(_built([entry]))(T.AugInput(image))
        assert min(transforms.apply_image(image).shape) >= 1


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    return write_coordinates(tmp_path_factory.mktemp("pictures") / "xy.png")


def test_colors_change_the_picture_alone(picture):
    record = record_of(picture)
    plain = mapper_of([])({**record, "draw": 0})
    changed = 0
    for draw in range(4):
        sample = mapper_of([{"name": "color", "prob": 1.0}])({**record, "draw": draw})
        assert sample["image"].dtype == torch.uint8
        changed += not torch.equal(sample["image"], plain["image"])
        torch.testing.assert_close(sample["instances"].gt_masks, plain["instances"].gt_masks)
        # The sampled parameters, not pictures: a few numbers.
        assert len(pickle.dumps(sample["transforms"])) < 2000
    assert changed == 4
