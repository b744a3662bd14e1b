"""What is learned from maps of classes and of panoptic segments."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from detectron2.config import get_cfg
from detectron2.data import transforms as T
from PIL import Image
from scenes_on_disk import SPEC

from mask2former_mt.config.config_checks import check_config
from mask2former_mt.config.mask2former_keys import add_mask2former_mt_config
from mask2former_mt.data.augment import build_train_augmentations
from mask2former_mt.data.mapper import MultiTaskInstanceMapper
from mask2former_mt.data.target_kinds import INSTANCES, PANOPTIC, SEMANTIC, target_of

# 3 rows of 4 pixels: class 0, class 2, and 255, which is ignored.
CLASSES = np.array([[0, 0, 2, 2], [0, 255, 2, 2], [0, 0, 0, 255]], np.uint8)
# Segment 300 = 44 + 256 * 1, segment 65537 = 1 + 65536 * 1, 0 is void, 7 a crowd, 9 not listed.
SEGMENTS = np.array([[300, 300, 65537, 0], [300, 9, 65537, 7], [300, 9, 65537, 7]])
LABELS = [1, -1]


def _png(path: Path, pixels: np.ndarray) -> str:
    Image.fromarray(pixels).save(path)
    return str(path)


def _record(folder: Path, size: tuple[int, int]) -> dict:
    return {"file_name": _png(folder / "picture.png", np.full((*size, 3), 90, np.uint8))}


@pytest.fixture
def semantic(tmp_path) -> dict:
    classes = _png(tmp_path / "classes.png", CLASSES)
    return {**_record(tmp_path, CLASSES.shape), SEMANTIC: classes, "semantic_classes": (5, 6, 4)}


@pytest.fixture
def panoptic(tmp_path) -> dict:
    colours = np.stack([SEGMENTS >> shift & 255 for shift in (0, 8, 16)], axis=-1)
    return {
        **_record(tmp_path, SEGMENTS.shape),
        PANOPTIC: _png(tmp_path / "segments.png", colours.astype(np.uint8)),
        "segments_info": [
            {"id": 300, "category_id": 1, "iscrowd": 0, "subcategories": LABELS},
            {"id": 65537, "category_id": 3, "iscrowd": 0},
            {"id": 7, "category_id": 1, "iscrowd": 1},
        ],
    }


def _mapper(target: str, *augmentations: T.Augmentation, **fields) -> MultiTaskInstanceMapper:
    arguments = {"image_format": "RGB", "spec": SPEC, "target": target, **fields}
    return MultiTaskInstanceMapper(is_train=True, augmentations=augmentations, **arguments)


def _config(name: str, **keys):
    cfg = get_cfg()
    add_mask2former_mt_config(cfg)
    cfg.INPUT.DATASET_MAPPER_NAME = name
    for key, value in keys.items():
        section, _, last = f"INPUT.{key}".rpartition(".")
        cfg.merge_from_list([f"{section}.{last}", value])
    return cfg


def test_each_class_in_a_picture_is_one_mask(semantic):
    instances = _mapper(SEMANTIC)(semantic)["instances"]
    # Numbers 0 and 2 stand for classes 5 and 4; number 1 is not in the picture, 255 is nothing.
    assert instances.gt_classes.tolist() == [5, 4]
    np.testing.assert_array_equal(instances.gt_masks, np.stack([CLASSES == 0, CLASSES == 2]))
    assert (instances.gt_subcategories == -1).all()


def test_panoptic_segments_are_things_and_stuff_without_void_and_crowds(panoptic):
    instances = _mapper(PANOPTIC)(panoptic)["instances"]
    assert instances.gt_classes.tolist() == [1, 3]
    masks = np.stack([SEGMENTS == 300, SEGMENTS == 65537])
    np.testing.assert_array_equal(instances.gt_masks, masks)
    # The second segment says nothing of its labels.
    assert instances.gt_subcategories.tolist() == [LABELS, [-1, -1]]


def test_padding_and_what_is_ignored_belong_to_no_mask(semantic):
    augmentations = [T.RandomFlip(prob=1.0), T.FixedSizeCrop((5, 6), pad_value=128)]
    instances = _mapper(SEMANTIC, *augmentations, size_divisibility=8)(semantic)["instances"]
    assert instances.gt_masks.shape == (2, 8, 8)
    # 6 pixels of number 0 and 4 of number 2; 2 of the 12 are ignored, the rest of the 64 padding.
    assert instances.gt_masks.sum((1, 2)).tolist() == [6, 4]
    np.testing.assert_array_equal(instances.gt_masks[:, :3, :4].any(0), CLASSES[:, ::-1] != 255)


def test_a_record_says_what_it_ignores(semantic):
    # Of the numbers of classes, 255 is a fault where 0 is what is ignored.
    with pytest.raises(ValueError, match=r"0 to 2, or 0 where nothing is learned, got \[255\]"):
        _mapper(SEMANTIC)({**semantic, "ignore_label": 0})


def test_a_map_of_another_size_is_refused(semantic, tmp_path):
    semantic[SEMANTIC] = _png(tmp_path / "wide.png", np.zeros((3, 5), np.uint8))
    with pytest.raises(ValueError, match=r"wide.png must be as large as .* 4x3, got 5x3"):
        _mapper(SEMANTIC)(semantic)


def test_colours_are_no_numbers_of_classes(semantic, panoptic):
    with pytest.raises(ValueError, match=r"one number a pixel.*mode RGB"):
        _mapper(SEMANTIC)({**semantic, SEMANTIC: semantic["file_name"]})
    with pytest.raises(ValueError, match=r"R \+ 256 G.*mode L"):
        _mapper(PANOPTIC)({**panoptic, PANOPTIC: semantic[SEMANTIC]})


# Pixels of a row; 255 is ignored. A crop of 4 has one of 7 places, and the limit is 0.6.
CROPS = {
    # Only from pixel 4 it shows two classes, each on 2 of 4 pixels.
    "one class covers most": ([0, 0, 0, 0, 0, 0, 1, 1, 1, 1], 4),
    # From pixel 0 as well, if what is ignored were a class.
    "ignored": ([0, 0, 255, 255, 255, 255, 255, 255, 0, 1], 6),
}


@pytest.mark.parametrize(("row", "place"), CROPS.values(), ids=CROPS)
def test_a_crop_is_drawn_again_while_one_class_covers_too_much(tmp_path, row, place):
    record = {
        **_record(tmp_path, (2, 10)),
        SEMANTIC: _png(tmp_path / "row.png", np.array([row, row], np.uint8)),
    }
    keys = {"MIN_SIZE_TRAIN": (2,), "RANDOM_FLIP": "none", "CROP.ENABLED": True}
    keys |= {"CROP.TYPE": "absolute", "CROP.SIZE": [2, 4], "CROP.SINGLE_CATEGORY_MAX_AREA": 0.6}
    cfg = _config("mask_former_semantic", **keys)
    check_config(cfg)
    mapper = _mapper(SEMANTIC, *build_train_augmentations(cfg, SEMANTIC))
    samples = [mapper({**record, "draw": draw}) for draw in range(300)]
    places = [t.x0 for s in samples for t in s["transforms"].transforms if hasattr(t, "x0")]
    # One of ten draws hits with 1 - (6/7)^10 = 0.786; the deviation of 300 is 0.024.
    assert places.count(place) / 300 == pytest.approx(0.786, abs=0.08)


COLOURS = ["RandomApply"] * 3
LSJ = [*COLOURS, "RandomFlip", "ResizeScale", "FixedSizeCrop"]
CROPPED = ["ResizeShortestEdge", "RandomCrop", *COLOURS, "RandomFlip"]
AUGMENTATIONS = {
    "plain": [*COLOURS, "ResizeShortestEdge", "RandomFlip"],
    "coco_instance_lsj": LSJ,
    "coco_panoptic_lsj": LSJ,
    "mask_former_instance": CROPPED,
    "mask_former_panoptic": CROPPED,
    "mask_former_semantic": CROPPED,
}


@pytest.mark.parametrize(("name", "expected"), AUGMENTATIONS.items(), ids=AUGMENTATIONS)
def test_each_mapper_has_its_published_augmentations(name, expected):
    cfg = _config(name, **{"CROP.ENABLED": True, "COLOR_AUG_SSD": True})
    augmentations = build_train_augmentations(cfg, PANOPTIC)
    assert [type(a).__name__ for a in augmentations] == expected


def test_the_default_mapper_is_lsj_for_instances_and_says_so(caplog):
    cfg = _config("mask_former_semantic")
    with caplog.at_level(logging.INFO, "mask2former_mt"):
        augmentations = build_train_augmentations(cfg, INSTANCES)
        assert "read as 'coco_instance_lsj'" in caplog.text
        caplog.clear()
        build_train_augmentations(cfg, SEMANTIC)
        assert not caplog.text
    assert [type(a).__name__ for a in augmentations] == LSJ[len(COLOURS) :]


def test_what_is_learned_is_what_the_name_means_and_the_records_have():
    both = [{SEMANTIC: "a.png", PANOPTIC: "b.png"}]
    assert target_of("mask_former_semantic", both) == SEMANTIC
    assert target_of("mask_former_panoptic", both) == PANOPTIC
    assert target_of("plain", both) == PANOPTIC
    assert target_of("mask_former_semantic", [{INSTANCES: []}]) == INSTANCES
    # As for detectron2, a picture without a list has no instances.
    assert target_of("coco_instance_lsj", [{INSTANCES: []}, {}]) == INSTANCES


@pytest.mark.parametrize(
    ("name", "records", "match"),
    [
        ("coco_instance_lsj", [{SEMANTIC: "a"}], "have maps of classes .*'mask_former_semantic'"),
        ("mask_former_semantic", [{PANOPTIC: "a"}], "have panoptic segments .*_panoptic"),
        ("mask_former_panoptic", [{INSTANCES: []}], "have instances .*'coco_instance_lsj'"),
        ("plain", [{SEMANTIC: "a"}, {INSTANCES: []}], "not all of them; .* datasets of one kind"),
    ],
)
def test_records_of_another_kind_are_refused(name, records, match):
    with pytest.raises(ValueError, match=match):
        target_of(name, records)


@pytest.mark.parametrize(
    ("keys", "match"),
    [
        ({"CROP.TYPE": "absolute", "CROP.SIZE": [0.5, 0.5]}, "each an integer.*'absolute'"),
        ({"CROP.TYPE": "relative", "CROP.SIZE": [2, 2]}, r"each above 0 and at most 1.*'relative'"),
        ({"CROP.TYPE": "absolute_range", "CROP.SIZE": [9, 4]}, "smallest and the largest side"),
    ],
)
def test_a_crop_that_makes_no_sense_is_refused(keys, match):
    with pytest.raises(ValueError, match=f"INPUT.CROP.SIZE must be .*{match}"):
        check_config(_config("mask_former_semantic", **keys))


def test_segments_are_mirrored(panoptic):
    mapper = _mapper(PANOPTIC, T.RandomFlip(prob=1.0))
    masks = mapper(panoptic)["instances"].gt_masks
    np.testing.assert_array_equal(masks[0], (SEGMENTS == 300)[:, ::-1])
