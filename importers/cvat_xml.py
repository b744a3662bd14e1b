"""Imports CVAT's own XML, "CVAT for images 1.1".

Every `<image>` has shapes with a `label`, which is the class, and `<attribute>`s. Polygons, masks
and ellipses have outlines; boxes, polylines, points, cuboids and skeletons have none. Shapes of
one label and `group_id` are parts of one object, as in CVAT's COCO export. `occluded` is an
attribute as there; checkboxes are yes/no, and attributes of the input type "number" are numbers.
Tags are of the whole picture (`ImportOptions.picture_attributes`). A mask's run lengths go row by
row through the rectangle at `left` and `top`, beginning with the background.

Source: docs.cvat.ai, "XML annotation format"; the XML of datumaro 1.13.
"""

from __future__ import annotations

import os
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from mask2former_mt.importers.annotation_keys import add_values
from mask2former_mt.importers.attribute_choice import Survey
from mask2former_mt.importers.class_names import tidy_name
from mask2former_mt.importers.cvat_shapes import (
    MASK,
    finite_number,
    mask_of,
    outline_of,
    whole_number,
)
from mask2former_mt.importers.labelled_pictures import (
    LabelledObject,
    LabelledPicture,
    labelled_source,
    picture_attributes,
)
from mask2former_mt.importers.outlines import segmentation_of
from mask2former_mt.importers.picture_files import PictureFinder, check_size, size_of_picture
from mask2former_mt.importers.source import Request, Source

from mask2former_mt.dataset.problems import shown

_WITHOUT_OUTLINE = {
    "box": "boxes",
    "polyline": "polylines",
    "points": "points",
    "cuboid": "cuboids",
    "skeleton": "skeletons",
}
_YES_NO = {"true": True, "false": False}


def read_cvat(request: Request) -> Source:
    """Reads CVAT's XML files; see `Request`."""
    reader = _Reader(request)
    pictures = {}
    for split, file in request.input_files():
        finder = PictureFinder(file, request.images.get(split))
        pictures[split] = reader.read_file(file, finder)
    return labelled_source(pictures, request.inputs.values(), reader.survey, request)


def _parse(file: Path) -> Element:
    try:
        root = ElementTree.parse(file).getroot()
    except (ElementTree.ParseError, LookupError, ValueError, RecursionError) as error:
        raise ValueError(f"{file} is not valid XML: {error}; export it again") from error
    if root.tag != "annotations":
        raise ValueError(f"{file} must be CVAT's XML, <annotations>, got <{root.tag[:40]}>")
    if root.find("track") is not None:
        raise ValueError(f"{file} is 'CVAT for video'; export 'CVAT for images'")
    return root


class _Reader:
    """Reads files, and remembers which attributes there were."""

    def __init__(self, request: Request) -> None:
        self.survey = Survey()
        self._request, self._report = request, request.report

    def read_file(self, file: Path, finder: PictureFinder) -> list[LabelledPicture]:
        """The pictures that a file lists."""
        root = _parse(file)
        numbers = _number_attributes(root)
        pictures = []
        for image in root.iter("image"):
            origin = f"{file}: image {shown(image.get('name'))}"
            try:
                pictures.append(self._picture(image, numbers, finder, origin))
            except (ValueError, OSError) as error:
                self._report.refuse(f"{origin}: {error}")
        return pictures

    def _picture(
        self, image: Element, numbers: set[tuple[str, str]], finder: PictureFinder, origin: str
    ) -> LabelledPicture:
        name, subset = image.get("name", ""), image.get("subset", "")
        file = finder.find(os.path.join(subset, name), name)
        height, width = size_of_picture(file)
        declared = {key: whole_number(image, key) for key in ("height", "width")}
        check_size(file, height, width, declared)
        of_picture: dict[str, list] = {}
        groups: dict[tuple, list[tuple[str, Element]]] = {}
        for position, shape in enumerate(image):
            place = f"{origin}, {shape.tag[:40]} {position}"
            label, group = shape.get("label", ""), shape.get("group_id", "0")
            if not tidy_name(label):
                self._report.refuse(f"{place}: it has no label, which would be its class")
            elif shape.tag == "tag":
                add_values(of_picture, label, True)
                _add_attributes(of_picture, shape, numbers)
            else:
                key = (position,) if group == "0" else (tidy_name(label), group)
                groups.setdefault(key, []).append((place, shape))
        of_picture = picture_attributes(of_picture, origin, self._request)
        objects = []
        for parts in groups.values():
            item = self._object(parts, numbers, of_picture, height, width)
            if item is not None:
                objects.append(item)
        return LabelledPicture(file, height, width, objects)

    def _object(
        self,
        parts: list[tuple[str, Element]],
        numbers: set[tuple[str, str]],
        of_picture: dict[str, list],
        height: int,
        width: int,
    ) -> LabelledObject | None:
        """The object that the shapes make up; None if none of them has an outline."""
        polygons, masks = [], []
        attributes = {name: list(values) for name, values in of_picture.items()}
        for origin, shape in parts:
            try:
                if shape.tag == MASK:
                    masks.append(mask_of(shape, height, width))
                else:
                    polygons.append(outline_of(shape, height, width))
            except ValueError as error:
                kind = f"{_WITHOUT_OUTLINE.get(shape.tag, 'shapes')} without a mask"
                self._report.unusable(origin, str(error), kind)
                continue
            add_values(attributes, "occluded", shape.get("occluded") == "1")
            _add_attributes(attributes, shape, numbers)
        if not polygons and not masks:
            return None
        origin, shape = parts[0]
        segmentation = segmentation_of(polygons, masks, height, width)
        return LabelledObject(origin, shape.get("label"), segmentation, self.survey.add(attributes))


def _number_attributes(root: Element) -> set[tuple[str, str]]:
    """Label and name of the attributes that are numbers."""
    return {
        (label.findtext("name", ""), attribute.findtext("name", ""))
        for label in root.iter("label")
        for attribute in label.iter("attribute")
        if attribute.findtext("input_type") == "number"
    }


def _add_attributes(
    attributes: dict[str, list], shape: Element, numbers: set[tuple[str, str]]
) -> None:
    for attribute in shape.findall("attribute"):
        name, value = attribute.get("name", ""), (attribute.text or "").strip()
        if value and (shape.get("label"), name) in numbers:
            add_values(attributes, name, finite_number(value, name))
        else:
            add_values(attributes, name, _YES_NO.get(value, value))
