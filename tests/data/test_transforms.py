"""Segmentations follow the picture, by nearest pixel, and padding has no source."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from detectron2.data import transforms as T

from mask2former_mt.data import transforms
from mask2former_mt.data.transforms import (
    BlendTransform,
    RotationTransform,
    SaturationTransform,
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


@pytest.mark.parametrize("size", [(1, 1), (1, 70000), (5000, 3500)])
def test_large_pictures_are_numbered_without_gaps(size):
    # 5000 * 3500 = 17.5 million pixels need more than 24 bits.
    sources = source_pixels(_list(T.VFlipTransform(size[0])), size)
    assert sources[-1, 0] == 0
    assert sources[0, -1] == size[0] * size[1] - 1
    assert (np.diff(sources, axis=1) == 1).all()


@pytest.mark.parametrize("expand", [False, True])
@pytest.mark.parametrize("angle", [-170.0, -30.0, 12.5, 45.0, 90.0])
def test_rotation_keeps_the_area_and_fills_the_corners(angle, expand):
    size = (80, 120)
    mask = np.zeros(size, bool)
    mask[25:55, 45:75] = True  # near the middle: it stays inside whatever the angle
    rotation = RotationTransform(*size, angle, expand=expand)
    sources = source_pixels(_list(rotation), size)
    is_void = sources < 0
    moved = mask.reshape(-1)[sources] & ~is_void
    # At 45 degrees whole rows of pixels lie on an edge: 120 pixels of edge, a quarter pixel each.
    assert moved.sum() == pytest.approx(30 * 30, abs=30)
    points = rotation.apply_coords(np.array([[60.0, 40.0]]))
    ys, xs = np.nonzero(moved)
    # The middle of the object, by its pixels' centres and by the points.
    np.testing.assert_allclose((xs.mean() + 0.5, ys.mean() + 0.5), points[0], atol=0.2)
    turned = rotation.apply_image(np.zeros((*size, 3), np.uint8))
    assert turned.shape[:2] == sources.shape == size_after(rotation, size)
    assert is_void.any() == (angle != 90.0 or not expand)
    # Where nothing is shown, and half a pixel further in, the picture is grey or on its way to it.
    assert (turned[is_void] >= 63).all()
    assert (turned == 128).all(axis=2).sum() <= is_void.sum()


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


def test_blending_some_rows_at_a_time_is_detectron2s(monkeypatch):
    monkeypatch.setattr(transforms, "_BLENDED_PIXELS", 50)  # 7 rows at a time
    image = np.random.default_rng(0).integers(0, 256, (31, 7, 3), np.uint8)
    # The mean is a double, which makes doubles of all.
    for values in ((0, 0.3, 0.7), (image.mean(), -0.2, 1.2)):
        expected = T.BlendTransform(*values).apply_image(image)
        np.testing.assert_array_equal(BlendTransform(*values).apply_image(image), expected)
