"""Objects are drawn where the picture shows them; what a frame cut off on the way stays off."""

from __future__ import annotations

import numpy as np
import pycocotools.mask as mask_util
import pytest
from detectron2.data import transforms as T

from mask2former_mt.data.layer_masks import Layer, covers_frame, draw_layer, move_outlines
from mask2former_mt.data.transforms import RotationTransform

SIZE = (8, 10)


def _square(x0, y0, x1, y1) -> list[list[float]]:
    return [[x0, y0, x1, y0, x1, y1, x0, y1]]


def _bitmap(x0, y0, x1, y1) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[y0:y1, x0:x1] = True
    return mask


def _rle(x0, y0, x1, y1) -> dict:
    return mask_util.encode(np.asfortranarray(_bitmap(x0, y0, x1, y1).astype(np.uint8)))


def _layer(segmentations: list, *transforms: T.Transform) -> Layer:
    annotations = [{"id": 70 + i, "segmentation": s} for i, s in enumerate(segmentations)]
    return Layer(annotations, T.TransformList(transforms), SIZE, "a.png")


KINDS = {"polygons": _square, "rle": _rle, "bitmaps": _bitmap}


@pytest.mark.parametrize("kind", KINDS)
def test_a_crop_by_hand(kind):
    # The crop holds x in [4, 10), y in [2, 8).
    crop = T.CropTransform(4, 2, 6, 6)
    shapes = [(2, 1, 6, 5), (5, 3, 8, 7), (0, 0, 3, 2)]
    layer = _layer([KINDS[kind](*s) for s in shapes], crop)
    drawn = draw_layer(layer, (6, 6), measure=True)
    masks = dict(zip(drawn.kept, drawn.masks, strict=True))
    areas = dict(zip(drawn.kept, drawn.areas, strict=True))
    expected = np.zeros((6, 6), bool)
    expected[0:3, 0:2] = True  # x 4 to 6, y 2 to 5 of the picture: 2 * 3 of 4 * 4 pixels
    np.testing.assert_array_equal(masks[0], expected)
    expected = np.zeros((6, 6), bool)
    expected[1:5, 1:4] = True
    np.testing.assert_array_equal(masks[1], expected)
    assert (areas[0], areas[1]) == (16, 12)
    assert 2 not in masks or not masks[2].any()
    assert drawn.masks.dtype == bool
    assert draw_layer(layer, (6, 6)).areas is None


@pytest.mark.parametrize("kind", KINDS)
def test_the_whole_area_is_that_of_the_final_scale(kind):
    # Twice as wide and three times as high: 4 * 4 pixels become 96; the crop leaves 4 * 12.
    transforms = (T.ResizeTransform(8, 10, 24, 20), T.CropTransform(8, 0, 12, 24))
    drawn = draw_layer(_layer([KINDS[kind](2, 1, 6, 5)], *transforms), (24, 12), measure=True)
    assert drawn.masks.sum() == 48
    assert drawn.areas.tolist() == [96]


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_crop_took_no_padding_gives_back(kind):
    # Cut at x = 5, then padded: nothing may stand in the padding.
    transforms = (T.CropTransform(0, 0, 5, 8), T.PadTransform(0, 0, 5, 0, 5, 8, 128, 255))
    drawn = draw_layer(_layer([KINDS[kind](2, 1, 9, 5)], *transforms), SIZE, measure=True)
    np.testing.assert_array_equal(drawn.masks, [_bitmap(2, 1, 5, 5)])
    assert drawn.areas.tolist() == [28]


def test_what_a_crop_took_no_rotation_gives_back():
    transforms = (T.CropTransform(0, 0, 5, 8), RotationTransform(8, 5, 45, expand=True))
    bounds = (transforms[1].bound_h, transforms[1].bound_w)
    outline = draw_layer(_layer([_square(2, 1, 9, 5)], *transforms), bounds, measure=True)
    bitmap = draw_layer(_layer([_bitmap(2, 1, 9, 5)], *transforms), bounds, measure=True)
    # Some 3 * 4 pixels are left; they differ along the edge at most.
    assert outline.masks.sum() == pytest.approx(12, abs=3)
    assert (outline.masks ^ bitmap.masks).sum() <= 4
    assert outline.areas[0] == pytest.approx(28, abs=4)
    assert bitmap.areas[0] == pytest.approx(28)


def test_kinds_are_drawn_in_the_annotations_order():
    segmentations = [
        _rle(0, 0, 2, 2),
        _square(50, 0, 60, 2),
        _bitmap(4, 4, 6, 6),
        _square(2, 2, 4, 5),
    ]
    drawn = draw_layer(_layer(segmentations), SIZE, measure=True)
    assert drawn.kept == [0, 2, 3]  # the second lies outside and shrinks to the edge
    expected = [_bitmap(0, 0, 2, 2), _bitmap(4, 4, 6, 6), _bitmap(2, 2, 4, 5)]
    np.testing.assert_array_equal(drawn.masks, expected)
    assert drawn.areas.tolist() == [4, 4, 6]


def test_no_objects():
    drawn = draw_layer(_layer([], T.CropTransform(0, 0, 3, 4)), (4, 3), measure=True)
    assert drawn.kept == []
    assert drawn.masks.shape == (0, 4, 3)
    assert drawn.areas.shape == (0,)


@pytest.mark.parametrize(
    ("segmentation", "match"),
    [
        (None, "must be a list of polygons, an RLE object or a bitmap, got NoneType"),
        ([], "the list of polygons is empty"),
        ([[1, 2, 3, 4]], "at least 3 points, got 2"),
        ({"size": [4, 5], "counts": [20]}, r"RLE size must be the image's \[8, 10\], got \[4, 5\]"),
    ],
)
def test_a_damaged_one_is_named(segmentation, match):
    for others in ([_square(1, 1, 3, 3)], [_rle(1, 1, 3, 3)]):
        with pytest.raises(ValueError, match=f"a.png: annotation 71: .*{match}"):
            draw_layer(_layer([*others, segmentation]), SIZE)


SQUARE = [2, 1, 6, 1, 6, 5, 2, 5]
TRIANGLE = [[0, 0], [9, 0], [0, 7]]


def _move(segmentations: list, *transforms: T.Transform, size=SIZE):
    return move_outlines(segmentations, T.TransformList(transforms), size)


def test_points_by_hand():
    points = np.array(TRIANGLE, dtype=float)
    # Mirrored in a width of 10: x -> 10 - x; then twice as high: y -> 2 y.
    transforms = (T.HFlipTransform(10), T.ResizeTransform(8, 10, 16, 10))
    moved = _move([[SQUARE, points], [SQUARE]], *transforms)
    square = [[8, 2], [4, 2], [4, 10], [8, 10]]
    (first, triangle), (second,) = moved.polygons
    assert first.tolist() == second.tolist() == square
    assert triangle.tolist() == [[10, 0], [1, 0], [10, 14]]
    assert moved.boxes.tolist() == [[1, 0, 10, 14], [4, 2, 8, 10]]
    assert moved.clips == []
    assert points.tolist() == TRIANGLE


def test_points_beyond_the_picture_are_moved_to_its_edge():
    moved = _move([[[-2, -1, 12, -1, 5, 9]]])
    assert moved.polygons[0][0].tolist() == [[0, 0], [10, 0], [5, 8]]
    assert moved.clips == []


def test_the_frame_that_cut_something_off_moves_on():
    # x in [2, 6] is cut at 5; 3 pixels of padding on the left then move that edge to 8.
    transforms = (T.CropTransform(0, 0, 5, 8), T.PadTransform(3, 0, 4, 0, 5, 8))
    (clip,) = _move([[SQUARE]], *transforms).clips
    assert clip.tolist() == [[3, 0], [8, 0], [8, 8], [3, 8]]
    assert not covers_frame(clip, (8, 12))
    # A crop that cuts nothing off leaves no trace.
    assert _move([[SQUARE]], T.CropTransform(1, 0, 8, 8)).clips == []


@pytest.mark.parametrize(
    ("corners", "expected"),
    [
        ([(0, 0), (6, 0), (6, 4), (0, 4)], True),  # just the frame
        ([(6, 0), (0, 0), (0, 4), (6, 4)], True),  # mirrored
        ([(-1, -9), (8, -9), (8, 5), (-1, 5)], True),
        ([(0, 0), (5.9, 0), (5.9, 4), (0, 4)], False),
        ([(3, -2), (8, 2), (3, 6), (-2, 2)], False),  # its slanted sides cut all corners off
        ([(3, -9), (14, 2), (3, 13), (-8, 2)], True),
    ],
)
def test_whether_a_rectangle_covers_the_frame(corners, expected):
    assert covers_frame(np.array(corners, float), (4, 6)) is expected


def test_a_rotation_that_keeps_the_size_cuts_corners_off():
    corners = [[0, 0, 40, 0, 40, 20, 0, 20]]
    turned = _move([corners], RotationTransform(20, 40, 30, expand=False), size=(20, 40))
    assert len(turned.clips) == 1
    grown = _move([corners], RotationTransform(20, 40, 90, expand=True), size=(20, 40))
    assert grown.clips == []
    assert np.round(grown.boxes, 9).tolist() == [[0, 0, 20, 40]]
