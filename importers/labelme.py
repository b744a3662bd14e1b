"""Imports LabelMe folders: one JSON for each picture, with shapes.

The XML of MIT's older LabelMe, which CVAT exports under this name, is another format: export COCO.
Shapes with the same label and `group_id` are parts of one object, as in LabelMe's own converters.
Attributes are the shapes' `flags` (yes/no), the `attributes` that X-AnyLabeling writes, and the
free text under the name "description"; which of them become subcategories is decided as for CVAT
(`coco_attributes`). Where the parts of an object differ, `ImportOptions.several` decides. Classes
are the labels, in alphabetical order from id 1; `__ignore__` and `_background_` are LabelMe's own
labels for what is no object. A picture without JSON has not been annotated and is left out; one
with an empty list of shapes has no objects. `imageData`, the picture itself in the JSON, is not
read: the file that `imagePath` names must be there.

Source: github.com/wkentaro/labelme, labelme/_label_file.py and examples/instance_segmentation.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from mask2former_mt.importers.attribute_choice import Survey
from mask2former_mt.importers.labelme_shapes import (
    MASK,
    POLYGONS,
    WITHOUT_AREA,
    mask_of,
    polygon_of,
    read_points,
    segmentation_of,
)
from mask2former_mt.importers.picture_files import (
    common_folder,
    image_entry,
    pictures_below,
    size_of_picture,
)
from mask2former_mt.importers.source import (
    Report,
    Request,
    Source,
    SourceObject,
    SourceSplit,
)

from mask2former_mt.dataset.document import parse_json
from mask2former_mt.dataset.problems import shown

_NO_OBJECTS = ("__ignore__", "_background_")


@dataclasses.dataclass
class _LabelledPicture:
    """What one JSON holds; the objects are not numbered yet, and their class is a label."""

    file: Path
    size: tuple[int, int]  # (height, width)
    objects: list[SourceObject]


def read_labelme(request: Request) -> Source:
    """Reads folders of LabelMe's JSON files, and their subfolders; see `Request`."""
    survey = Survey()
    files: list[Path] = []
    pictures: dict[str, list[_LabelledPicture]] = {}
    for split, folder in request.inputs.items():
        if not os.path.isdir(folder):
            raise FileNotFoundError(f"{folder} is not a folder of LabelMe's JSON files")
        folder = Path(os.path.abspath(folder))
        json_files = sorted(folder.rglob("*.json"))
        if not json_files:
            raise FileNotFoundError(f"{folder}: no JSON files there; is it the right folder?")
        files += json_files
        pictures[split] = _read_folder(split, folder, json_files, survey, request)
    request.report.raise_if_refused()
    objects = [item for found in pictures.values() for picture in found for item in picture.objects]
    labels = sorted({item.entry["category_id"] for item in objects})
    if not labels:
        folders = ", ".join(map(str, request.inputs.values()))
        raise ValueError(f"{folders}: no shape has a mask and a label")
    numbers = {label: number for number, label in enumerate(labels, start=1)}
    return Source(
        categories=[{"id": number, "name": label} for label, number in numbers.items()],
        splits=[
            _split(name, request.inputs[name], found, numbers) for name, found in pictures.items()
        ],
        files=files,
        attributes=survey.choose(request.options, request.report),
    )


def _read_folder(
    split: str, folder: Path, json_files: list[Path], survey: Survey, request: Request
) -> list[_LabelledPicture]:
    image_root, report = request.images.get(split), request.report
    pictures = []
    json_of: dict[Path, Path] = {}
    for json_file in json_files:
        try:
            picture = _read_file(json_file, image_root, survey, report)
        except (ValueError, OSError) as error:
            report.refuse(str(error))
            continue
        other = json_of.setdefault(picture.file, json_file)
        if other is not json_file:
            report.refuse(
                f"{json_file}: {other.name} is of the same picture, {picture.file}; "
                "keep one of the two"
            )
        pictures.append(picture)
    for file in pictures_below(folder):
        if file not in json_of:
            report.note("pictures without JSON, left out as not annotated", str(file))
    return pictures


def _split(
    name: str, folder: Path, pictures: list[_LabelledPicture], numbers: dict[str, int]
) -> SourceSplit:
    """Numbers pictures, objects and classes."""
    root = common_folder(picture.file for picture in pictures)
    images, objects = [], []
    for picture in sorted(pictures, key=lambda picture: picture.file):
        images.append(image_entry(len(images) + 1, picture.file, root, picture.size))
        for item in picture.objects:
            category_id = numbers[item.entry["category_id"]]
            item.entry |= {
                "id": len(objects) + 1,
                "image_id": len(images),
                "category_id": category_id,
            }
            objects.append(item)
    return SourceSplit(name, folder, root, images, objects)


def _read_file(
    file: Path, image_root: Path | None, survey: Survey, report: Report
) -> _LabelledPicture:
    """Reads one JSON and the header of its picture.

    Raises:
        FileNotFoundError: its picture.
        ValueError: not LabelMe's JSON, a broken picture, or one of another size than it says.
    """
    document = parse_json(file)
    shapes = document.get("shapes") if isinstance(document, dict) else None
    if not isinstance(shapes, list) or not all(isinstance(shape, dict) for shape in shapes):
        got = f"keys {sorted(document)[:20]}" if isinstance(document, dict) else shown(document)
        raise ValueError(
            f"{file} is no LabelMe file: it needs a list of JSON objects 'shapes', got {got}; "
            "move other files elsewhere"
        )
    picture_file = _find_picture(file, document, image_root)
    height, width = size_of_picture(picture_file)
    for key, actual in (("imageHeight", height), ("imageWidth", width)):
        if document.get(key) not in (None, actual):
            raise ValueError(
                f"{file}: {key!r} must be the picture's, got {shown(document[key])}, "
                f"{picture_file} is {width}x{height} (width x height) turned upright; put "
                "back the picture that was annotated"
            )
    if isinstance(document.get("flags"), dict) and any(document["flags"].values()):
        report.note("files with flags of the whole picture, which are left out", str(file))
    objects = []
    for positions in _group(file, shapes, report):
        parts = [(position, shapes[position]) for position in positions]
        item = _object(file, parts, height, width, survey, report)
        if item is not None:
            objects.append(item)
    return _LabelledPicture(picture_file, (height, width), objects)


def _find_picture(file: Path, document: dict, image_root: Path | None) -> Path:
    name = document.get("imagePath")
    if not isinstance(name, str) or not name or "\0" in name:
        raise ValueError(f"{file}: 'imagePath' must name the picture, got {shown(name)}")
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
                f"{file}: shape {position}: 'label' must be a text, got {shown(label)}; "
                "name the object's class"
            )
        elif isinstance(group, (list, dict)):
            report.refuse(
                f"{file}: shape {position}: 'group_id' must be a number or null, got {shown(group)}"
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
    # What one part leaves open, another may tell.
    attributes: dict[str, list] = {}
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
                    f"got {shown(kind)}; draw it as a polygon"
                )
        except ValueError as error:
            report.unusable(origin, str(error))
            continue
        for name, value in _attributes(shape, origin, report).items():
            attributes.setdefault(name, []).extend(value if isinstance(value, list) else [value])
    if not polygons and not masks:
        return None
    position, shape = shapes[0]
    entry = {
        "category_id": shape["label"],
        "segmentation": segmentation_of(polygons, masks, height, width),
    }
    origin = f"{file}: shape {position} ({shape['label'][:40]})"
    return SourceObject(origin, entry, survey.add(attributes))


def _attributes(shape: dict, origin: str, report: Report) -> dict[str, object]:
    attributes: dict[str, object] = {}
    for key in ("flags", "attributes"):
        entries = shape.get(key)
        if entries is None:
            continue
        if not isinstance(entries, dict):
            report.refuse(f"{origin}: {key!r} must be a JSON object, got {shown(entries)}")
            continue
        attributes.update(entries)
    if shape.get("description"):
        attributes["description"] = shape["description"]
    return attributes
