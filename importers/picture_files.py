"""Finds the pictures of formats that do not list them, and reads their sizes."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from mask2former_mt.dataset.images import read_picture_header
from mask2former_mt.dataset.picture_formats import is_picture_name


def pictures_below(folder: Path) -> list[Path]:
    """The files of a folder and its subfolders that are named like pictures, sorted by path."""
    return sorted(path for path in folder.rglob("*") if is_picture_name(path) and path.is_file())


def size_of_picture(file: Path) -> tuple[int, int]:
    """(height, width) of a picture turned upright, from its header.

    Raises:
        FileNotFoundError: no such file.
        ValueError: names a file that is not read, and why.
    """
    try:
        return read_picture_header(file).size
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


def common_folder(files: Iterable[Path]) -> Path:
    """The deepest folder that all files lie in."""
    return Path(os.path.commonpath([os.path.dirname(os.path.abspath(file)) for file in files]))
