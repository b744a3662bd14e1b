"""Imports Label Studio's JSON: the export that has polygons, brushes and their further labels.

A task is a picture; its regions are polygons, brushes and ellipses, whose label is the class.
Boxes, vectors and key points have no outline. Further results with a region's id (choices,
taxonomy, rating, number, text) are its attributes, named as the control that they come from. Those
without a region are of the whole picture, and are given to each of its objects on request
(`ImportOptions.picture_attributes`). Of a task that several people annotated the ground truth
counts, otherwise the first; what was skipped does not count. A picture is found by its path or
name, with or without the eight digits that Label Studio puts before an uploaded file's name.

Source: labelstud.io/guide/export and /guide/task_format; label-studio-sdk, converter/brush.py.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from mask2former_mt.importers.annotation_keys import OtherKeys, add_values
from mask2former_mt.importers.attribute_choice import Survey
from mask2former_mt.importers.json_fields import field, json_objects
from mask2former_mt.importers.label_studio_results import (
    attribute_values,
    is_shape,
    kind_without_mask,
    label_of,
    segmentation_of_shape,
    shape_of,
)
from mask2former_mt.importers.labelled_pictures import (
    LabelledObject,
    LabelledPicture,
    labelled_source,
    picture_attributes,
)
from mask2former_mt.importers.picture_files import PictureFinder, check_size, size_of_picture
from mask2former_mt.importers.source import Request, Source

from mask2former_mt.dataset.document import parse_json
from mask2former_mt.dataset.problems import shown

_SIZE_KEYS = ("original_height", "original_width")
_OWN_KEYS = (
    *("id", "from_name", "to_name", "type", "value", "origin", "parentID", "readonly", "hidden"),
    *_SIZE_KEYS,
    "image_rotation",
    "locked",
)
_UPLOAD_PREFIX = re.compile(r"[0-9a-f]{8}-")


def read_label_studio(request: Request) -> Source:
    """Reads Label Studio's JSON files; see `Request`."""
    reader = _Reader(request)
    pictures: dict[str, list[LabelledPicture]] = {}
    for split, file in request.input_files():
        tasks = parse_json(file)
        if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
            raise ValueError(f"{file} must hold a list of Label Studio's tasks, got {shown(tasks)}")
        if not all("data" in task for task in tasks):
            raise ValueError(
                f"{file}: a task of Label Studio must have 'data' and 'annotations', got the keys "
                f"{sorted(tasks[0])[:20]}; export JSON, not JSON-MIN"
            )
        finder = PictureFinder(file, request.images.get(split))
        pictures[split] = list(reader.pictures(file, tasks, finder))
    reader.others.refuse_unseen()
    return labelled_source(pictures, request.inputs.values(), reader.survey, request)


class _Reader:
    """Reads tasks, and remembers which attributes there were."""

    def __init__(self, request: Request) -> None:
        self.survey, self.others = Survey(), OtherKeys(_OWN_KEYS, request)
        self._request, self._report = request, request.report

    def pictures(
        self, file: Path, tasks: list[dict], finder: PictureFinder
    ) -> Iterator[LabelledPicture]:
        """The pictures of the tasks that somebody annotated."""
        for position, task in enumerate(tasks):
            origin = f"{file}: task {shown(task.get('id', position))}"
            try:
                done = [a for a in json_objects(task, "annotations") if not a.get("was_cancelled")]
                if not done:
                    self._report.note("tasks that nobody annotated, left out", origin)
                    continue
                if len(done) > 1:
                    self._report.note("tasks with several annotations, one of them taken", origin)
                chosen = next((a for a in done if a.get("ground_truth") is True), done[0])
                picture = finder.find(*_names_of_picture(field(task, "data", dict)))
                yield self._picture(picture, json_objects(chosen, "result"), origin)
            except (ValueError, OSError) as error:
                self._report.refuse(f"{origin}: {error}")

    def _picture(self, file: Path, results: list[dict], origin: str) -> LabelledPicture:
        regions: dict[str, list[dict]] = {}
        for position, result in enumerate(results):
            name = field(result, "id", str, f"number {position}")
            regions.setdefault(name, []).append(result)
        attributes: dict[str, list] = {}
        for parts in regions.values():
            if shape_of(parts) is None:
                self._add_attributes(attributes, parts, origin)
        attributes = picture_attributes(attributes, origin, self._request)
        height, width = size_of_picture(file)
        objects = []
        for name, parts in regions.items():
            shape = shape_of(parts)
            if shape is None:
                continue
            place = f"{origin}, region {name[:40]}"
            of_object = {key: list(values) for key, values in attributes.items()}
            self._add_attributes(of_object, parts, place)
            for key, values in self.others.read(shape, place).items():
                add_values(of_object, key, values)
            try:
                declared = {key: shape.get(key) for key in _SIZE_KEYS}
                check_size(file, height, width, declared)
                label = label_of(parts)
                segmentation = segmentation_of_shape(shape, height, width)
            except ValueError as error:
                self._report.unusable(place, str(error), kind_without_mask(shape))
                continue
            texts = self.survey.add(of_object)
            objects.append(LabelledObject(place, label, segmentation, texts))
        return LabelledPicture(file, height, width, objects)

    def _add_attributes(self, attributes: dict[str, list], parts: list[dict], origin: str) -> None:
        for result in parts:
            values = attribute_values(result)
            if values is not None:
                add_values(attributes, field(result, "from_name", str), values)
            elif shape_of(parts) is None or not is_shape(result):
                kind = shown(result.get("type"))
                self._report.note(f"results of type {kind}, which are not read", origin)


def _names_of_picture(data: dict) -> list[str]:
    """Where a task's picture may be, best first: its path, its name, and that without a prefix.

    Raises:
        ValueError: no text names a picture.
    """
    names = []
    for value in data.values():
        if isinstance(value, str) and value:
            try:
                address = urlsplit(value)
            except ValueError:  # such as brackets that are no IPv6 address
                continue
            # Of a local folder: /data/local-files/?d=folder/a.jpg
            path = parse_qs(address.query).get("d", [address.path])[0]
            path = unquote(path)
            name = os.path.basename(path)
            names += [path, name, _UPLOAD_PREFIX.sub("", name, count=1)]
    if not names:
        raise ValueError(f"'data' must name the task's picture, got {shown(data)}")
    return names
