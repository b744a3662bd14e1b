"""Overlapping masks become maps with one owner per pixel, and COCO's panoptic files."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from mask2former_mt.data.label_maps import (
    instance_map,
    label_map,
    panoptic_form,
    panoptic_masks,
    read_panoptic_png,
    resolve_overlap,
    write_panoptic_png,
)
from mask2former_mt.structures import SubcategorySpec

SPEC = SubcategorySpec.from_json(
    [{"name": "style", "values": ["photo", "cartoon"]}, {"name": "ripe", "values": ["no", "yes"]}]
)


@pytest.fixture
def masks():
    """In one row of 6: 0 has pixels 0-1, 1 has 1-4, 2 has 4-5 hidden behind none but the last."""
    row = np.zeros((3, 1, 6), bool)
    row[0, 0, 0:2] = row[1, 0, 1:5] = row[2, 0, 4:5] = True
    return row


@pytest.mark.parametrize(
    ("overlap", "expected"),
    [
        # Pixel 1: the later of 0 and 1. Pixel 4: the later of 1 and 2.
        ("last", [0, 1, 1, 1, 2, -1]),
        # Areas 2, 4, 1: the smaller one wins.
        ("smallest_on_top", [0, 0, 1, 1, 2, -1]),
    ],
)
def test_the_policy_decides_who_has_a_pixel(masks, overlap, expected):
    owners = instance_map(masks, overlap=overlap)
    assert owners.dtype == np.int32
    assert owners[0].tolist() == expected
    resolved = resolve_overlap(masks, overlap=overlap)
    assert resolved.dtype == bool
    for index, mask in enumerate(resolved):
        np.testing.assert_array_equal(mask, owners == index)


def test_of_equal_areas_the_last_is_on_top():
    masks = np.ones((3, 2, 2), bool)
    assert (instance_map(masks, overlap="smallest_on_top") == 2).all()
    assert resolve_overlap(masks, overlap="smallest_on_top").sum((1, 2)).tolist() == [0, 0, 4]


def test_keep_keeps_and_nothing_is_changed_in_place(masks):
    before = masks.copy()
    assert resolve_overlap(masks, overlap="keep") is masks
    resolve_overlap(masks, overlap="last")
    np.testing.assert_array_equal(masks, before)
    # Not contiguous, as a flipped picture is.
    turned = masks[:, :, ::-1]
    assert instance_map(turned, overlap="last")[0].tolist() == [-1, 2, 1, 1, 1, 0]


def test_no_instances_are_void_everywhere():
    none = np.zeros((0, 2, 3), bool)
    assert resolve_overlap(none, overlap="last").shape == (0, 2, 3)
    assert (instance_map(none, overlap="last") == -1).all()
    assert (label_map(none, [], overlap="last") == 255).all()
    ids, infos = panoptic_form(none, [], overlap="last")
    assert ids.shape == (2, 3)
    assert not ids.any()
    assert infos == []


def test_labels_are_classes_and_void(masks):
    labels = label_map(masks, [7, 3, 7], overlap="last")
    assert labels.dtype == np.int64
    assert labels[0].tolist() == [7, 3, 3, 3, 7, 255]
    assert label_map(masks, [7, 3, 255], overlap="last", void=-1)[0].tolist()[4:] == [255, -1]


def test_panoptic_form_says_what_each_segment_is(masks):
    ids, infos = panoptic_form(
        masks,
        [17, 3, 17],
        overlap="last",
        segment_ids=[70_000, 2, 5],
        iscrowd=[0, 1, 0],
        subcategories=[[0, -1], [1, 2], [-1, 1]],
        spec=SPEC,
    )
    assert ids.dtype == np.int32
    assert ids[0].tolist() == [70_000, 2, 2, 2, 5, 0]
    # -1 is unknown: no key; index 2 of 2 values is none: null.
    assert infos == [
        {
            "id": 70_000,
            "category_id": 17,
            "iscrowd": 0,
            "area": 1,
            "bbox": [0, 0, 1, 1],
            "subcategories": {"style": "photo"},
        },
        {
            "id": 2,
            "category_id": 3,
            "iscrowd": 1,
            "area": 3,
            "bbox": [1, 0, 3, 1],
            "subcategories": {"style": "cartoon", "ripe": None},
        },
        {
            "id": 5,
            "category_id": 17,
            "iscrowd": 0,
            "area": 1,
            "bbox": [4, 0, 1, 1],
            "subcategories": {"ripe": "yes"},
        },
    ]
    np.testing.assert_array_equal(
        panoptic_masks(ids, infos), resolve_overlap(masks, overlap="last")
    )


def test_a_hidden_segment_is_not_listed():
    masks = np.ones((2, 2, 2), bool)
    ids, infos = panoptic_form(masks, [1, 2], overlap="last")
    assert (ids == 2).all()
    assert [info["id"] for info in infos] == [2]


def test_a_png_keeps_every_id(tmp_path):
    # 70000 = 112 + 256 * 17 + 65536 * 1.
    ids = np.array([[0, 1, 255], [256, 70_000, 256**3 - 1]], dtype=np.int32)
    write_panoptic_png(tmp_path / "a.png", ids)
    with Image.open(tmp_path / "a.png") as image:
        assert image.size == (3, 2)
        assert image.getpixel((1, 1)) == (112, 17, 1)
    read = read_panoptic_png(tmp_path / "a.png")
    assert read.dtype == np.int32
    np.testing.assert_array_equal(read, ids)
    listed = [{"id": i} for i in (1, 255, 256, 70_000, 256**3 - 1)]
    np.testing.assert_array_equal(read_panoptic_png(tmp_path / "a.png", listed), ids)


def test_a_png_and_its_list_must_agree(tmp_path):
    write_panoptic_png(tmp_path / "a.png", np.array([[0, 4]]))
    with pytest.raises(ValueError, match=r"only the picture has \[4\], only the list has \[9\]"):
        read_panoptic_png(tmp_path / "a.png", [{"id": 9}])


def test_what_is_no_panoptic_png_is_named(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_panoptic_png(tmp_path / "none.png")
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(ValueError, match=r"text.png cannot be read as an image"):
        read_panoptic_png(tmp_path / "text.png")
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "grey.png")
    with pytest.raises(ValueError, match=r"must be a panoptic PNG, RGB .* got mode 'L'"):
        read_panoptic_png(tmp_path / "grey.png")
    write_panoptic_png(tmp_path / "cut.png", np.arange(10_000).reshape(100, 100))
    whole = (tmp_path / "cut.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"cut.png cannot be read"):
        read_panoptic_png(tmp_path / "cut.png")


@pytest.mark.parametrize(
    ("ids", "name", "match"),
    [
        (np.array([[-1]]), "a.png", r"in \[0, 16777215\], got -1 to -1"),
        (np.array([[256**3]]), "a.png", "got 16777216 to 16777216"),
        (np.array([[0.0]]), "a.png", "integers"),
        (np.array([0]), "a.png", r"integers \(H, W\)"),
        (np.array([[0]]), "a.jpg", "must end in .png"),
    ],
)
def test_ids_that_a_png_cannot_hold_are_refused(tmp_path, ids, name, match):
    with pytest.raises(ValueError, match=match):
        write_panoptic_png(tmp_path / name, ids)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda m: resolve_overlap(m, overlap="first"), "overlap must be one of .*got 'first'"),
        (lambda m: instance_map(m, overlap="keep"), "'last' or 'smallest_on_top' for a map"),
        (lambda m: instance_map(m.astype(np.uint8), overlap="last"), "masks must be bool .*uint8"),
        (lambda m: instance_map(m[0], overlap="last"), r"masks must be bool \(N, H, W\)"),
        (lambda m: label_map(m, [1, 2], overlap="last"), "classes must be 3, one per mask, got 2"),
        (lambda m: label_map(m, [1, 2, 255], overlap="last"), "not 255, which stands for void"),
        (lambda m: label_map(m, [1, 2, -1], overlap="last"), "classes must be 0 or more"),
        (lambda m: panoptic_form(m, [1, 2], overlap="last"), "category_ids must be 3"),
        (
            lambda m: panoptic_form(m, [1, 2, 3], overlap="last", segment_ids=[1, 1, 2]),
            "segment_ids must be different",
        ),
        (
            lambda m: panoptic_form(m, [1, 2, 3], overlap="last", segment_ids=[0, 1, 2]),
            r"in \[1, 16777215\]",
        ),
        (
            lambda m: panoptic_form(m, [1, 2, 3], overlap="last", subcategories=[[0, 0]] * 3),
            "subcategories and spec belong together",
        ),
    ],
)
def test_what_does_not_fit_is_named(masks, call, match):
    with pytest.raises(ValueError, match=match):
        call(masks)
