"""Imports the JSON of the VGG Image Annotator, VIA 1 and 2: a project, or exported annotations.

Polygons, circles, ellipses and closed polylines have outlines; rectangles, points and open
polylines have none. One attribute of the regions is the class: `ImportOptions.class_attribute`,
otherwise the only one, or one that is called as classes usually are; without any, the only one of
`ImportOptions.classes` is the class of all regions. The other attributes of the regions are
attributes, those of the files are of the whole picture (`ImportOptions.picture_attributes`). Check
boxes are lists of what is checked.

Source: robots.ox.ac.uk/~vgg/software/via, via-2.x.y, `CodeDoc.md`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mask2former_mt.importers.annotation_keys import OtherKeys, add_values
from mask2former_mt.importers.attribute_choice import Survey
from mask2former_mt.importers.json_fields import field, json_objects
from mask2former_mt.importers.labelled_pictures import (
    LabelledObject,
    LabelledPicture,
    labelled_source,
    picture_attributes,
)
from mask2former_mt.importers.picture_files import PictureFinder, size_of_picture
from mask2former_mt.importers.source import Request, Source
from mask2former_mt.importers.via_shapes import outline_of

from mask2former_mt.dataset.document import parse_json
from mask2former_mt.dataset.problems import shown

# How attributes are called that are the class, the likeliest first.
_CLASS_NAMES = ("class", "label", "category", "name", "object", "type")
_REGION_KEYS = ("shape_attributes", "region_attributes")


def read_via(request: Request) -> Source:
    """Reads VIA's JSON files; see `Request`."""
    files = {split: _read_file(file) for split, file in request.input_files()}
    names = dict.fromkeys(
        name
        for entries in files.values()
        for entry in entries.values()
        for region in _regions(entry)
        if isinstance(region.get("region_attributes"), dict)
        for name in region["region_attributes"]
    )
    reader = _Reader(_class_attribute(list(names), request), request)
    pictures = {}
    for split, file in request.input_files():
        finder = PictureFinder(file, request.images.get(split))
        pictures[split] = list(reader.pictures(file, files[split], finder))
    reader.others.refuse_unseen()
    return labelled_source(pictures, request.inputs.values(), reader.survey, request)


def _read_file(file: Path) -> dict[str, dict]:
    """VIA's entries, one for each picture."""
    document = parse_json(file)
    if isinstance(document, dict):
        document = document.get("_via_img_metadata", document)
    is_via = isinstance(document, dict) and all(
        isinstance(entry, dict) and "regions" in entry for entry in document.values()
    )
    if not is_via:
        got = f"the keys {sorted(document)[:20]}" if isinstance(document, dict) else shown(document)
        raise ValueError(
            f"{file} must be JSON of VIA 1 or 2, with 'regions' for each picture, got {got}"
        )
    return document


def _regions(entry: dict) -> list[dict]:
    """A picture's regions, a list; in VIA 1 they are numbered.

    Raises:
        ValueError: neither.
    """
    if isinstance(entry["regions"], dict):
        return json_objects({"regions": list(entry["regions"].values())}, "regions")
    return json_objects(entry, "regions")


def _class_attribute(names: list[str], request: Request) -> str | None:
    """The attribute that is the class; None: there is only one class.

    Raises:
        ValueError: it cannot be told.
    """
    asked_for, classes = request.options.class_attribute, request.options.classes
    if asked_for is not None:
        if asked_for not in names:
            raise ValueError(f"--class-attribute: no region has {asked_for!r}; there are {names}")
        return asked_for
    if len(classes) == 1:
        return None
    usual = [name for usual in _CLASS_NAMES for name in names if name.strip().lower() == usual]
    if usual or len(names) == 1:
        return (usual or names)[0]
    inputs = ", ".join(map(str, request.inputs.values()))
    raise ValueError(
        f"{inputs}: which attribute of the regions is the class? There are {names}; name it with "
        "--class-attribute, or with --classes the only class"
    )


class _Reader:
    """Reads files, and remembers which attributes there were.

    Args:
        class_attribute: None: all objects are of the only class.
        request: what was asked for.
    """

    def __init__(self, class_attribute: str | None, request: Request) -> None:
        self.survey, self.others = Survey(), OtherKeys(_REGION_KEYS, request)
        self._class_attribute = class_attribute
        self._request, self._report = request, request.report

    def pictures(
        self, file: Path, entries: dict[str, dict], finder: PictureFinder
    ) -> Iterator[LabelledPicture]:
        """The pictures that a file lists."""
        for entry in entries.values():
            origin = f"{file}: {shown(entry.get('filename'))}"
            try:
                yield self._picture(entry, finder, origin)
            except (ValueError, OSError) as error:
                self._report.refuse(f"{origin}: {error}")

    def _picture(self, entry: dict, finder: PictureFinder, origin: str) -> LabelledPicture:
        file = finder.find(field(entry, "filename", str))
        height, width = size_of_picture(file)
        regions = _regions(entry)
        if not regions:
            self._report.note("pictures without a region, taken as without objects", origin)
        of_picture = {}
        for name, value in field(entry, "file_attributes", dict, {}).items():
            if _chosen(value):
                add_values(of_picture, name, _chosen(value))
        of_picture = picture_attributes(of_picture, origin, self._request)
        objects = []
        for position, region in enumerate(regions):
            place = f"{origin}, region {position}"
            attributes = {name: list(values) for name, values in of_picture.items()}
            for name, values in self.others.read(region, place).items():
                add_values(attributes, name, values)
            for name, value in field(region, "region_attributes", dict, {}).items():
                if name != self._class_attribute:
                    add_values(attributes, name, _chosen(value))
            try:
                label = self._label(region)
                shape = field(region, "shape_attributes", dict)
                outline = outline_of(shape, height, width)
            except ValueError as error:
                self._report.unusable(place, str(error))
                continue
            objects.append(LabelledObject(place, label, [outline], self.survey.add(attributes)))
        return LabelledPicture(file, height, width, objects)

    def _label(self, region: dict) -> str:
        if self._class_attribute is None:
            return self._request.options.classes[0]
        given = field(region, "region_attributes", dict, {}).get(self._class_attribute)
        labels = _chosen(given)
        if len(labels) != 1 or not isinstance(labels[0], str) or not labels[0].strip():
            raise ValueError(
                f"{self._class_attribute!r} must be one text, the class, got {shown(given)}"
            )
        return labels[0]


def _chosen(value: object) -> list:
    """What an attribute says, if anything; check boxes say which are checked."""
    if isinstance(value, dict):
        return [name for name, is_checked in value.items() if is_checked]
    values = value if isinstance(value, list) else [value]
    return [value for value in values if value not in (None, "")]
