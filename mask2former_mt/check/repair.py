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
import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mask2former_mt.check.annotation_rules import (
    Shape,
    problems_by_index,
    scan_annotations,
    scan_segmentation,
)
from mask2former_mt.check.geometry import read_outline
from mask2former_mt.dataset.annotation import MAX_OUTSIDE_PX, AnnotationReader, Conventions
from mask2former_mt.dataset.document import read_document
from mask2former_mt.dataset.rle import faults_of_counts, is_int
from mask2former_mt.dataset.split import Split, SplitFiles
from mask2former_mt.files import write_whole

_DECIMALS = 2  # of a pixel
_NORMALIZED_DECIMALS = 6


class _Case(NamedTuple):
    """What a repair may need to know of an annotation.

    Args:
        kinds: of all of its problems.
        size: (height, width) of its picture, in pixels; None where the JSON does not tell.
        conventions: what the JSON's numbers mean.
        new_ids: annotation ids that nobody has.
        repairs: counts what is done.
    """

    kinds: set[str]
    size: tuple[int, int] | None
    conventions: Conventions
    new_ids: Iterator[int]
    repairs: collections.Counter[str]


def write_clean(files: SplitFiles, output: Path) -> collections.Counter[str]:
    """Writes a split's repaired JSON, whole or not at all.

    Returns:
        How often which repair was made.

    Raises:
        ValueError: the JSON is none, or not COCO.
        OSError: it cannot be read, or the output cannot be written.
    """
    document, repairs = clean_document(read_document(files.json_file), files.conventions)
    write_whole({output: json.dumps(document).encode("ascii")})
    return repairs


def clean_document(
    document: Mapping, conventions: Conventions
) -> tuple[dict, collections.Counter[str]]:
    """Repairs a COCO document.

    Args:
        document: as `read_document` gives it; stays as it is.
        conventions: what its numbers mean; the result's are the same.

    Returns:
        The repaired document, and how often which repair was made.
    """
    repairs: collections.Counter[str] = collections.Counter()
    images = _without_repeated(document["images"], repairs)
    cleaned = {**document, "images": images, "annotations": list(document["annotations"])}
    for repairs_by_kinds in _ROUNDS:
        _repair_annotations(cleaned, conventions, repairs_by_kinds, repairs)
    return cleaned, repairs


def _without_repeated(images: list[dict], repairs: collections.Counter[str]) -> list[dict]:
    kept = []
    listed = collections.defaultdict(list)  # by image id
    for image in images:
        image_id = image.get("id")
        if is_int(image_id) and image in listed[image_id]:
            repairs["entry of 'images' that was there twice: left in once"] += 1
            continue
        if is_int(image_id):
            listed[image_id].append(image)
        kept.append(image)
    return kept


def _repair_annotations(
    document: dict,
    conventions: Conventions,
    repairs_by_kinds: Sequence[tuple],
    repairs: collections.Counter[str],
) -> None:
    """Reads the document and applies the repairs of a round to a copy of what is faulty."""
    entries = document["annotations"]
    # The split takes its list of annotations apart.
    split = Split(
        SplitFiles("", Path(), Path(), conventions), {**document, "annotations": list(entries)}
    )
    kinds = _kinds_by_index(split, entries)
    sizes = {
        record["image_id"]: (record["height"], record["width"])
        for record in split.records
        if math.isfinite(record["height"])
    }
    ids = [entry["id"] for entry in entries if is_int(entry.get("id"))]
    new_ids = itertools.count(max(ids, default=0) + 1)
    repaired = list(entries)
    for index in sorted(kinds):
        # Repairs replace values of the entry, and change none of them.
        entry, image_id = dict(entries[index]), entries[index].get("image_id")
        size = sizes.get(image_id) if is_int(image_id) else None
        case = _Case(kinds[index], size, conventions, new_ids, repairs)
        for repair, repaired_kinds in repairs_by_kinds:
            if entry is not None and case.kinds & repaired_kinds:
                entry = repair(entry, case)
        repaired[index] = entry
    document["annotations"] = [entry for entry in repaired if entry is not None]


def _kinds_by_index(split: Split, entries: list[dict]) -> dict[int, set[str]]:
    """The kinds of all problems of annotations, by their position in the list."""
    told = problems_by_index(split)
    kinds = {index: {problem.kind for problem in problems} for index, problems in told.items()}
    # An id that is used twice is sound where it comes first.
    positions = {}
    for index, entry in enumerate(entries):
        if is_int(entry.get("id")):
            positions.setdefault(entry["id"], index)
    for position, record in enumerate(split.records):
        for annotation, problems, _ in scan_annotations(
            record, split.unsound.get(position, ()), told
        ):
            if problems:
                index = annotation.get("index", positions.get(annotation["id"]))
                kinds.setdefault(index, set()).update(problem.kind for problem in problems)
    return kinds


def _mend_outline(entry: dict, case: _Case) -> dict:
    """Takes out parts that enclose nothing, and cuts off what is just beyond the picture."""
    polygons = entry.get("segmentation")
    if not isinstance(polygons, list) or case.size is None or "bad-polygon" in case.kinds:
        return entry
    size = np.array(case.size[::-1])
    is_normalized = case.conventions.polygon_coords == "normalized"
    unit = size if is_normalized else np.ones(2)  # x and y, in pixels
    kept, num_dropped, is_cut = [], 0, False
    for polygon in polygons:
        points = np.array(polygon, dtype=float).reshape(-1, 2)
        inside = np.clip(points, 0, size / unit)
        if len(points) < 3 or read_outline(points * unit).area == 0:
            num_dropped += 1
            continue
        if (np.abs(inside - points) * unit).max() > MAX_OUTSIDE_PX:
            return entry  # drawn on another picture
        if (inside != points).any():
            if read_outline(inside * unit).area == 0:
                return entry
            is_cut = True
            polygon = inside.reshape(-1).tolist()
        kept.append(polygon)
    if not kept:
        return entry
    entry["segmentation"] = kept
    if num_dropped:
        case.repairs["part of an outline without 3 points or without area: taken out"] += (
            num_dropped
        )
    if is_cut:
        case.repairs["outline just beyond the picture: moved to its edge"] += 1
    return entry


def _take_box(entry: dict, case: _Case) -> dict:
    shape = _sound_shape(entry, case)
    if shape is None or "bbox" not in entry:
        return entry
    x0, y0, x1, y1 = shape.corners
    box, decimals = [x0, y0, x1 - x0, y1 - y0], _DECIMALS
    if case.conventions.box_coords == "normalized":
        sides = case.size[::-1] * 2
        box, decimals = [v / s for v, s in zip(box, sides, strict=True)], _NORMALIZED_DECIMALS
    box = [round(v, decimals) for v in box]
    if box != entry["bbox"]:
        entry["bbox"] = box
        case.repairs["bbox that did not fit the mask: taken from it"] += 1
    return entry


def _take_area(entry: dict, case: _Case) -> dict:
    shape = _sound_shape(entry, case)
    if shape is not None:
        entry["area"] = round(shape.area, _DECIMALS)
        case.repairs["area that did not fit the mask: taken from it"] += 1
    return entry


def _sound_shape(entry: dict, case: _Case) -> Shape | None:
    """What the mask covers; None if it is itself in doubt."""
    if case.size is None:
        return None
    mask_only = {"segmentation": entry.get("segmentation")}
    annotation, faults = AnnotationReader(None, case.conventions).read(mask_only, *case.size)
    segmentation = annotation["segmentation"]
    if faults or (isinstance(segmentation, dict) and any(faults_of_counts([segmentation]))):
        return None
    _, shape = scan_segmentation(segmentation, *case.size)
    return shape


def _leave_out(entry: dict, case: _Case) -> None:
    case.repairs["object that was annotated twice: left in once"] += 1


def _renumber(entry: dict, case: _Case) -> dict:
    if not is_int(entry.get("id")) or "duplicate-annotation-id" in case.kinds:
        entry["id"] = next(case.new_ids)
        case.repairs["annotation id that was missing or used twice: a new one"] += 1
    return entry


# Repairs, each with the kinds of problems that it is for; it changes the entry or, with None, takes
# it out. Before each round the document is read anew: a mended outline may have another box, and be
# a double.
_ROUNDS = (
    ((_mend_outline, {"too-few-points", "zero-area", "out-of-bounds"}),),
    (
        (_take_box, {"bad-box", "box-unlike-mask", "out-of-bounds"}),
        (_take_area, {"area-unlike-mask"}),
    ),
    (
        (_leave_out, {"duplicate-annotation"}),
        (_renumber, {"duplicate-annotation-id", "bad-annotation"}),
    ),
)
