"""Everything that is wrong with one annotation, and what it adds to the numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from mask2former_mt.check.findings import ERROR, WARNING, shown
from mask2former_mt.check.old_annotation import Coordinates, read_annotation, scale_box
from mask2former_mt.check.old_document import CocoHeader
from mask2former_mt.check.old_rle import is_int
from mask2former_mt.check.shape_rules import Problem, Shape, scan_bounds, scan_segmentation

# Side of one cell of the grid on which the network predicts masks, in pixels of its input.
MASK_STRIDE = 4
# A box is unlike its mask if one of its sides is off by more pixels and the two overlap by less.
_MAX_BOX_OFF_PX = 2.0
_MIN_BOX_IOU = 0.95
# An area is wrong if it is off by more than both; COCO's own differ from the masks by some pixels.
_MAX_AREA_OFF = 0.2  # of the mask's
_MAX_AREA_OFF_PX = 16.0


class Measure(NamedTuple):
    """What a sound annotation adds to the numbers.

    Args:
        class_index: 0..K-1.
        labels: S labels in {-1, 0..K_s}.
        area: in pixels of the picture.
        is_crowd: a crowd is no object that training sees.
    """

    class_index: int
    labels: tuple[int, ...]
    area: float
    is_crowd: bool


def scan_annotation(
    entry: Mapping,
    *,
    height: float,
    width: float,
    header: CocoHeader | None,
    coordinates: Coordinates,
) -> tuple[list[Problem], Measure | None]:
    """Checks one annotation on its own.

    Args:
        entry: the JSON object; its `id` and `image_id` are the caller's to check.
        height, width: of its picture as the JSON says, in pixels; infinite where it does not.
        header: None if the file's own is unusable: then nothing is said of classes and labels.
        coordinates: what the JSON's numbers are.

    Returns:
        The problems, and None in place of the measure if one of them is an error. What training
        would refuse always has one.
    """
    problems: list[Problem] = []
    shape = scan_segmentation(entry, height, width, coordinates, problems)
    _scan_box(entry, shape, height, width, coordinates, problems)
    if shape is not None:
        _scan_area(entry, shape, coordinates, problems)
    if header is None:
        return problems, None
    _scan_labels(entry, header, problems)
    if any(problem.severity == ERROR for problem in problems):
        return problems, None
    try:
        # Whatever was not thought of above: the word of what training reads with is the last.
        annotation = read_annotation(
            {"id": 0, **entry},
            height=height,
            width=width,
            contiguous_ids=header.contiguous_ids,
            spec=header.spec,
            coordinates=coordinates,
        )
    except (ValueError, TypeError, ArithmeticError, RecursionError) as error:
        return [*problems, Problem(ERROR, "bad-annotation", str(error))], None
    if shape is None:
        return problems, None
    return problems, Measure(
        annotation["category_id"],
        tuple(annotation["subcategories"]),
        shape.area,
        bool(annotation["iscrowd"]),
    )


def _scan_labels(entry: Mapping, header: CocoHeader, problems: list[Problem]) -> None:
    category_id = entry.get("category_id")
    if not is_int(category_id) or category_id not in header.category_ids:
        message = (
            f"category_id {shown(category_id)} is not listed in 'categories'; listed are "
            f"{shown(list(header.category_ids))}. Add it there, or correct the annotation"
        )
        problems.append(Problem(ERROR, "unknown-category", message))
    labels = entry.get("subcategories", {})
    if not isinstance(labels, dict):
        message = (
            f'\'subcategories\' must be an object such as {{"style": "photo"}}, got {shown(labels)}'
        )
        problems.append(Problem(ERROR, "unknown-subcategory", message))
        return
    by_name = {subcategory.name: subcategory for subcategory in header.spec}
    for name, value in labels.items():
        if name not in by_name:
            message = (
                f"subcategory {shown(name)} is not listed in the file's 'subcategories'; listed "
                f"are {shown(list(by_name))}. Add it there, or correct the annotation"
            )
            problems.append(Problem(ERROR, "unknown-subcategory", message))
            continue
        try:
            by_name[name].value_index(value)
        except (ValueError, RecursionError) as error:
            message = f"{error}. Add it to 'values', or correct the annotation"
            problems.append(Problem(ERROR, "unknown-value", message))


def _scan_box(
    entry: Mapping,
    shape: Shape | None,
    height: float,
    width: float,
    coordinates: Coordinates,
    problems: list[Problem],
) -> None:
    if "bbox" not in entry:
        return
    box = _numbers(entry["bbox"])
    if box is None or len(box) != 4 or min(box[2:]) < 0:
        message = (
            f"'bbox' must be [x, y, width, height], got {shown(entry['bbox'])}; remove it: it is "
            "taken from the mask then"
        )
        problems.append(Problem(ERROR, "bad-box", message))
        return
    hint = ""
    if coordinates.box_coords == "normalized":
        if not math.isfinite(height):
            return
        box = scale_box(box, height, width)
        hint = "; are these pixels? Then write 'box_coords: pixel'"
    x, y, w, h = box
    corners = (x, y, x + w, y + h)
    scan_bounds("'bbox'", corners, height, width, hint, problems)
    if shape is not None and _is_unlike(corners, shape.extent):
        x0, y0, x1, y1 = shape.extent
        message = (
            f"'bbox' in pixels is [{x:g}, {y:g}, {w:g}, {h:g}], the mask's own is [{x0:g}, {y0:g}, "
            f"{x1 - x0:g}, {y1 - y0:g}]: they may be of two objects or of two picture sizes; "
            "correct the one that is wrong"
        )
        problems.append(Problem(WARNING, "box-unlike-mask", message))


def _numbers(values: object) -> list[float] | None:
    """A JSON list of finite numbers as floats; None if it is none."""
    if not isinstance(values, list) or not all(isinstance(v, (int, float)) for v in values):
        return None
    try:
        numbers = [float(v) for v in values]
    except OverflowError:
        return None
    return numbers if all(map(math.isfinite, numbers)) else None


def _is_unlike(box: tuple[float, ...], extent: tuple[float, ...]) -> bool:
    if max(abs(a - b) for a, b in zip(box, extent, strict=True)) <= _MAX_BOX_OFF_PX:
        return False
    shared = max(min(box[2], extent[2]) - max(box[0], extent[0]), 0.0) * max(
        min(box[3], extent[3]) - max(box[1], extent[1]), 0.0
    )
    total = sum((b[2] - b[0]) * (b[3] - b[1]) for b in (box, extent)) - shared
    return shared < _MIN_BOX_IOU * total or total == 0


def _scan_area(
    entry: Mapping, shape: Shape, coordinates: Coordinates, problems: list[Problem]
) -> None:
    area = entry.get("area")
    # Nobody says what the area of a normalised outline is normalised by.
    if area is None or coordinates.polygon_coords == "normalized":
        return
    numbers = _numbers([area])
    allowed = max(_MAX_AREA_OFF * shape.area, _MAX_AREA_OFF_PX)
    if numbers is None or abs(numbers[0] - shape.area) > allowed:
        message = (
            f"'area' is {shown(area)}, the mask has {shape.area:.0f} pixels: COCO's scores for "
            "small and large objects go by it; correct it"
        )
        problems.append(Problem(WARNING, "area-unlike-mask", message))


def is_smaller_than_stride(measure: Measure) -> bool:
    """Whether an object covers less than one cell of the mask grid, at the picture's own size."""
    return not measure.is_crowd and measure.area < MASK_STRIDE**2
