"""Reads a COCO JSON with subcategories into detectron2's dataset dicts, and refuses broken ones."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path

from mask2former_mt.data.integrity import check_image_header, is_int, read_annotation
from mask2former_mt.structures import SubcategorySpec

_MAX_PROBLEMS_SHOWN = 10
_MAX_FILES_SHOWN = 3


@dataclasses.dataclass(frozen=True)
class CocoHeader:
    """What every annotation of a COCO JSON refers to.

    Args:
        category_ids: as the JSON numbers them, ascending; position i is contiguous class i.
        thing_classes: the names, in the same order.
        spec: the subcategories; empty for a plain COCO file.
    """

    category_ids: tuple[int, ...]
    thing_classes: tuple[str, ...]
    spec: SubcategorySpec

    @property
    def contiguous_ids(self) -> dict[int, int]:
        """From the JSON's category id to the class index 0..K-1."""
        return {category_id: index for index, category_id in enumerate(self.category_ids)}


class _Problems:
    """Collects what is wrong with one file, so that a user sees more than the first of it."""

    def __init__(self, json_file: Path) -> None:
        self.json_file = json_file
        self.shown: list[str] = []
        self.count = 0

    def add(self, message: str) -> None:
        self.count += 1
        if len(self.shown) < _MAX_PROBLEMS_SHOWN:
            self.shown.append(message)

    def raise_if_any(self) -> None:
        if self.count == 0:
            return
        noun = "problem" if self.count == 1 else "problems"
        more = self.count - len(self.shown)
        lines = [f"{self.json_file}: {self.count} {noun}", *self.shown]
        if more:
            lines.append(f"... and {more} more")
        raise ValueError("\n  ".join(lines))


def read_document(json_file: Path) -> dict:
    """Parses a JSON file and checks that it has COCO's three lists.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is not JSON (truncated, another format) or not COCO.
    """
    try:
        with open(json_file, encoding="utf-8") as file:
            document = json.load(file)
    except UnicodeDecodeError as error:
        raise ValueError(f"{json_file} must be JSON text in UTF-8, got other bytes") from error
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{json_file} is not valid JSON: {error}; the file may be cut short, export it again"
        ) from error
    if not isinstance(document, dict):
        raise ValueError(
            f"{json_file} must be a COCO file, a JSON object with the lists 'images', "
            f"'annotations' and 'categories'; got a {type(document).__name__}"
        )
    for key in ("images", "annotations", "categories"):
        if not isinstance(document.get(key), list):
            raise ValueError(
                f"{json_file} is not a COCO file: it needs a list {key!r}, got "
                f"{type(document[key]).__name__ if key in document else 'no such key'}; "
                f"its keys are {sorted(document)}"
            )
        if not all(isinstance(entry, dict) for entry in document[key]):
            raise ValueError(f"{json_file}: every entry of {key!r} must be a JSON object")
    return document


def parse_header(document: Mapping, json_file: Path) -> CocoHeader:
    """Reads categories and subcategories.

    Raises:
        ValueError: no category, an id or a name listed twice, a subcategory that is not
            well-formed or has 0 values.
    """
    problems = _Problems(json_file)
    names: dict[int, str] = {}
    for category in document["categories"]:
        category_id, name = category.get("id"), category.get("name")
        if not is_int(category_id) or not isinstance(name, str) or not name:
            problems.add(
                'an entry of \'categories\' must be {"id": <integer>, "name": <text>}, '
                f"got {category!r}"
            )
        elif category_id in names:
            problems.add(
                f"category id {category_id} is listed twice: {names[category_id]!r} and {name!r}"
            )
        elif name in names.values():
            problems.add(f"two categories are named {name!r}; give each its own name")
        else:
            names[category_id] = name
    if not document["categories"]:
        problems.add("'categories' is empty; list at least one class")
    problems.raise_if_any()
    subcategories = document.get("subcategories")
    if subcategories is not None and not isinstance(subcategories, list):
        raise ValueError(
            f"{json_file}: 'subcategories' must be a list of "
            f'{{"name": ..., "values": [...]}}, got a {type(subcategories).__name__}'
        )
    try:
        spec = SubcategorySpec.from_json(subcategories)
    except ValueError as error:
        raise ValueError(f"{json_file}: {error}") from error
    category_ids = tuple(sorted(names))
    return CocoHeader(category_ids, tuple(names[i] for i in category_ids), spec)


def read_header(json_file: Path) -> CocoHeader:
    """Reads only what `parse_header` gives; raises as it and `read_document` do."""
    return parse_header(read_document(json_file), json_file)


def load_dataset_dicts(json_file: Path, image_root: Path, expected: CocoHeader) -> list[dict]:
    """Reads and checks the whole file, so that nothing surprises a training under way.

    Args:
        json_file: COCO JSON, plain or with subcategories.
        image_root: folder that the file names in the JSON are relative to.
        expected: the header that the dataset's metadata was made from.

    Returns:
        detectron2's dataset dicts, one per image with or without annotations. Each annotation has
        `id`, `bbox` (xywh in pixels), `bbox_mode`, `segmentation`, `category_id` (contiguous),
        `iscrowd` and `subcategories`, S labels in {-1, 0..K_s}.

    Raises:
        ValueError: names the file, the image, the annotation, what was expected and found; up to
            ten problems at once.
    """
    document = read_document(json_file)
    if parse_header(document, json_file) != expected:
        raise ValueError(
            f"{json_file}: its categories or subcategories changed since the dataset was "
            "registered; start again, so that the model is built for the new ones"
        )
    problems = _Problems(json_file)
    images = _read_images(document["images"], image_root, problems)
    contiguous_ids = expected.contiguous_ids
    seen_ids = set()
    for entry in document["annotations"]:
        annotation_id = entry.get("id")
        if not is_int(annotation_id):
            problems.add(
                f"an annotation of image_id {entry.get('image_id')!r} must have an integer 'id', "
                f"got {annotation_id!r}"
            )
            continue
        if annotation_id in seen_ids:
            problems.add(f"annotation id {annotation_id} is used twice; ids must be unique")
        seen_ids.add(annotation_id)
        image_id = entry.get("image_id")
        record = images.get(image_id) if is_int(image_id) else None
        if record is None:
            problems.add(
                f"annotation {annotation_id}: image_id {image_id!r} is not listed in 'images'"
            )
            continue
        try:
            record["annotations"].append(
                read_annotation(
                    entry,
                    height=record["height"],
                    width=record["width"],
                    contiguous_ids=contiguous_ids,
                    spec=expected.spec,
                )
            )
        except ValueError as error:
            name = os.path.relpath(record["file_name"], image_root)
            problems.add(f"annotation {annotation_id} of image {image_id} ({name}): {error}")
    problems.raise_if_any()
    return list(images.values())


def _read_images(entries: list[dict], image_root: Path, problems: _Problems) -> dict[int, dict]:
    records: dict[int, dict] = {}
    missing = []
    for entry in entries:
        image_id, name = entry.get("id"), entry.get("file_name")
        height, width = entry.get("height"), entry.get("width")
        if not is_int(image_id) or not isinstance(name, str) or not name:
            problems.add(
                'an entry of \'images\' must have an integer "id" and a "file_name", '
                f"got id {image_id!r}, file_name {name!r}"
            )
            continue
        if image_id in records:
            problems.add(f"image id {image_id} is used twice, last by {name}; ids must be unique")
            continue
        if not (is_int(height) and is_int(width) and height > 0 and width > 0):
            problems.add(
                f"image {image_id} ({name}): 'height' and 'width' must be positive integers, "
                f"got {height!r} and {width!r}"
            )
            height = width = math.inf  # its annotations are checked for everything else
        path = os.path.join(image_root, name)
        if not os.path.isfile(path):
            missing.append(name)
        else:
            try:
                check_image_header(path, height, width)
            except ValueError as error:
                problems.add(f"image {image_id} ({name}): {error}")
        records[image_id] = {
            "file_name": path,
            "image_id": image_id,
            "height": height,
            "width": width,
            "annotations": [],
        }
    if not entries:
        problems.add("'images' is empty; list at least one image")
    if missing:
        shown = ", ".join(missing[:_MAX_FILES_SHOWN])
        more = len(missing) - _MAX_FILES_SHOWN
        problems.add(
            f"{len(missing)} of {len(entries)} image files are missing from {image_root}: {shown}"
            + (f" and {more} more" if more > 0 else "")
            + "; check the YAML's 'images' folder and the JSON's 'file_name'"
        )
    return records
