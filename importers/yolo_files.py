"""Finds what a YOLO `data.yaml` names: classes, pictures, and the label file of each.

Source: docs.ultralytics.com/datasets/segment; `../train/images` beside `data.yaml`, as Roboflow
writes it, is understood as `train/images` where only that exists.
"""

from __future__ import annotations

import os
from pathlib import Path

import yaml
from mask2former_mt.importers.source import Report
from mask2former_mt.importers.source_files import PICTURE_SUFFIXES, pictures_below, read_text

from mask2former_mt.check.old_rle import is_int

# labelImg and others leave the class names among the labels.
_NO_LABELS = frozenset(("classes.txt", "labels.txt", "README.txt"))


def read_data_yaml(file: Path) -> dict:
    """The content of `data.yaml`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not YAML, or without `names`.
    """
    text = read_text(file)
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


def read_names(file: Path, data: dict) -> dict[int, str]:
    """The class names by index, ascending; indices may have gaps.

    Raises:
        ValueError: no such list or mapping, or another number of them than `nc` says.
    """
    names = data["names"]
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not names:
        raise ValueError(
            f"{file}: 'names' must list the classes, or map their indices to names, got "
            f"{str(data['names'])[:80]}"
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


def find_pictures(
    data_file: Path, data: dict, split: str, files: list[Path], report: Report
) -> list[Path]:
    """The pictures of a split, each once; reports labels in its folders that have no picture.

    Args:
        data_file, data: the YAML and its content.
        split: one of its keys.
        files: gets the lists of pictures that were read.
        report: gets what is wrong.

    Raises:
        FileNotFoundError: a folder or list that is not there, or without pictures.
        ValueError: an entry that is no path.
    """
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
            files.append(path)
            found.update(dict.fromkeys(_listed_pictures(path, report)))
    if not found:
        raise FileNotFoundError(
            f"{data_file}: {split}: {entries} has no pictures "
            f"({' '.join(sorted(PICTURE_SUFFIXES))}); is it the right folder?"
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
    for number, line in enumerate(read_text(file).splitlines(), start=1):
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
    expected = {label_file_of(picture) for picture in pictures}
    # Two pictures that differ in their suffix only would share their labels.
    if len(expected) < len(pictures):
        seen: dict[Path, Path] = {}
        for picture in pictures:
            other = seen.setdefault(label_file_of(picture), picture)
            if other is not picture:
                report.refuse(
                    f"{picture}: {other.name} in the same folder has the same labels, "
                    f"{label_file_of(picture)}; rename or remove one of the pictures"
                )
    for folder in folders:
        labels = label_file_of(folder / "x.jpg").parent
        for file in sorted(labels.rglob("*.txt")) if labels.is_dir() else ():
            if file not in expected and file.name not in _NO_LABELS:
                report.refuse(
                    f"{file}: no picture below {folder} belongs to it; put the picture back, or "
                    "remove the file"
                )
