"""Polygons, RLE and bitmaps become the masks that COCO means, with both rasterizers."""

from __future__ import annotations

import math

import numpy as np
import pycocotools.mask as mask_util
import pytest

from mask2former_mt.data import rasterize as module
from mask2former_mt.data.rasterize import SegmentationError, rasterize

both = pytest.mark.parametrize("rasterizer", ["opencv", "pycocotools"])


def square(x0, y0, x1, y1):
    return [x0, y0, x1, y0, x1, y1, x0, y1]


def draw(*polygons, size=(20, 24), **options):
    (mask,) = rasterize([list(polygons)], size=size, **options)
    return mask


def blob(rng, corners, extent):
    """A concave polygon inside [2, 2 + extent]."""
    angles = np.sort(rng.uniform(0, 2 * np.pi, corners))
    radii = rng.uniform(0.3, 1, corners)
    points = np.stack((np.cos(angles), np.sin(angles)), axis=1) * radii[:, None]
    points -= points.min(axis=0)
    return 2 + points / points.max() * extent + rng.uniform(0, 1, 2)


def centres(size):
    rows, columns = np.mgrid[: size[0], : size[1]] + 0.5
    return np.stack((columns, rows), axis=-1)


def exact(points, size):
    """Even-odd rule at the pixels' centres: how many edges a ray to the left crosses."""
    x, y = np.moveaxis(centres(size), -1, 0)
    inside = np.zeros(size, dtype=bool)
    for (ax, ay), (bx, by) in zip(points, np.roll(points, -1, axis=0), strict=True):
        crosses = (ay <= y) != (by <= y)
        if ay != by:
            inside ^= crosses & (ax + (y - ay) * (bx - ax) / (by - ay) < x)
    return inside


def distance_to_outline(points, size):
    centre = centres(size)
    distances = []
    for a, b in zip(points, np.roll(points, -1, axis=0), strict=True):
        along = np.clip(((centre - a) @ (b - a)) / max((b - a) @ (b - a), 1e-12), 0, 1)
        distances.append(np.linalg.norm(centre - a - along[..., None] * (b - a), axis=-1))
    return np.min(distances, axis=0)


@both
def test_a_square_covers_the_pixels_whose_centres_are_inside(rasterizer):
    # x from 3 to 7 holds the centres 3.5, 4.5, 5.5, 6.5: columns 3 to 6; y likewise rows 2 to 10.
    mask = draw(square(3, 2, 7, 11), rasterizer=rasterizer)
    assert mask.dtype == bool
    assert mask.shape == (20, 24)
    assert mask[2:11, 3:7].all()
    assert mask.sum() == 9 * 4


@both
@pytest.mark.parametrize("offset", [0.0, 0.2, 0.35, 0.5, 0.65, 0.8])
def test_a_moved_square_neither_grows_nor_lags_behind(rasterizer, offset):
    mask = draw(square(5 + offset, 5 + offset, 15 + offset, 15 + offset), rasterizer=rasterizer)
    assert mask.sum() == 10 * 10
    # From 0.5 on, the centre of pixel 5 is outside. At 0.5 it is on the edge: outside as well.
    first = 6 if offset >= 0.5 else 5
    assert np.argwhere(mask).min(axis=0).tolist() == [first, first]


@both
def test_what_differs_from_the_exact_mask_lies_on_the_outline(rasterizer):
    rng = np.random.default_rng(0)
    for _ in range(40):
        points = blob(rng, int(rng.integers(3, 40)), rng.uniform(4, 55))
        mask = draw(points, size=(60, 60), rasterizer=rasterizer)
        wrong = mask != exact(points, (60, 60))
        # Corners are rounded to a fifth or a third of a pixel, in both directions by half of it.
        assert distance_to_outline(points, (60, 60))[wrong].max(initial=0) < 0.3


@both
def test_there_is_no_systematic_growth_and_no_shift(rasterizer):
    rng = np.random.default_rng(1)
    grown, length, shifts = 0, 0.0, []
    for _ in range(150):
        points = blob(rng, 24, rng.uniform(8, 50))
        mask, reference = (
            draw(points, size=(60, 60), rasterizer=rasterizer),
            exact(points, (60, 60)),
        )
        grown += int(mask.sum()) - int(reference.sum())
        length += np.linalg.norm(points - np.roll(points, 1, axis=0), axis=1).sum()
        shifts.append(np.argwhere(mask).mean(axis=0) - np.argwhere(reference).mean(axis=0))
    # fillPoly as it is would be half a pixel fatter and, its centres at whole numbers, half a pixel
    # to the right and below. pycocotools itself is a twentieth above.
    assert abs(grown / length) < 0.02
    assert np.abs(np.mean(shifts, axis=0)).max() < 0.07


def test_both_rasterizers_agree():
    rng = np.random.default_rng(2)
    polygons = [[blob(rng, 30, rng.uniform(20, 90))] for _ in range(60)]
    ours, theirs = (
        rasterize(polygons, size=(100, 100), rasterizer=name) for name in ("opencv", "pycocotools")
    )
    iou = (ours & theirs).sum((1, 2)) / (ours | theirs).sum((1, 2))
    assert iou.mean() > 0.98
    assert iou.min() > 0.93


def test_pycocotools_draws_what_it_draws_alone():
    rng = np.random.default_rng(3)
    for _ in range(30):
        points = blob(rng, 20, rng.uniform(5, 70)) - rng.uniform(0, 20, 2)
        whole = mask_util.decode(mask_util.frPyObjects([points.reshape(-1).tolist()], 50, 40))[
            :, :, 0
        ]
        np.testing.assert_array_equal(
            draw(points, size=(50, 40), rasterizer="pycocotools"), whole.astype(bool)
        )


@both
def test_a_concave_outline_is_not_filled_to_its_hull(rasterizer):
    # A U: 9 wide, 9 high, arms 3 wide, a gap of 3 x 6 = 18 pixels: 81 - 18 = 63.
    u_shape = [2, 2, 5, 2, 5, 8, 8, 8, 8, 2, 11, 2, 11, 11, 2, 11]
    mask = draw(u_shape, rasterizer=rasterizer)
    assert mask.sum() == 63
    assert not mask[2:8, 5:8].any()


@both
def test_parts_are_united_also_where_they_overlap(rasterizer):
    # 6 x 6 and 6 x 6 share 3 x 3: 36 + 36 - 9 = 63; by the even-odd rule it would be 54.
    mask = draw(square(1, 1, 7, 7), square(4, 4, 10, 10), rasterizer=rasterizer)
    assert mask.sum() == 63
    apart = draw(square(1, 1, 3, 3), square(10, 10, 12, 12), rasterizer=rasterizer)
    assert apart.sum() == 4 + 4


@both
def test_a_seam_cuts_a_hole(rasterizer):
    # Outside once around, along the seam y = 2 to the hole, around it the other way, and back.
    keyhole = [2, 2, 12, 2, 12, 12, 2, 12, 2, 2, 5, 5, 5, 9, 9, 9, 9, 5, 5, 5]
    mask = draw(keyhole, rasterizer=rasterizer)
    assert not mask[5:9, 5:9].any()
    assert mask.sum() == 10 * 10 - 4 * 4


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


@both
def test_what_leaves_the_picture_is_cut_off(rasterizer):
    assert draw(square(-5, -5, 3, 3), rasterizer=rasterizer).sum() == 9
    assert draw(square(20, 15, 90, 90), rasterizer=rasterizer).sum() == 4 * 5
    assert not draw(square(30, 2, 40, 8), rasterizer=rasterizer).any()
    assert draw(square(-1e9, -1e9, 1e9, 1e9), rasterizer=rasterizer).all()
    # A triangle whose far corner is a million pixels away: its edges keep their slopes.
    # At the row of centre y = 10.5 it reaches from x = 0 to beyond the picture.
    far = [0, 10, 1e6, 10, 0, 15]
    mask = draw(far, rasterizer=rasterizer)
    assert mask[10:15].all()
    assert mask.sum() == 5 * 24


@both
def test_an_outline_without_a_centre_is_empty(rasterizer):
    assert not draw([5.1, 5.1, 5.3, 5.1, 5.3, 5.3], rasterizer=rasterizer).any()
    assert not draw([3, 3, 9, 3, 15, 3], rasterizer=rasterizer).any()


def test_a_large_outline_is_drawn_in_parts(monkeypatch):
    points = blob(np.random.default_rng(4), 30, 150)
    whole = draw(points, size=(160, 160), rasterizer="opencv")
    monkeypatch.setattr(module, "_MAX_CANVAS_BYTES", 10_000)
    np.testing.assert_array_equal(draw(points, size=(160, 160), rasterizer="opencv"), whole)


def test_points_may_come_in_any_form():
    flat = square(3, 2, 7, 11)
    forms = [
        flat,
        np.array(flat),
        np.array(flat).reshape(-1, 2),
        [[3, 2], [7, 2], [7, 11], [3, 11]],
    ]
    forms.append(np.array(flat, dtype=np.float32)[::1])
    reversed_rows = np.array(flat).reshape(-1, 2)[::-1]  # not contiguous
    for form in [*forms, reversed_rows]:
        assert draw(form).sum() == 36
        assert draw(form, rasterizer="pycocotools").sum() == 36


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


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"size": (20, 24), "rasterizer": "pillow"}, "rasterizer .* must be one of .*got 'pillow'"),
        ({"size": (0, 24)}, r"size must be \[height, width\].*got \(0, 24\)"),
        ({"size": (20, 1e9)}, "size must be"),
        ({"size": (20, 70_000)}, "from 1 to 65535"),
    ],
)
def test_bad_arguments_are_named(options, match):
    with pytest.raises(ValueError, match=match):
        rasterize([[square(1, 1, 5, 5)]], **options)
