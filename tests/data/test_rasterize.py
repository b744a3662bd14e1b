"""Polygons, RLE and bitmaps become the masks that COCO means."""

from __future__ import annotations

import math

import numpy as np
import pycocotools.mask as mask_util
import pytest

from mask2former_mt.data.rasterize import SegmentationError, rasterize


def square(x0, y0, x1, y1):
    return [x0, y0, x1, y0, x1, y1, x0, y1]


def draw(*polygons, size=(20, 24)):
    (mask,) = rasterize([list(polygons)], size=size)
    return mask


@pytest.mark.parametrize(
    ("polygons", "pixels"),
    [
        # x from 3 to 7 holds the centres 3.5 to 6.5, y from 2 to 11 nine of them: 9 * 4.
        ([square(3, 2, 7, 11)], 36),
        # A U: 9 wide, 9 high, arms 3 wide, a gap of 3 x 6: 81 - 18.
        ([[2, 2, 5, 2, 5, 8, 8, 8, 8, 2, 11, 2, 11, 11, 2, 11]], 63),
        # 6 x 6 and 6 x 6 share 3 x 3: 36 + 36 - 9; by the even-odd rule it would be 54.
        ([square(1, 1, 7, 7), square(4, 4, 10, 10)], 63),
        ([square(1, 1, 3, 3), square(10, 10, 12, 12)], 4 + 4),
        # The gap of the U, and the U.
        ([square(5, 2, 8, 8), [2, 2, 5, 2, 5, 8, 8, 8, 8, 2, 11, 2, 11, 11, 2, 11]], 81),
        # Around the outside, along the seam y = 2 to the hole, around it the other way, and back.
        ([[2, 2, 12, 2, 12, 12, 2, 12, 2, 2, 5, 5, 5, 9, 9, 9, 9, 5, 5, 5]], 10 * 10 - 4 * 4),
        # Outlines that hold no pixel's centre.
        ([[5.1, 5.1, 5.3, 5.1, 5.3, 5.3]], 0),
        ([[3, 3, 9, 3, 15, 3]], 0),
        # What leaves the picture, 24 wide and 20 high, is cut off.
        ([square(-5, -5, 3, 3)], 9),
        ([square(20, 15, 90, 90)], 4 * 5),
        ([square(30, 2, 40, 8)], 0),
        ([square(-1e9, -1e9, 1e9, 1e9)], 20 * 24),
        # The edges of a triangle whose far corner is a million pixels away keep their slopes.
        ([[0, 10, 1e6, 10, 0, 15]], 5 * 24),
    ],
)
def test_pixels_by_hand(polygons, pixels):
    mask = draw(*polygons)
    assert mask.dtype == bool
    assert mask.sum() == pixels


def test_places_by_hand():
    assert draw(square(3, 2, 7, 11))[2:11, 3:7].all()
    assert draw([0, 10, 1e6, 10, 0, 15])[10:15].all()


@pytest.mark.parametrize("offset", [0.0, 0.2, 0.35, 0.5, 0.65, 0.8])
def test_a_moved_square_neither_grows_nor_lags_behind(offset):
    mask = draw(square(5 + offset, 5 + offset, 15 + offset, 15 + offset))
    assert mask.sum() == 10 * 10
    # From 0.5 on, the centre of pixel 5 is outside. At 0.5 it is on the edge: outside as well.
    first = 6 if offset >= 0.5 else 5
    assert np.argwhere(mask).min(axis=0).tolist() == [first, first]


def test_outlines_are_those_of_pycocotools():
    rng = np.random.default_rng(3)
    for _ in range(60):
        angles = np.sort(rng.uniform(0, 2 * np.pi, 20))
        radii = rng.uniform(1, 40) * rng.uniform(0.3, 1, (20, 1))
        points = np.stack((np.cos(angles), np.sin(angles)), axis=1) * radii
        points += rng.uniform(-5, 55, 2)
        (whole,) = mask_util.frPyObjects([points.reshape(-1).tolist()], 50, 40)
        np.testing.assert_array_equal(draw(points, size=(50, 40)), mask_util.decode(whole) == 1)


def test_an_rle_with_a_hole_keeps_it():
    ring = np.zeros((20, 24), np.uint8)
    ring[2:12, 2:12] = 1
    ring[5:9, 5:9] = 0
    compressed = mask_util.encode(np.asfortranarray(ring))
    as_text = {**compressed, "counts": compressed["counts"].decode()}
    masks = rasterize([compressed, as_text, ring, ring.astype(bool), ring * 255], size=(20, 24))
    assert masks.dtype == bool
    for mask in masks:
        np.testing.assert_array_equal(mask, ring.astype(bool))


def test_no_instances_and_several():
    assert rasterize([], size=(4, 5)).shape == (0, 4, 5)
    masks = rasterize(
        [[square(0, 0, 2, 2)], {"size": [4, 5], "counts": [8, 4, 8]}, np.eye(4, 5, dtype=bool)],
        size=(4, 5),
    )
    # counts: columns 0 and 1 (8 pixels) off, column 2 (4 pixels) on.
    assert masks.sum((1, 2)).tolist() == [4, 4, 4]
    assert masks[1][:, 2].all()
    assert masks.flags.c_contiguous


def test_points_may_come_in_any_form():
    flat = square(3, 2, 7, 11)
    points = np.array(flat).reshape(-1, 2)
    # The last is not contiguous.
    for form in (np.array(flat), np.array(flat, np.float32), points, points.tolist(), points[::-1]):
        assert draw(form).sum() == 36


@pytest.mark.parametrize(
    ("segmentation", "match"),
    [
        ([], "the list of polygons is empty"),
        ([[1, 1, 5, 1]], "at least 3 points, got 2"),
        ([[1, 1, 5, 1, 5]], r"\(P, 2\) or flat"),
        ([np.zeros((4, 3))], r"\(P, 2\) or flat"),
        ([["a", 1, 5, 1, 5, 5]], r"\(P, 2\) or flat"),
        ([[1, 1, 5, 1, 5, math.nan]], "finite and within 1e"),
        ([[1, 1, 5, 1, 5, math.inf]], "finite and within 1e"),
        ([[1, 1, 5, 1, 5, 1e10]], "finite and within 1e"),
        ([[1, 1, 5, 1, 5, 10**400]], r"\(P, 2\) or flat"),
        ([1, 1, 5, 1, 5, 5], r"\(P, 2\) or flat"),
        (
            {"size": [4, 5], "counts": [20]},
            r"RLE size must be the image's \[20, 24\], got \[4, 5\]",
        ),
        ({"size": [20, 24], "counts": [1]}, "add up to height . width = 480, got 1"),
        ({"counts": [480]}, r"RLE size must be \[height, width\].*got None"),
        (np.zeros((4, 5), bool), r"a bitmap must be of shape \(20, 24\), got \(4, 5\)"),
        (np.zeros((20, 24)), "bool or uint8, got float64"),
        (np.full((20, 24), 128, np.uint8), r"0 and 1, or 0 and 255, got \[128\]"),
        (np.tile(np.array([0, 100, 255], np.uint8), (20, 8)), r"got \[0, 100, 255\]; resize masks"),
        (None, "must be a list of polygons, an RLE object or a bitmap, got NoneType"),
    ],
)
def test_a_damaged_segmentation_is_named_by_its_index(segmentation, match):
    with pytest.raises(SegmentationError, match=f"segmentation 1: .*{match}") as caught:
        rasterize([[square(1, 1, 5, 5)], segmentation], size=(20, 24))
    assert caught.value.index == 1


@pytest.mark.parametrize("size", [(0, 24), (20, 1e9), (20, 70_000)])
def test_a_size_out_of_range_is_named(size):
    with pytest.raises(ValueError, match=r"size must be \[height, width\], .* from 1 to 65535"):
        rasterize([], size=size)
