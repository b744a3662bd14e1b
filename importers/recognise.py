"""Which format a file or folder is in, for who asked for another one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from mask2former_mt.dataset.document import parse_json

_MAX_FILES = 3  # of a folder
_YOLO_NAMES = frozenset(("data.yaml", "data.yml", "dataset.yaml", "classes.txt", "labels"))
# JSON of other tools, which is not read, by keys that it has.
_FOREIGN = {
    ("item", "annotations"): "V7's Darwin JSON",
    ("items", "categories"): "datumaro's JSON",
    ("objects", "size"): "Supervisely's JSON",
    ("metadata", "view"): "the JSON of VIA 3",
}


def formats_of(path: Path) -> set[str]:
    """The formats that a path may be in; empty: none is known.

    They have their names in `FORMATS`; those that are not read are a phrase, with a blank.
    """
    try:
        return set(_folder_formats(path) if os.path.isdir(path) else _file_formats(path))
    except (OSError, ValueError, LookupError, SyntaxError, RecursionError):
        return set()


def _folder_formats(folder: Path) -> Iterator[str]:
    names = set(os.listdir(folder))
    if names & _YOLO_NAMES:
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
        _, root = next(ElementTree.iterparse(file, events=("start",)))
        if root.tag in ("annotations", "annotation"):
            yield "cvat" if root.tag == "annotations" else "Pascal VOC's XML"
    elif suffix == ".json":
        document = parse_json(file)
        if isinstance(document, list) and document and isinstance(document[0], dict):
            yield from _list_formats(document[0])
        elif isinstance(document, dict):
            yield from _object_formats(document)


def _list_formats(first: dict) -> Iterator[str]:
    if "data" in first:
        yield "label-studio"
    elif "image_id" in first and "score" in first:
        yield "COCO's results, predictions without pictures"


def _object_formats(document: dict) -> Iterator[str]:
    first = next(iter(document.values()), None)
    if "_via_img_metadata" in document or (isinstance(first, dict) and "regions" in first):
        yield "via"
    elif "shapes" in document and "imagePath" in document:
        yield "labelme"
    elif "attr_type_to_attr_idxs" in document:
        yield "paco"
    elif "annotations" in document and "categories" in document:
        entries = document["annotations"]
        if entries and isinstance(entries, list) and "segments_info" in entries[0]:
            yield "COCO panoptic"
        else:
            yield "fashionpedia" if document.get("attributes") else "coco"
    else:
        yield from (name for keys, name in _FOREIGN.items() if all(key in document for key in keys))
