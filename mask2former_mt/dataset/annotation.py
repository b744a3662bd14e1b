"""Reads an entry of `annotations` into detectron2's form, and says all that is wrong with it.

The outline decides: box, area and crowd mark that are missing or wrong are taken from it. Nearly
all entries of a file are sound, and there may be a million of them: what is usual is told from what
is not by few and cheap comparisons.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pycocotools.mask as mask_util
from detectron2.structures import BoxMode

from mask2former_mt.dataset.annotation_faults import fault
from mask2former_mt.dataset.conventions import Conventions
from mask2former_mt.dataset.document import Header
from mask2former_mt.dataset.json_values import as_id
from mask2former_mt.dataset.polygons import (
    LARGEST,
    Corners,
    are_numbers,
    corners_of,
    enclose_nothing,
    enclosed,
    extent_of,
    mended_polygons,
    with_holes,
)
from mask2former_mt.dataset.problems import ERROR, Fault, shown
from mask2former_mt.dataset.rle import compressed, faults_of_counts
from mask2former_mt.structures import UNKNOWN

# Annotation tools round outwards, and some count pixels from 1: so much beyond the image is clipped
# without a word. What lies further out was drawn on another picture, or on another size of it.
MAX_OUTSIDE_PX = 2.0
# Coordinates that are all below this lie in the picture's first pixel, or are normalised.
_MAX_NORMALIZED = 1.01
_BOX_MODE = BoxMode.XYWH_ABS
# A box is unlike its mask if one of its sides is off by more pixels and the two overlap by less.
_MAX_BOX_OFF_PX = 2.0
_MIN_BOX_IOU = 0.95


class AnnotationReader:
    """Reads the annotations of one file.

    Args:
        header: classes and subcategories; None if the file's own cannot be used: then nothing is
            said of labels.
        conventions: what the JSON's numbers mean. What looks like another unit is a fault.
    """

    def __init__(self, header: Header | None, conventions: Conventions) -> None:
        self._header = header
        self._conventions = conventions
        # Which class has which subcategory.
        self._applicable = header.spec.applicable(header.class_names) if header else []
        # A dataset has few combinations of class and labels, each of which is looked up once.
        self._known_labels: dict[tuple[int | None, str], list[int]] = {}

    def read(self, entry: Mapping, height: float, width: float) -> tuple[dict, list[Fault]]:
        """Turns an entry into detectron2's form.

        Args:
            entry: the JSON object; its `id` and `image_id` are the caller's to check.
            height, width: of its image, in pixels; infinite where nobody knows.

        Returns:
            `id`, `bbox` (xywh in pixels; the segmentation's extent where the JSON has none that
            fits, which `has_bbox` says), `bbox_mode`, `segmentation` (polygons in pixels, or RLE
            with compressed counts, whose lengths may not add up), `category_id` (contiguous),
            `iscrowd`, `area` (as the JSON says, in pixels; None where it is to be taken from the
            mask), `subcategories` (S labels in {-1, 0..K_s}). And what is wrong with it: after an
            error a part may be None, or hold only what could be read.
        """
        faults: list[Fault] = []
        get = entry.get
        segmentation, corners = get("segmentation"), None
        if isinstance(segmentation, list):
            segmentation, corners = self._polygons(segmentation, height, width, faults)
            if not _are_errors(faults) and math.isfinite(height):
                if enclose_nothing(segmentation):
                    faults.append(fault("flat outline"))
                elif self._conventions.holes == "even-odd":
                    segmentation = with_holes(segmentation)
        elif isinstance(segmentation, dict):
            segmentation, corners = _rle(segmentation, height, width, faults)
        else:
            got = repr(segmentation)[:80] if "segmentation" in entry else "no such key"
            faults.append(fault("no outline", got=got))
            segmentation = None
        box = None
        if "bbox" in entry:
            box = self._box(entry["bbox"], segmentation, corners, height, width, faults)
        has_box = box is not None
        if not has_box and corners is not None:
            x0, y0, x1, y1 = corners
            box = [x0, y0, x1 - x0, y1 - y0]
        area = self._area(entry["area"], height, width, faults) if "area" in entry else None
        iscrowd = get("iscrowd", 0)
        if iscrowd not in (0, 1):
            iscrowd = _mended_crowd_mark(iscrowd, faults)
        if iscrowd and self._conventions.crowd == "object":
            iscrowd = 0
        category, labels = self.read_labels(entry, faults)
        return {
            "id": get("id"),
            "bbox": box,
            "has_bbox": has_box,
            "bbox_mode": _BOX_MODE,
            "segmentation": segmentation,
            "category_id": category,
            "iscrowd": int(iscrowd),
            "area": area,
            "subcategories": labels,
        }, faults

    def read_labels(
        self, entry: Mapping, faults: list[Fault]
    ) -> tuple[int | None, list[int] | None]:
        """The class of an annotation or segment, contiguous, and its S labels in {-1, 0..K_s}.

        Args:
            entry: has `category_id` and perhaps `subcategories`.
            faults: what is wrong with them is added; what it is wrong with is None.
        """
        if self._header is None:
            return None, None
        category = self._class(entry.get("category_id"), faults)
        return category, self._labels(entry.get("subcategories", {}), category, faults)

    def _class(self, category_id: object, faults: list[Fault]) -> int | None:
        known_id = category_id if type(category_id) is int else as_id(category_id)
        if known_id in self._header.contiguous_ids:
            return self._header.contiguous_ids[known_id]
        listed = shown(list(self._header.category_ids))
        faults.append(fault("unknown class", got=shown(category_id), listed=listed))
        return None

    def _labels(
        self, labels: object, category: int | None, faults: list[Fault]
    ) -> list[int] | None:
        """S labels in {-1, 0..K_s}: none where objects of the class have no such subcategory."""
        # Written out, because True equals 1, and only one of them is a label.
        text = shown(labels) if not isinstance(labels, dict) else repr(labels)
        known = self._known_labels.get((category, text))
        if known is not None:
            return list(known)
        if not isinstance(labels, dict):
            faults.append(fault("no labels", got=text))
            return None
        spec, found = self._header.spec, len(faults)
        for name in labels:
            if name not in spec.names:
                listed = list(spec.names)
                faults.append(fault("unknown subcategory", got=shown(name), listed=listed))
        values = []
        # Of a class that is not known, nothing is said.
        applies_S = [True] * len(spec) if category is None else self._applicable[category]
        for subcategory, applies in zip(spec, applies_S, strict=True):
            try:
                has_label = subcategory.name in labels
                value = subcategory.value_index(labels[subcategory.name]) if has_label else UNKNOWN
            except (ValueError, RecursionError) as error:
                faults.append(fault("unknown value", why=error))
                continue
            if not applies:
                if value not in (UNKNOWN, subcategory.none_index):
                    faults.append(
                        fault(
                            "value of other class",
                            of=repr(self._header.class_names[category]),
                            value=repr(subcategory.values[value]),
                            subcategory=repr(subcategory.name),
                            classes=shown(list(subcategory.applies_to)),
                        )
                    )
                value = subcategory.none_index
            values.append(value)
        if len(faults) > found:
            return None
        self._known_labels[category, text] = values
        return list(values)

    def _area(self, area: object, height: float, width: float, faults: list[Fault]) -> float | None:
        # Nobody says what the area of a normalised outline is normalised by.
        if self._conventions.polygon_coords == "normalized":
            return None
        most = min(height * width, LARGEST)
        if type(area) in (int, float) and 0 < area <= most:
            return area
        # An outline in doubt says nothing of the area.
        if all(f.severity != ERROR for f in faults):
            faults.append(fault("no area", most=most, got=shown(area)))
        return None

    def _polygons(
        self, polygons: list, height: float, width: float, faults: list[Fault]
    ) -> tuple[list | None, Corners | None]:
        """The sound ones in pixels, and their extent; None without any."""
        corners = corners_of(polygons)
        if corners is None:
            polygons = mended_polygons(polygons, faults)
            corners = corners_of(polygons)
            if corners is None:
                return None, None
        x0, y0, x1, y1 = corners
        is_inside = _is_inside(corners, height, width)
        is_normalized = self._conventions.polygon_coords == "normalized"
        if is_inside and not is_normalized and (x1 > _MAX_NORMALIZED or y1 > _MAX_NORMALIZED):
            return polygons, corners
        if is_normalized:
            if not math.isfinite(height):
                return None, None  # the image's entry is refused already
            polygons = [
                [v * (height if i % 2 else width) for i, v in enumerate(polygon)]
                for polygon in polygons
            ]
            corners = x0 * width, y0 * height, x1 * width, y1 * height
            if not _is_inside(corners, height, width):
                outside = "normalised outline outside"
                faults.append(fault(outside, x0=x0, x1=x1, y0=y0, y1=y1))
        elif is_inside and max(height, width) > 1:
            faults.append(fault("normalised outline", width=width, most=max(x1, y1)))
        elif not is_inside:
            size = {"height": height, "width": width}
            faults.append(fault("outline outside", **size, x0=x0, x1=x1, y0=y0, y1=y1))
        return polygons, corners

    def _box(
        self,
        box: object,
        segmentation: list | Mapping | None,
        corners: Corners | None,
        height: float,
        width: float,
        faults: list[Fault],
    ) -> list[float] | None:
        """xywh in pixels; None if it is to be taken from the outline."""
        if _are_errors(faults):
            # An outline in doubt says nothing of the box.
            return box if are_numbers(box) and len(box) == 4 else None
        x0, y0, x1, y1 = corners
        unit = self._conventions.box_coords
        try:
            x, y, w, h = box
            if unit == "normalized":
                x, y, w, h = box = [x * width, y * height, w * width, h * height]
            if (
                w >= 0
                and h >= 0
                and abs(x - x0) <= _MAX_BOX_OFF_PX
                and abs(y - y0) <= _MAX_BOX_OFF_PX
                and abs(x + w - x1) <= _MAX_BOX_OFF_PX
                and abs(y + h - y1) <= _MAX_BOX_OFF_PX
            ):
                return box
            is_box = w >= 0 and h >= 0 and all(-LARGEST <= v <= LARGEST for v in (x, y, w, h))
        except (TypeError, ValueError, OverflowError):
            is_box = False
        if not is_box:
            faults.append(fault("no box", got=shown(box)))
            return None
        if isinstance(segmentation, Mapping) and any(faults_of_counts([segmentation])):
            return None  # a text cut short has another extent; it is told when all are checked
        if isinstance(segmentation, list):
            # A part that encloses nothing has no box.
            parts = [polygon for polygon in segmentation if enclosed(polygon)]
            if not parts:
                return None
            x0, y0, x1, y1 = corners_of(parts)
        own = [x0, y0, x1 - x0, y1 - y0]
        if mask_util.iou([[*map(float, box)]], [own], [0]) >= _MIN_BOX_IOU:
            return box
        hint = ""
        if unit == "normalized" and math.isfinite(width):
            hint = "if it is in pixels, write 'box_coords: pixel' into the dataset YAML; "
        elif max(x + w, y + h) <= _MAX_NORMALIZED:
            hint = "if it is normalised, write 'box_coords: normalized' into the dataset YAML; "
        faults.append(fault("other box", box=_listed(box), own=_listed(own), hint=hint))
        return None


def _are_errors(faults: list[Fault]) -> bool:
    return bool(faults) and any(fault.severity == ERROR for fault in faults)


def _is_inside(corners: Corners, height: float, width: float) -> bool:
    x0, y0, x1, y1 = corners
    return (
        x0 >= -MAX_OUTSIDE_PX
        and y0 >= -MAX_OUTSIDE_PX
        and x1 <= width + MAX_OUTSIDE_PX
        and y1 <= height + MAX_OUTSIDE_PX
    )


def _rle(
    rle: dict, height: float, width: float, faults: list[Fault]
) -> tuple[dict | None, Corners | None]:
    """The compressed RLE and its extent; that its lengths add up is checked for many at once."""
    size = rle.get("size")
    if size != [height, width] and math.isfinite(height) and isinstance(size, list):
        faults.append(fault("other RLE size", height=height, width=width, got=shown(size)))
        return None, None
    try:
        rle = compressed(rle)
    except ValueError as error:
        faults.append(fault("damaged RLE", why=error))
        return None, None
    area, num_pixels = int(mask_util.area(rle)), math.prod(rle["size"])
    if area == 0:
        faults.append(fault("empty RLE"))
        return None, None
    if area > num_pixels:
        faults.append(fault("overfull RLE", most=num_pixels, got=area))
        return None, None
    x, y, w, h = extent_of(rle)
    return rle, (x, y, x + w, y + h)


def _mended_crowd_mark(iscrowd: object, faults: list[Fault]) -> int:
    """0, one object, unless a text says otherwise: nothing else of an annotation tells."""
    mended = as_id(iscrowd)
    mended = mended if mended in (0, 1) else 0
    taken = "a crowd" if mended else "one object"
    faults.append(fault("no crowd mark", got=shown(iscrowd), taken=taken))
    return mended


def _listed(numbers: Sequence[float]) -> str:
    return ", ".join(f"{number:g}" for number in numbers)
