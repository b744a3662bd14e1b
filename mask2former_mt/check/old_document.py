"""Parses a COCO JSON with subcategories, and reads what all of its annotations refer to."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from mask2former_mt.check.old_rle import is_int
from mask2former_mt.structures import SubcategorySpec

_MAX_PROBLEMS_SHOWN = 10


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


class Problems:
    """Collects what is wrong with one file, so that a user sees more than the first of it."""

    def __init__(self, json_file: Path, image_root: Path | None = None) -> None:
        self.json_file = json_file
        self.image_root = image_root
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


@contextlib.contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Millions of new objects, none of them garbage: searching them again and again for cycles
    takes a third of the time of reading a large file."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        if gc.get_freeze_count() == 0:
            # Both together make them old objects, which are seldom searched.
            gc.freeze()
            gc.unfreeze()
        gc.enable()


def read_document(json_file: Path) -> dict:
    """Parses a JSON file and checks that it has COCO's three lists.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is not JSON (truncated, another format) or not COCO.
    """
    try:
        with without_garbage_collection():
            document = _parse(Path(json_file))
    except UnicodeDecodeError as error:
        raise ValueError(f"{json_file} must be JSON text in UTF-8, got other bytes") from error
    except (ValueError, RecursionError) as error:
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
    problems = Problems(json_file)
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


def _parse(json_file: Path) -> object:
    content = json_file.read_bytes()
    # Three times as fast as the standard library, which knows NaN, and says where a broken file is
    # broken.
    with contextlib.suppress(msgspec.MsgspecError):
        return msgspec.json.decode(content)
    text = content.decode("utf-8")
    del content  # not both while parsing
    return json.loads(text)
