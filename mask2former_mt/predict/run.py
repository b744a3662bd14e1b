"""The work of predicting on many files: what is read, predicted, drawn and written when."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
from detectron2.structures import Instances
from tqdm import tqdm

from mask2former_mt.evaluation.results import instances_to_results
from mask2former_mt.predict.journal import PredictionLines
from mask2former_mt.predict.media import (
    Failed,
    Frame,
    Known,
    VideoEnd,
    is_video,
    read_batches,
)
from mask2former_mt.predict.outputs import write_picture
from mask2former_mt.predict.overlays import OverlayDrawer
from mask2former_mt.predict.predictor import Predictor
from mask2former_mt.predict.read_ahead import read_ahead
from mask2former_mt.predict.videos import VideoReader, VideoWriter
from mask2former_mt.structures import SCORES

_NUM_DRAWING = max(1, min(4, (os.cpu_count() or 1) - 1))  # threads


class PredictionRun:
    """Reading, predicting, drawing and writing, at the same time and in the files' order.

    Args:
        predictor: called by the caller's thread only.
        lines: one is appended for each picture, after its overlay is written.
        pictures: path of each file's overlay.
        drawer: of the overlays.
        score_threshold: instances with a lower score are left out.

    Attributes:
        failures: messages of what could not be read.
        num_known: pictures and frames that were predicted before.
    """

    def __init__(
        self,
        predictor: Predictor,
        lines: PredictionLines,
        pictures: dict[Path, Path],
        drawer: OverlayDrawer,
        score_threshold: float,
    ) -> None:
        self.predictor = predictor
        self.lines = lines
        self.pictures = pictures
        self.drawer = drawer
        self.score_threshold = score_threshold
        self.failures: list[str] = []
        self.num_known = 0
        self._pending: deque[tuple[Frame, Future]] = deque()
        self._video: VideoWriter | None = None

    def predict(self, files: Sequence[Path], batch_size: int) -> None:
        """Leaves an overlay and lines of each file that can be read."""
        items = read_batches(
            files,
            batch_size,
            prepare=self.predictor.prepare,
            is_known=self.lines.is_current,
            is_drawn=lambda file: self.pictures[file].exists(),
        )
        pool = ThreadPoolExecutor(_NUM_DRAWING, thread_name_prefix="drawing")
        progress = tqdm(total=_count(files), desc="predicting", unit="image")
        try:
            for item in read_ahead(items, 2):
                if isinstance(item, Known):
                    self.num_known += item.count
                    progress.update(item.count)
                elif isinstance(item, Failed):
                    self.failures.append(item.message)
                    progress.write(f"left out: {item.message}", file=sys.stderr)
                    progress.update(0 if is_video(item.file) else 1)
                elif isinstance(item, VideoEnd):
                    self._finish(0)
                    self._video.finish()
                    self._video = None
                else:
                    self._submit(item, pool)
                    # So many drawn pictures are held in memory.
                    self._finish(2 * _NUM_DRAWING)
                    progress.update(len(item))
            self._finish(0)
        finally:
            progress.close()
            pool.shutdown(cancel_futures=True)
            if self._video is not None:
                self._video.abandon()

    def _submit(self, frames: list[Frame], pool: ThreadPoolExecutor) -> None:
        known = frames[0].prepared is None
        predicted = [None] * len(frames)
        if not known:
            predicted = self.predictor.predict([frame.prepared for frame in frames])
        self.num_known += len(frames) if known else 0
        for frame, instances in zip(frames, predicted, strict=True):
            self._pending.append((frame, pool.submit(self._draw, frame, instances)))

    def _draw(self, frame: Frame, instances: Instances | None) -> tuple[dict, np.ndarray | None]:
        """The line of a frame, and the picture where it belongs to a video."""
        if instances is None:
            line = self.lines.read(frame.file, frame.number)
        else:
            line = self._line(frame, instances[instances.get(SCORES) >= self.score_threshold])
        picture = self.drawer.draw(frame.file, frame.image, line["annotations"])
        if frame.number is not None:
            return line, picture
        write_picture(self.pictures[frame.file], picture)
        return line, None

    def _line(self, frame: Frame, instances: Instances) -> dict:
        results = instances_to_results(
            instances,
            frame.file.as_posix(),
            spec=self.predictor.spec,
            category_ids=self.predictor.category_ids,
        )
        for result in results:
            del result["image_id"]
        return {
            "file_name": frame.file.as_posix(),
            **({} if frame.number is None else {"frame": frame.number}),
            "height": frame.image.shape[0],
            "width": frame.image.shape[1],
            "picture": self.pictures[frame.file].name,
            "bytes": frame.stamp[0],
            "modified": frame.stamp[1],
            "annotations": results,
        }

    def _finish(self, left: int) -> None:
        """Waits for drawings, the oldest first, until so many are left, and writes their lines."""
        while len(self._pending) > left:
            frame, future = self._pending.popleft()
            line, picture = future.result()
            if picture is not None:
                if self._video is None:
                    reader = VideoReader(frame.file)
                    reader.close()
                    self._video = VideoWriter(self.pictures[frame.file], reader.frames_per_second)
                self._video.write(picture)
            if frame.prepared is not None:
                self.lines.append(line)


def _count(files: Sequence[Path]) -> int:
    """Pictures and frames, as far as the files say."""
    count = 0
    for file in files:
        if not is_video(file):
            count += 1
            continue
        try:
            reader = VideoReader(file)
        except ValueError:
            continue
        count += reader.num_frames
        reader.close()
    return count
