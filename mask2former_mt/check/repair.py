"""Repairs what can be repaired without guessing; everything else stays as it is.

What is repaired:
- a part of an outline that has fewer than 3 points or no area is taken out, if others remain;
- an outline that leaves the picture by at most `MAX_OUTSIDE_PX` is moved to its edge, as training
  does;
- `bbox` and `area` that do not fit the mask, or are no numbers, are taken from it;
- an object that is annotated twice, all the same, is left in once;
- an annotation whose id is no integer or is used already gets a new one;
- an entry of `images` that is there twice, all the same, is left in once.
"""

from __future__ import annotations

import collections
import copy
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mask2former_mt.check.annotation_rules import scan_annotation
from mask2former_mt.check.files_to_check import Split
from mask2former_mt.check.findings import shown
from mask2former_mt.check.geometry import read_outline
from mask2former_mt.check.old_annotation import MAX_OUTSIDE_PX, Coordinates
from mask2former_mt.check.old_document import read_document
from mask2former_mt.check.old_rle import MAX_SIDE, is_int
from mask2former_mt.check.shape_rules import Problem, Shape, scan_segmentation
from mask2former_mt.files import write_whole

_OUTLINE_KINDS = {"too-few-points", "zero-area", "out-of-bounds"}
_BOX_KINDS = {"bad-box", "box-unlike-mask", "out-of-bounds"}
_DECIMALS = 2  # of a pixel
_NORMALIZED_DECIMALS = 6


def clean_document(
    document: Mapping, coordinates: Coordinates
) -> tuple[dict, collections.Counter[str]]:
    """Repairs a COCO document.

    Args:
        document: as `read_document` gives it; stays as it is.
        coordinates: what its numbers are; the result's are the same.

    Returns:
        The repaired document, and how often which repair was made.
    """
    repairs: collections.Counter[str] = collections.Counter()
    cleaned = {**document, "images": [], "annotations": []}
    sizes: dict[int, tuple[int, int]] = {}
    listed: dict[int, list[Mapping]] = {}
    for image in document["images"]:
        image_id = image.get("id")
        if is_int(image_id):
            if image in listed.setdefault(image_id, []):
                repairs["entry of 'images' that was there twice: left in once"] += 1
                continue
            listed[image_id].append(image)
            size = (image.get("height"), image.get("width"))
            if all(is_int(side) and 0 < side <= MAX_SIDE for side in size):
                sizes.setdefault(image_id, size)
        cleaned["images"].append(image)
    used_ids = {entry["id"] for entry in document["annotations"] if is_int(entry.get("id"))}
    next_id = max(used_ids, default=0) + 1
    taken = set()
    known: dict[tuple, list[Mapping]] = {}
    for original in document["annotations"]:
        entry = copy.deepcopy(original)
        image_id = entry.get("image_id")
        size = sizes.get(image_id) if is_int(image_id) else None
        if size is not None:
            _clean_annotation(entry, size, coordinates, repairs)
        if is_double(entry, known):
            repairs["object that was annotated twice: left in once"] += 1
            continue
        if not is_int(entry.get("id")) or entry["id"] in taken:
            entry["id"] = next_id
            next_id += 1
            repairs["annotation id that was missing or used twice: a new one"] += 1
        taken.add(entry["id"])
        cleaned["annotations"].append(entry)
    return cleaned, repairs


def is_double(entry: Mapping, known: dict[tuple, list[Mapping]]) -> bool:
    """Whether an annotation says the same of the same pixels as an earlier one; remembers it.

    Args:
        entry: the JSON object.
        known: the earlier ones; by what is quickly compared.
    """
    segmentation = entry.get("segmentation")
    if not segmentation or not isinstance(segmentation, (list, dict)):
        return False
    start = segmentation.get("counts") if isinstance(segmentation, dict) else segmentation[0]
    start = start[:8] if isinstance(start, (list, str)) else None
    key = (shown(entry.get("image_id")), shown(entry.get("category_id")), shown(start))
    others = known.setdefault(key, [])
    fields = ("segmentation", "subcategories", "iscrowd")
    if any(all(entry.get(f) == other.get(f) for f in fields) for other in others):
        return True
    others.append(entry)
    return False


def _clean_annotation(
    entry: dict,
    size: tuple[int, int],
    coordinates: Coordinates,
    repairs: collections.Counter[str],
) -> None:
    height, width = size
    problems: list[Problem] = []
    scan_segmentation(entry, height, width, coordinates, problems)
    if isinstance(entry.get("segmentation"), list) and _OUTLINE_KINDS & {p.kind for p in problems}:
        _clean_outline(entry, size, coordinates.polygon_coords == "normalized", repairs)
    problems, _ = scan_annotation(
        entry, height=height, width=width, header=None, coordinates=coordinates
    )
    kinds = {problem.kind for problem in problems}
    if not kinds & {*_BOX_KINDS, "area-unlike-mask"}:
        return
    in_mask: list[Problem] = []
    shape = scan_segmentation(entry, height, width, coordinates, in_mask)
    if shape is None or any(problem.severity == "error" for problem in in_mask):
        return  # the mask itself is in doubt
    if kinds & _BOX_KINDS and "bbox" in entry:
        box = _box_of(shape, size, coordinates.box_coords == "normalized")
        if box != entry["bbox"]:
            entry["bbox"] = box
            repairs["bbox that did not fit the mask: taken from it"] += 1
    if "area-unlike-mask" in kinds:
        entry["area"] = round(shape.area, _DECIMALS)
        repairs["area that did not fit the mask: taken from it"] += 1


def _clean_outline(
    entry: dict,
    size: tuple[int, int],
    is_normalized: bool,
    repairs: collections.Counter[str],
) -> None:
    height, width = size
    unit = np.array([width, height]) if is_normalized else np.ones(2)
    limits = np.array([width, height]) / unit
    kept, num_dropped, is_cut = [], 0, False
    for polygon in entry["segmentation"]:
        if not isinstance(polygon, list) or not all(isinstance(v, (int, float)) for v in polygon):
            return
        if len(polygon) % 2 or not np.isfinite(np.array(polygon, dtype=object).astype(float)).all():
            return
        points = np.array(polygon, dtype=float).reshape(-1, 2)
        if len(points) < 3 or read_outline(points * unit).area == 0:
            num_dropped += 1
            continue
        inside = np.clip(points, 0, limits)
        if (np.abs(inside - points) * unit).max() > MAX_OUTSIDE_PX:
            return  # drawn on another picture
        if (inside != points).any():
            if read_outline(inside * unit).area == 0:
                return
            is_cut = True
            polygon = inside.reshape(-1).tolist()
        kept.append(polygon)
    if not kept:
        return
    entry["segmentation"] = kept
    if num_dropped:
        repairs["part of an outline without 3 points or without area: taken out"] += num_dropped
    if is_cut:
        repairs["outline just beyond the picture: moved to its edge"] += 1


def _box_of(shape: Shape, size: tuple[int, int], is_normalized: bool) -> list[float]:
    x0, y0, x1, y1 = shape.extent
    box = [x0, y0, x1 - x0, y1 - y0]
    if not is_normalized:
        return [round(v, _DECIMALS) for v in box]
    height, width = size
    sides = (width, height, width, height)
    return [round(v / side, _NORMALIZED_DECIMALS) for v, side in zip(box, sides, strict=True)]


def write_clean(split: Split, output: Path) -> collections.Counter[str]:
    """Writes a split's repaired JSON, whole or not at all.

    Returns:
        How often which repair was made.

    Raises:
        ValueError: the JSON is none, or not COCO.
        OSError: it cannot be read, or the output cannot be written.
    """
    document, repairs = clean_document(read_document(split.json_file), split.coordinates)
    write_whole({output: json.dumps(document).encode("ascii")})
    return repairs
