"""The pictures and videos that paths, folders and globs stand for."""

from __future__ import annotations

import collections
import contextlib
import glob
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from mask2former_mt.dataset.images import read_picture_header
from mask2former_mt.dataset.picture_formats import can_read_suffix, is_picture_name
from mask2former_mt.predict.videos import VideoReader, is_video


def find_inputs(inputs: Sequence[str | os.PathLike]) -> list[Path]:
    """Finds the pictures and videos that paths, folders and globs stand for, each file once.

    Args:
        inputs: files, folders and globs. A file is taken as it is; of a folder (without those below
            it) and of a glob, the files that are named like pictures that can be read or like
            videos, sorted; `count_left_out` tells of the others.

    Returns:
        The files in the order of the inputs.

    Raises:
        FileNotFoundError: a path that does not exist, or a folder or glob without pictures.
        ValueError: a named file whose first bytes are neither a picture's nor a video's.
    """
    found: dict[Path, Path] = {}
    for entry in map(os.fspath, inputs):
        candidates = _candidates(entry)
        if candidates is None:
            # A wrong name is told at once; a damaged file in a folder must not stop the others.
            files = [Path(entry)]
            _check_header(files[0])
        else:
            files = [file for file in candidates if why_left_out(file) is None]
            if not files:
                reasons = left_out_text(collections.Counter(map(why_left_out, candidates)))
                raise FileNotFoundError(
                    f"input {entry}: no pictures or videos there{reasons and f' ({reasons})'}"
                )
        for file in files:
            found.setdefault(file.resolve(), file)
    return list(found.values())


def count_left_out(inputs: Sequence[str | os.PathLike]) -> collections.Counter[str]:
    """Counts, by the reason, the files of folders and globs that `find_inputs` leaves out."""
    files = {
        file.resolve(): file
        for entry in map(os.fspath, inputs)
        for file in _candidates(entry) or ()
    }
    return collections.Counter(filter(None, map(why_left_out, files.values())))


def why_left_out(file: Path) -> str | None:
    """Why a file of a folder is no input; None if it is one."""
    if is_video(file):
        return None
    if not is_picture_name(file):
        return "not named like a picture or a video"
    if not can_read_suffix(file.suffix):
        return f"{file.suffix.lower()}, a format that the installed Pillow does not read"
    return None


def left_out_text(left_out: Mapping[str, int]) -> str:
    """How many files are left out, and why; empty where none is."""
    return "; ".join(
        f"{count} {'file' if count == 1 else 'files'} left out: {why}"
        for why, count in left_out.items()
    )


def _candidates(entry: str) -> list[Path] | None:
    """The files of a folder or glob, sorted; None for a file."""
    path = Path(entry)
    if path.is_file():
        return None
    if path.is_dir():
        candidates = path.iterdir()
    elif glob.has_magic(entry):
        candidates = map(Path, glob.glob(entry, recursive=True))
    else:
        raise FileNotFoundError(f"input {entry} does not exist")
    return sorted(file for file in candidates if file.is_file())


def _check_header(file: Path) -> None:
    if is_video(file):
        VideoReader(file).close()
        return
    try:
        read_picture_header(file)
    except ValueError as error:
        raise ValueError(f"image {file} cannot be read: {error}") from error


def count_frames(files: Sequence[Path]) -> int:
    """Counts pictures and frames; of videos as many as the files say that they have."""
    count = 0
    for file in files:
        if not is_video(file):
            count += 1
            continue
        with contextlib.suppress(ValueError), contextlib.closing(VideoReader(file)) as video:
            count += video.num_frames
    return count
