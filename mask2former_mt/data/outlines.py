"""Moves polygons with a picture, and remembers where the picture was cut on the way."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
from detectron2.data import transforms as T

from mask2former_mt.data.rasterize import SegmentationError, polygon_points
from mask2former_mt.data.transforms import size_after

# N instances, P points of a polygon. Points are xy in pixels of their frame, (0, 0) its top left
# corner, pixel centres at .5.

# Coordinates that are resized pick up rounding errors far below this, in pixels.
_EPSILON = 1e-6


@dataclasses.dataclass(frozen=True)
class Moved:
    """Outlines in the final frame.

    Args:
        polygons: for each of N instances its parts, float64 (P, 2).
        boxes: float64 (N, 4), the parts' extent, xyxy; may reach beyond the frame.
        clips: corners (4, 2), in the final frame, of each frame on the way that cut off a part of
            an outline. What lies outside of one of them is no longer in the picture, though later
            padding or turning may have brought its place into the frame again.
    """

    polygons: list[list[np.ndarray]]
    boxes: np.ndarray
    clips: list[np.ndarray]


def move_outlines(
    segmentations: Sequence[Sequence], transforms: T.TransformList, size: tuple[int, int]
) -> Moved:
    """Moves the outlines of N instances through transforms.

    Args:
        segmentations: per instance its parts, each [x1, y1, x2, y2, ...] or (P, 2). What lies
            beyond the picture is first moved to its edge.
        transforms: from the annotated picture to the final frame.
        size: (H, W) of the annotated picture.

    Raises:
        SegmentationError: an instance without parts, or with one that is not at least three points
            of finite numbers.
    """
    parts = []
    for index, segmentation in enumerate(segmentations):
        try:
            if not segmentation:
                raise ValueError("the list of polygons is empty; draw the outline")
            parts += [polygon_points(polygon) for polygon in segmentation]
        except ValueError as error:
            raise SegmentationError(index, error) from error
    if not parts:
        return Moved([], np.zeros((0, 4)), [])
    # All points at once: the transforms are many and the outlines small.
    points = np.concatenate(parts)
    points = np.clip(points, 0.0, (float(size[1]), float(size[0])))
    clips: list[np.ndarray] = []
    for transform in transforms.transforms:
        points = transform.apply_coords(points)
        clips = [transform.apply_coords(corners) for corners in clips]
        size = size_after(transform, size)
        if _leave(points, size):
            height, width = size
            corners = [(0, 0), (width, 0), (width, height), (0, height)]
            clips.append(np.array(corners, dtype=np.float64))
    starts = np.cumsum([0, *map(len, parts)])
    first_parts = np.cumsum([0, *map(len, segmentations)])
    low = np.minimum.reduceat(points, starts[first_parts[:-1]])
    high = np.maximum.reduceat(points, starts[first_parts[:-1]])
    split = np.split(points, starts[1:-1])
    polygons = [split[first:last] for first, last in itertools.pairwise(first_parts)]
    return Moved(polygons, np.concatenate((low, high), axis=1), clips)


def covers_frame(corners: np.ndarray, size: tuple[int, int]) -> bool:
    """Whether a turned, mirrored or stretched rectangle (4, 2) covers the whole frame (H, W)."""
    height, width = size
    frame = np.array([(0, 0), (width, 0), (width, height), (0, height)], dtype=np.float64)
    edges = np.roll(corners, -1, axis=0) - corners
    to_frame = frame[np.newaxis] - corners[:, np.newaxis]
    # On the same side of every edge: positive in the order of the corners, or mirrored, negative.
    sides = edges[:, :1] * to_frame[..., 1] - edges[:, 1:] * to_frame[..., 0]
    limit = _EPSILON * max(height, width)
    return bool((sides >= -limit).all() or (sides <= limit).all())


def _leave(points: np.ndarray, size: tuple[int, int]) -> bool:
    (x0, y0), (x1, y1) = points.min(axis=0), points.max(axis=0)
    height, width = size
    return bool(x0 < -_EPSILON or y0 < -_EPSILON or x1 > width + _EPSILON or y1 > height + _EPSILON)
