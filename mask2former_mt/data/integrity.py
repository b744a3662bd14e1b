"""Checks one COCO annotation against its image, so that a broken one is refused before training."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pycocotools.mask as mask_util
from detectron2.structures import BoxMode
from PIL import ExifTags, Image

from mask2former_mt.structures import SubcategorySpec

# Annotation tools round outwards, and some count pixels from 1: so much beyond the image is clipped
# without a word. What lies further out was drawn on another picture, or on another size of it.
MAX_OUTSIDE_PX = 2.0


def is_int(value: object) -> bool:
    """Whether a JSON value is an integer; in Python a bool is one too, which JSON does not mean."""
    return isinstance(value, int) and not isinstance(value, bool)


def check_image_header(path: str, height: float, width: float) -> None:
    """Refuses a file that is no image, or an image of another size than the JSON says.

    Only the header is read: a picture cut short is found when it is decoded.

    Args:
        path: an existing file.
        height, width: pixels that the JSON says; infinite where it says nothing usable.

    Raises:
        ValueError: names both sizes, or what the decoder says.
    """
    try:
        with Image.open(path) as image:
            size = image.size
            # These EXIF orientations turn the picture by a quarter, as reading it will.
            turned = image.getexif().get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"the file cannot be read as an image: {error}") from error
    actual = size[::-1] if turned else size
    if math.isfinite(height) and (width, height) != actual:
        raise ValueError(
            f"the JSON says {width:g}x{height:g} (width x height), the file is "
            f"{actual[0]}x{actual[1]}; correct the JSON, or put back the picture that was annotated"
        )


def read_annotation(
    entry: Mapping,
    *,
    height: float,
    width: float,
    contiguous_ids: Mapping[int, int],
    spec: SubcategorySpec,
) -> dict:
    """Turns an entry of the JSON's `annotations` into detectron2's form.

    Args:
        entry: the JSON object; its `id` and `image_id` are the caller's to check.
        height, width: of its image, in pixels; infinite where the JSON does not tell.
        contiguous_ids: from the JSON's category id to the class index 0..K-1.
        spec: the dataset's S subcategories.

    Returns:
        `id`, `bbox` (xywh in pixels; the segmentation's extent where the JSON has none),
        `bbox_mode`, `segmentation` (polygons, or RLE with compressed counts), `category_id`
        (contiguous), `iscrowd`, `subcategories` (S labels in {-1, 0..K_s}).

    Raises:
        ValueError: says what was expected, what was found and the remedy; the caller adds which
            annotation it is.
    """
    category_id = entry.get("category_id")
    if not is_int(category_id) or category_id not in contiguous_ids:
        raise ValueError(
            f"category_id {category_id!r} is not listed in 'categories'; "
            f"listed are {sorted(contiguous_ids)}"
        )
    labels = entry.get("subcategories", {})
    if not isinstance(labels, dict):
        raise ValueError(
            f'\'subcategories\' must be an object such as {{"style": "photo"}}, got {labels!r}'
        )
    segmentation = entry.get("segmentation")
    if isinstance(segmentation, list):
        extent = _check_polygons(segmentation, height, width)
    elif isinstance(segmentation, dict):
        segmentation, extent = _check_rle(segmentation, height, width)
    else:
        raise ValueError(
            "'segmentation' must be a list of polygons or an RLE object, got "
            f"{'no such key' if 'segmentation' not in entry else repr(segmentation)}; "
            "boxes alone teach no masks: draw the outline, or remove the annotation"
        )
    box = entry.get("bbox", extent)
    _check_box(box, height, width)
    iscrowd = entry.get("iscrowd", 0)
    if iscrowd not in (0, 1):
        raise ValueError(f"'iscrowd' must be 0 or 1, got {iscrowd!r}")
    return {
        "id": entry["id"],
        "bbox": box,
        "bbox_mode": BoxMode.XYWH_ABS,
        "segmentation": segmentation,
        "category_id": contiguous_ids[category_id],
        "iscrowd": int(iscrowd),
        "subcategories": spec.labels_of(labels),
    }


def _check_inside(
    what: str, x0: float, y0: float, x1: float, y1: float, height: float, width: float
) -> None:
    if (
        x0 < -MAX_OUTSIDE_PX
        or y0 < -MAX_OUTSIDE_PX
        or x1 > width + MAX_OUTSIDE_PX
        or y1 > height + MAX_OUTSIDE_PX
    ):
        raise ValueError(
            f"{what} must lie inside the image, x in [0, {width}], y in [0, {height}], got x in "
            f"[{x0:g}, {x1:g}], y in [{y0:g}, {y1:g}]; it may belong to another image or size"
        )


def _check_box(box: object, height: float, width: float) -> None:
    try:
        x, y, w, h = box
        is_sound = math.isfinite(x + y + w + h) and w >= 0 and h >= 0
    except (TypeError, ValueError):
        is_sound = False
    if not is_sound:
        raise ValueError(f"'bbox' must be [x, y, width, height] in pixels, got {box!r}")
    _check_inside("'bbox'", x, y, x + w, y + h, height, width)


def _check_polygons(polygons: list, height: float, width: float) -> list[float]:
    """Returns the extent, xywh in pixels."""
    if not polygons:
        raise ValueError("'segmentation' is empty; draw the outline, or remove the annotation")
    x0 = y0 = math.inf
    x1 = y1 = -math.inf
    for polygon in polygons:
        try:
            is_sound = len(polygon) % 2 == 0 and math.isfinite(sum(polygon))
        except TypeError:
            is_sound = False
        if not is_sound:
            raise ValueError(
                "a polygon must be a flat list of finite numbers [x1, y1, x2, y2, ...], "
                f"got {str(polygon)[:80]}"
            )
        if len(polygon) < 6:
            raise ValueError(
                f"a polygon needs at least 3 points, got {len(polygon) // 2}: {polygon}; "
                "remove it or draw it again"
            )
        xs, ys = polygon[0::2], polygon[1::2]
        x0, x1 = min(x0, min(xs)), max(x1, max(xs))
        y0, y1 = min(y0, min(ys)), max(y1, max(ys))
    _check_inside("a polygon", x0, y0, x1, y1, height, width)
    return [x0, y0, x1 - x0, y1 - y0]


def _check_rle(rle: dict, height: float, width: float) -> tuple[dict, list[float]]:
    """Returns the compressed RLE and the extent, xywh in pixels."""
    size, counts = rle.get("size"), rle.get("counts")
    if size != [height, width] and math.isfinite(height):
        raise ValueError(
            f"RLE size must be the image's [height, width] = [{height}, {width}], got {size!r}"
        )
    if not isinstance(size, list) or len(size) != 2 or not all(map(is_int, size)):
        raise ValueError(f"RLE size must be [height, width], got {size!r}")
    if isinstance(counts, list):
        if not all(is_int(c) and c >= 0 for c in counts) or sum(counts) != size[0] * size[1]:
            raise ValueError(
                "RLE counts must be run lengths that add up to height * width = "
                f"{size[0] * size[1]}, got {str(counts)[:80]}"
            )
        rle = mask_util.frPyObjects(rle, *size)
    elif not isinstance(counts, str) or not _is_compressed_rle(counts):
        raise ValueError(
            f"RLE counts must be a list of run lengths or COCO's compressed text, got "
            f"{str(counts)[:80]!r}"
        )
    area = int(mask_util.area(rle))
    if area == 0:
        raise ValueError("the RLE has no pixel; draw the object, or remove the annotation")
    if area > size[0] * size[1]:
        raise ValueError(
            f"the RLE must cover at most height * width = {size[0] * size[1]} pixels, got {area}; "
            "its counts are damaged, export it again"
        )
    return rle, [float(v) for v in mask_util.toBbox(rle)]


def _is_compressed_rle(counts: str) -> bool:
    # Each character carries 6 bits from "0" on; bit 5 says that the run length goes on. The C code
    # that reads them checks neither, and a text cut short makes it read past the end.
    return (
        bool(counts)
        and min(counts) >= "0"
        and max(counts) <= "o"
        and not (ord(counts[-1]) - 48) & 0x20
    )
