"""Finds the pictures of formats that do not list them, and reads their sizes."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from mask2former_mt.dataset.images import upright_size

PICTURE_SUFFIXES = frozenset((".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"))


def pictures_below(folder: Path) -> list[Path]:
    """The files of a folder and its subfolders that are named like pictures, sorted by path."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in PICTURE_SUFFIXES and path.is_file()
    )


def size_of_picture(file: Path) -> tuple[int, int]:
    """(height, width) of a picture turned upright, from its header.

    Raises:
        FileNotFoundError: no such file.
        ValueError: names a file that is no picture.
    """
    try:
        return upright_size(file)
    except ValueError as error:
        raise ValueError(f"{file}: {error}; replace the picture") from error


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


def image_entry(number: int, file: Path, root: Path, size: tuple[int, int]) -> dict:
    """The JSON's entry of a picture.

    Args:
        number: its id.
        file: below `root`.
        size: (height, width) in pixels.
    """
    name = Path(os.path.abspath(file)).relative_to(root).as_posix()
    return {"id": number, "file_name": name, "height": size[0], "width": size[1]}
