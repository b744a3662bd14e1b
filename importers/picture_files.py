"""Finds the pictures of formats that do not list them, and reads their sizes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from mask2former_mt.dataset.images import read_picture_header
from mask2former_mt.dataset.picture_formats import is_picture_name
from mask2former_mt.dataset.picture_search import PictureSearch
from mask2former_mt.dataset.problems import shown


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


def check_size(file: Path, height: int, width: int, declared: Mapping[str, object]) -> None:
    """Refuses a picture of another size than its annotations say.

    Args:
        file: the picture.
        height, width: of it, upright.
        declared: height and width as the annotations have them, under their own names, in this
            order; None where they do not say.

    Raises:
        ValueError: names both.
    """
    for (key, value), actual in zip(declared.items(), (height, width), strict=True):
        if value not in (None, actual):
            raise ValueError(
                f"{key!r} must be the picture's, got {shown(value)}, {file} is "
                f"{width}x{height} (width x height) turned upright; put back the picture that was "
                "annotated"
            )


class PictureFinder:
    """Finds the pictures that a file of annotations names.

    Args:
        file: names them.
        folder: where they are; None: beside the file, or in a folder `images` there or above.

    Raises:
        FileNotFoundError: no such folder.
    """

    def __init__(self, file: Path, folder: Path | None) -> None:
        if folder is not None and not os.path.isdir(folder):
            raise FileNotFoundError(f"--images: {folder} is not a folder")
        beside = Path(os.path.abspath(file)).parent
        self._folders = [beside / "images", beside.parent / "images", beside]
        # Everything below it is looked through, but not what may be a home folder.
        deep = self._folders[:2]
        if folder is not None:
            self._folders = deep = [Path(os.path.abspath(folder))]
        self._searches = [PictureSearch(below) for below in deep]

    def find(self, *names: str) -> Path:
        """The picture of the first of the names that is there.

        A name may differ from the file's as `PictureSearch` allows.

        Raises:
            FileNotFoundError: none of them, or several pictures that could be meant.
        """
        portable = [name.replace("\\", "/") for name in names if name and "\0" not in name]
        for folder in self._folders:
            for name in portable:
                for part in (name.lstrip("/"), os.path.basename(name)):
                    if part and os.path.isfile(folder / part):
                        return Path(os.path.normpath(folder / part))
        for name in portable:
            alike = [s.folder / path for s in self._searches for path in s.candidates(name)]
            if len(alike) == 1:
                return alike[0]
            if alike:
                raise FileNotFoundError(
                    f"the picture {name!r} may be {alike[0]} or {alike[1]}; give each its own name"
                )
        folders = ", ".join(map(str, self._folders))
        raise FileNotFoundError(
            f"the picture {shown(names[0])} is in none of {folders}; put it back, or give its "
            "folder with --images"
        )


def common_folder(files: Iterable[Path]) -> Path:
    """The deepest folder that all files lie in."""
    return Path(os.path.commonpath([os.path.dirname(os.path.abspath(file)) for file in files]))
