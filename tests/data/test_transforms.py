"""Masks and label maps follow the picture, by nearest pixel, and padding is void."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from detectron2.data import transforms as T

from mask2former_mt.data.transforms import (
    RotationTransform,
    SaturationTransform,
    apply_to_label_map,
    apply_to_masks,
    size_after,
    source_pixels,
)


def _list(*transforms: T.Transform) -> T.TransformList:
    return T.TransformList(transforms)


# From 2 x 3 (pixels 0 1 2 / 3 4 5) to where each comes from, worked out by hand.
BY_HAND = {
    "nothing": (_list(), [[0, 1, 2], [3, 4, 5]]),
    "flip": (_list(T.HFlipTransform(3)), [[2, 1, 0], [5, 4, 3]]),
    "upside down": (_list(T.VFlipTransform(2)), [[3, 4, 5], [0, 1, 2]]),
    # Centres .5, 1.5 of twice the width lie at .25 and .75 of the first pixel, and so on.
    "larger": (_list(T.ResizeTransform(2, 3, 2, 6)), [[0, 0, 1, 1, 2, 2], [3, 3, 4, 4, 5, 5]]),
    # One column: its centre is at 1.5 of 3, in pixel 1. torch's "nearest" takes pixel 0.
    "smaller": (_list(T.ResizeTransform(2, 3, 2, 1)), [[1], [4]]),
    "crop": (_list(T.CropTransform(1, 0, 2, 1)), [[1, 2]]),
    "pad with 255": (
        _list(T.PadTransform(1, 0, 0, 1, 3, 2, 9, 255)),
        [[-1, 0, 1, 2], [-1, 3, 4, 5], [-1] * 4],
    ),
    "pad with 0": (_list(T.PadTransform(0, 0, 1, 0, 3, 2, 9, 0)), [[0, 1, 2, -1], [3, 4, 5, -1]]),
    # A quarter turn counter-clockwise: the right column becomes the top row.
    "quarter turn": (_list(RotationTransform(2, 3, 90)), [[2, 5], [1, 4], [0, 3]]),
    "two": (
        _list(T.HFlipTransform(3), T.PadTransform(0, 0, 0, 1, 3, 2, 9, 7)),
        [[2, 1, 0], [5, 4, 3], [-1] * 3],
    ),
    "colour": (_list(SaturationTransform(0.5, "RGB")), [[0, 1, 2], [3, 4, 5]]),
    "blend": (_list(T.BlendTransform(0, 0.5, 0.5)), [[0, 1, 2], [3, 4, 5]]),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_where_each_pixel_comes_from(name):
    transforms, expected = BY_HAND[name]
    expected = np.array(expected)
    sources = source_pixels(transforms, (2, 3))
    assert sources.dtype == np.int32
    np.testing.assert_array_equal(sources, expected)
    size = (2, 3)
    for transform in transforms.transforms:
        size = size_after(transform, size)
    assert size == expected.shape
    # Every type and every value, -1 and those above 255 too; the two void pixels stay void.
    for dtype in (np.uint8, np.int16, np.int32, np.int64):
        label_map = np.array([[0, 255, 7], [100, 255, 1]], dtype=dtype)
        if dtype != np.uint8:
            label_map[0, 0], label_map[1, 2] = -1, 300
        before = label_map.copy()
        moved = apply_to_label_map(transforms, label_map)
        assert moved.dtype == dtype
        flat = label_map.reshape(-1)
        np.testing.assert_array_equal(moved, np.where(expected < 0, 255, flat[expected]))
        np.testing.assert_array_equal(label_map, before)
    masks = np.array([[[True, False, True], [False, True, True]], np.zeros((2, 3), bool)])
    moved = apply_to_masks(transforms, masks)
    assert moved.dtype == bool
    np.testing.assert_array_equal(moved[0], (expected >= 0) & masks[0].reshape(-1)[expected])
    assert not moved[1].any()


def test_the_void_value_is_the_callers():
    pad = _list(T.PadTransform(1, 0, 0, 0, 2, 1, 0, 255))
    instances = np.array([[-1, 3]], dtype=np.int32)
    np.testing.assert_array_equal(apply_to_label_map(pad, instances, -1), [[-1, -1, 3]])
    np.testing.assert_array_equal(
        apply_to_label_map(pad, instances, 2**31 - 1), [[2**31 - 1, -1, 3]]
    )


def test_a_view_with_negative_strides_and_no_masks_at_all():
    flip = _list(T.HFlipTransform(4))
    ramp = np.arange(12).reshape(3, 4)
    np.testing.assert_array_equal(apply_to_label_map(flip, ramp[:, ::-1], 0), ramp)
    assert apply_to_masks(flip, np.zeros((0, 3, 4), bool)).shape == (0, 3, 4)


@pytest.mark.parametrize("size", [(1, 1), (1, 70000), (5000, 3500)])
def test_large_pictures_are_numbered_without_gaps(size):
    # 5000 * 3500 = 17.5 million pixels need more than 24 bits.
    sources = source_pixels(_list(T.VFlipTransform(size[0])), size)
    assert sources[-1, 0] == 0
    assert sources[0, -1] == size[0] * size[1] - 1
    assert (np.diff(sources, axis=1) == 1).all()


def test_other_arrays_are_refused():
    nothing = _list()
    with pytest.raises(ValueError, match=r"a label map must be \(H, W\), got \(1, 2, 3\)"):
        apply_to_label_map(nothing, np.zeros((1, 2, 3), int))
    with pytest.raises(
        ValueError, match="integer type, got bool; bool masks go through apply_to_m"
    ):
        apply_to_label_map(nothing, np.zeros((2, 3), bool))
    with pytest.raises(ValueError, match="integer type, got float64"):
        apply_to_label_map(nothing, np.zeros((2, 3)))
    with pytest.raises(ValueError, match="void must be a value of uint8, got -1"):
        apply_to_label_map(nothing, np.zeros((2, 3), np.uint8), -1)
    with pytest.raises(ValueError, match=r"bool \(N, H, W\), got uint8 \(1, 2, 3\)"):
        apply_to_masks(nothing, np.zeros((1, 2, 3), np.uint8))


@pytest.mark.parametrize("expand", [False, True])
@pytest.mark.parametrize("angle", [-170.0, -30.0, 12.5, 45.0, 90.0])
def test_rotation_keeps_the_area_and_fills_the_corners(angle, expand):
    size = (80, 120)
    mask = np.zeros((1, *size), bool)
    mask[0, 25:55, 45:75] = True  # near the middle: it stays inside whatever the angle
    rotation = RotationTransform(*size, angle, expand=expand)
    moved = apply_to_masks(_list(rotation), mask)
    # At 45 degrees whole rows of pixels lie on an edge: 120 pixels of edge, a quarter pixel each.
    assert moved.sum() == pytest.approx(30 * 30, abs=30)
    points = rotation.apply_coords(np.array([[60.0, 40.0]]))
    ys, xs = np.nonzero(moved[0])
    # The middle of the object, by its pixels' centres and by the points.
    np.testing.assert_allclose((xs.mean() + 0.5, ys.mean() + 0.5), points[0], atol=0.2)
    image = np.zeros((*size, 3), np.uint8)
    turned = rotation.apply_image(image)
    label_map = apply_to_label_map(_list(rotation), np.zeros(size, np.int64))
    assert turned.shape[:2] == label_map.shape == size_after(rotation, size)
    assert set(np.unique(label_map)) <= {0, 255}
    if angle != 90.0 or not expand:
        assert (label_map == 255).any()
    # Where the map is void, and half a pixel further in, the picture is grey or on its way to it.
    assert (turned[label_map == 255] >= 63).all()
    assert (turned == 128).all(axis=2).sum() <= (label_map == 255).sum()


def test_saturation_by_hand():
    image = np.array([[[200, 100, 50]]], np.uint8)
    # Grey of RGB: .299 * 200 + .587 * 100 + .114 * 50 = 124.2; half of each: 162.1, 112.1, 87.1.
    assert SaturationTransform(0.5, "RGB").apply_image(image).tolist() == [[[162, 112, 87]]]
    # Of BGR: .114 * 200 + .587 * 100 + .299 * 50 = 96.45; twice minus it: 303.55, 103.55, 3.55.
    assert SaturationTransform(2.0, "BGR").apply_image(image).tolist() == [[[255, 104, 4]]]
    assert SaturationTransform(1.0, "RGB").apply_image(image[:, ::-1]).tolist() == image.tolist()


def test_they_travel_between_processes():
    transforms = _list(
        RotationTransform(20, 30, 33.0, expand=False), SaturationTransform(0.3, "BGR")
    )
    copy = pickle.loads(pickle.dumps(transforms))
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    np.testing.assert_array_equal(copy.apply_image(image), transforms.apply_image(image))
    assert len(pickle.dumps(transforms)) < 4000
