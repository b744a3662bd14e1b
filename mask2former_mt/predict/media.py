"""Pictures and videos to predict on: finding them, and reading them in batches."""

from __future__ import annotations

import dataclasses
import glob
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from mask2former_mt.dataset.images import read_image
from mask2former_mt.predict.journal import stamp_of
from mask2former_mt.predict.videos import VIDEO_SUFFIXES, VideoReader, missing_frames

IMAGE_SUFFIXES = frozenset((".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"))


@dataclasses.dataclass(frozen=True)
class Frame:
    """A picture, or a frame of a video.

    Args:
        file: where it is from.
        number: of the frame, from 0; None for a picture.
        image: uint8 RGB (H, W, 3).
        prepared: for the model; None where the predictions are known already.
        stamp: of the file before it was read, of `stamp_of`.
    """

    file: Path
    number: int | None
    image: np.ndarray
    prepared: dict | None
    stamp: tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Known:
    """So many pictures or frames of this file that are finished already."""

    file: Path
    count: int


@dataclasses.dataclass(frozen=True)
class Failed:
    """A file of which something could not be read; the message names it."""

    file: Path
    message: str


@dataclasses.dataclass(frozen=True)
class VideoEnd:
    """All frames of this video have been given; there was at least one."""

    file: Path


def is_video(file: Path) -> bool:
    """Whether a file is named like a video."""
    return file.suffix.lower() in VIDEO_SUFFIXES


def find_inputs(inputs: Sequence[str | os.PathLike]) -> list[Path]:
    """The pictures and videos that paths, folders and globs stand for, each once, in their order.

    Args:
        inputs: a file is taken as it is; of a folder (not of those in it) and of a glob, the files
            that are named like pictures or videos, sorted.

    Raises:
        FileNotFoundError: a path that does not exist, or a folder or glob without pictures.
        ValueError: a named file that is neither a picture nor a video, by its first bytes.
    """
    found: dict[Path, Path] = {}
    for entry in map(os.fspath, inputs):
        path = Path(entry)
        if path.is_file():
            # A wrong name is told at once; a damaged file in a folder must not stop the others.
            _check_is_readable(path)
            files = [path]
        else:
            if path.is_dir():
                candidates = list(path.iterdir())
            elif glob.has_magic(entry):
                candidates = [Path(name) for name in glob.glob(entry, recursive=True)]
            else:
                raise FileNotFoundError(f"input {entry} does not exist")
            suffixes = IMAGE_SUFFIXES | VIDEO_SUFFIXES
            files = sorted(
                file for file in candidates if file.suffix.lower() in suffixes and file.is_file()
            )
            if not files:
                raise FileNotFoundError(
                    f"input {entry}: no pictures or videos there ({' '.join(sorted(suffixes))})"
                )
        for file in files:
            found.setdefault(file.resolve(), file)
    return list(found.values())


def read_batches(
    files: Sequence[Path],
    batch_size: int,
    *,
    prepare: Callable[[np.ndarray], dict],
    is_known: Callable[[Path, int | None], bool],
    is_drawn: Callable[[Path], bool],
) -> Iterator[list[Frame] | Known | Failed | VideoEnd]:
    """Reads what is not finished yet.

    Which pictures share a batch depends on the files alone: a run that was killed and goes on
    predicts in the same batches, where one picture's padding depends on the others.

    Args:
        files: of `find_inputs`.
        batch_size: pictures or frames; a batch holds frames of one video, or pictures.
        prepare: image -> what the model takes.
        is_known: whether the predictions of a file or one of its frames are there.
        is_drawn: whether a file's overlay is there.

    Yields:
        Frames, in batches that are either all prepared or all known (of an unfinished video); what
        is finished; and what failed.
    """
    position = 0
    while position < len(files):
        if is_video(files[position]):
            yield from _read_video(files[position], batch_size, prepare, is_known, is_drawn)
            position += 1
            continue
        batch = []
        while len(batch) < batch_size and position < len(files) and not is_video(files[position]):
            batch.append(files[position])
            position += 1
        if all(is_known(file, None) and is_drawn(file) for file in batch):
            yield from (Known(file, 1) for file in batch)
        else:
            frames = []
            for file in batch:
                try:
                    stamp = stamp_of(file)
                    image = read_image(file, "RGB")
                    frames.append(Frame(file, None, image, prepare(image), stamp))
                except (OSError, ValueError) as error:
                    yield Failed(file, str(error))
            if frames:
                yield frames


def _read_video(
    file: Path,
    batch_size: int,
    prepare: Callable[[np.ndarray], dict],
    is_known: Callable[[Path, int | None], bool],
    is_drawn: Callable[[Path], bool],
) -> Iterator[list[Frame] | Known | Failed | VideoEnd]:
    try:
        stamp = stamp_of(file)
        video = VideoReader(file)
    except (OSError, ValueError) as error:
        yield Failed(file, str(error))
        return
    try:
        count = 0
        if is_drawn(file) and is_known(file, 0):
            while is_known(file, count):
                count += 1
            yield Known(file, count)
        else:
            images = []
            for image in video:
                images.append(image)
                if len(images) == batch_size:
                    yield _frames(file, stamp, count, images, prepare, is_known)
                    count, images = count + batch_size, []
            if images:
                yield _frames(file, stamp, count, images, prepare, is_known)
                count += len(images)
            if count:
                yield VideoEnd(file)
        message = missing_frames(count, video.num_frames)
        if message or not count:
            yield Failed(file, f"video {file} {message or 'has no frame that can be read'}")
    finally:
        video.close()


def _frames(
    file: Path,
    stamp: tuple[int, int],
    first: int,
    images: Sequence[np.ndarray],
    prepare: Callable[[np.ndarray], dict],
    is_known: Callable[[Path, int | None], bool],
) -> list[Frame]:
    numbered = list(enumerate(images, start=first))
    known = all(is_known(file, number) for number, _ in numbered)
    return [
        Frame(file, number, image, None if known else prepare(image), stamp)
        for number, image in numbered
    ]


def _check_is_readable(file: Path) -> None:
    if is_video(file):
        VideoReader(file).close()
        return
    # Only the header: quick enough for any number, and no one waits an hour to be told.
    try:
        with Image.open(file):
            pass
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"image {file} cannot be read: {error}") from error
