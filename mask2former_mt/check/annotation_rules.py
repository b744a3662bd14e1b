"""What can be wrong with an annotation that can be read: its outline, its box, its area."""

from __future__ import annotations

import collections
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pycocotools.mask as mask_util

from mask2former_mt.check.geometry import Outline, area_with_holes, read_outline, united_area
from mask2former_mt.data.rasterize import rasterize
from mask2former_mt.dataset.annotation import MAX_OUTSIDE_PX
from mask2former_mt.dataset.json_values import is_int
from mask2former_mt.dataset.polygons import extent_of
from mask2former_mt.dataset.problems import ERROR, REPAIR, WARNING, Fault, Problem
from mask2former_mt.dataset.split import Split

# Side of one cell of the grid on which the network predicts masks, in pixels of its input.
MASK_STRIDE = 4
# Coordinates are written with few decimals: so little beyond the picture is rounding.
MAX_ROUNDING_PX = 0.1
# An outline that encloses less may miss the centre of every pixel.
_MAX_MISSED_PX = 16.0
# A narrow outline longer than this is not drawn to find out.
_MAX_DRAWN_SIDE = 4096
# An area is wrong if it is off by more than both; COCO's own differ from the masks by some pixels.
_MAX_AREA_OFF = 0.2  # of the mask's
_MAX_AREA_OFF_PX = 16.0
# After these the reader left out a part of the outline, or doubts all of it.
_PARTIAL_KINDS = {"bad-polygon", "too-few-points"}


class Shape(NamedTuple):
    """What a segmentation covers, in pixels.

    Args:
        corners: x0, y0, x1, y1 of its extent.
        area: of the parts together, as COCO fills them.
        area_with_holes: the same if parts that lie within another one are holes; None without any.
    """

    corners: tuple[float, float, float, float]
    area: float
    area_with_holes: float | None = None


class ScannedAnnotation(NamedTuple):
    """An annotation and what the rules say of it.

    Args:
        annotation: of the split's records, or of its unsound ones.
        problems: in addition to those of the reader.
        area: of the mask, in pixels; None after any error, or where it is not known.
    """

    annotation: dict
    problems: list[Problem]
    area: float | None


def problems_by_index(split: Split) -> dict[int, list[Problem]]:
    """What the reader said of annotations, by position in the JSON's list `annotations`."""
    found = collections.defaultdict(list)
    for problem in split.problems:
        is_of_image = problem.kind in ("bad-image-entry", "duplicate-image-id")
        if problem.index is not None and not is_of_image:
            found[problem.index].append(problem)
    return dict(found)


def scan_annotations(
    record: Mapping, unsound: Sequence[dict], told: Mapping[int, list[Problem]]
) -> Iterator[ScannedAnnotation]:
    """Checks all annotations of a picture.

    Args:
        record: the picture's; its annotations are sound.
        unsound: its others, each with its `index`.
        told: what the reader said of annotations, from `problems_by_index`.
    """
    height, width = record["height"], record["width"]
    known: set[tuple] = set()
    for annotation in (*record["annotations"], *unsound):
        index = annotation.get("index")
        is_whole = not any(
            problem.severity == ERROR and problem.kind in _PARTIAL_KINDS
            for problem in told.get(index, ())
        )
        faults, shape = scan_segmentation(annotation["segmentation"], height, width)
        area = None
        if not is_whole:
            # The whole may enclose more than what could be read of it.
            faults = [fault for fault in faults if fault.kind != "zero-area"]
        elif shape is not None:
            # A box that leaves the picture with its outline is no finding of its own.
            if annotation["has_bbox"] and pixels_outside(shape.corners, height, width) <= 0:
                faults += _scan_box(annotation["bbox"], height, width)
            faults += scan_area(annotation["area"], shape)
            if index is None:
                area = shape.area
                if area < MASK_STRIDE**2 and not annotation["iscrowd"]:
                    faults.append(_too_small(area))
        identity = identity_of(annotation) if is_whole else None
        if identity in known:
            message = "the same object with the same labels is annotated a second time"
            remedy = "remove it, --write-clean does so"
            faults.append(Fault("duplicate-annotation", message, remedy, WARNING))
        elif identity is not None:
            known.add(identity)
        place = {
            "file": record["file_name"],
            "image_id": record["image_id"],
            "annotation_id": annotation["id"] if is_int(annotation["id"]) else None,
            "index": index,
        }
        problems = [fault.at(**place) for fault in faults]
        yield ScannedAnnotation(annotation, problems, area)


def scan_segmentation(
    segmentation: list | dict | None, height: float, width: float
) -> tuple[list[Fault], Shape | None]:
    """Checks what can be read of a segmentation.

    Args:
        segmentation: polygons in pixels, or a compressed RLE; None if there is none.
        height, width: pixels that the JSON says of the picture; infinite where it does not.

    Returns:
        The faults; and None in place of the shape if one of them, or the reader's that it lies
        outside of the picture, leaves the mask in doubt.
    """
    if segmentation is None or not math.isfinite(height):
        return [], None
    x, y, w, h = extent_of(segmentation)
    corners = (x, y, x + w, y + h)
    outside = pixels_outside(corners, height, width)
    if outside > MAX_OUTSIDE_PX:
        return [], None
    faults, holed = [], None
    if isinstance(segmentation, list):
        outlines = [
            read_outline(np.array(polygon, dtype=np.float64).reshape(-1, 2))
            for polygon in segmentation
        ]
        faults = _scan_outlines(outlines, int(height), int(width))
        area, holed = united_area(outlines), area_with_holes(outlines)
    else:
        area = float(mask_util.area(segmentation))
    if outside > MAX_ROUNDING_PX:
        faults.append(_overshoot("the outline", corners, height, width))
    is_in_doubt = any(fault.severity == ERROR for fault in faults)
    return faults, None if is_in_doubt else Shape(corners, area, holed)


def _scan_outlines(outlines: list[Outline], height: int, width: int) -> list[Fault]:
    faults = []
    remedy = "draw it again, or remove the annotation"
    total = sum(outline.area for outline in outlines)
    if total == 0:
        faults.append(Fault("zero-area", "the outline encloses nothing", remedy))
    else:
        for outline in outlines:
            if outline.area == 0:
                num_points = len(outline.points)
                message = f"a part of the outline encloses nothing: {num_points} points in a line"
                faults.append(Fault("zero-area", message, "remove the part", WARNING))
        if total < _MAX_MISSED_PX and not _has_pixel(outlines, height, width):
            message = (
                "the outline is so small that no pixel's centre lies inside: training would drop "
                "the object"
            )
            faults.append(Fault("zero-area", message, remedy))
    for outline in outlines:
        if outline.crossing is not None:
            x, y = outline.crossing
            message = (
                f"the outline crosses itself near ({x:g}, {y:g}); what it enclosed twice counts as "
                "outside"
            )
            faults.append(Fault("self-intersecting", message, "draw it again", WARNING))
    return faults


def _has_pixel(outlines: list[Outline], height: int, width: int) -> bool:
    """Whether the centre of any pixel lies inside."""
    low = np.floor(np.min([outline.points.min(axis=0) for outline in outlines], axis=0))
    high = np.ceil(np.max([outline.points.max(axis=0) for outline in outlines], axis=0))
    low, high = np.maximum(low, 0), np.minimum(high, (width, height))
    sides = (high - low).astype(int)
    if sides.min() <= 0:
        return False
    if sides.max() > _MAX_DRAWN_SIDE:
        return True
    moved = [(outline.points - low).reshape(-1) for outline in outlines]
    (mask,) = rasterize([moved], size=(int(sides[1]), int(sides[0])))
    return bool(mask.any())


def _scan_box(box: Sequence[float] | None, height: float, width: float) -> list[Fault]:
    if box is None:
        return []
    x, y, w, h = box
    corners = (x, y, x + w, y + h)
    if MAX_ROUNDING_PX < pixels_outside(corners, height, width) <= MAX_OUTSIDE_PX:
        return [_overshoot("'bbox'", corners, height, width)]
    return []


def scan_area(area: float | None, shape: Shape) -> list[Fault]:
    """Compares an annotation's area, in pixels, with what its outline covers."""
    if shape.area_with_holes is not None:
        says_so = area is not None and abs(area - shape.area_with_holes) < abs(area - shape.area)
        message = (
            "a polygon lies inside another one of the same object: COCO fills it"
            f"{f', but the area, {area:g}, is that of an outline with holes' if says_so else ''}"
        )
        remedy = (
            "if such polygons are holes, write 'holes: even-odd' into the dataset YAML, or import "
            "with --holes even-odd; if not, take the inner one out"
        )
        return [Fault("hole-filled", message, remedy, WARNING)]
    most_off = max(_MAX_AREA_OFF * shape.area, _MAX_AREA_OFF_PX)
    if area is None or abs(area - shape.area) <= most_off:
        return []
    message = (
        f"'area' is {area:g}, the mask has {shape.area:.0f} pixels: COCO's scores for small and "
        "large objects go by it"
    )
    return [Fault("area-unlike-mask", message, REPAIR, WARNING)]


def _too_small(area: float) -> Fault:
    message = (
        f"the object has {area:.0f} pixels, less than one cell ({MASK_STRIDE} x {MASK_STRIDE}) of "
        "the grid on which masks are predicted"
    )
    remedy = "train at a larger input size, or remove it"
    return Fault("smaller-than-stride", message, remedy, WARNING)


def pixels_outside(corners: tuple[float, ...], height: float, width: float) -> float:
    """By how many pixels corners leave the picture."""
    x0, y0, x1, y1 = corners
    return max(-x0, -y0, x1 - width, y1 - height)


def _overshoot(what: str, corners: tuple[float, ...], height: float, width: float) -> Fault:
    x0, y0, x1, y1 = corners
    message = (
        f"{what} leaves the {width}x{height} picture (width x height): x in [{x0:g}, {x1:g}], y in "
        f"[{y0:g}, {y1:g}]"
    )
    remedy = "training cuts it off, --write-clean does so in the file"
    return Fault("out-of-bounds", message, remedy, WARNING)


def identity_of(annotation: Mapping) -> tuple | None:
    """What two annotations that say the same of the same pixels share; None if it is not known."""
    segmentation, labels = annotation["segmentation"], annotation["subcategories"]
    if segmentation is None or annotation["category_id"] is None or labels is None:
        return None
    if isinstance(segmentation, dict):
        counts = segmentation["counts"]
        outline = counts if isinstance(counts, bytes) else counts.encode("ascii")
    else:
        outline = tuple(map(tuple, segmentation))
    return annotation["category_id"], tuple(labels), annotation["iscrowd"], outline
