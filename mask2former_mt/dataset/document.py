"""Parses a COCO JSON with subcategories, and reads the lists that its annotations refer to."""

from __future__ import annotations

import codecs
import collections
import contextlib
import dataclasses
import functools
import gc
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from mask2former_mt.dataset.json_values import as_id
from mask2former_mt.dataset.problems import shown
from mask2former_mt.label_lists import Labels
from mask2former_mt.structures import SubcategorySpec

# What reading a file raises: it is not there or not to be read, or it is nested too deep.
UNREADABLE = (ValueError, OSError, RecursionError, MemoryError)


@dataclasses.dataclass(frozen=True)
class Header:
    """What every annotation of a COCO JSON refers to.

    Args:
        category_ids: as the JSON numbers them, ascending; position i is contiguous class i.
        class_names: the names, in the same order.
        spec: the subcategories; empty for a plain COCO file.
    """

    category_ids: tuple[int, ...]
    class_names: tuple[str, ...]
    spec: SubcategorySpec

    @functools.cached_property
    def contiguous_ids(self) -> dict[int, int]:
        """From the JSON's category id to the class index 0..K-1."""
        return {category_id: index for index, category_id in enumerate(self.category_ids)}

    @property
    def labels(self) -> Labels:
        return Labels(self.class_names, self.spec, self.category_ids)


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


def parse_json(path: Path) -> object:
    """The value that a JSON file holds; NaN, infinity and a byte-order mark are let pass.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is not JSON (cut short, another format) or not UTF-8.
    """
    content = Path(path).read_bytes().removeprefix(codecs.BOM_UTF8)
    try:
        with without_garbage_collection():
            # Three times as fast as the standard library, which knows NaN, and says where a broken
            # file is broken.
            with contextlib.suppress(msgspec.MsgspecError):
                return msgspec.json.decode(content)
            # Some programs of Windows write UTF-16, which its first bytes say.
            text = content.decode(json.detect_encoding(content))
            del content  # not both while parsing
            return json.loads(text)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} must be JSON text in UTF-8, got other bytes") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{path} is not valid JSON: {error}; the file may be cut short, export it again"
        ) from error


def read_document(json_file: Path) -> dict:
    """Parses a JSON file and checks that it has COCO's three lists.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is not JSON, or not COCO.
    """
    document = parse_json(json_file)
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


def read_header(document: Mapping) -> tuple[Header | None, list[str]]:
    """Reads categories and subcategories.

    Args:
        document: with the list `categories`, and perhaps `subcategories`.

    Returns:
        The header, None if it cannot be used; and what is wrong with it: no category, an id or a
        name listed twice, a subcategory that is not well-formed or has 0 values, or one that
        applies to a class that is not listed.
    """
    faults = []
    names: dict[int, str] = {}
    known_names: set[str] = set()
    for category in document["categories"]:
        category_id, name = as_id(category.get("id")), category.get("name")
        if category_id is None or not isinstance(name, str) or not name:
            faults.append(
                'an entry of \'categories\' must be {"id": <integer>, "name": <text>}, '
                f"got {category!r}"
            )
        elif category_id in names:
            faults.append(
                f"category id {category_id} is listed twice: {names[category_id]!r} and {name!r}; "
                "give each class its own id"
            )
        elif name in known_names:
            remedy = "give each its own name"
            if any(other.get("supercategory") == name for other in document["categories"]):
                remedy += (
                    "; where one has no object and stands above the other, as Roboflow writes it, "
                    "tools/check_dataset.py --write-clean takes it out"
                )
            faults.append(f"two categories are named {name!r}; {remedy}")
        else:
            names[category_id] = name
            known_names.add(name)
    if not document["categories"]:
        faults.append("'categories' is empty; list at least one class")
    subcategories = document.get("subcategories")
    spec = None
    if subcategories is not None and not isinstance(subcategories, list):
        faults.append(
            "'subcategories' must be a list of "
            f'{{"name": ..., "values": [...]}}, got a {type(subcategories).__name__}'
        )
    else:
        try:
            spec = SubcategorySpec.from_json(subcategories)
        except (ValueError, TypeError, RecursionError) as error:
            faults.append(str(error))
    if spec is not None:
        faults += _unlisted_classes(spec, names)
    if faults:
        return None, faults
    category_ids = tuple(sorted(names))
    return Header(category_ids, tuple(names[i] for i in category_ids), spec), []


def root_category(categories: Sequence[dict], annotations: Iterable[Mapping]) -> dict | None:
    """The category that stands above all others and has no objects, as Roboflow writes one.

    Args:
        categories: entries of the list `categories`.
        annotations: all that have a class.

    Returns:
        The entry that all others name as their `supercategory`; None without one.
    """
    above = [category.get("supercategory") for category in categories]
    num_named = collections.Counter(name for name in above if isinstance(name, str))
    for root, own in zip(categories, above, strict=True):
        name = root.get("name")
        if not isinstance(name, str) or not name or len(categories) < 2:
            continue
        if num_named[name] - (own == name) == len(categories) - 1:
            root_id = as_id(root.get("id"))
            is_used = any(as_id(entry.get("category_id")) == root_id for entry in annotations)
            return None if is_used else root
    return None


def _unlisted_classes(spec: SubcategorySpec, names: Mapping[int, str]) -> list[str]:
    class_names = set(names.values())
    return [
        f"subcategory {subcategory.name!r}: 'applies_to' names {shown(name)}, which is no class; "
        f"listed are {shown(list(names.values()))}"
        for subcategory in spec
        for name in subcategory.applies_to or ()
        if name not in class_names
    ]
