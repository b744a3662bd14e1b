"""Reads an entry of `annotations` into detectron2's form, and says all that is wrong with it.

The outline decides: box, area and crowd mark that are missing or wrong are taken from it. Nearly
all entries of a file are sound, and there may be a million of them: what is usual is told from what
is not by few and cheap comparisons.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence

import pycocotools.mask as mask_util
from detectron2.structures import BoxMode

from mask2former_mt.dataset.annotation_faults import Fault, fault
from mask2former_mt.dataset.document import Header
from mask2former_mt.dataset.problems import ERROR, shown
from mask2former_mt.dataset.rle import as_id, compressed, faults_of_counts
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
# A box is unlike its mask if one of its sides is off by more pixels and the two overlap by less.
_MAX_BOX_OFF_PX = 2.0
_MIN_BOX_IOU = 0.95
# A polygon's points.
_MIN_POINTS = 3

# x0, y0, x1, y1 of an extent, in pixels
Corners = tuple[float, float, float, float]


@dataclasses.dataclass(frozen=True)
class Conventions:
    """How a dataset's JSON means its numbers and marks; RLE is always in pixels.

    Args:
        box_coords: unit of `bbox`: "pixel", or "normalized" to [0, 1] by the image's width and
            height.
        polygon_coords: the same of polygons.
        crowd: what `"iscrowd": 1` means: "keep", a crowd, which training leaves out; or "object",
            one object, as tools mark their brush masks.
        holes: what a polygon inside another one of the same object is: "fill", a part, which COCO's
            union fills; or "even-odd", a hole.

    Raises:
        ValueError: another value.
    """

    box_coords: str = "pixel"
    polygon_coords: str = "pixel"
    crowd: str = "keep"
    holes: str = "fill"

    def __post_init__(self) -> None:
        for key, value in dataclasses.asdict(self).items():
            if value not in CONVENTION_CHOICES[key]:
                choices = " or ".join(map(repr, CONVENTION_CHOICES[key]))
                raise ValueError(f"{key!r} must be {choices}, got {value!r}")


_UNITS = ("pixel", "normalized")
CONVENTION_CHOICES = {
    "box_coords": _UNITS,
    "polygon_coords": _UNITS,
    "crowd": ("keep", "object"),
    "holes": ("fill", "even-odd"),
}
COCO_CONVENTIONS = Conventions()


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
        elif isinstance(segmentation, dict):
            segmentation, corners = _rle(segmentation, height, width, faults)
        else:
            got = repr(segmentation)[:80] if "segmentation" in entry else "no such key"
            faults.append(fault("no outline", got=got))
            segmentation = None
        box = None
        if "bbox" in entry:
            box = entry["bbox"]
            if faults and any(f.severity == ERROR for f in faults):
                # An outline in doubt says nothing of the box.
                box = box if _are_numbers(box) and len(box) == 4 else None
            else:
                box = self._box(box, segmentation, corners, height, width, faults)
                if box is None and isinstance(segmentation, dict):
                    # A text cut short has another extent than the whole one.
                    for _, message in faults_of_counts([segmentation]):
                        faults, segmentation = [Fault("bad-rle", message)], None
        has_box = box is not None
        if not has_box and corners is not None:
            x0, y0, x1, y1 = corners
            box = [x0, y0, x1 - x0, y1 - y0]
        iscrowd = get("iscrowd", 0)
        if iscrowd not in (0, 1):
            iscrowd = _mended_crowd_mark(iscrowd, faults)
        if iscrowd and self._conventions.crowd == "object":
            iscrowd = 0
        category, labels = None, None
        if self._header is not None:
            category = self._class(get("category_id"), faults)
            labels = self._labels(get("subcategories", {}), category, faults)
        return {
            "id": get("id"),
            "bbox": box,
            "has_bbox": has_box,
            "bbox_mode": _BOX_MODE,
            "segmentation": segmentation,
            "category_id": category,
            "iscrowd": int(iscrowd),
            "area": self._area(entry["area"], height, width, faults) if "area" in entry else None,
            "subcategories": labels,
        }, faults

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
        most = min(height * width, _LARGEST)
        if type(area) in (int, float) and 0 < area <= most:
            return area
        faults.append(fault("no area", most=most, got=shown(area)))
        return None

    def _polygons(
        self, polygons: list, height: float, width: float, faults: list[Fault]
    ) -> tuple[list | None, Corners | None]:
        """The sound ones in pixels, and their extent; None without any."""
        corners = _corners_of(polygons)
        if corners is None:
            polygons = _mended_polygons(polygons, faults)
            corners = _corners_of(polygons)
            if corners is None:
                return None, None
        if self._conventions.holes == "even-odd" and len(polygons) > 1:
            polygons = with_holes(polygons)
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
        segmentation: list | Mapping,
        corners: Corners,
        height: float,
        width: float,
        faults: list[Fault],
    ) -> list[float] | None:
        """xywh in pixels; None if it is to be taken from the outline."""
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
            is_box = w >= 0 and h >= 0 and all(-_LARGEST <= v <= _LARGEST for v in (x, y, w, h))
        except (TypeError, ValueError, OverflowError):
            is_box = False
        if not is_box:
            faults.append(fault("no box", got=shown(box)))
            return None
        if isinstance(segmentation, list):
            # A part that encloses nothing has no box.
            parts = [polygon for polygon in segmentation if _enclosed(polygon)]
            x0, y0, x1, y1 = _corners_of(parts) or corners
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


def with_holes(polygons: list[list[float]]) -> list[list[float]]:
    """Polygons of which those that lie within another one are holes of it.

    Args:
        polygons: of one object, each [x1, y1, ...].

    Returns:
        Polygons of which COCO's union is what the even-odd rule makes of the given ones: a hole is
        joined to its outline by a seam, which is run along twice and so encloses nothing.
    """
    boxes = [_corners_of([polygon]) for polygon in polygons]
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
    x0, y0, x1, y1 = _corners_of(segmentation)
    return [x0, y0, x1 - x0, y1 - y0]


def _corners_of(polygons: Sequence) -> Corners | None:
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
    is_sound = x0 <= x1 and min(x0, y0) >= -_LARGEST and max(x1, y1) <= _LARGEST
    return (x0, y0, x1, y1) if is_sound else None


def _mended_polygons(polygons: list, faults: list[Fault]) -> list:
    """The polygons that were meant, without degenerate ones: empty where any is damaged beyond."""
    if not polygons:
        faults.append(fault("empty outline"))
        return []
    if not any(isinstance(polygon, list) for polygon in polygons):
        if _corners_of([polygons]) is None:
            faults.append(fault("damaged polygon", got=shown(polygons)))
            return []
        faults.append(fault("flat list"))
        return [polygons]
    if len(polygons) >= _MIN_POINTS and _are_points(polygons):
        polygons = [polygons]
    if any(map(_are_points, polygons)):
        faults.append(fault("list of points"))
        polygons = [[*itertools.chain(*p)] if _are_points(p) else p for p in polygons]
    sound = [p for p in polygons if _are_numbers(p) and len(p) % 2 == 0]
    damaged = [p for p in polygons if not _are_numbers(p) or len(p) % 2]
    short = [p for p in sound if len(p) < 2 * _MIN_POINTS]
    kept = [p for p in sound if len(p) >= 2 * _MIN_POINTS]
    if damaged:
        faults.append(fault("damaged polygon", got=shown(damaged[0])))
    if short:
        name = "short part" if kept else "only short parts"
        faults.append(fault(name, number=len(short[0]) // 2, got=shown(short[0])))
    return kept


def _enclosed(polygon: list[float]) -> float:
    """Twice what a polygon encloses, by the shoelace formula; its sign tells the direction."""
    xs, ys = polygon[0::2], polygon[1::2]
    return sum(xs[i - 1] * y - x * ys[i - 1] for i, (x, y) in enumerate(zip(xs, ys, strict=True)))


def _are_numbers(value: object) -> bool:
    """Whether a JSON value is a list of finite numbers."""
    return isinstance(value, list) and all(
        isinstance(number, (int, float)) and -_LARGEST <= number <= _LARGEST for number in value
    )


def _are_points(value: object) -> bool:
    """Whether a JSON value is a list of points [x, y]."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(_are_numbers(point) and len(point) == 2 for point in value)
    )


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
