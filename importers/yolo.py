"""Imports YOLO segmentation folders: pictures, and a text file of outlines for each.

Which pictures and classes there are is for `yolo_data` to find. The labels of
`.../images/a.jpg` are in `.../labels/a.txt` (the last folder `images` counts; without one, beside
the picture), a line `class x1 y1 x2 y2 ...` for each object, normalised by the width and height of
the upright picture. No file and an empty file mean no objects. A line of five numbers is a box and
has no mask. Files of which every line is a box with key points, or has four corners as those of
oriented boxes do, are refused. The format has no attributes: S = 0.

Source: docs.ultralytics.com/datasets/segment.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping
from pathlib import Path

from mask2former_mt.importers.picture_files import common_folder, size_of_picture
from mask2former_mt.importers.source import Report, Request, Source, SourceSplit
from mask2former_mt.importers.yolo_data import read_text, read_yolo_data

# Files in which every line has four corners are refused as oriented boxes, or are outlines.
ORIENTED_BOXES_CHOICES = ("refuse", "outline")
# labelImg and others leave the class names among the labels.
_NO_LABELS = frozenset(("classes.txt", "labels.txt", "README.txt"))
# Normalised coordinates may be rounded outwards; beyond this they are something else.
_MAX_COORDINATE = 1.5
_DECIMALS = 3  # a thousandth of a pixel


def read_yolo(request: Request) -> Source:
    """Reads the dataset of a `data.yaml`; see `Request`.

    The one input is `data.yaml` or the folder that it would lie in, and has all splits.
    """
    inputs, images, report = request.inputs, request.images, request.report
    if len(inputs) != 1 or images:
        raise ValueError(
            "the format yolo takes one data.yaml, which names the splits and their pictures; got "
            f"{len(inputs)} inputs and --images for {sorted(images) or 'none'}"
        )
    data = read_yolo_data(next(iter(inputs.values())), request.options.classes, report)
    forms = _Forms()
    splits = []
    for name, pictures in data.pictures.items():
        _check_stray_labels(pictures, data.folders[name], report)
        split = SourceSplit(name, data.file, common_folder(pictures))
        for picture in pictures:
            _read_picture(picture, split, data.names, forms, report)
        splits.append(split)
    forms.refuse_others(data.file, request.options.oriented_boxes, report)
    categories = [{"id": index, "name": name} for index, name in data.names.items()]
    return Source(categories, splits, [data.file])


@dataclasses.dataclass
class _Forms:
    """Counts the lines of a dataset that could be those of another task."""

    num_lines: int = 0
    num_poses: int = 0
    num_corners: int = 0
    is_any_turned: bool = False

    def add(self, values: list[float]) -> None:
        """Counts a line, class and coordinates."""
        self.num_lines += 1
        if len(values) == 1 + 4 * 2:
            self.num_corners += 1
            self.is_any_turned |= len(set(values[1::2])) > 2 or len(set(values[2::2])) > 2
        # Class, centre and size of the box, then x, y and visibility of each key point.
        has_triples = len(values) > 5 and (len(values) - 5) % 3 == 0
        self.num_poses += has_triples and all(value in (0, 1, 2) for value in values[7::3])

    def refuse_others(self, file: Path, oriented_boxes: str, report: Report) -> None:
        """Says it first, and once, if all lines are of another task."""
        if self.num_lines and self.num_poses == self.num_lines:
            report.refuse_first(
                f"{file}: all {self.num_lines} lines are a box with key points (YOLO pose), which "
                "have no outlines; export segmentation"
            )
            return
        # A single upright rectangle may as well be an outline.
        are_corners = self.num_corners == self.num_lines > (0 if self.is_any_turned else 1)
        if are_corners and oriented_boxes == "refuse":
            report.refuse_first(
                f"{file}: all {self.num_lines} lines have four corners: they are oriented boxes "
                "(YOLO OBB), no outlines; export segmentation, or if they are outlines give "
                "--oriented-boxes outline"
            )


def label_file_of(picture: Path) -> Path:
    """Where the labels of a picture are."""
    parts = list(picture.parts)
    for i in range(len(parts) - 2, -1, -1):
        if parts[i] == "images":
            parts[i] = "labels"
            break
    return Path(*parts).with_suffix(".txt")


def _check_stray_labels(pictures: list[Path], folders: list[Path], report: Report) -> None:
    owners: dict[Path, Path] = {}
    for picture in pictures:
        labels = label_file_of(picture)
        owner = owners.setdefault(labels, picture)
        # Two pictures whose names differ only in the suffix would share their labels.
        if owner is not picture:
            report.refuse(
                f"{picture}: {owner.name} in the same folder has the same labels, {labels}; "
                "rename or remove one of the pictures"
            )
    for folder in folders:
        labels = label_file_of(folder / "x.jpg").parent
        for file in sorted(labels.rglob("*.txt")) if labels.is_dir() else ():
            if file not in owners and file.name not in _NO_LABELS:
                report.refuse(
                    f"{file}: no picture below {folder} belongs to it; put the picture back, or "
                    "remove the file"
                )


def _read_picture(
    file: Path, split: SourceSplit, names: Mapping[int, str], forms: _Forms, report: Report
) -> None:
    """Adds a picture and its objects to the split."""
    labels = label_file_of(file)
    try:
        height, width = size_of_picture(file)
        split.add_picture(file, height, width)
        if not os.path.isfile(labels):
            report.note("pictures without a label file, taken as without objects", str(file))
            return
        lines = read_text(labels).splitlines()
    except ValueError as error:
        report.refuse(str(error))
        return
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        origin = f"{labels} line {number}"
        try:
            index, coordinates = _read_line(line, names, forms)
        except ValueError as error:
            report.refuse(f"{origin}: {error}")
            continue
        if len(coordinates) == 4:
            report.unusable(
                origin,
                "it is a box (5 numbers), which has no mask; export the outlines",
                "boxes without a mask",
            )
            continue
        polygon = [
            round(value * (height if i % 2 else width), _DECIMALS)
            for i, value in enumerate(coordinates)
        ]
        split.add_object(origin, index, [polygon], {})


def _read_line(line: str, names: Mapping[int, str], forms: _Forms) -> tuple[int, list[float]]:
    """Class index and the normalised coordinates of an outline, or the four of a box."""
    fields = line.split()
    try:
        values = [float(field) for field in fields]
    except ValueError:
        values = []
    expected = "must be 'class x1 y1 x2 y2 x3 y3 ...'"
    if not values or not all(map(math.isfinite, values)):
        raise ValueError(f"{expected}, numbers only, got {line.strip()[:80]!r}")
    forms.add(values)
    index, coordinates = values[0], values[1:]
    if index not in names:
        raise ValueError(
            f"class {fields[0][:20]} is not listed in 'names'; listed are {list(names)[:20]}"
        )
    if len(coordinates) == 4:
        return int(index), coordinates
    if len(coordinates) < 6 or len(coordinates) % 2:
        raise ValueError(
            f"{expected}, an odd number of at least 7, got {len(values)} numbers; "
            "the line may be cut short, export it again"
        )
    if max(map(abs, coordinates)) > _MAX_COORDINATE:
        raise ValueError(
            "coordinates must be normalised to [0, 1] by the picture's width and height, got "
            f"{max(coordinates, key=abs):g}; these may be pixels"
        )
    return int(index), coordinates
