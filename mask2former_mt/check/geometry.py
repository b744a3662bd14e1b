"""An outline's area, and whether it crosses itself."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mask2former_mt.data.rasterize import rasterize

try:
    import shapely
except ModuleNotFoundError as error:
    raise ImportError(
        "checking outlines needs shapely, which is not installed: pip install shapely",
        name="shapely",
    ) from error

# P points of a ring, xy in pixels.

# Every edge is compared with every other: of a ring with more points only shapely is asked.
_MAX_COMPARED = 1024
# Where a ring crosses itself, or parts overlap, the area is counted on a grid of this many cells in
# each direction.
_GRID = 256
# Share of an area that may be an error of the grid.
_GRID_ERROR = 0.05


class Outline(NamedTuple):
    """A closed outline and what was measured of it.

    Args:
        points: float64 (P, 2).
        area: inside by the even-odd rule, in square pixels.
        crossing: xy near which the ring crosses itself; None if it does not.
    """

    points: np.ndarray
    area: float
    crossing: tuple[float, float] | None


def read_outline(points: np.ndarray) -> Outline:
    """Measures a ring.

    That it touches itself, or runs along a seam twice, is no crossing: COCO's polygons have no
    other way to a hole.

    Args:
        points: float64 (P, 2), P at least 3, within `MAX_COORDINATE`; the last is joined to the
            first.
    """
    x, y = (points - points[0]).T
    # The shoelace formula. The edge back to the first point adds nothing: that one is at (0, 0).
    wound = abs(float(np.dot(x[:-1], y[1:]) - np.dot(y[:-1], x[1:]))) / 2
    ring = shapely.Polygon(points)
    if shapely.is_valid(ring):
        return Outline(points, wound, None)
    if wound == 0 and np.linalg.matrix_rank(points - points[0]) < 2:
        return Outline(points, 0.0, None)  # a point or a line: it has no inside
    if len(points) > _MAX_COMPARED:
        return Outline(points, wound, _place_of(ring, points))
    filled = _filled_area([points])
    crossing = _proper_crossing(points)
    # Where the ring crosses in one of its own points no two edges cross, but the loop beyond turns
    # the other way and counts negative.
    if crossing is None and abs(filled - wound) > _GRID_ERROR * max(filled, wound):
        crossing = _place_of(ring, points)
    return Outline(points, wound if crossing is None else filled, crossing)


def united_area(outlines: Sequence[Outline]) -> float:
    """The area of an object's parts; what two of them share is counted once."""
    total = sum(outline.area for outline in outlines)
    boxes = [(*o.points.min(axis=0), *o.points.max(axis=0)) for o in outlines]
    if sum(len(o.points) for o in outlines) > _MAX_COMPARED:
        return total
    if any(_overlap(a, b) for i, a in enumerate(boxes) for b in boxes[:i]):
        return min(total, _filled_area([outline.points for outline in outlines]))
    return total


def area_with_holes(outlines: Sequence[Outline]) -> float | None:
    """The area of an object whose parts within other parts are holes; None without any."""
    rings = [outline for outline in outlines if outline.crossing is None and outline.area > 0]
    if len(rings) < 2:
        return None
    shapes = [shapely.Polygon(ring.points) for ring in rings]
    outer, inner = shapely.STRtree(shapes).query(shapes, predicate="contains")
    areas = np.array([ring.area for ring in rings])
    inner = inner[areas[inner] < areas[outer]]  # each contains itself
    if not len(inner):
        return None
    # What lies in a hole is a part again.
    depths = np.bincount(inner, minlength=len(rings))
    return float(np.dot(areas, np.where(depths % 2, -1, 1)))


def _filled_area(polygons: Sequence[np.ndarray]) -> float:
    """Counts the cells inside, by the even-odd rule for each polygon."""
    low = np.min([points.min(axis=0) for points in polygons], axis=0)
    sides = np.max([points.max(axis=0) for points in polygons], axis=0) - low
    if sides.min() <= 0:
        return 0.0
    # A narrow one keeps its width: the grid's cells need not be square.
    scale = _GRID / sides
    on_grid = [((points - low) * scale).reshape(-1) for points in polygons]
    (mask,) = rasterize([on_grid], size=(_GRID, _GRID))
    return float(np.count_nonzero(mask) / scale.prod())


def _proper_crossing(points: np.ndarray) -> tuple[float, float] | None:
    """The first place where two edges pass through each other's inside."""
    starts, ends = points, np.roll(points, -1, axis=0)
    edges = ends - starts
    # side[i, j]: on which side of edge i the point j lies.
    side_of_starts = _cross(edges[:, None], starts[None] - starts[:, None])
    side_of_ends = np.roll(side_of_starts, -1, axis=1)
    splits = side_of_starts * side_of_ends < 0
    first, second = np.nonzero(np.triu(splits & splits.T))
    if not len(first):
        return None
    i, j = first[0], second[0]
    share = side_of_starts[j, i] / (side_of_starts[j, i] - side_of_ends[j, i])
    x, y = starts[i] + share * edges[i]
    return float(x), float(y)


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def _overlap(a: Sequence[float], b: Sequence[float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _place_of(ring: shapely.Polygon, points: np.ndarray) -> tuple[float, float]:
    # Such as "Self-intersection[3.5 4]".
    numbers = re.search(r"\[(\S+) (\S+)\]", shapely.is_valid_reason(ring))
    if numbers is None:
        return float(points[0, 0]), float(points[0, 1])
    return float(numbers[1]), float(numbers[2])
