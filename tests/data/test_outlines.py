"""Outlines move with the picture, and what a frame cut off on the way stays off."""

from __future__ import annotations

import numpy as np
import pytest
from detectron2.data import transforms as T

from mask2former_mt.data.outlines import covers_frame, move_outlines
from mask2former_mt.data.transforms import RotationTransform

SQUARE = [2, 1, 6, 1, 6, 5, 2, 5]
TRIANGLE = [[0, 0], [9, 0], [0, 7]]


def _list(*transforms: T.Transform) -> T.TransformList:
    return T.TransformList(transforms)


def test_points_by_hand():
    # Mirrored in a width of 10: x -> 10 - x; then twice as high: y -> 2 y.
    transforms = _list(T.HFlipTransform(10), T.ResizeTransform(8, 10, 16, 10))
    moved = move_outlines([[SQUARE, np.array(TRIANGLE)], [SQUARE]], transforms, (8, 10))
    square = [[8, 2], [4, 2], [4, 10], [8, 10]]
    (first, triangle), (second,) = moved.polygons
    assert first.tolist() == second.tolist() == square
    assert triangle.tolist() == [[10, 0], [1, 0], [10, 14]]
    assert moved.boxes.tolist() == [[1, 0, 10, 14], [4, 2, 8, 10]]
    assert moved.clips == []


def test_what_lies_beyond_the_picture_is_moved_to_its_edge():
    moved = move_outlines([[[-2, -1, 12, -1, 5, 9]]], _list(), (8, 10))
    assert moved.polygons[0][0].tolist() == [[0, 0], [10, 0], [5, 8]]
    assert moved.clips == []


def test_the_frame_that_cut_something_off_moves_on():
    # x in [2, 6] is cut at 5; 3 pixels of padding on the left then move that edge to 8.
    transforms = _list(T.CropTransform(0, 0, 5, 8), T.PadTransform(3, 0, 4, 0, 5, 8))
    moved = move_outlines([[SQUARE]], transforms, (8, 10))
    (clip,) = moved.clips
    assert clip.tolist() == [[3, 0], [8, 0], [8, 8], [3, 8]]
    assert not covers_frame(clip, (8, 12))
    # A crop that cuts nothing off is none.
    assert move_outlines([[SQUARE]], _list(T.CropTransform(1, 0, 8, 8)), (8, 10)).clips == []


def test_no_instances():
    moved = move_outlines([], _list(T.HFlipTransform(10)), (8, 10))
    assert (moved.polygons, moved.boxes.shape, moved.clips) == ([], (0, 4), [])


def test_the_input_stays_as_it_is():
    points = np.array(SQUARE, dtype=float)
    move_outlines([[points]], _list(T.HFlipTransform(10)), (8, 10))
    assert points.tolist() == SQUARE


@pytest.mark.parametrize(
    ("segmentation", "match"),
    [
        ([], "segmentation 1: the list of polygons is empty"),
        ([[1, 2, 3, 4]], "segmentation 1: .* at least 3 points, got 2"),
        ([[1, 2, 3, 4, 5, float("nan")]], "segmentation 1: .* finite"),
        ([["a"] * 6], "segmentation 1: a polygon must be numbers"),
        ([None], "segmentation 1: a polygon must be numbers"),
    ],
)
def test_a_damaged_outline_is_counted(segmentation, match):
    with pytest.raises(ValueError, match=match):
        move_outlines([[SQUARE], segmentation], _list(), (8, 10))


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
    turned = move_outlines([corners], _list(RotationTransform(20, 40, 30, expand=False)), (20, 40))
    assert len(turned.clips) == 1
    grown = move_outlines([corners], _list(RotationTransform(20, 40, 90, expand=True)), (20, 40))
    assert grown.clips == []
    assert np.round(grown.boxes, 9).tolist() == [[0, 0, 20, 40]]
