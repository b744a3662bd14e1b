"""Everything that is wrong with one segmentation: polygons or run lengths."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pycocotools.mask as mask_util

from mask2former_mt.check.findings import ERROR, WARNING, shown
from mask2former_mt.check.geometry import Outline, read_outline, united_area
from mask2former_mt.check.old_annotation import MAX_OUTSIDE_PX, Coordinates, scale_polygons
from mask2former_mt.check.old_rle import check_size, run_lengths
from mask2former_mt.data.rasterize import polygon_points, rasterize

# Coordinates are written with few decimals: so much beyond the picture is none.
_MAX_ROUNDING_PX = 0.1
# An outline that encloses less may miss the centre of every pixel.
_MAX_MISSED_PX = 16.0


class Problem(NamedTuple):
    """A finding without its place."""

    severity: str
    kind: str
    message: str


class Shape(NamedTuple):
    """A segmentation that can be drawn.

    Args:
        extent: x0, y0, x1, y1 in pixels of the picture.
        area: in pixels.
    """

    extent: tuple[float, float, float, float]
    area: float


def scan_segmentation(
    entry: Mapping,
    height: float,
    width: float,
    coordinates: Coordinates,
    problems: list[Problem],
) -> Shape | None:
    """Checks outline or run lengths and appends to `problems`; None if they cannot be drawn."""
    segmentation = entry.get("segmentation")
    if isinstance(segmentation, list):
        is_normalized = coordinates.polygon_coords == "normalized"
        return _scan_polygons(segmentation, height, width, is_normalized, problems)
    if isinstance(segmentation, dict):
        return _scan_rle(segmentation, height, width, problems)
    message = (
        f"'segmentation' must be a list of polygons or an RLE object, got {shown(segmentation)}; "
        "boxes alone teach no masks: draw the outline, or remove the annotation"
    )
    problems.append(Problem(ERROR, "bad-annotation", message))
    return None


def _scan_polygons(
    polygons: list, height: float, width: float, is_normalized: bool, problems: list[Problem]
) -> Shape | None:
    if not polygons:
        message = "'segmentation' is empty; draw the outline, or remove the annotation"
        problems.append(Problem(ERROR, "zero-area", message))
        return None
    outlines = []
    for polygon in polygons:
        points = _read_points(polygon, problems)
        if points is None:
            continue
        if is_normalized:
            if not math.isfinite(height):
                continue
            points = np.reshape(
                scale_polygons([points.reshape(-1).tolist()], height, width), (-1, 2)
            )
        outlines.append(read_outline(points))
    if not outlines:
        return None
    x0, y0 = np.min([outline.points.min(axis=0) for outline in outlines], axis=0).tolist()
    x1, y1 = np.max([outline.points.max(axis=0) for outline in outlines], axis=0).tolist()
    _scan_outlines(outlines, height, width, problems)
    hint = "; are these pixels? Then write 'polygon_coords: pixel'" if is_normalized else ""
    scan_bounds("the outline", (x0, y0, x1, y1), height, width, hint, problems)
    return (
        Shape((x0, y0, x1, y1), united_area(outlines)) if len(outlines) == len(polygons) else None
    )


def _read_points(polygon: object, problems: list[Problem]) -> np.ndarray | None:
    # NumPy would take "1" for 1 and [[1, 2], [3, 4]] for points, which training does not.
    if (
        not isinstance(polygon, list)
        or len(polygon) % 2
        or not all(isinstance(v, (int, float)) for v in polygon)
    ):
        message = (
            "a polygon must be a flat list of numbers [x1, y1, x2, y2, ...], got "
            f"{shown(polygon)}; export it again"
        )
        problems.append(Problem(ERROR, "bad-polygon", message))
        return None
    if len(polygon) < 6:
        message = (
            f"a polygon needs at least 3 points, got {len(polygon) // 2}: {shown(polygon)}; "
            "remove it or draw it again"
        )
        problems.append(Problem(ERROR, "too-few-points", message))
        return None
    try:
        return polygon_points(polygon)
    except ValueError as error:
        problems.append(Problem(ERROR, "bad-polygon", f"{error}; export it again"))
        return None


def _scan_outlines(
    outlines: list[Outline], height: float, width: float, problems: list[Problem]
) -> None:
    empty = [outline for outline in outlines if outline.area == 0]
    if len(empty) == len(outlines):
        message = "the outline encloses nothing; draw it again, or remove the annotation"
        problems.append(Problem(ERROR, "zero-area", message))
    else:
        for outline in empty:
            message = (
                f"a part of the outline encloses nothing: {len(outline.points)} points in a line; "
                "remove the part"
            )
            problems.append(Problem(WARNING, "zero-area", message))
        if sum(outline.area for outline in outlines) < _MAX_MISSED_PX and math.isfinite(height):
            _scan_pixels(outlines, int(height), int(width), problems)
    for outline in outlines:
        if outline.crossing is not None:
            x, y = outline.crossing
            message = (
                f"the outline crosses itself near ({x:g}, {y:g}); what it enclosed twice counts as "
                "outside: draw it again"
            )
            problems.append(Problem(WARNING, "self-intersecting", message))


def _scan_pixels(outlines: list[Outline], height: int, width: int, problems: list[Problem]) -> None:
    """Whether a tiny outline has a pixel at all."""
    low = np.floor(np.min([outline.points.min(axis=0) for outline in outlines], axis=0))
    high = np.ceil(np.max([outline.points.max(axis=0) for outline in outlines], axis=0))
    low, high = np.maximum(low, 0), np.minimum(high, (width, height))
    sides = (high - low).astype(int)
    if sides.min() > 0:
        # Narrow and long, if its area is small: rows and columns are counted in turn.
        if int(sides.max()) > 4096:
            return
        moved = [(outline.points - low).reshape(-1) for outline in outlines]
        (mask,) = rasterize([moved], size=(int(sides[1]), int(sides[0])))
        if mask.any():
            return
    message = (
        "the outline is so small that no pixel's centre lies inside: training would drop the "
        "object; draw it again, or remove the annotation"
    )
    problems.append(Problem(ERROR, "zero-area", message))


def _scan_rle(rle: dict, height: float, width: float, problems: list[Problem]) -> Shape | None:
    size = rle.get("size")
    if math.isfinite(height) and size != [height, width]:
        message = (
            f"RLE size must be the image's [height, width] = [{height}, {width}], got "
            f"{shown(size)}; export it again for this picture"
        )
        problems.append(Problem(ERROR, "rle-size-mismatch", message))
    try:
        # pycocotools reads what is damaged past its end: it gets nothing unchecked.
        check_size(size, "RLE size")
        if not isinstance(rle.get("counts"), (list, str)):
            raise ValueError(f"RLE counts must be a list or text, got {shown(rle.get('counts'))}")
        lengths, size = run_lengths(rle)
    except ValueError as error:
        problems.append(Problem(ERROR, "bad-rle", f"{error}; export it again"))
        return None
    area = int(lengths[1::2].sum())
    if area == 0:
        message = "the RLE has no pixel; draw the object, or remove the annotation"
        problems.append(Problem(ERROR, "zero-area", message))
        return None
    compressed = rle if isinstance(rle["counts"], str) else mask_util.frPyObjects(rle, *size)
    x, y, w, h = mask_util.toBbox(compressed).tolist()
    return Shape((x, y, x + w, y + h), float(area))


def scan_bounds(
    what: str,
    corners: tuple[float, ...],
    height: float,
    width: float,
    hint: str,
    problems: list[Problem],
) -> None:
    """Checks that corners x0, y0, x1, y1 in pixels lie in the picture; `hint` ends the message."""
    x0, y0, x1, y1 = corners
    outside = max(-x0, -y0, x1 - width, y1 - height)
    if outside <= _MAX_ROUNDING_PX:
        return
    message = (
        f"{what} leaves the {width}x{height} picture (width x height): x in [{x0:g}, {x1:g}], y in "
        f"[{y0:g}, {y1:g}]"
    )
    if outside > MAX_OUTSIDE_PX:
        message += f"; it may belong to another picture or size: draw it again{hint}"
        problems.append(Problem(ERROR, "out-of-bounds", message))
    else:
        message += "; training cuts it off, --write-clean does so in the file"
        problems.append(Problem(WARNING, "out-of-bounds", message))
