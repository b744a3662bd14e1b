"""Imports YOLO segmentation folders: `data.yaml`, pictures, and a text file of outlines for each.

`data.yaml` has `names` (a list, or a mapping from class index to name) and, relative to `path`,
`train`, `val` and `test`: a folder of pictures, a text file that lists pictures, or a list of
these. The labels of `.../images/a.jpg` are in `.../labels/a.txt` (the last `images` folder counts;
without one, beside the picture), a line `class x1 y1 x2 y2 ...` for each object, normalised by the
width and height of the upright picture. No file and an empty file mean no objects. A line of five
numbers is a box and has no mask. The format has no attributes: S = 0.

Source: docs.ultralytics.com/datasets/segment.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path

from mask2former_mt.importers.source import (
    ImportOptions,
    Picture,
    Report,
    Source,
    SourceObject,
    Split,
)
from mask2former_mt.importers.source_files import (
    common_folder,
    read_text,
    relative_name,
)
from mask2former_mt.importers.yolo_files import (
    find_pictures,
    label_file_of,
    read_data_yaml,
    read_names,
)

from mask2former_mt.check.old_image_size import upright_size

_SPLITS = ("train", "val", "test")
# Normalised coordinates may be rounded outwards; beyond this they are something else.
_MAX_COORDINATE = 1.5
_DECIMALS = 3  # a thousandth of a pixel


def read_yolo_seg(
    inputs: Mapping[str, Path], images: Mapping[str, Path], options: ImportOptions, report: Report
) -> Source:
    """Reads the dataset of a `data.yaml`.

    Args:
        inputs: one entry, `data.yaml` or the folder that it lies in; its key does not matter.
        images: must be empty, since `data.yaml` names the pictures.
        options: not used.
        report: gets what is wrong.

    Raises:
        FileNotFoundError: the YAML, a folder or list of pictures.
        ValueError: a YAML that is not of this form.
    """
    if len(inputs) != 1 or images:
        raise ValueError(
            "the format yolo takes one data.yaml, which names the splits and their pictures; got "
            f"{len(inputs)} inputs and --images for {sorted(images) or 'none'}"
        )
    data_file = next(iter(inputs.values()))
    if os.path.isdir(data_file):
        data_file = data_file / "data.yaml"
    data = read_data_yaml(data_file)
    categories = read_names(data_file, data)
    files = [data_file]
    splits = []
    for name in _SPLITS:
        if data.get(name):
            pictures = find_pictures(data_file, data, name, files, report)
            root = common_folder(pictures)
            read = [_read_picture(file, root, categories, files, report) for file in pictures]
            splits.append(Split(name, root, [picture for picture in read if picture is not None]))
    if not splits:
        raise ValueError(
            f"{data_file} names no pictures; it needs 'train' or 'val', its keys are "
            f"{sorted(map(str, data))}"
        )
    return Source(categories, splits, attributes={}, files=files)


def _read_picture(
    file: Path, root: Path, categories: Mapping[int, str], files: list[Path], report: Report
) -> Picture | None:
    try:
        height, width = upright_size(file)
    except ValueError as error:
        report.refuse(f"{file}: {error}; replace the picture")
        return None
    picture = Picture(relative_name(file, root), height, width)
    labels = label_file_of(file)
    if not os.path.isfile(labels):
        report.note("pictures without a label file, taken as without objects", str(file))
        return picture
    files.append(labels)
    try:
        lines = read_text(labels).splitlines()
    except ValueError as error:
        report.refuse(str(error))
        return picture
    for number, line in enumerate(lines, start=1):
        if line.strip():
            item = _read_line(line, f"{labels} line {number}", picture, categories, report)
            if item is not None:
                picture.objects.append(item)
    return picture


def _read_line(
    line: str, origin: str, picture: Picture, categories: Mapping[int, str], report: Report
) -> SourceObject | None:
    fields = line.split()
    try:
        values = [float(field) for field in fields]
    except ValueError:
        values = []
    expected = "must be 'class x1 y1 x2 y2 x3 y3 ...'"
    if not values or not all(map(math.isfinite, values)):
        report.refuse(f"{origin}: {expected}, numbers only, got {line.strip()[:80]!r}")
        return None
    index, coordinates = values[0], values[1:]
    if index != int(index) or int(index) not in categories:
        report.refuse(
            f"{origin}: class {fields[0][:20]} is not listed in 'names'; "
            f"listed are {list(categories)[:20]}"
        )
        return None
    if len(coordinates) == 4:
        report.unusable(
            origin,
            "it is a box (5 numbers), which has no mask; export the outlines",
            "boxes without a mask",
        )
        return None
    if len(coordinates) < 6 or len(coordinates) % 2:
        report.refuse(
            f"{origin}: {expected}, an odd number of at least 7, got {len(values)} numbers; "
            "the line may be cut short, export it again"
        )
        return None
    if max(map(abs, coordinates)) > _MAX_COORDINATE:
        report.refuse(
            f"{origin}: coordinates must be normalised to [0, 1] by the picture's width and "
            f"height, got {max(coordinates, key=abs):g}; these may be pixels"
        )
        return None
    scale = (picture.width, picture.height)
    polygon = [round(value * scale[i % 2], _DECIMALS) for i, value in enumerate(coordinates)]
    return SourceObject(origin, int(index), [polygon], {})
