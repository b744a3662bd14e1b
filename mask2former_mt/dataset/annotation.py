"""Reads an entry of `annotations` into detectron2's form, and says all that is wrong with it.

Nearly all entries of a file are sound, and there may be a million of them: what is usual is told
from what is not by few and cheap comparisons.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import NamedTuple

import pycocotools.mask as mask_util
from detectron2.structures import BoxMode

from mask2former_mt.dataset.document import Header
from mask2former_mt.dataset.problems import ERROR, WARNING, shown
from mask2former_mt.dataset.rle import compressed, is_int
from mask2former_mt.structures import UNKNOWN

# Annotation tools round outwards, and some count pixels from 1: so much beyond the image is clipped
# without a word. What lies further out was drawn on another picture, or on another size of it.
MAX_OUTSIDE_PX = 2.0
# Coordinates that are all below this lie in the picture's first pixel, or are normalised.
_MAX_NORMALIZED = 1.01
_BOX_MODE = BoxMode.XYWH_ABS
# JSON knows integers that no float can hold: what is larger is no coordinate, and sums of what is
# not are still floats.
_LARGEST = 1e300
COORDINATE_UNITS = ("pixel", "normalized")


@dataclasses.dataclass(frozen=True)
class Coordinates:
    """The units of a dataset's numbers; RLE is always in pixels.

    Args:
        box_coords: unit of `bbox`: "pixel", or "normalized" to [0, 1] by the image's width and
            height.
        polygon_coords: the same of polygons.

    Raises:
        ValueError: another unit.
    """

    box_coords: str = "pixel"
    polygon_coords: str = "pixel"

    def __post_init__(self) -> None:
        for key, unit in dataclasses.asdict(self).items():
            if unit not in COORDINATE_UNITS:
                raise ValueError(f"{key!r} must be 'pixel' or 'normalized', got {unit!r}")


PIXELS = Coordinates()


class Fault(NamedTuple):
    """A problem without its place; see `Problem`."""

    kind: str
    message: str
    remedy: str = ""
    severity: str = ERROR


class AnnotationReader:
    """Reads the annotations of one file.

    Args:
        header: classes and subcategories; None if the file's own cannot be used: then nothing is
            said of labels.
        coordinates: units of the JSON's numbers. What looks like the other unit is a fault.
    """

    def __init__(self, header: Header | None, coordinates: Coordinates) -> None:
        self._header = header
        self._coordinates = coordinates
        # A dataset has few combinations of labels, each of which is looked up once.
        self._known_labels: dict[str, list[int]] = {}

    def read(self, entry: Mapping, height: float, width: float) -> tuple[dict, list[Fault]]:
        """Turns an entry into detectron2's form.

        Args:
            entry: the JSON object; its `id` and `image_id` are the caller's to check.
            height, width: of its image, in pixels; infinite where the JSON does not tell.

        Returns:
            `id`, `bbox` (xywh in pixels; the segmentation's extent where the JSON has none, which
            `has_bbox` says), `bbox_mode`, `segmentation` (polygons in pixels, or RLE with
            compressed counts, whose lengths may not add up), `category_id` (contiguous), `iscrowd`,
            `area` (as the JSON says, in pixels; None where it does not), `subcategories` (S labels
            in {-1, 0..K_s}). And what is wrong with it: after an error a part may be None, or hold
            only what could be read.
        """
        faults: list[Fault] = []
        get = entry.get
        segmentation = get("segmentation")
        if isinstance(segmentation, list):
            segmentation = self._polygons(segmentation, height, width, faults)
        elif isinstance(segmentation, dict):
            segmentation = _rle(segmentation, height, width, faults)
        else:
            got = repr(segmentation) if "segmentation" in entry else "no such key"
            faults.append(
                Fault(
                    "bad-annotation",
                    f"'segmentation' must be a list of polygons or an RLE object, got {got[:80]}",
                    "boxes alone teach no masks: draw the outline, or remove the annotation",
                )
            )
            segmentation = None
        if "bbox" in entry:
            box = self._box(entry["bbox"], segmentation, height, width, faults)
        else:
            box = extent_of(segmentation) if segmentation else None
        iscrowd = get("iscrowd", 0)
        if iscrowd not in (0, 1):
            faults.append(
                Fault("bad-annotation", f"'iscrowd' must be 0 or 1, got {shown(iscrowd)}")
            )
            iscrowd = 0
        category, labels = None, None
        if self._header is not None:
            category = self._class(get("category_id"), faults)
            labels = self._labels(get("subcategories", {}), faults)
        return {
            "id": get("id"),
            "bbox": box,
            "has_bbox": "bbox" in entry,
            "bbox_mode": _BOX_MODE,
            "segmentation": segmentation,
            "category_id": category,
            "iscrowd": int(iscrowd),
            "area": self._area(get("area"), faults),
            "subcategories": labels,
        }, faults

    def _class(self, category_id: object, faults: list[Fault]) -> int | None:
        if is_int(category_id) and category_id in self._header.contiguous_ids:
            return self._header.contiguous_ids[category_id]
        faults.append(
            Fault(
                "unknown-category",
                f"category_id {shown(category_id)} is not listed in 'categories'; listed are "
                f"{shown(list(self._header.category_ids))}",
                "add it there, or correct the annotation",
            )
        )
        return None

    def _labels(self, labels: object, faults: list[Fault]) -> list[int] | None:
        """S labels in {-1, 0..K_s}."""
        # Written out, because True equals 1, and only one of them is a label.
        key = shown(labels) if not isinstance(labels, dict) else repr(labels)
        known = self._known_labels.get(key)
        if known is not None:
            return list(known)
        if not isinstance(labels, dict):
            faults.append(
                Fault(
                    "unknown-subcategory",
                    f'\'subcategories\' must be an object such as {{"style": "photo"}}, got {key}',
                    "correct the annotation",
                )
            )
            return None
        spec, found = self._header.spec, len(faults)
        for name in labels:
            if name not in spec.names:
                faults.append(
                    Fault(
                        "unknown-subcategory",
                        f"subcategory {shown(name)} is not listed; listed are {list(spec.names)}",
                        "add it to the file's 'subcategories', or correct the annotation",
                    )
                )
        values = []
        for subcategory in spec:
            try:
                has_label = subcategory.name in labels
                values.append(
                    subcategory.value_index(labels[subcategory.name]) if has_label else UNKNOWN
                )
            except (ValueError, RecursionError) as error:
                remedy = "add it to 'values', or correct the annotation"
                faults.append(Fault("unknown-value", str(error), remedy))
        if len(faults) > found:
            return None
        self._known_labels[key] = values
        return list(values)

    def _area(self, area: object, faults: list[Fault]) -> float | None:
        # Nobody says what the area of a normalised outline is normalised by.
        if area is None or self._coordinates.polygon_coords == "normalized":
            return None
        try:
            if type(area) in (int, float) and math.isfinite(area):
                return area
        except OverflowError:
            pass
        faults.append(
            Fault(
                "area-unlike-mask",
                f"'area' is {shown(area)}, which is no number of pixels",
                "remove it: it is taken from the mask then",
                WARNING,
            )
        )
        return None

    def _polygons(
        self, polygons: list, height: float, width: float, faults: list[Fault]
    ) -> list | None:
        """The sound ones in pixels; None without any."""
        unit = self._coordinates.polygon_coords
        lowest, highest = math.inf, -math.inf
        damaged = []
        for polygon in polygons:
            try:
                length = len(polygon)
                is_sound = type(polygon) is list and length % 2 == 0 and math.isfinite(sum(polygon))
            except (TypeError, OverflowError):
                is_sound = False
            if is_sound and length >= 6:
                # Integers that no float can hold may have a sum that one can.
                low, high = min(polygon), max(polygon)
                is_sound = low >= -_LARGEST and high <= _LARGEST
            if not is_sound or length < 6:
                damaged.append(polygon)
                faults.append(_damaged_polygon(polygon, is_list_of_numbers=is_sound))
                continue
            if low < lowest:
                lowest = low
            if high > highest:
                highest = high
        if damaged or not polygons:
            if not polygons:
                remedy = "draw the outline, or remove the annotation"
                faults.append(Fault("zero-area", "'segmentation' is empty", remedy))
            polygons = [p for p in polygons if not any(p is d for d in damaged)]
            if not polygons:
                return None
        if unit == "normalized":
            if not math.isfinite(height):
                return None  # the image's entry is refused already
            polygons = [
                [v * (height if i % 2 else width) for i, v in enumerate(polygon)]
                for polygon in polygons
            ]
        elif highest <= _MAX_NORMALIZED and max(height, width) > 1:
            faults.append(
                _maybe_normalized("bad-polygon", "a polygon", "polygon_coords", highest, width)
            )
            return polygons
        elif lowest >= -MAX_OUTSIDE_PX:
            # Nearly all are well inside; what is not takes the longer way.
            if highest <= height and highest <= width:
                return polygons
            if highest <= (width if width > height else height):
                shorter, axis = (height, 1) if width > height else (width, 0)
                if len(polygons) == 1 and max(polygons[0][axis::2]) <= shorter:
                    return polygons
        x, y, w, h = extent_of(polygons)
        corners = (x, y, x + w, y + h)
        _check_inside("a polygon", "polygon_coords", unit, corners, height, width, faults)
        return polygons

    def _box(
        self,
        box: object,
        segmentation: list | Mapping | None,
        height: float,
        width: float,
        faults: list[Fault],
    ) -> list[float] | None:
        """xywh in pixels."""
        unit = self._coordinates.box_coords
        try:
            x, y, w, h = box
            is_sound = (
                -_LARGEST <= x <= _LARGEST
                and -_LARGEST <= y <= _LARGEST
                and 0 <= w <= _LARGEST
                and 0 <= h <= _LARGEST
            )
        except (TypeError, ValueError):
            is_sound = False
        if not is_sound:
            message = f"'bbox' must be [x, y, width, height] in pixels, got {shown(box)}"
            faults.append(Fault("bad-box", message, "remove it: it is taken from the mask then"))
            return None
        right, bottom = x + w, y + h
        # Nearly all are well inside; what is not, or may be of another unit, takes the longer way.
        if unit == "pixel" and x >= 0 and y >= 0 and 2 <= right <= width and 2 <= bottom <= height:
            return box
        if unit == "normalized":
            if not math.isfinite(height):
                return None  # the image's entry is refused already
            box = [x * width, y * height, w * width, h * height]
            x, y, right, bottom = x * width, y * height, right * width, bottom * height
        elif max(right, bottom) <= _MAX_NORMALIZED and w > 0 and h > 0 and segmentation:
            # An object may really be one pixel large; its mask tells.
            x0, y0, mask_width, mask_height = extent_of(segmentation)
            if max(x0 + mask_width, y0 + mask_height) > _MAX_NORMALIZED:
                most = max(right, bottom)
                faults.append(_maybe_normalized("bad-box", "'bbox'", "box_coords", most, width))
                return box
        corners = (x, y, right, bottom)
        _check_inside("'bbox'", "box_coords", unit, corners, height, width, faults)
        return box


def extent_of(segmentation: list | Mapping) -> list[float]:
    """The extent of polygons or of a compressed RLE, xywh in their own unit."""
    if isinstance(segmentation, Mapping):
        return [float(v) for v in mask_util.toBbox(segmentation)]
    xs, ys = segmentation[0][0::2], segmentation[0][1::2]
    for polygon in segmentation[1:]:
        xs += polygon[0::2]
        ys += polygon[1::2]
    x, y = min(xs), min(ys)
    return [x, y, max(xs) - x, max(ys) - y]


def _rle(rle: dict, height: float, width: float, faults: list[Fault]) -> dict | None:
    """The compressed RLE; that its lengths add up is checked for many at once."""
    size = rle.get("size")
    if size != [height, width] and math.isfinite(height) and isinstance(size, list):
        message = f"RLE size must be the image's [height, width] = [{height}, {width}], got {size}"
        remedy = "export it again for this picture"
        faults.append(Fault("rle-size-mismatch", message[:200], remedy))
        return None
    try:
        rle = compressed(rle)
    except ValueError as error:
        faults.append(Fault("bad-rle", str(error), "export it again"))
        return None
    area, num_pixels = int(mask_util.area(rle)), math.prod(rle["size"])
    if area == 0:
        remedy = "draw the object, or remove the annotation"
        faults.append(Fault("zero-area", "the RLE has no pixel", remedy))
        return None
    if area > num_pixels:
        message = f"the RLE must cover at most height * width = {num_pixels} pixels, got {area}"
        faults.append(Fault("bad-rle", message, "its counts are damaged, export it again"))
        return None
    return rle


def _damaged_polygon(polygon: object, *, is_list_of_numbers: bool) -> Fault:
    if is_list_of_numbers:
        return Fault(
            "too-few-points",
            f"a polygon needs at least 3 points, got {len(polygon) // 2}: {shown(polygon)}",
            "remove it or draw it again",
        )
    return Fault(
        "bad-polygon",
        "a polygon must be a flat list of finite numbers [x1, y1, x2, y2, ...], got "
        f"{shown(polygon)}",
        "export it again",
    )


def _check_inside(
    what: str,
    key: str,
    unit: str,
    corners: tuple[float, float, float, float],
    height: float,
    width: float,
    faults: list[Fault],
) -> None:
    """Checks xyxy in pixels; `key` and `unit` say what the JSON's numbers were said to be."""
    x0, y0, x1, y1 = corners
    if (
        x0 >= -MAX_OUTSIDE_PX
        and y0 >= -MAX_OUTSIDE_PX
        and x1 <= width + MAX_OUTSIDE_PX
        and y1 <= height + MAX_OUTSIDE_PX
    ):
        return
    if unit == "normalized":
        message = (
            f"{what} must lie in [0, 1], as '{key}: normalized' says, got x in "
            f"[{x0 / width:g}, {x1 / width:g}], y in [{y0 / height:g}, {y1 / height:g}]"
        )
        remedy = f"if these are pixels, write '{key}: pixel' into the dataset YAML"
    else:
        message = (
            f"{what} must lie inside the image, x in [0, {width}], y in [0, {height}], got x in "
            f"[{x0:g}, {x1:g}], y in [{y0:g}, {y1:g}]"
        )
        remedy = "it may belong to another image or size: draw it again"
    faults.append(Fault("out-of-bounds", message, remedy))


def _maybe_normalized(kind: str, what: str, key: str, highest: float, width: float) -> Fault:
    return Fault(
        kind,
        f"{what} must be in pixels of the image, {width:g} wide, got no coordinate above "
        f"{highest:g}: normalised to [0, 1]?",
        f"then write '{key}: normalized' into the dataset YAML; if it is no larger than a pixel, "
        "remove the annotation",
    )
