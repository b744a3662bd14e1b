"""Imports YOLO segmentation folders: `data.yaml`, pictures, and a text file of outlines for each.

`data.yaml` has `names` (a list, or a mapping from class index to name) and, relative to `path`,
`train`, `val` and `test`: a folder of pictures, a text file that lists pictures, or a list of
these; `../train/images` beside `data.yaml`, as Roboflow writes it, is understood as `train/images`
where only that exists. The labels of `.../images/a.jpg` are in `.../labels/a.txt` (the last folder
`images` counts; without one, beside the picture), a line `class x1 y1 x2 y2 ...` for each object,
normalised by the width and height of the upright picture. No file and an empty file mean no
objects. A line of five numbers is a box and has no mask. Files of key points (`kpt_shape` in
`data.yaml`) have no outlines and are refused. The format has no attributes: S = 0.

Source: docs.ultralytics.com/datasets/segment.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path

import yaml
from mask2former_mt.importers.picture_files import (
    common_folder,
    pictures_below,
    size_of_picture,
)
from mask2former_mt.importers.source import Report, Request, Source, SourceSplit

from mask2former_mt.dataset.problems import shown
from mask2former_mt.dataset.rle import is_int

_SPLITS = ("train", "val", "test")
# labelImg and others leave the class names among the labels.
_NO_LABELS = frozenset(("classes.txt", "labels.txt", "README.txt"))
# Normalised coordinates may be rounded outwards; beyond this they are something else.
_MAX_COORDINATE = 1.5
_DECIMALS = 3  # a thousandth of a pixel


def read_yolo(request: Request) -> Source:
    """Reads the dataset of a `data.yaml`; see `Request`.

    The one input is `data.yaml` or the folder that it lies in, and names all splits and pictures.
    """
    inputs, images, report = request.inputs, request.images, request.report
    if len(inputs) != 1 or images:
        raise ValueError(
            "the format yolo takes one data.yaml, which names the splits and their pictures; got "
            f"{len(inputs)} inputs and --images for {sorted(images) or 'none'}"
        )
    data_file = next(iter(inputs.values()))
    if os.path.isdir(data_file):
        data_file = data_file / "data.yaml"
    data = _read_data_yaml(data_file)
    if data.get("kpt_shape") is not None:
        raise ValueError(
            f"{data_file}: 'kpt_shape' {shown(data['kpt_shape'])} says that the labels are boxes "
            "and key points (YOLO pose), which have no outlines; export segmentation"
        )
    names = _read_names(data_file, data)
    splits = []
    for name in _SPLITS:
        if data.get(name):
            pictures = _find_pictures(data_file, data, name, report)
            split = SourceSplit(name, data_file, common_folder(pictures))
            for picture in pictures:
                _read_picture(picture, split, names, report)
            splits.append(split)
    if not splits:
        raise ValueError(
            f"{data_file} names no pictures; it needs 'train' or 'val', its keys are "
            f"{sorted(map(str, data))}"
        )
    categories = [{"id": index, "name": name} for index, name in names.items()]
    return Source(categories, splits, [data_file])


def _read_text(file: Path) -> str:
    """A text file, with or without a byte-order mark."""
    if not os.path.isfile(file):
        raise FileNotFoundError(f"{file} does not exist, or is no file")
    try:
        return Path(file).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{file} must be text in UTF-8, got other bytes; save it again as UTF-8"
        ) from error


def _read_data_yaml(file: Path) -> dict:
    text = _read_text(file)
    try:
        data = yaml.safe_load(text)
    # Dates that do not exist are a ValueError of their own, deep nesting a RecursionError.
    except (yaml.YAMLError, ValueError, RecursionError, OverflowError) as error:
        raise ValueError(f"{file} is not valid YAML: {error}") from error
    if not isinstance(data, dict) or "names" not in data:
        raise ValueError(
            f"{file} must hold 'names' and 'train' or 'val', got "
            f"{sorted(map(str, data)) if isinstance(data, dict) else type(data).__name__}"
        )
    return data


def _read_names(file: Path, data: dict) -> dict[int, str]:
    """The class names by index, ascending; indices may have gaps."""
    names = data["names"]
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not names:
        raise ValueError(
            f"{file}: 'names' must list the classes, or map their indices to names, got "
            f"{shown(data['names'])}"
        )
    categories = {}
    for index, name in names.items():
        # Class names such as 0 and 1 are numbers to YAML; no and yes are not what was meant.
        if not is_int(index) or index < 0 or not (is_int(name) or (name and str(name) == name)):
            raise ValueError(
                f"{file}: 'names' must map indices from 0 on to texts, got {index!r}: {name!r}; "
                "put quotes around names such as no, yes, null and 1.5"
            )
        categories[index] = str(name)
    number = data.get("nc", len(categories))
    if number != len(categories):
        raise ValueError(
            f"{file}: 'nc' must be the number of names, {len(categories)}, got {number!r}"
        )
    return dict(sorted(categories.items()))


def _find_pictures(data_file: Path, data: dict, split: str, report: Report) -> list[Path]:
    """The pictures of a split, each once; reports labels in its folders that have no picture."""
    entries = data[split] if isinstance(data[split], list) else [data[split]]
    found: dict[Path, None] = {}
    folders = []
    for entry in entries:
        if not isinstance(entry, str) or "\0" in entry:
            raise ValueError(f"{data_file}: {split!r} must be a path or a list, got {entry!r}")
        path = _resolve(data_file, data, split, entry)
        if os.path.isdir(path):
            folders.append(path)
            found.update(dict.fromkeys(pictures_below(path)))
        else:
            found.update(dict.fromkeys(_listed_pictures(path, report)))
    if not found:
        report.raise_if_refused()
        raise FileNotFoundError(
            f"{data_file}: {split}: {entries} has no pictures; is it the right folder?"
        )
    pictures = list(found) if not folders else sorted(found)
    _check_stray_labels(pictures, folders, report)
    return pictures


def _resolve(data_file: Path, data: dict, split: str, entry: str) -> Path:
    beside = Path(os.path.abspath(data_file)).parent
    path = data.get("path")
    base = beside / path if isinstance(path, str) and "\0" not in path else beside
    tries = [base / entry, beside / entry]
    if entry.startswith("../"):
        tries.append(beside / entry[3:])
    for candidate in tries:
        if candidate.exists():
            return Path(os.path.normpath(candidate))
    raise FileNotFoundError(
        f"{data_file}: {split!r}: {entry!r} does not exist; looked for "
        f"{', '.join(dict.fromkeys(map(str, tries)))}; correct 'path' or {split!r}"
    )


def _listed_pictures(file: Path, report: Report) -> list[Path]:
    pictures = []
    for number, line in enumerate(_read_text(file).splitlines(), start=1):
        name = line.strip()
        if not name:
            continue
        candidates = [Path(os.path.normpath(file.parent / name)), Path(os.path.abspath(name))]
        existing = [path for path in candidates if os.path.isfile(path)]
        if existing:
            pictures.append(existing[0])
        else:
            report.refuse(
                f"{file} line {number}: {name[:120]!r} is no picture; paths are relative to the "
                "list, put the picture back or remove the line"
            )
    return pictures


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


def _read_picture(file: Path, split: SourceSplit, names: Mapping[int, str], report: Report) -> None:
    """Adds a picture and its objects to the split."""
    labels = label_file_of(file)
    try:
        height, width = size_of_picture(file)
        split.add_picture(file, height, width)
        if not os.path.isfile(labels):
            report.note("pictures without a label file, taken as without objects", str(file))
            return
        lines = _read_text(labels).splitlines()
    except ValueError as error:
        report.refuse(str(error))
        return
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        origin = f"{labels} line {number}"
        try:
            index, coordinates = _read_line(line, names)
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


def _read_line(line: str, names: Mapping[int, str]) -> tuple[int, list[float]]:
    """Class index and the normalised coordinates of an outline, or the four of a box."""
    fields = line.split()
    try:
        values = [float(field) for field in fields]
    except ValueError:
        values = []
    expected = "must be 'class x1 y1 x2 y2 x3 y3 ...'"
    if not values or not all(map(math.isfinite, values)):
        raise ValueError(f"{expected}, numbers only, got {line.strip()[:80]!r}")
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
