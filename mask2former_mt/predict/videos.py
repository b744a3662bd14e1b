"""Videos: told by their names, read frame by frame, written whole."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

VIDEO_SUFFIXES = frozenset(
    (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ogv", ".webm", ".wmv")
)
_CODEC = "mp4v"  # in every build of OpenCV, and eight times as fast as VP8


def is_video(file: Path) -> bool:
    """Whether a file is named like a video."""
    return file.suffix.lower() in VIDEO_SUFFIXES


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
