"""Which formats a file or folder may be in, for who asked for another one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from mask2former_mt.dataset.document import parse_json

_MAX_FILES = 3  # of a folder


def formats_of(path: Path) -> set[str]:
    """The formats, by their names in `FORMATS`, that a path may be in; empty: none is known."""
    try:
        return set(_folder_formats(path) if os.path.isdir(path) else _file_formats(path))
    except (OSError, ValueError, LookupError, SyntaxError, RecursionError):
        return set()


def _folder_formats(folder: Path) -> Iterator[str]:
    names = set(os.listdir(folder))
    if names & {"data.yaml", "data.yml", "dataset.yaml", "classes.txt", "labels"}:
        yield "yolo"
    if "masks" in names or any(Path(folder, name, "masks").is_dir() for name in sorted(names)[:9]):
        yield "masks"
    listed = sorted(name for name in names if name.lower().endswith((".json", ".xml")))
    for name in listed[:_MAX_FILES]:
        yield from _file_formats(folder / name)


def _file_formats(file: Path) -> Iterator[str]:
    suffix = file.suffix.lower()
    if suffix in (".yaml", ".yml"):
        yield "yolo"
    elif suffix == ".xml":
        for _, element in ElementTree.iterparse(file, events=("start",)):
            if element.tag == "annotations":
                yield "cvat"
            break
    elif suffix == ".json":
        yield from _json_formats(parse_json(file))


def _json_formats(document: object) -> Iterator[str]:
    if isinstance(document, list):
        if document and isinstance(document[0], dict) and "data" in document[0]:
            yield "label-studio"
    elif isinstance(document, dict):
        values = list(document.values())
        has_regions = bool(values) and isinstance(values[0], dict) and "regions" in values[0]
        if "_via_img_metadata" in document or has_regions:
            yield "via"
        elif "shapes" in document and "imagePath" in document:
            yield "labelme"
        elif "attr_type_to_attr_idxs" in document:
            yield "paco"
        elif "annotations" in document and "categories" in document:
            yield "fashionpedia" if document.get("attributes") else "coco"
