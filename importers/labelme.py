"""Imports LabelMe folders: one JSON for each picture, with shapes.

The XML of MIT's older LabelMe, which CVAT exports under this name, is another format: export COCO.
Shapes with the same label and `group_id` are parts of one object, as in LabelMe's own converters.
Attributes are the shapes' `flags` (yes/no), the `attributes` that X-AnyLabeling writes, and under
the name "description" the free text; which become subcategories is decided as for CVAT
(`coco_attributes`). Where the parts of an object differ, `ImportOptions.several` decides. Classes
are the labels, in alphabetical order from id 1; `__ignore__` and `_background_` are LabelMe's own
and no objects. A picture without JSON has not been annotated and is left out; one with an empty
list of shapes has no objects. `imageData`, the picture itself in the JSON, is not read: the file
that `imagePath` names must be there.

Source: github.com/wkentaro/labelme, labelme/_label_file.py and examples/instance_segmentation.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path

from mask2former_mt.importers.attribute_choice import Survey
from mask2former_mt.importers.labelme_shapes import (
    MASK,
    POLYGONS,
    WITHOUT_AREA,
    join,
    mask_of,
    polygon_of,
    read_points,
)
from mask2former_mt.importers.source import (
    ImportOptions,
    Picture,
    Report,
    Source,
    SourceObject,
    Split,
    Texts,
)
from mask2former_mt.importers.source_files import (
    common_folder,
    pictures_below,
    read_json_object,
    relative_name,
)

from mask2former_mt.check.old_image_size import upright_size

_NO_OBJECTS = ("__ignore__", "_background_")


@dataclasses.dataclass
class _Labelled:
    """One JSON: its picture, and the objects by their label, not yet numbered."""

    picture_file: Path
    height: int
    width: int
    objects: list[tuple[str, SourceObject]]


def read_labelme(
    inputs: Mapping[str, Path], images: Mapping[str, Path], options: ImportOptions, report: Report
) -> Source:
    """Reads folders of LabelMe's JSON files.

    Args:
        inputs: folder by split; those in it are read too.
        images: picture folder by split, where the pictures are not where the files say.
        options: which attributes become subcategories.
        report: gets what is wrong.

    Raises:
        FileNotFoundError: no such folder, or no JSON in it.
        ValueError: attributes that cannot become subcategories.
    """
    survey = Survey()
    files: list[Path] = []
    read: dict[str, list[_Labelled]] = {}
    for split, folder in inputs.items():
        if not os.path.isdir(folder):
            raise FileNotFoundError(f"{folder} is not a folder of LabelMe's JSON files")
        found = sorted(Path(os.path.abspath(folder)).rglob("*.json"))
        if not found:
            raise FileNotFoundError(f"{folder}: no JSON files there; is it the right folder?")
        files += found
        read[split] = []
        used: dict[Path, Path] = {}
        for file in found:
            labelled = _read_file(file, images.get(split), survey, report)
            if labelled is None:
                continue
            other = used.setdefault(labelled.picture_file, file)
            if other is not file:
                report.refuse(
                    f"{file}: {other.name} is of the same picture, {labelled.picture_file}; "
                    "keep one of the two"
                )
            read[split].append(labelled)
        for file in pictures_below(Path(os.path.abspath(folder))):
            if file not in used:
                report.note("pictures without JSON, left out as not annotated", str(file))
    report.raise_if_refused()
    labels = sorted({label for items in read.values() for i in items for label, _ in i.objects})
    if not labels:
        raise ValueError(f"{', '.join(map(str, inputs.values()))}: no shape has a mask and a label")
    numbers = {label: number for number, label in enumerate(labels, start=1)}
    splits = []
    for split, items in read.items():
        root = common_folder(item.picture_file for item in items)
        pictures = []
        for item in sorted(items, key=lambda item: item.picture_file):
            for label, labelled_object in item.objects:
                labelled_object.category_id = numbers[label]
            name = relative_name(item.picture_file, root)
            objects = [labelled_object for _, labelled_object in item.objects]
            pictures.append(Picture(name, item.height, item.width, objects))
        splits.append(Split(split, root, pictures))
    return Source(
        categories={number: label for label, number in numbers.items()},
        splits=splits,
        attributes=survey.choose(options, report),
        files=files,
    )


def _read_file(
    file: Path, image_root: Path | None, survey: Survey, report: Report
) -> _Labelled | None:
    try:
        document = read_json_object(file)
        shapes = document.get("shapes")
        if not isinstance(shapes, list) or not all(isinstance(shape, dict) for shape in shapes):
            raise ValueError(
                f"{file} is no LabelMe file: it needs a list of JSON objects 'shapes'; its keys "
                f"are {sorted(document)[:20]}; move other files elsewhere"
            )
        picture_file = _find_picture(file, document, image_root)
        try:
            height, width = upright_size(picture_file)
        except ValueError as error:
            raise ValueError(f"{picture_file}: {error}; replace the picture") from error
        for key, actual in (("imageHeight", height), ("imageWidth", width)):
            if document.get(key) not in (None, actual):
                raise ValueError(
                    f"{file}: {key!r} must be the picture's, got {str(document[key])[:20]}, "
                    f"{picture_file} is {width}x{height} (width x height) turned upright; put "
                    "back the picture that was annotated"
                )
    except (ValueError, FileNotFoundError) as error:
        report.refuse(str(error))
        return None
    if isinstance(document.get("flags"), dict) and any(document["flags"].values()):
        report.note("files with flags of the whole picture, which are left out", str(file))
    groups = _group(file, shapes, report)
    objects = []
    for parts in groups:
        label = shapes[parts[0]]["label"]
        item = _object(file, [(i, shapes[i]) for i in parts], height, width, survey, report)
        if item is not None:
            objects.append((label, item))
    return _Labelled(picture_file, height, width, objects)


def _find_picture(file: Path, document: dict, image_root: Path | None) -> Path:
    name = document.get("imagePath")
    if not isinstance(name, str) or not name or "\0" in name:
        raise ValueError(f"{file}: 'imagePath' must name the picture, got {str(name)[:80]!r}")
    # LabelMe for Windows writes backslashes.
    portable = name.replace("\\", "/")
    base = os.path.basename(portable)
    candidates = [file.parent / name, file.parent / portable, file.parent / base]
    if image_root is not None:
        candidates = [image_root / portable, image_root / base]
    for candidate in candidates:
        if os.path.isfile(candidate):
            return Path(os.path.abspath(candidate))
    inside = "; 'imageData' holds it: save it there" if document.get("imageData") else ""
    raise FileNotFoundError(
        f"{file}: the picture {name!r} is not there; put it back, or give its folder with "
        f"--images{inside}"
    )


def _group(file: Path, shapes: list[dict], report: Report) -> list[list[int]]:
    """Positions of the shapes that make up each object, in the order of their first shape."""
    groups: dict[tuple, list[int]] = {}
    for position, shape in enumerate(shapes):
        label, group = shape.get("label"), shape.get("group_id")
        if not isinstance(label, str) or not label.strip():
            report.refuse(
                f"{file}: shape {position}: 'label' must be a text, got {str(label)[:80]!r}; "
                "name the object's class"
            )
        elif isinstance(group, (list, dict)):
            report.refuse(
                f"{file}: shape {position}: 'group_id' must be a number or null, got "
                f"{str(group)[:80]}"
            )
        elif label in _NO_OBJECTS:
            report.note(
                f"shapes labelled {label!r}, left out as no objects", f"{file}: shape {position}"
            )
        else:
            key = (label, position, None) if group is None else (label, None, group)
            groups.setdefault(key, []).append(position)
    return list(groups.values())


def _object(
    file: Path,
    shapes: list[tuple[int, dict]],
    height: int,
    width: int,
    survey: Survey,
    report: Report,
) -> SourceObject | None:
    polygons, masks = [], []
    attributes: dict[str, Texts] = {}
    for position, shape in shapes:
        origin = f"{file}: shape {position} ({shape['label'][:40]})"
        # Files of LabelMe 3 and before do not say: all they have are polygons.
        kind = "polygon" if shape.get("shape_type") is None else shape["shape_type"]
        if kind in WITHOUT_AREA:
            report.unusable(
                origin,
                f"a {kind} has no area; draw the outline",
                f"{kind}s without area" if kind != "points" else "points without area",
            )
            continue
        try:
            if kind == MASK:
                masks.append(mask_of(shape, read_points(shape), height, width))
            elif kind in POLYGONS:
                polygons.append(polygon_of(kind, read_points(shape), height, width))
            else:
                raise ValueError(
                    f"'shape_type' must be one of {', '.join((*POLYGONS, MASK, *WITHOUT_AREA))}, "
                    f"got {str(kind)[:40]!r}; draw it as a polygon"
                )
        except ValueError as error:
            report.unusable(origin, str(error))
            continue
        _merge(attributes, _attributes(shape, origin, survey, report))
    if not polygons and not masks:
        return None
    origin = f"{file}: shape {shapes[0][0]} ({shapes[0][1]['label'][:40]})"
    # The class gets its number when all labels are known.
    return SourceObject(origin, 0, join(polygons, masks, height, width), attributes)


def _attributes(shape: dict, origin: str, survey: Survey, report: Report) -> dict[str, Texts]:
    raw: dict[str, object] = {}
    for key in ("flags", "attributes"):
        entries = shape.get(key)
        if entries is None:
            continue
        if not isinstance(entries, dict):
            report.refuse(f"{origin}: {key!r} must be a JSON object, got {str(entries)[:80]}")
            continue
        raw.update(entries)
    if shape.get("description"):
        raw["description"] = shape["description"]
    return survey.add(raw)


def _merge(attributes: dict[str, Texts], added: Mapping[str, Texts]) -> None:
    """What the parts of an object say together: what one leaves open, another may tell."""
    for name, texts in added.items():
        known = attributes.get(name)
        attributes[name] = tuple(dict.fromkeys((*(known or ()), *(texts or ())))) or None
