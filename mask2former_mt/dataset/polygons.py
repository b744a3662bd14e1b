"""Polygons of an annotation: their extent, other forms than COCO's, and holes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np
import pycocotools.mask as mask_util

from mask2former_mt.dataset.annotation_faults import fault
from mask2former_mt.dataset.problems import Fault, shown

# JSON knows integers that no float can hold: what is larger is no coordinate, and sums of what is
# not are still floats.
LARGEST = 1e300
_MIN_POINTS = 3
_FEW_NUMBERS = 8
# So many points of a ring, at most, tell whether it lies in another one.
_MAX_TRIED = 16
# Of so many seams, at most, the shortest is found; each takes 24 bytes.
_MAX_SEAMS = 1_000_000

# x0, y0, x1, y1 of an extent, in pixels
Corners = tuple[float, float, float, float]


def with_holes(polygons: list[list[float]]) -> list[list[float]]:
    """Polygons of which those that lie within another one are holes of it.

    Args:
        polygons: of one object, each [x1, y1, ...].

    Returns:
        Polygons of which COCO's union is what is meant: a hole is joined to its outline by a seam,
        which is run along twice and so encloses nothing.
    """
    if len(polygons) == 1:
        return polygons
    rings = [np.array(polygon, dtype=float).reshape(-1, 2) for polygon in polygons]
    outlines: dict[int, np.ndarray] = {}
    # The largest first: what is within a polygon comes after it.
    for i in sorted(range(len(polygons)), key=lambda i: -abs(enclosed(polygons[i]))):
        around = next((j for j in outlines if _is_within(rings[i], outlines[j])), None)
        if around is None:
            outlines[i] = rings[i]
        else:
            outlines[around] = _cut_out(rings[i], outlines[around])
    return [
        polygons[i] if outlines[i] is rings[i] else outlines[i].reshape(-1).tolist()
        for i in sorted(outlines)
    ]


def _is_within(ring: np.ndarray, outline: np.ndarray) -> bool:
    """Whether most points of a ring lie within an outline, by the even-odd rule."""
    few = ring[:: len(ring) // _MAX_TRIED + 1]
    x, y = few[:, 0, None], few[:, 1, None]
    (x0, y0), (x1, y1) = outline.T, np.roll(outline, -1, axis=0).T
    passes = (y0 > y) != (y1 > y)  # edges that a line to the right may meet
    rise = np.where(y1 == y0, 1, y1 - y0)
    crossings = passes & (x < x0 + (y - y0) * (x1 - x0) / rise)
    return bool(np.mean(crossings.sum(axis=1) % 2) > 0.5)


def _cut_out(hole: np.ndarray, outline: np.ndarray) -> np.ndarray:
    """An outline that runs around a hole in the other direction, by the shortest seam."""
    if (enclosed(hole.reshape(-1)) > 0) == (enclosed(outline.reshape(-1)) > 0):
        hole = hole[::-1]
    tried = hole if len(hole) * len(outline) <= _MAX_SEAMS else hole[:1]
    distances = np.square(outline[:, None] - tried).sum(axis=2)
    i, j = np.unravel_index(distances.argmin(), distances.shape)
    around = np.roll(hole, -j, axis=0)
    return np.concatenate((outline[: i + 1], around, around[:1], outline[i:]))


def extent_of(segmentation: list | Mapping) -> list[float]:
    """The extent of polygons or of a compressed RLE, xywh in their own unit."""
    if isinstance(segmentation, Mapping):
        return [float(v) for v in mask_util.toBbox(segmentation)]
    x0, y0, x1, y1 = corners_of(segmentation)
    return [x0, y0, x1 - x0, y1 - y0]


def corners_of(polygons: Sequence) -> Corners | None:
    """The extent of polygons; None unless there is one, and each has three points and more."""
    x0 = y0 = math.inf
    x1 = y1 = -math.inf
    try:
        for polygon in polygons:
            xs, ys = polygon[0::2], polygon[1::2]
            if len(ys) < _MIN_POINTS or len(xs) != len(ys) or not math.isfinite(sum(polygon)):
                return None
            left, right, top, bottom = min(xs), max(xs), min(ys), max(ys)
            # Comparisons, since most objects have one polygon and calls take longer.
            x0 = left if left < x0 else x0
            y0 = top if top < y0 else y0
            x1 = right if right > x1 else x1
            y1 = bottom if bottom > y1 else y1
    except (TypeError, OverflowError):
        return None
    # Integers that no float can hold may have a sum that one can.
    is_sound = x0 <= x1 and min(x0, y0) >= -LARGEST and max(x1, y1) <= LARGEST
    return (x0, y0, x1, y1) if is_sound else None


def mended_polygons(polygons: list, faults: list[Fault]) -> list:
    """The polygons that were meant, without degenerate ones: empty where any is damaged beyond."""
    if not polygons:
        faults.append(fault("empty outline"))
        return []
    if not any(isinstance(polygon, list) for polygon in polygons):
        if corners_of([polygons]) is None:
            faults.append(fault("damaged polygon", got=shown(polygons)))
            return []
        faults.append(fault("flat list"))
        return [polygons]
    if len(polygons) >= _MIN_POINTS and _are_points(polygons):
        polygons = [polygons]
    if any(map(_are_points, polygons)):
        faults.append(fault("list of points"))
        polygons = [[*itertools.chain(*p)] if _are_points(p) else p for p in polygons]
    sound = [p for p in polygons if are_numbers(p) and len(p) % 2 == 0]
    damaged = [p for p in polygons if not are_numbers(p) or len(p) % 2]
    short = [p for p in sound if len(p) < 2 * _MIN_POINTS]
    kept = [p for p in sound if len(p) >= 2 * _MIN_POINTS]
    if damaged:
        faults.append(fault("damaged polygon", got=shown(damaged[0])))
    if short:
        name = "short part" if kept else "only short parts"
        faults.append(fault(name, number=len(short[0]) // 2, got=shown(short[0])))
    return kept


def enclose_nothing(polygons: Sequence[Sequence[float]]) -> bool:
    """Whether polygons have no inside, since each is a line or a point."""
    for polygon in polygons:
        x0, y0, x1, y1, x2, y2 = polygon[:6]
        # A long one whose first three points are not in a line is no line; that is quick to tell.
        is_long = len(polygon) > _FEW_NUMBERS
        if is_long and (x1 - x0) * (y2 - y0) != (x2 - x0) * (y1 - y0):
            return False
        if enclosed(polygon):
            return False
    return True


def enclosed(polygon: Sequence[float]) -> float:
    """Twice what a polygon encloses, by the shoelace formula; its sign tells the direction."""
    xs, ys = polygon[0::2], polygon[1::2]
    return sum(xs[i - 1] * y - x * ys[i - 1] for i, (x, y) in enumerate(zip(xs, ys, strict=True)))


def are_numbers(value: object) -> bool:
    """Whether a JSON value is a list of finite numbers."""
    return isinstance(value, list) and all(
        isinstance(number, (int, float)) and -LARGEST <= number <= LARGEST for number in value
    )


def _are_points(value: object) -> bool:
    """Whether a JSON value is a list of points [x, y]."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(are_numbers(point) and len(point) == 2 for point in value)
    )
