"""Pictures and videos: finds inputs, reads them in batches and ahead of time, writes videos."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import glob
import itertools
import math
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np

from mask2former_mt.dataset.converted_pictures import ConvertedPictures
from mask2former_mt.dataset.images import read_picture_header
from mask2former_mt.dataset.picture_formats import can_read_suffix, is_picture_name

VIDEO_SUFFIXES = frozenset(
    (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ogv", ".webm", ".wmv")
)
_CODEC = "mp4v"  # in every build of OpenCV, and eight times as fast as VP8
Item = TypeVar("Item")


def is_video(file: Path) -> bool:
    """Whether a file is named like a video."""
    return file.suffix.lower() in VIDEO_SUFFIXES


def stamp_of(file: Path) -> tuple[int, int]:
    """A file's size in bytes and the time of its last change in nanoseconds."""
    status = file.stat()
    return status.st_size, status.st_mtime_ns


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


class PixelBudget:
    """Bounds the pictures that are read, predicted and drawn at the same time, by their pixels.

    Args:
        most: pixels of all pictures under way; a larger picture is under way alone.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._used = 0
        self._changed = threading.Condition()

    def take(self, pixels: int) -> None:
        """Waits until there is room."""
        with self._changed:
            self._changed.wait_for(lambda: not self._used or self._used + pixels <= self.most)
            self._used += pixels

    def give(self, pixels: int) -> None:
        """Makes room again."""
        with self._changed:
            self._used -= pixels
            self._changed.notify_all()

    def lift(self) -> None:
        """Lets everybody pass who waits, now and later: what comes is not wanted any more."""
        with self._changed:
            self.most = math.inf
            self._changed.notify_all()


@dataclasses.dataclass(frozen=True)
class Frame:
    """A picture, or a frame of a video."""

    file: Path
    number: int | None  # from 0; None for a picture
    image: np.ndarray  # uint8 RGB (H, W, 3)
    prepared: dict | None  # input of the model; None where the predictions are known already
    stamp: tuple[int, int]  # `stamp_of` the file before it was read


@dataclasses.dataclass(frozen=True)
class Batch:
    """Pictures, or frames of one video, that were read together; finished files are not read."""

    num_items: int = 0  # pictures or frames that the batch stands for, whether read or not
    frames: Sequence[Frame] = ()  # either all have `prepared` or none has
    num_known: int = 0  # pictures or frames whose predictions are known already
    failures: Sequence[str] = ()  # a message for each file that could not be read to its end
    ends_video: bool = False  # whether all frames of a video have been given


@dataclasses.dataclass(frozen=True, kw_only=True)
class BatchReader:
    """Reads pictures and videos that are not finished yet.

    Which pictures share a batch depends on the list of files alone. So a run that was killed and
    goes on predicts in the same batches, and pictures get the same padding.
    """

    batch_size: int  # pictures, or frames of one video
    read_picture: Callable[[Path], np.ndarray]  # gives, uint8 RGB (H, W, 3)
    prepare: Callable[[np.ndarray], dict]  # turns an image into the model's input
    is_known: Callable[[Path, int | None], bool]  # of a picture (None) or frame: is it predicted?
    is_drawn: Callable[[Path], bool]  # is the overlay of a file there?
    converted: ConvertedPictures  # counts the pictures that are not read as they are
    budget: PixelBudget  # of pictures; who has drawn one gives its pixels back

    def read(self, files: Iterable[Path]) -> Iterator[Batch]:
        """Reads the files in their order; failures are told in the batches, not raised."""
        for are_videos, group in itertools.groupby(files, is_video):
            if are_videos:
                for file in group:
                    yield from self._read_video(file)
            else:
                while pictures := list(itertools.islice(group, self.batch_size)):
                    yield self._read_pictures(pictures)

    def _read_pictures(self, files: Sequence[Path]) -> Batch:
        if all(self.is_known(file, None) and self.is_drawn(file) for file in files):
            return Batch(len(files), num_known=len(files))
        frames, failures, headers = [], [], {}
        for file in files:
            try:
                headers[file] = read_picture_header(file)
            except (OSError, ValueError) as error:
                failures.append(f"image {file} cannot be read: {error}")
        # Of the whole batch at once, which is predicted as one.
        self.budget.take(sum(math.prod(header.size) for header in headers.values()))
        for file, header in headers.items():
            try:
                stamp = stamp_of(file)
                image = self.read_picture(file)
                self.converted.add(str(file), header)
                frames.append(Frame(file, None, image, self.prepare(image), stamp))
            except (OSError, ValueError) as error:
                failures.append(str(error))
                self.budget.give(math.prod(header.size))
        return Batch(len(files), frames, failures=failures)

    def _read_video(self, file: Path) -> Iterator[Batch]:
        try:
            stamp = stamp_of(file)
            video = VideoReader(file)
        except (OSError, ValueError) as error:
            yield Batch(failures=[str(error)])
            return
        count = 0
        with contextlib.closing(video):
            if self.is_drawn(file) and self.is_known(file, 0):
                while self.is_known(file, count):
                    count += 1
                yield Batch(count, num_known=count)
            else:
                images = iter(video)
                while group := list(itertools.islice(images, self.batch_size)):
                    numbers = range(count, count + len(group))
                    known = all(self.is_known(file, number) for number in numbers)
                    frames = [
                        Frame(file, number, image, None if known else self.prepare(image), stamp)
                        for number, image in zip(numbers, group, strict=True)
                    ]
                    yield Batch(len(frames), frames, num_known=len(frames) if known else 0)
                    count += len(frames)
                if count:
                    yield Batch(ends_video=True)
            message = missing_frames(count, video.num_frames)
            if message or not count:
                message = message or "has no frame that can be read"
                yield Batch(failures=[f"video {file} {message}"])


def read_ahead(items: Iterator[Item], depth: int) -> Iterator[Item]:
    """Gives the same items in the same order, made by a thread before they are asked for.

    An error of the iterator is raised where its item would have come.

    Args:
        items: used by the thread only.
        depth: number of items, at least 1, held in memory besides the one in use.
    """
    end = object()
    pool = ThreadPoolExecutor(1, thread_name_prefix="read-ahead")
    try:
        waiting = deque(pool.submit(next, items, end) for _ in range(depth))
        while (item := waiting.popleft().result()) is not end:
            waiting.append(pool.submit(next, items, end))
            yield item
            del item  # which may be large, while the next one is made
    finally:
        pool.shutdown(cancel_futures=True)


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


class VideoReader:
    """The frames of a video file that OpenCV's FFmpeg reads, upright, one after another.

    Attributes:
        frames_per_second: 25 where the file does not say.
        num_frames: number that the file says, in some formats an estimate; 0 where it says none.

    Raises:
        ValueError: not a video, or one whose beginning is damaged.
    """

    def __init__(self, file: str | os.PathLike) -> None:
        self._capture = cv2.VideoCapture(os.fspath(file))
        if not self._capture.isOpened():
            raise ValueError(f"video {file} cannot be read; it may be cut short or no video at all")
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.frames_per_second = rate if 0 < rate <= 1000 else 25.0
        self.num_frames = max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))

    def __iter__(self) -> Iterator[np.ndarray]:
        """Gives each frame once, uint8 RGB (H, W, 3); ends where nothing more can be decoded."""
        while True:
            ok, frame = self._capture.read()
            if not ok:
                return
            yield np.ascontiguousarray(frame[:, :, ::-1])

    def close(self) -> None:
        self._capture.release()


def missing_frames(num_read: int, num_frames: int) -> str:
    """Says that a video ended too early; an empty text where it did not."""
    # What the file says may be an estimate: two frames and a fiftieth of all may be missing.
    if num_read + 2 + num_frames / 50 >= num_frames:
        return ""
    return (
        f"ended after {num_read} of about {num_frames} frames; it may be cut short or damaged, "
        "what was read is kept"
    )


class VideoWriter:
    """Writes frames to an MP4 file, which gets its name only when it is complete."""

    def __init__(self, file: Path, frames_per_second: float) -> None:
        self.file = file
        self.frames_per_second = frames_per_second
        # OpenCV chooses the format by the suffix.
        self._partial = file.with_name(f".{file.stem}.part.mp4")
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)

    def write(self, picture: np.ndarray) -> None:
        """Adds a frame, uint8 RGB (H, W, 3); others than the first are resized to its size.

        Raises:
            ValueError: OpenCV cannot write the file.
        """
        if self._writer is None:
            # The codec knows even sizes only, and would cut off the last row or column.
            self._size = tuple(length + length % 2 for length in picture.shape[:2])
            self._writer = cv2.VideoWriter(
                os.fspath(self._partial),
                cv2.VideoWriter_fourcc(*_CODEC),
                self.frames_per_second,
                self._size[::-1],
            )
            if not self._writer.isOpened():
                raise ValueError(f"video {self.file} cannot be written by OpenCV as {_CODEC}")
        down, right = (side - own for side, own in zip(self._size, picture.shape[:2], strict=True))
        if not (0 <= down <= 1 and 0 <= right <= 1):
            picture, down, right = cv2.resize(picture, self._size[::-1]), 0, 0
        padded = cv2.copyMakeBorder(picture, 0, down, 0, right, cv2.BORDER_REPLICATE)
        self._writer.write(np.ascontiguousarray(padded[:, :, ::-1]))

    def finish(self) -> None:
        """Gives the file its name."""
        assert self._writer is not None, "a video needs a frame"
        self._writer.release()
        self._partial.replace(self.file)

    def abandon(self) -> None:
        """Removes the incomplete file; does nothing to a finished one."""
        if self._writer is not None:
            self._writer.release()
        self._partial.unlink(missing_ok=True)
