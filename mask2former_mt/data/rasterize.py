"""Outlines, run lengths and bitmaps become masks.

A pixel belongs to an outline if its centre lies inside, pixel (0, 0) having its centre at
(0.5, 0.5): COCO's frame, in which the picture is [0, W] x [0, H].
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pycocotools.mask as mask_util

from mask2former_mt.dataset.rle import check_size, decode_rle

# N instances, P points, H and W of the output.

Segmentation = Sequence | Mapping | np.ndarray
# Further out than any picture reaches, even enlarged: beyond it a coordinate is damaged.
MAX_COORDINATE = 1e9


class SegmentationError(ValueError):
    """One of several segmentations is damaged; `index` says which."""

    def __init__(self, index: int, message: object) -> None:
        super().__init__(f"segmentation {index}: {message}")
        self.index = index
        self.reason = str(message)


def rasterize(segmentations: Sequence[Segmentation], *, size: tuple[int, int]) -> np.ndarray:
    """Draws every instance on its own, polygons as pycocotools does.

    An instance's polygons are its parts, and are united: where two overlap, the pixel is inside.
    A single outline that crosses itself is filled by the even-odd rule. Holes are what RLE and
    bitmaps are for; a polygon has one only by a seam that its outline runs along twice. What lies
    outside the picture is cut off, so a mask may come out empty.

    Args:
        segmentations: per instance a list of polygons, each (P, 2) or flat [x1, y1, x2, y2, ...],
            xy in pixels; or an RLE, as `rle.run_lengths` reads it; or a bitmap (H, W) of bool, or
            of uint8 with 1 or 255 inside.
        size: (H, W) of the picture and of the masks.

    Returns:
        bool (N, H, W), C-contiguous; N may be 0.

    Raises:
        SegmentationError: names the damaged instance by its index, and what is wrong with it.
        ValueError: a size that is not two positive integers.
    """
    size = check_size(size, "size")
    masks_NHW = np.zeros((len(segmentations), *size), dtype=bool)
    for index, segmentation in enumerate(segmentations):
        try:
            if isinstance(segmentation, (list, tuple)):
                _draw_polygons(segmentation, masks_NHW[index])
            else:
                masks_NHW[index] = _bitmap(segmentation, size)
        except ValueError as error:
            raise SegmentationError(index, error) from error
    return masks_NHW


def polygon_points(polygon: Sequence | np.ndarray) -> np.ndarray:
    """Reads one polygon.

    Returns:
        float64 (P, 2), P at least 3, every number finite.

    Raises:
        ValueError: says what is wrong with it.
    """
    try:
        points = np.asarray(polygon, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        points = None
    is_flat = points is not None and points.ndim == 1 and points.size % 2 == 0
    if not is_flat and (points is None or points.ndim != 2 or points.shape[1] != 2):
        raise ValueError(
            "a polygon must be numbers, (P, 2) or flat [x1, y1, x2, y2, ...], "
            f"got {str(polygon)[:80]}"
        )
    points = points.reshape(-1, 2)
    if len(points) < 3:
        raise ValueError(
            f"a polygon needs at least 3 points, got {len(points)}; remove it or draw it again"
        )
    # NaN is never within.
    if not (np.abs(points) <= MAX_COORDINATE).all():
        raise ValueError(
            f"a polygon's coordinates must be finite and within {MAX_COORDINATE:g} pixels, "
            f"got {str(polygon)[:80]}"
        )
    return points


def _draw_polygons(polygons: Sequence, mask_HW: np.ndarray) -> None:
    if not polygons:
        raise ValueError("the list of polygons is empty; draw the outline")
    height, width = mask_HW.shape
    for polygon in polygons:
        points = polygon_points(polygon)
        # pycocotools walks along every edge, however far outside: what is out of reach is cut.
        reach = max(height, width)
        (left, top), (right, bottom) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
        if min(left, top) < -reach or right > width + reach or bottom > height + reach:
            points = _clip(points, (-reach, -reach), (width + reach, height + reach))
        # Only the polygon's own part of the picture is drawn on: most objects are small.
        x0, x1 = max(math.floor(left), 0), min(math.ceil(right), width)
        y0, y1 = max(math.floor(top), 0), min(math.ceil(bottom), height)
        if x0 < x1 and y0 < y1 and len(points):
            flat = (points - (x0, y0)).reshape(-1)
            (rle,) = mask_util.frPyObjects([flat], y1 - y0, x1 - x0)
            mask_HW[y0:y1, x0:x1] |= mask_util.decode(rle).view(bool)


def _clip(points: np.ndarray, low: Sequence[float], high: Sequence[float]) -> np.ndarray:
    """Cuts a polygon by a rectangle; pieces stay joined by seams along its sides.

    Source: Sutherland and Hodgman, "Reentrant polygon clipping".
    """
    for axis in (0, 1):
        for sign, bound in ((1.0, low[axis]), (-1.0, high[axis])):
            depths = sign * (points[:, axis] - bound)
            following, following_depths = np.roll(points, -1, axis=0), np.roll(depths, -1)
            is_inside = depths >= 0
            crosses = is_inside != (following_depths >= 0)
            with np.errstate(divide="ignore", invalid="ignore"):
                share = depths / (depths - following_depths)
                crossings = points + share[:, None] * (following - points)
            # Each point if it is inside, then where the edge that starts at it crosses the side.
            both = np.stack((points, crossings), axis=1)
            points = both[np.stack((is_inside, crosses), axis=1)]
            if not len(points):
                return points
    return points


def _bitmap(segmentation: Mapping | np.ndarray, expected: tuple[int, int]) -> np.ndarray:
    """The bool (H, W) that an RLE or a bitmap of the expected size stands for."""
    if isinstance(segmentation, Mapping):
        size = segmentation.get("size")
        if isinstance(size, (list, tuple)) and tuple(size) != expected:
            raise ValueError(f"RLE size must be the image's {list(expected)}, got {list(size)}")
        return decode_rle(segmentation)
    if not isinstance(segmentation, np.ndarray):
        raise ValueError(
            "a segmentation must be a list of polygons, an RLE object or a bitmap, got "
            f"{type(segmentation).__name__}"
        )
    if segmentation.shape != expected:
        raise ValueError(f"a bitmap must be of shape {expected}, got {segmentation.shape}")
    if segmentation.dtype == bool:
        return segmentation
    if segmentation.dtype != np.uint8:
        raise ValueError(f"a bitmap must be bool or uint8, got {segmentation.dtype}")
    # 128 would be a mask that was resized bilinearly: no threshold mends that.
    is_set = segmentation == segmentation.max(initial=0)
    if segmentation.max() not in (0, 1, 255) or (segmentation[~is_set] != 0).any():
        raise ValueError(
            "a bitmap of uint8 must hold 0 and 1, or 0 and 255, got "
            f"{np.unique(segmentation)[:8].tolist()}; resize masks to the nearest pixel"
        )
    return segmentation != 0
