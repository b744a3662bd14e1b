"""Reads the texts and JSON files that the importers work on, and finds pictures."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

PICTURE_SUFFIXES = frozenset((".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"))


def read_text(file: Path) -> str:
    """A text file, with or without a byte-order mark.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not UTF-8.
    """
    if not os.path.isfile(file):
        raise FileNotFoundError(f"{file} does not exist, or is no file")
    try:
        return Path(file).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{file} must be text in UTF-8, got other bytes; save it again as UTF-8"
        ) from error


def read_json_object(file: Path) -> dict:
    """A JSON file that holds one object.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not JSON (cut short, another format), or no object.
    """
    text = read_text(file)
    try:
        document = json.loads(text)
    # A number of thousands of digits is a ValueError of its own, deep nesting a RecursionError.
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{file} is not valid JSON: {error}; the file may be cut short, export it again"
        ) from error
    if not isinstance(document, dict):
        raise ValueError(f"{file} must hold a JSON object, got a {type(document).__name__}")
    return document


def pictures_below(folder: Path) -> list[Path]:
    """The files of a folder and those in it that are named like pictures, sorted by their path."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in PICTURE_SUFFIXES and path.is_file()
    )


def common_folder(files: Iterable[Path]) -> Path:
    """The deepest folder that all files lie in.

    Raises:
        ValueError: they lie on several drives.
    """
    folders = sorted({str(Path(os.path.abspath(file)).parent) for file in files})
    try:
        return Path(os.path.commonpath(folders))
    except ValueError as error:
        raise ValueError(
            f"the pictures must lie below one folder, got {folders[0]} and {folders[-1]}; "
            "move them to one drive"
        ) from error


def relative_name(file: Path, folder: Path) -> str:
    """The name of a file from a folder that it lies in, with forward slashes."""
    return Path(os.path.abspath(file)).relative_to(folder).as_posix()
