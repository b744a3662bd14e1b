"""Polygons of an annotation: their extent, other forms than COCO's, and holes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

import pycocotools.mask as mask_util

from mask2former_mt.dataset.annotation_faults import Fault, fault
from mask2former_mt.dataset.problems import shown

# JSON knows integers that no float can hold: what is larger is no coordinate, and sums of what is
# not are still floats.
LARGEST = 1e300
_MIN_POINTS = 3

# x0, y0, x1, y1 of an extent, in pixels
Corners = tuple[float, float, float, float]


def with_holes(polygons: list[list[float]]) -> list[list[float]]:
    """Polygons of which those that lie within another one are holes of it.

    Args:
        polygons: of one object, each [x1, y1, ...].

    Returns:
        Polygons of which COCO's union is what the even-odd rule makes of the given ones: a hole is
        joined to its outline by a seam, which is run along twice and so encloses nothing.
    """
    boxes = [corners_of([polygon]) for polygon in polygons]
    # The largest first: what is within a polygon comes after it.
    order = sorted(range(len(polygons)), key=lambda i: -_box_area(boxes[i]))
    outlines: dict[int, list[float]] = {}
    for i in order:
        around = next((j for j in outlines if _encloses(boxes[j], boxes[i])), None)
        if around is None:
            outlines[i] = list(polygons[i])
        else:
            start, hole = polygons[around][:2], polygons[i]
            outlines[around] += [*start, *hole, *hole[:2]]
    return [outlines[i] for i in sorted(outlines)]


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


def enclosed(polygon: list[float]) -> float:
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


def _box_area(corners: Corners) -> float:
    x0, y0, x1, y1 = corners
    return (x1 - x0) * (y1 - y0)


def _encloses(outer: Corners, inner: Corners) -> bool:
    return (
        outer[0] <= inner[0]
        and outer[1] <= inner[1]
        and outer[2] >= inner[2]
        and outer[3] >= inner[3]
    )
