"""Checks one COCO annotation against its image, so that a broken one is refused before training."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import pycocotools.mask as mask_util
from detectron2.structures import BoxMode

from mask2former_mt.check.old_image_size import upright_size
from mask2former_mt.check.old_rle import check_size, is_int, looks_compressed
from mask2former_mt.structures import SubcategorySpec

# Annotation tools round outwards, and some count pixels from 1: so much beyond the image is clipped
# without a word. What lies further out was drawn on another picture, or on another size of it.
MAX_OUTSIDE_PX = 2.0
# Coordinates that are all below this lie in the picture's first pixel, or are normalised.
_MAX_NORMALIZED = 1.01
_BOX_MODE = BoxMode.XYWH_ABS
COORDINATE_UNITS = ("pixel", "normalized")


@dataclasses.dataclass(frozen=True)
class Coordinates:
    """What a dataset's numbers are; RLE is always in pixels.

    Args:
        box_coords: of `bbox`: "pixel", or "normalized" to [0, 1] by the image's width and height.
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


def check_image_header(path: str, height: float, width: float) -> None:
    """Refuses a file that is no image, or an image of another size than the JSON says.

    Only the header is read: a picture cut short is found when it is decoded.

    Args:
        path: an existing file.
        height, width: pixels that the JSON says; infinite where it says nothing usable.

    Raises:
        ValueError: names both sizes, or what the decoder says.
    """
    actual_height, actual_width = upright_size(path)
    if math.isfinite(height) and (height, width) != (actual_height, actual_width):
        raise ValueError(
            f"the JSON says {width:g}x{height:g} (width x height), the file is "
            f"{actual_width}x{actual_height}; correct the JSON, or put back the picture that was "
            "annotated"
        )


def read_annotation(
    entry: Mapping,
    *,
    height: float,
    width: float,
    contiguous_ids: Mapping[int, int],
    spec: SubcategorySpec,
    coordinates: Coordinates = PIXELS,
) -> dict:
    """Turns an entry of the JSON's `annotations` into detectron2's form.

    Args:
        entry: the JSON object; its `id` and `image_id` are the caller's to check.
        height, width: of its image, in pixels; infinite where the JSON does not tell.
        contiguous_ids: from the JSON's category id to the class index 0..K-1.
        spec: the dataset's S subcategories.
        coordinates: what the JSON's numbers are. What looks like the other unit is refused.

    Returns:
        `id`, `bbox` (xywh in pixels; the segmentation's extent where the JSON has none),
        `bbox_mode`, `segmentation` (polygons in pixels, or RLE with compressed counts),
        `category_id` (contiguous), `iscrowd`, `subcategories` (S labels in {-1, 0..K_s}).

    Raises:
        ValueError: says what was expected, what was found and the remedy; the caller adds which
            annotation it is.
    """
    get = entry.get
    category_id = get("category_id")
    if not is_int(category_id) or category_id not in contiguous_ids:
        raise ValueError(
            f"category_id {category_id!r} is not listed in 'categories'; "
            f"listed are {sorted(contiguous_ids)}"
        )
    labels = get("subcategories", {})
    if not isinstance(labels, dict):
        raise ValueError(
            f'\'subcategories\' must be an object such as {{"style": "photo"}}, got {labels!r}'
        )
    segmentation = get("segmentation")
    if isinstance(segmentation, list):
        segmentation = _read_polygons(segmentation, height, width, coordinates.polygon_coords)
    elif isinstance(segmentation, dict):
        segmentation = _read_rle(segmentation, height, width)
    else:
        raise ValueError(
            "'segmentation' must be a list of polygons or an RLE object, got "
            f"{'no such key' if 'segmentation' not in entry else repr(segmentation)}; "
            "boxes alone teach no masks: draw the outline, or remove the annotation"
        )
    if "bbox" in entry:
        box = _read_box(entry["bbox"], segmentation, height, width, coordinates.box_coords)
    else:
        box = _extent(segmentation)
    iscrowd = get("iscrowd", 0)
    if iscrowd not in (0, 1):
        raise ValueError(f"'iscrowd' must be 0 or 1, got {iscrowd!r}")
    return {
        "id": entry["id"],
        "bbox": box,
        "bbox_mode": _BOX_MODE,
        "segmentation": segmentation,
        "category_id": contiguous_ids[category_id],
        "iscrowd": int(iscrowd),
        "subcategories": spec.labels_of(labels),
    }


def scale_polygons(polygons: list[list[float]], height: float, width: float) -> list[list[float]]:
    """Takes flat polygons from [0, 1] to pixels."""
    scaled = []
    for polygon in polygons:
        in_pixels = [0.0] * len(polygon)
        in_pixels[0::2] = [x * width for x in polygon[0::2]]
        in_pixels[1::2] = [y * height for y in polygon[1::2]]
        scaled.append(in_pixels)
    return scaled


def scale_box(box: list[float], height: float, width: float) -> list[float]:
    """Takes an xywh box from [0, 1] to pixels."""
    x, y, w, h = box
    return [x * width, y * height, w * width, h * height]


def _check_inside(
    what: str,
    key: str,
    unit: str,
    corners: tuple[float, float, float, float],
    height: float,
    width: float,
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
        raise ValueError(
            f"{what} must lie in [0, 1], as '{key}: normalized' says, got x in "
            f"[{x0 / width:g}, {x1 / width:g}], y in [{y0 / height:g}, {y1 / height:g}]; "
            f"if these are pixels, write '{key}: pixel' into the dataset YAML"
        )
    raise ValueError(
        f"{what} must lie inside the image, x in [0, {width}], y in [0, {height}], got x in "
        f"[{x0:g}, {x1:g}], y in [{y0:g}, {y1:g}]; it may belong to another image or size"
    )


def _refuse_normalized(what: str, key: str, highest: float, height: float, width: float) -> None:
    raise ValueError(
        f"{what} must be in pixels of the {width:g}x{height:g} image (width x height), got no "
        f"coordinate above {highest:g}: normalised to [0, 1]? Then write '{key}: normalized' into "
        "the dataset YAML; if it is no larger than a pixel, remove the annotation"
    )


def _read_box(
    box: object, segmentation: list | Mapping, height: float, width: float, unit: str
) -> list[float]:
    """Returns xywh in pixels."""
    try:
        x, y, w, h = box
        is_sound = math.isfinite(x + y + w + h) and w >= 0 and h >= 0
    except (TypeError, ValueError, OverflowError):
        is_sound = False
    if not is_sound:
        raise ValueError(f"'bbox' must be [x, y, width, height] in pixels, got {box!r}")
    right, bottom = x + w, y + h
    # Nearly all are well inside; what is not, or may be of another unit, takes the longer way.
    if unit == "pixel" and x >= 0 and y >= 0 and 2 <= right <= width and 2 <= bottom <= height:
        return box
    if unit == "normalized":
        if not math.isfinite(height):
            return _extent(segmentation)  # the image's entry is refused already
        box = scale_box(box, height, width)
        x, y, right, bottom = x * width, y * height, right * width, bottom * height
    elif right <= _MAX_NORMALIZED and bottom <= _MAX_NORMALIZED and w > 0 and h > 0:
        # An object may really be one pixel large; its mask tells.
        x0, y0, mask_width, mask_height = _extent(segmentation)
        if max(x0 + mask_width, y0 + mask_height) > _MAX_NORMALIZED:
            _refuse_normalized("'bbox'", "box_coords", max(right, bottom), height, width)
    _check_inside("'bbox'", "box_coords", unit, (x, y, right, bottom), height, width)
    return box


def _extent(segmentation: list | Mapping) -> list[float]:
    """Of checked polygons or RLE in pixels, xywh."""
    if isinstance(segmentation, Mapping):
        return [float(v) for v in mask_util.toBbox(segmentation)]
    xs, ys = segmentation[0][0::2], segmentation[0][1::2]
    for polygon in segmentation[1:]:
        xs += polygon[0::2]
        ys += polygon[1::2]
    x, y = min(xs), min(ys)
    return [x, y, max(xs) - x, max(ys) - y]


def _read_polygons(polygons: list, height: float, width: float, unit: str) -> list:
    """Returns them in pixels. Few calls for each: a file may hold a hundred thousand."""
    if not polygons:
        raise ValueError("'segmentation' is empty; draw the outline, or remove the annotation")
    lowest, highest = math.inf, -math.inf
    for polygon in polygons:
        try:
            length = len(polygon)
            is_sound = length % 2 == 0 and math.isfinite(sum(polygon))
        except (TypeError, OverflowError):
            is_sound = False
        if not is_sound:
            raise ValueError(
                "a polygon must be a flat list of finite numbers [x1, y1, x2, y2, ...], "
                f"got {str(polygon)[:80]}"
            )
        if length < 6:
            raise ValueError(
                f"a polygon needs at least 3 points, got {length // 2}: {polygon}; "
                "remove it or draw it again"
            )
        if (low := min(polygon)) < lowest:
            lowest = low
        if (high := max(polygon)) > highest:
            highest = high
    if unit == "normalized":
        if not math.isfinite(height):
            return polygons  # the image's entry is refused already
        polygons = scale_polygons(polygons, height, width)
    elif highest <= _MAX_NORMALIZED and max(height, width) > 1:
        _refuse_normalized("a polygon", "polygon_coords", highest, height, width)
    elif lowest >= -MAX_OUTSIDE_PX:
        # Nearly all are well inside; what is not takes the longer way.
        if highest <= height and highest <= width:
            return polygons
        if highest <= (width if width > height else height):
            shorter, axis = (height, 1) if width > height else (width, 0)
            if len(polygons) == 1 and max(polygons[0][axis::2]) <= shorter:
                return polygons
    x, y, w, h = _extent(polygons)
    _check_inside("a polygon", "polygon_coords", unit, (x, y, x + w, y + h), height, width)
    return polygons


def _read_rle(rle: dict, height: float, width: float) -> dict:
    """Returns the compressed RLE. That its lengths add up is checked for many at once."""
    size, counts = rle.get("size"), rle.get("counts")
    if size != [height, width] and math.isfinite(height):
        raise ValueError(
            f"RLE size must be the image's [height, width] = [{height}, {width}], got {size!r}"
        )
    num_pixels = math.prod(check_size(size, "RLE size"))
    if isinstance(counts, list):
        if not all(is_int(c) and c >= 0 for c in counts) or sum(counts) != num_pixels:
            raise ValueError(
                f"RLE counts must be run lengths that add up to height * width = {num_pixels}, "
                f"got {str(counts)[:80]}"
            )
        rle = mask_util.frPyObjects(rle, *size)
    elif not looks_compressed(counts):
        raise ValueError(
            f"RLE counts must be a list of run lengths or COCO's compressed text, got "
            f"{str(counts)[:80]!r}"
        )
    area = int(mask_util.area(rle))
    if area == 0:
        raise ValueError("the RLE has no pixel; draw the object, or remove the annotation")
    if area > num_pixels:
        raise ValueError(
            f"the RLE must cover at most height * width = {num_pixels} pixels, got {area}; "
            "its counts are damaged, export it again"
        )
    return rle
