"""Pictures and frames of videos, read in batches, ahead of time and within a budget of pixels."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np

from mask2former_mt.dataset.converted_pictures import ConvertedPictures
from mask2former_mt.dataset.images import read_picture_header
from mask2former_mt.predict.videos import VideoReader, is_video, missing_frames

Item = TypeVar("Item")


def stamp_of(file: Path) -> tuple[int, int]:
    """A file's size in bytes and the time of its last change in nanoseconds."""
    status = file.stat()
    return status.st_size, status.st_mtime_ns


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
