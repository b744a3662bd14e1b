"""Finds the classes and pictures of a YOLO dataset: as `data.yaml` says, or as its folders show.

`data.yaml` has `names` (a list, or a mapping from class index to name) and, relative to `path`,
`train`, `val` and `test`: a folder of pictures, a text file that lists pictures, or a list of
these. A path that is not there, such as one of another computer or Roboflow's `../train/images`, is
looked for by its end beside `data.yaml`. Without `names` the classes are those of `classes.txt`, a
line each, as Label Studio and labelImg write it, or of `ImportOptions.classes`. Without splits the
pictures are those of `images/<split>`, `<split>/images` or `<split>`, where `valid` means val;
otherwise those of `images` or of the folder itself are all of the split train.

Source: docs.ultralytics.com/datasets/segment.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import yaml
from mask2former_mt.importers.picture_files import pictures_below
from mask2former_mt.importers.source import Report

from mask2former_mt.dataset.json_values import is_int
from mask2former_mt.dataset.problems import shown

# The splits, and the names of their folders.
_SPLITS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}
_DATA_FILES = ("data.yaml", "data.yml", "dataset.yaml")
_CLASS_FILES = ("classes.txt", "obj.names")


class YoloData(NamedTuple):
    """Classes and pictures of a dataset.

    Args:
        file: what was read, a file or a folder.
        names: the classes by index, ascending; indices may have gaps.
        pictures: by split, each once.
        folders: by split, those that the pictures were looked for in.
    """

    file: Path
    names: dict[int, str]
    pictures: dict[str, list[Path]]
    folders: dict[str, list[Path]]


def read_yolo_data(path: Path, classes: Sequence[str], report: Report) -> YoloData:
    """Finds classes and pictures.

    Args:
        path: `data.yaml`, or the folder that it would be in.
        classes: their names, where no file has them.
        report: gets pictures that are listed and not there.

    Raises:
        FileNotFoundError: no such file, or no pictures.
        ValueError: a file that cannot be used, or no names of classes.
    """
    file, folder = path, path.parent
    if os.path.isdir(path):
        found = [path / name for name in _DATA_FILES if os.path.isfile(path / name)]
        file, folder = (found or [path])[0], path
    data = {} if os.path.isdir(file) else _read_data_yaml(file)
    if data.get("kpt_shape") is not None:
        raise ValueError(
            f"{file}: 'kpt_shape' {shown(data['kpt_shape'])} says that the labels are boxes and "
            "key points (YOLO pose), which have no outlines; export segmentation"
        )
    names = _class_names(file, data, folder, classes)
    pictures, folders = {}, {}
    for split in _SPLITS:
        if data.get(split):
            pictures[split], folders[split] = _named_pictures(file, data, split, report)
    if not pictures:
        folders = {split: [folder] for split, folder in _split_folders(folder).items()}
        pictures = {split: pictures_below(found[0]) for split, found in folders.items()}
    if not pictures:
        raise FileNotFoundError(
            f"{file} names no pictures, and there are none in images, train and the like beside "
            "it; it needs 'train' or 'val'"
        )
    return YoloData(file, names, pictures, folders)


def read_text(file: Path) -> str:
    """A text file, with or without a byte-order mark.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is not UTF-8.
    """
    if not os.path.isfile(file):
        raise FileNotFoundError(f"{file} does not exist, or is no file")
    try:
        return Path(file).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{file} must be text in UTF-8, got other bytes; save it again as UTF-8"
        ) from error


def _read_data_yaml(file: Path) -> dict:
    text = read_text(file)
    try:
        data = yaml.safe_load(text)
    # Dates that do not exist are a ValueError of their own, deep nesting a RecursionError.
    except (yaml.YAMLError, ValueError, RecursionError, OverflowError) as error:
        raise ValueError(f"{file} is not valid YAML: {error}") from error
    if not isinstance(data, dict):
        raise ValueError(
            f"{file} must hold 'names' and 'train' or 'val', got {type(data).__name__}"
        )
    return data


def _class_names(file: Path, data: dict, folder: Path, classes: Sequence[str]) -> dict[int, str]:
    """The class names by index, ascending, from the first place that has them."""
    if "names" in data:
        names = _read_names(file, data)
        if classes and list(classes) != list(names.values()):
            raise ValueError(
                f"--classes: {file} has names of its own, {list(names.values())[:20]}; got "
                f"{list(classes)[:20]}"
            )
        return names
    for name in _CLASS_FILES:
        if not classes and os.path.isfile(folder / name):
            classes = [line.strip() for line in read_text(folder / name).strip().splitlines()]
    if not classes:
        raise ValueError(
            f"{file} must hold 'names' and 'train' or 'val', got {sorted(map(str, data))}; or name "
            f"the classes, in the order of their numbers, with --classes or in {_CLASS_FILES[0]}"
        )
    return dict(enumerate(classes))


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


def _named_pictures(
    data_file: Path, data: dict, split: str, report: Report
) -> tuple[list[Path], list[Path]]:
    """The pictures that `data.yaml` names for a split, each once, and their folders."""
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
    return list(found) if not folders else sorted(found), folders


def _resolve(data_file: Path, data: dict, split: str, entry: str) -> Path:
    beside = Path(os.path.abspath(data_file)).parent
    path = data.get("path")
    base = beside / path if isinstance(path, str) and "\0" not in path else beside
    tries = [base / entry, beside / entry]
    # Its end, which must tell the splits apart.
    parts = [part for part in Path(entry.replace("\\", "/")).parts if part not in ("..", ".", "/")]
    tries += [beside.joinpath(*parts[i:]) for i in range(len(parts) - 1)]
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


def _split_folders(folder: Path) -> dict[str, Path]:
    """Where the pictures of each split are, as the names of the folders say."""
    found = {}
    for split, aliases in _SPLITS.items():
        for alias in aliases:
            for candidate in (folder / "images" / alias, folder / alias / "images", folder / alias):
                if split not in found and candidate.is_dir() and pictures_below(candidate):
                    found[split] = candidate
    for candidate in (folder / "images", folder):
        if not found and candidate.is_dir() and pictures_below(candidate):
            found = {"train": candidate}
    return found
