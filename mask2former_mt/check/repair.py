"""Repairs what can be repaired without guessing; everything else stays as it is.

What is repaired:
- ids that are written as text become integers; an annotation whose id is missing or used already
  gets a new one;
- names of pictures and their sizes, as far as the reader of datasets finds them out;
- an entry of `images` that is there twice, all the same, is left in once;
- a category without objects that all others name as their supercategory is taken out;
- an outline is written as COCO's list of polygons; a part that has fewer than 3 points or no area
  is taken out, if others remain; a hole is joined to its outline, if the dataset's polygons inside
  others are holes;
- an outline that leaves the picture by at most `MAX_OUTSIDE_PX` is moved to its edge, as training
  does;
- `bbox`, `area` and `iscrowd` that do not fit the mask, or are none, are taken from it;
- an object that is annotated twice, all the same, is left in once.
"""

from __future__ import annotations

import collections
import itertools
import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mask2former_mt.check.annotation_rules import (
    MAX_ROUNDING_PX,
    Shape,
    identity_of,
    pixels_outside,
    scan_area,
    scan_segmentation,
)
from mask2former_mt.check.geometry import read_outline
from mask2former_mt.dataset.annotation import MAX_OUTSIDE_PX
from mask2former_mt.dataset.document import read_document, root_category
from mask2former_mt.dataset.json_values import as_id, is_int
from mask2former_mt.dataset.problems import ERROR, WARNING
from mask2former_mt.dataset.rle import faults_of_counts
from mask2former_mt.dataset.split import Split, SplitFiles
from mask2former_mt.files import write_whole

_DECIMALS = 2  # of a pixel
_NORMALIZED_DECIMALS = 6

_NEW_ID = "annotation id that was missing or used twice: a new one"
_INTEGER_ID = "id that was written as text: the integer"
_NAME = "name of a picture: as its file is called"
_SIZE = "size of a picture that was missing or wrong: the picture's own"
_LISTED_TWICE = "entry of 'images' that was there twice: left in once"
_ROOT = "category without objects that all others name as their supercategory: taken out"
_NESTED = "outline that was no list of polygons: written as one"
_PART = "part of an outline without 3 points or without area: taken out"
_EDGE = "outline just beyond the picture: moved to its edge"
_HOLE = "polygon inside another one: joined to it as its hole"
_BOX = "bbox that did not fit the mask: taken from it"
_AREA = "area that did not fit the mask: taken from it"
_CROWD = "iscrowd: as the dataset means it, 0 or 1"
_DOUBLE = "object that was annotated twice: left in once"


class Cleaned(NamedTuple):
    """A repaired COCO document.

    Args:
        document: the repaired one.
        kept: for each of its annotations the position in the original's list.
        repairs: how often which repair was made.
        split: the original as it was read.
        num_doubtful: objects that have a polygon inside another one, which COCO fills.
    """

    document: dict
    kept: list[int]
    repairs: collections.Counter[str]
    split: Split
    num_doubtful: int


def write_clean(files: SplitFiles, output: Path) -> collections.Counter[str]:
    """Writes a split's repaired JSON, whole or not at all.

    Returns:
        How often which repair was made.

    Raises:
        ValueError: the JSON is none, or not COCO.
        OSError: it cannot be read, or the output cannot be written.
    """
    cleaned = clean_document(read_document(files.json_file), files)
    write_whole({output: json.dumps(cleaned.document).encode("ascii")})
    return cleaned.repairs


def clean_document(
    document: Mapping,
    files: SplitFiles,
    *,
    opens_pictures: bool = True,
    keeps_doubles: bool = False,
) -> Cleaned:
    """Repairs a COCO document.

    Args:
        document: as `read_document` gives it; stays as it is.
        files: where it and its pictures are; the units of its numbers stay.
        opens_pictures: whether names and sizes are compared with the pictures.
        keeps_doubles: whether an object that is annotated twice is left in twice.
    """
    # The split takes its list of annotations apart.
    copied = {**document, "annotations": list(document["annotations"])}
    split = Split(files, copied, opens_pictures=opens_pictures)
    repair = _Repair(document, split, keeps_doubles)
    images = list(repair.images())
    annotations = repair.annotations()
    kept = [index for index, entry in enumerate(annotations) if entry is not None]
    cleaned = {
        **document,
        "images": images,
        "annotations": [annotations[index] for index in kept],
    }
    cleaned["categories"] = list(repair.categories(cleaned))
    return Cleaned(cleaned, kept, +repair.repairs, split, repair.num_doubtful)


class _Repair:
    """A repair under way, which counts what it does.

    Args:
        document: the original.
        split: as it was read.
        keeps_doubles: as for `clean_document`.
    """

    def __init__(self, document: Mapping, split: Split, keeps_doubles: bool) -> None:
        self._document = document
        self._split = split
        self._conventions = split.files.conventions
        self._keeps_doubles = keeps_doubles
        self.repairs: collections.Counter[str] = collections.Counter()
        self.num_doubtful = 0
        ids = [as_id(entry.get("id")) for entry in document["annotations"]]
        self._new_ids = itertools.count(max((i for i in ids if i is not None), default=0) + 1)
        self._used_ids: set[int] = set()
        # A damaged part may be anything, and so may the whole be; another form of list is known.
        self._damaged, self._otherwise_listed = (
            {
                problem.index
                for problem in split.problems
                if problem.severity == severity and problem.kind == "bad-polygon"
            }
            for severity in (ERROR, WARNING)
        )

    def categories(self, cleaned: Mapping) -> Iterator[dict]:
        """The repaired entries of `categories`; those of `cleaned` are the original's."""
        root = root_category(cleaned["categories"], cleaned["annotations"])
        for category in self._document["categories"]:
            if category is root:
                self.repairs[_ROOT] += 1
            else:
                yield self._with_integers(category, "id")

    def images(self) -> Iterator[dict]:
        """The repaired entries of `images`."""
        records = iter(self._split.records)
        listed = collections.defaultdict(list)  # by image id
        for entry in self._document["images"]:
            image_id = as_id(entry.get("id"))
            if image_id is None:
                yield entry
            elif entry in listed[image_id]:
                self.repairs[_LISTED_TWICE] += 1
            else:
                is_first = not listed[image_id]
                listed[image_id].append(entry)
                mended = self._with_integers(entry, "id")
                # The reader has a record of each id.
                yield self._like(mended, next(records)) if is_first else mended

    def _like(self, entry: dict, record: Mapping) -> dict:
        """An entry of `images` with the name and the size of its record."""
        name, root = entry.get("file_name"), self._split.files.image_root
        if name and isinstance(name, str) and os.path.join(root, name) != record["file_name"]:
            found = Path(os.path.relpath(record["file_name"], root)).as_posix()
            entry = {**entry, "file_name": found}
            self.repairs[_NAME] += 1
        size = {"height": record["height"], "width": record["width"]}
        if math.isfinite(record["height"]) and any(
            not is_int(entry.get(key)) or entry[key] != side for key, side in size.items()
        ):
            entry = {**entry, **size}
            self.repairs[_SIZE] += 1
        return entry

    def annotations(self) -> list[dict | None]:
        """The entries of `annotations`, each repaired, or None where it is to be left out."""
        entries = [
            self._with_integers(entry, "id", "image_id", "category_id")
            for entry in self._document["annotations"]
        ]
        of_image = collections.defaultdict(list)
        for index, entry in enumerate(entries):
            image_id = entry.get("image_id")
            of_image[image_id if is_int(image_id) else None].append(index)
        for position, record in enumerate(self._split.records):
            unsound = {a["index"]: a for a in self._split.unsound.get(position, ())}
            sound = iter(record["annotations"])
            known: set[tuple] = set()
            for index in of_image[record["image_id"]]:
                annotation = unsound.get(index)
                is_sound = annotation is None
                if is_sound:
                    annotation = next(sound)
                entry = entries[index]
                if index not in self._damaged:
                    entry = self._mended(dict(entry), index, annotation, record)
                identity = identity_of(annotation) if is_sound else None
                if identity is not None and not self._keeps_doubles:
                    if identity in known:
                        self.repairs[_DOUBLE] += 1
                        entry = None
                    known.add(identity)
                entries[index] = entry
        return [None if entry is None else self._numbered(entry) for entry in entries]

    def _with_integers(self, entry: dict, *keys: str) -> dict:
        ids = {key: as_id(entry.get(key)) for key in keys}
        changed = {k: v for k, v in ids.items() if v is not None and not is_int(entry[k])}
        self.repairs[_INTEGER_ID] += len(changed)
        return {**entry, **changed} if changed else entry

    def _numbered(self, entry: dict) -> dict:
        if not is_int(entry.get("id")) or entry["id"] in self._used_ids:
            entry = {**entry, "id": next(self._new_ids)}
            self.repairs[_NEW_ID] += 1
        self._used_ids.add(entry["id"])
        return entry

    def _mended(self, entry: dict, index: int, annotation: dict, record: Mapping) -> dict:
        """The entry with what follows of its outline, which is mended in `annotation`, too."""
        if "iscrowd" in entry and repr(entry["iscrowd"]) != repr(annotation["iscrowd"]):
            entry["iscrowd"] = annotation["iscrowd"]
            self.repairs[_CROWD] += 1
        size = height, width = record["height"], record["width"]
        segmentation = annotation["segmentation"]
        if segmentation is None or not math.isfinite(height):
            return entry
        if isinstance(segmentation, list):
            self._mend_polygons(entry, annotation, size, index not in self._otherwise_listed)
        elif any(faults_of_counts([segmentation])):
            return entry
        _, shape = scan_segmentation(annotation["segmentation"], height, width)
        if shape is None:
            return entry
        x, y, w, h = annotation["bbox"]
        is_outside = pixels_outside((x, y, x + w, y + h), height, width) > MAX_ROUNDING_PX
        if "bbox" in entry and (not annotation["has_bbox"] or is_outside):
            entry["bbox"] = self._box_of(shape, size)
            self.repairs[_BOX] += 1
        if shape.area_with_holes is not None:
            self.num_doubtful += 1  # the area may be right, and the outline wrong
        elif "area" in entry and self._is_wrong(annotation["area"], shape):
            entry["area"] = round(shape.area, _DECIMALS)
            self.repairs[_AREA] += 1
        return entry

    def _mend_polygons(
        self, entry: dict, annotation: dict, size: tuple[int, int], is_nested: bool
    ) -> None:
        """Takes out parts that enclose nothing, and cuts off what is just beyond the picture."""
        written = entry["segmentation"]
        num_short = sum(len(p) < 6 for p in written) if is_nested else 0
        num_joined = len(written) - num_short - len(annotation["segmentation"]) if is_nested else 0
        kept, num_empty, is_cut = [], 0, False
        for polygon in annotation["segmentation"]:
            points = np.array(polygon, dtype=float).reshape(-1, 2)
            inside = np.clip(points, 0, size[::-1])
            if np.abs(inside - points).max() > MAX_OUTSIDE_PX:
                return  # drawn on another picture
            if read_outline(points).area == 0:
                num_empty += 1
                continue
            if (inside != points).any():
                if read_outline(inside).area == 0:
                    return
                is_cut = True
                polygon = inside.reshape(-1).tolist()
            kept.append(polygon)
        is_changed = not is_nested or num_short or num_joined or num_empty or is_cut
        if not kept or not is_changed:
            return
        annotation["segmentation"] = kept
        if self._conventions.polygon_coords == "normalized":
            height, width = size
            kept = [[v / (height if i % 2 else width) for i, v in enumerate(p)] for p in kept]
        entry["segmentation"] = kept
        done = {_NESTED: not is_nested, _PART: num_short + num_empty, _HOLE: num_joined}
        self.repairs.update(done | {_EDGE: is_cut})

    def _box_of(self, shape: Shape, size: tuple[int, int]) -> list[float]:
        x0, y0, x1, y1 = shape.corners
        box, decimals = [x0, y0, x1 - x0, y1 - y0], _DECIMALS
        if self._conventions.box_coords == "normalized":
            sides = size[::-1] * 2
            box, decimals = [v / s for v, s in zip(box, sides, strict=True)], _NORMALIZED_DECIMALS
        return [round(v, decimals) for v in box]

    def _is_wrong(self, area: float | None, shape: Shape) -> bool:
        # Nobody says what the area of a normalised outline is normalised by.
        is_known = self._conventions.polygon_coords == "pixel"
        return is_known and (area is None or bool(scan_area(area, shape)))
