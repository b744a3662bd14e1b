"""Imports PACO: COCO JSON with `attribute_ids` per annotation and types of attributes.

`attr_type_to_attr_idxs` lists the ids of each type (color, pattern_marking, material,
transparency); every type becomes a subcategory. What the file says of an object and a type:
* `unknown_<type>: 1`, or no `attribute_ids` at all (half of the objects): unknown.
* no id of this type, though annotated: none. PACO's own loader trains these objects on its
  background attribute "other(<type>)", which is what none is here.
* several colors: the dominant one where `dom_color_ids` has exactly one of them; otherwise, and for
  the other types, `ImportOptions.several` decides.
Parts ("dog:leg") are annotations of their own, whose `obj_ann_id` is the whole object's id. A
picture's `neg_category_ids` and `not_exhaustive_category_ids` are kept in the JSON; training does
not read them, so that an object which nobody annotated counts as background.

Source: github.com/facebookresearch/paco, docs/PACO_DATASET.md, paco/data/datasets/paco.py and
paco/data/dataset_mapper.py; Ramanathan et al., "PACO", CVPR 2023.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mask2former_mt.importers.coco_lists import CocoFiles
from mask2former_mt.importers.fashionpedia_json import choose_listed
from mask2former_mt.importers.source import ImportOptions, Report, Source, Texts

from mask2former_mt.check.old_rle import is_int

_TYPES_KEY = "attr_type_to_attr_idxs"
_COLOR = "color"
_FEDERATED_KEYS = (
    "neg_category_ids",
    "not_exhaustive_category_ids",
    "neg_category_ids_attrs",
    "not_exhaustive_category_ids_attrs",
)


def read_paco(
    inputs: Mapping[str, Path], images: Mapping[str, Path], options: ImportOptions, report: Report
) -> Source:
    """Reads PACO's annotation files, or others of their form.

    Args:
        inputs: JSON file by split.
        images: picture folder by split (of PACO-LVIS: the one with train2017 and val2017); a
            missing one is looked for beside the JSON.
        options: which types, what of several attributes, whether parts.
        report: gets what is wrong.

    Raises:
        FileNotFoundError: a file or folder.
        ValueError: not such a file.
    """
    files = CocoFiles(inputs, images, report)
    types: dict[str, dict[int, str]] = {}
    for split, file in inputs.items():
        found = _read_types(files, split)
        if types and found != types:
            raise ValueError(
                f"{file}: its attributes or {_TYPES_KEY!r} differ from the files before; import "
                "files of one release together"
            )
        types = found
    for split, file in inputs.items():
        for entry in files.objects_of(split, "images"):
            if entry.get("not_exhaustive_category_ids"):
                report.note(
                    "pictures that have classes of which not every object is annotated (the others "
                    "are learned as background)",
                    f"{file}: image {entry.get('id')}",
                )

    def attributes_of(split: str, entry: dict, origin: str) -> dict[str, Texts] | None:
        if "attribute_ids" not in entry:
            return None
        numbers, dominant = entry["attribute_ids"], entry.get("dom_color_ids", [])
        for key, value in (("attribute_ids", numbers), ("dom_color_ids", dominant)):
            if not isinstance(value, list) or not all(map(is_int, value)):
                report.refuse(
                    f"{origin}: {key!r} must be a list of integers, got {str(value)[:80]}"
                )
                return None
        unlisted = [n for n in numbers if not any(n in names for names in types.values())]
        if unlisted:
            report.refuse(
                f"{origin}: attribute id {unlisted[0]} is of no type in {_TYPES_KEY!r}; "
                "import the whole file as it was released"
            )
            return None
        result: dict[str, Texts] = {}
        for name, names in types.items():
            flag = entry.get(f"unknown_{name}", 0)
            if flag not in (0, 1):
                report.refuse(f"{origin}: 'unknown_{name}' must be 0 or 1, got {str(flag)[:80]}")
                return None
            of_type = [number for number in numbers if number in names]
            if name == _COLOR and len(of_type) > 1:
                of_type = [number for number in of_type if number in dominant] or of_type
            texts = tuple(dict.fromkeys(names[number] for number in of_type))
            result[name] = None if flag else texts
        return result

    def wanted(entry: dict) -> bool:
        return options.parts or entry.get("obj_ann_id", entry.get("id")) == entry.get("id")

    chosen = choose_listed({name: list(names.values()) for name, names in types.items()}, options)
    source = files.source(
        options,
        attributes_of,
        {name: list(dict.fromkeys(texts)) for name, texts in chosen.items()},
        keep=_FEDERATED_KEYS,
        wanted=wanted,
        absent_is_unknown=True,
    )
    if not options.parts:
        used = {item.category_id for s in source.splits for p in s.pictures for item in p.objects}
        source.categories = {n: name for n, name in source.categories.items() if n in used}
    return source


def _read_types(files: CocoFiles, split: str) -> dict[str, dict[int, str]]:
    """Per type the names of its attributes by id."""
    file, listed = files.files[split], files.documents[split].get(_TYPES_KEY)
    if not isinstance(listed, dict):
        raise ValueError(
            f"{file} is no PACO file: it needs {_TYPES_KEY!r}, an object that lists the attribute "
            f"ids of each type, got {type(listed).__name__}; for attributes with a "
            "'supercategory' use the format fashionpedia"
        )
    names = {n: entry["name"] for n, entry in files.named_entries(split, "attributes").items()}
    types: dict[str, dict[int, str]] = {}
    for name, numbers in listed.items():
        if not isinstance(numbers, list) or not all(is_int(n) and n in names for n in numbers):
            raise ValueError(
                f"{file}: {_TYPES_KEY!r}: {name!r} must be a list of ids from 'attributes', got "
                f"{str(numbers)[:80]}"
            )
        types[name] = {number: names[number] for number in numbers}
    return types
