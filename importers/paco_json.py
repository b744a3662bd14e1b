"""Imports PACO: COCO JSON with `attribute_ids` per annotation and types of attributes.

`attr_type_to_attr_idxs` lists the ids of each type (color, pattern_marking, material,
transparency); every type becomes a subcategory. An object's label for a type is
* unknown with `unknown_<type>: 1`, or without any `attribute_ids` (half of the objects);
* none where it was annotated and has no id of this type. PACO's own loader trains these objects on
  its background attribute "other(<type>)", which is what none is here;
* of several colors the dominant one, where `dom_color_ids` has exactly one of them; otherwise, and
  for the other types, `ImportOptions.several` decides.
Parts ("dog:leg") are annotations of their own, whose `obj_ann_id` is the whole object's id. A
picture's `neg_category_ids` and `not_exhaustive_category_ids` are kept in the JSON; training does
not read them, so that an object which nobody annotated counts as background.

Source: github.com/facebookresearch/paco, docs/PACO_DATASET.md, paco/data/datasets/paco.py and
paco/data/dataset_mapper.py; Ramanathan et al., "PACO", CVPR 2023.
"""

from __future__ import annotations

from pathlib import Path

from mask2former_mt.importers.annotation_keys import OtherKeys
from mask2former_mt.importers.coco_attributes import OWN_KEYS, CocoFiles, is_int_list
from mask2former_mt.importers.fashionpedia_json import NO_OPTION, choose_listed
from mask2former_mt.importers.source import Request, Source, Texts

from mask2former_mt.dataset.json_values import is_int
from mask2former_mt.dataset.problems import shown

_TYPES_KEY = "attr_type_to_attr_idxs"
_ANNOTATION_KEYS = (*OWN_KEYS, "attribute_ids", "dom_color_ids", "obj_ann_id")
_FEDERATED_KEYS = (
    "neg_category_ids",
    "not_exhaustive_category_ids",
    "neg_category_ids_attrs",
    "not_exhaustive_category_ids_attrs",
)


def read_paco(request: Request) -> Source:
    """Reads PACO's annotation files, or others of their form; see `Request`.

    The folder of PACO-LVIS's pictures is the one with train2017 and val2017.
    """
    files, report = CocoFiles(request), request.report
    types: dict[str, dict[int, str]] = {}
    for split, file in request.inputs.items():
        found = _read_types(files, split, file)
        if types and found != types:
            raise ValueError(
                f"{file}: its attributes or {_TYPES_KEY!r} differ from the files before; import "
                "files of one release together"
            )
        types = found
    for split, file in request.inputs.items():
        for entry in files.documents[split]["images"]:
            if entry.get("not_exhaustive_category_ids"):
                report.note(
                    "pictures that have classes of which not every object is annotated (the others "
                    "are learned as background)",
                    f"{file}: image {shown(entry.get('id'))}",
                )

    own_keys = (*_ANNOTATION_KEYS, *(f"unknown_{name}" for name in types))
    others = OtherKeys(own_keys, request, NO_OPTION)

    def attributes_of(entry: dict, origin: str) -> dict[str, Texts]:
        others.read(entry, origin)
        if "attribute_ids" not in entry:
            return {}
        numbers, dominant = entry["attribute_ids"], entry.get("dom_color_ids", [])
        for key, value in (("attribute_ids", numbers), ("dom_color_ids", dominant)):
            if not is_int_list(value):
                report.refuse(f"{origin}: {key!r} must be a list of integers, got {shown(value)}")
                return {}
        unlisted = [n for n in numbers if not any(n in names for names in types.values())]
        if unlisted:
            report.refuse(
                f"{origin}: attribute id {unlisted[0]} is of no type in {_TYPES_KEY!r}; "
                "import the whole file as it was released"
            )
            return {}
        texts: dict[str, Texts] = {}
        for name, names in types.items():
            is_unknown = entry.get(f"unknown_{name}", 0)
            if is_unknown not in (0, 1):
                report.refuse(f"{origin}: 'unknown_{name}' must be 0 or 1, got {shown(is_unknown)}")
                return {}
            of_type = [number for number in numbers if number in names]
            if name == "color" and len(of_type) > 1:
                of_type = [number for number in of_type if number in dominant] or of_type
            texts[name] = None if is_unknown else tuple(dict.fromkeys(names[n] for n in of_type))
        return texts

    def is_wanted(entry: dict) -> bool:
        return request.options.parts or entry.get("obj_ann_id", entry.get("id")) == entry.get("id")

    listed = {name: names.values() for name, names in types.items()}
    chosen = choose_listed(listed, request.options.subcategories)
    source = files.source(attributes_of, is_wanted=is_wanted, kept_image_keys=_FEDERATED_KEYS)
    source.attributes = chosen
    source.absent_is_unknown = True
    if not request.options.parts:
        used = [item.entry.get("category_id") for split in source.splits for item in split.objects]
        used = set(filter(is_int, used))
        source.categories = [c for c in source.categories if not is_int(c["id"]) or c["id"] in used]
    return source


def _read_types(files: CocoFiles, split: str, file: Path) -> dict[str, dict[int, str]]:
    """Per type the names of its attributes by id."""
    listed = files.documents[split].get(_TYPES_KEY)
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
                f"{shown(numbers)}"
            )
        types[name] = {number: names[number] for number in numbers}
    return types
