"""Imports LabelMe folders: one JSON for each picture, with shapes.

The XML of MIT's older LabelMe, which CVAT exports under this name, is another format: export COCO.
Shapes with the same label and `group_id` are parts of one object, as in LabelMe's own converters.
Attributes are the shapes' `flags` (yes/no), the `attributes` that X-AnyLabeling writes, and the
free text under the name "description"; which of them become subcategories is decided as for CVAT
(`coco_attributes`). Where the parts of an object differ, `ImportOptions.several` decides. Classes
are the labels, in alphabetical order from id 1; `__ignore__` and `_background_` are LabelMe's own
labels for what is no object. Other keys of a shape are named, or read where
`ImportOptions.attributes_keys` lists them. A picture without JSON has not been annotated and is
left out; one with an empty list of shapes has no objects. `imageData`, the picture itself in the
JSON, is not read: the file that `imagePath` names must be there.

Source: github.com/wkentaro/labelme, labelme/_label_file.py and examples/instance_segmentation.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path

from mask2former_mt.importers.annotation_keys import OtherKeys, add_values
from mask2former_mt.importers.attribute_choice import Survey
from mask2former_mt.importers.class_names import tidy_name
from mask2former_mt.importers.labelled_pictures import (
    LabelledObject,
    LabelledPicture,
    labelled_source,
    picture_attributes,
)
from mask2former_mt.importers.labelme_shapes import (
    MASK,
    POLYGONS,
    WITHOUT_AREA,
    mask_of,
    polygon_of,
    read_points,
)
from mask2former_mt.importers.outlines import segmentation_of
from mask2former_mt.importers.picture_files import check_size, pictures_below, size_of_picture
from mask2former_mt.importers.source import Report, Request, Source

from mask2former_mt.dataset.document import parse_json
from mask2former_mt.dataset.picture_search import PictureSearch
from mask2former_mt.dataset.problems import shown

_NO_OBJECTS = ("__ignore__", "_background_")
_ATTRIBUTES_KEYS = ("flags", "attributes")
_OWN_KEYS = (
    *("label", "points", "group_id", "shape_type", "mask", "description"),
    *_ATTRIBUTES_KEYS,
)


def read_labelme(request: Request) -> Source:
    """Reads folders of LabelMe's JSON files, and their subfolders; see `Request`."""
    reader = _Reader(request)
    files: list[Path] = []
    pictures: dict[str, list[LabelledPicture]] = {}
    for split, folder in request.inputs.items():
        if not os.path.isdir(folder):
            raise FileNotFoundError(f"{folder} is not a folder of LabelMe's JSON files")
        folder = Path(os.path.abspath(folder))
        json_files = sorted(folder.rglob("*.json"))
        if not json_files:
            raise FileNotFoundError(f"{folder}: no JSON files there; is it the right folder?")
        files += json_files
        pictures[split] = reader.read_folder(folder, json_files, request.images.get(split))
    reader.others.refuse_unseen()
    return labelled_source(pictures, files, reader.survey, request)


class _Reader:
    """Reads files, and remembers which attributes there were."""

    def __init__(self, request: Request) -> None:
        self.survey, self.others = Survey(), OtherKeys(_OWN_KEYS, request)
        self._request, self._report = request, request.report
        self._search_in = functools.cache(PictureSearch)

    def read_folder(
        self, folder: Path, json_files: list[Path], image_root: Path | None
    ) -> list[LabelledPicture]:
        """The pictures of a folder's JSON files, which may lie elsewhere."""
        pictures = []
        json_of: dict[Path, Path] = {}
        for json_file in json_files:
            try:
                picture = self._read_file(json_file, image_root)
            except (ValueError, OSError) as error:
                self._report.refuse(str(error))
                continue
            other = json_of.setdefault(picture.file, json_file)
            if other is not json_file:
                self._report.refuse(
                    f"{json_file}: {other.name} is of the same picture, {picture.file}; "
                    "keep one of the two"
                )
            pictures.append(picture)
        for file in pictures_below(folder):
            if file not in json_of:
                self._report.note("pictures without JSON, left out as not annotated", str(file))
        return pictures

    def _read_file(self, file: Path, image_root: Path | None) -> LabelledPicture:
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
        picture_file = self._find_picture(file, document, image_root)
        height, width = size_of_picture(picture_file)
        declared = {key: document.get(key) for key in ("imageHeight", "imageWidth")}
        try:
            check_size(picture_file, height, width, declared)
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from error
        flags: dict[str, list] = {}
        if isinstance(document.get("flags"), dict) and any(document["flags"].values()):
            for name, value in document["flags"].items():
                add_values(flags, name, value)
        flags = picture_attributes(flags, str(file), self._request)
        objects = [
            self._read_object(parts, height, width, flags)
            for parts in _group(file, shapes, self._report)
        ]
        return LabelledPicture(picture_file, height, width, [item for item in objects if item])

    def _find_picture(self, file: Path, document: dict, image_root: Path | None) -> Path:
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
        root = file.parent if image_root is None else image_root
        found = self._search_in(root).find(name)
        if found is not None:
            return Path(os.path.abspath(root / found))
        inside = "; 'imageData' holds it: save it there" if document.get("imageData") else ""
        raise FileNotFoundError(
            f"{file}: the picture {name!r} is not there; put it back, or give its folder with "
            f"--images{inside}"
        )

    def _read_object(
        self,
        parts: list[tuple[str, dict]],
        height: int,
        width: int,
        of_picture: dict[str, list],
    ) -> LabelledObject | None:
        """The object that the shapes make up; None if none of them has an area."""
        polygons, masks = [], []
        # What one part leaves open, another may tell.
        attributes = {name: list(values) for name, values in of_picture.items()}
        for origin, shape in parts:
            # Files of LabelMe 3 and before do not say: all they have are polygons.
            kind = "polygon" if shape.get("shape_type") is None else shape["shape_type"]
            if kind in WITHOUT_AREA:
                plural = kind if kind == "points" else f"{kind}s"
                why = f"a {kind} has no area; draw the outline"
                self._report.unusable(origin, why, f"{plural} without area")
                continue
            try:
                if kind == MASK:
                    masks.append(mask_of(shape, read_points(shape), height, width))
                elif kind in POLYGONS:
                    polygons.append(polygon_of(kind, read_points(shape), height, width))
                else:
                    kinds = ", ".join((*POLYGONS, MASK, *WITHOUT_AREA))
                    raise ValueError(
                        f"'shape_type' must be one of {kinds}, got {shown(kind)}; draw it as a "
                        "polygon"
                    )
            except ValueError as error:
                self._report.unusable(origin, str(error))
                continue
            found = _attributes(shape, origin, self._report)
            for name, value in (*found.items(), *self.others.read(shape, origin).items()):
                add_values(attributes, name, value)
        if not polygons and not masks:
            return None
        origin, shape = parts[0]
        segmentation = segmentation_of(polygons, masks, height, width)
        return LabelledObject(origin, shape["label"], segmentation, self.survey.add(attributes))


def _group(file: Path, shapes: list[dict], report: Report) -> list[list[tuple[str, dict]]]:
    """The shapes of each object with their origins, in the order of the first shapes."""
    groups: dict[tuple, list[tuple[str, dict]]] = {}
    for position, shape in enumerate(shapes):
        origin = f"{file}: shape {position}"
        label, group = shape.get("label"), shape.get("group_id")
        if not isinstance(label, str) or not label.strip():
            report.refuse(
                f"{origin}: 'label' must be a text, got {shown(label)}; name the object's class"
            )
        elif isinstance(group, (list, dict)):
            report.refuse(f"{origin}: 'group_id' must be a number or null, got {shown(group)}")
        elif tidy_name(label) in _NO_OBJECTS:
            report.note(f"shapes labelled {label!r}, left out as no objects", origin)
        else:
            key = (position, None) if group is None else (tidy_name(label), group)
            groups.setdefault(key, []).append((f"{origin} ({label[:40]})", shape))
    return list(groups.values())


def _attributes(shape: dict, origin: str, report: Report) -> dict[str, object]:
    attributes: dict[str, object] = {}
    for key in _ATTRIBUTES_KEYS:
        entries = shape.get(key)
        if isinstance(entries, dict):
            attributes.update(entries)
        elif entries is not None:
            report.refuse(f"{origin}: {key!r} must be a JSON object, got {shown(entries)}")
    if shape.get("description"):
        attributes["description"] = shape["description"]
    return attributes
