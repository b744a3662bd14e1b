"""Predicts on many files: what is read, predicted, drawn and written, and when."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
from detectron2.structures import Instances
from tqdm import tqdm

from mask2former_mt.dataset.converted_pictures import ConvertedPictures
from mask2former_mt.engine.memory import give_back_free_memory
from mask2former_mt.evaluation.results_json import instances_to_results
from mask2former_mt.predict.batches import Batch, BatchReader, Frame, PixelBudget, read_ahead
from mask2former_mt.predict.input_files import count_frames
from mask2former_mt.predict.journal import RESULTS_NAME, Journal, write_results
from mask2former_mt.predict.overlays import (
    OverlayDrawer,
    OverlayOptions,
    check_output,
    judged_ids,
    overlay_names,
    read_ground_truth_of,
    write_picture,
    write_sheet,
)
from mask2former_mt.predict.predictor import Predictor
from mask2former_mt.predict.videos import VideoReader, VideoWriter
from mask2former_mt.structures import SCORES

_BATCHES_AHEAD = 2
# A larger picture is under way alone, and what one step of it frees is given back before the next.
_PIXELS_UNDER_WAY = 4 * 2**20
_NUM_DRAWING = max(1, min(4, (os.cpu_count() or 1) - 1))  # threads


@dataclasses.dataclass(frozen=True)
class JobResult:
    """What a job has written."""

    results: Path  # predictions.json
    num_images: int  # pictures and frames in it
    num_instances: int
    num_known: int  # pictures and frames that were predicted before
    sheet: str | os.PathLike | None  # the contact sheet; None where there was nothing to show
    failures: list[str]  # a message for each file that could not be read to its end
    conversions: list[str]  # what was not read as it is, in words


def predict_files(
    predictor: Predictor,
    files: Sequence[Path],
    output_dir: str | os.PathLike,
    *,
    overlays: OverlayOptions,
    score_threshold: float = 0.5,
    batch_size: int = 1,
    sheet: str | os.PathLike | None = None,
    overwrite: bool = False,
) -> JobResult:
    """Writes an overlay and a line of JSON per picture, and at the end the JSON of all of them.

    What an earlier call with the same settings has finished is not done again, unless the picture
    has changed since; so a call that was interrupted goes on. A picture that cannot be read is
    left out and named in the result.

    Args:
        predictor: gives instances, and the names for them.
        files: pictures and videos, as `find_inputs` gives them.
        output_dir: folder to write to; made where missing.
        overlays: what the overlays show. With a ground truth, the JSON has the dataset's image ids.
        score_threshold: in [0, 1]; instances with a lower score are left out.
        batch_size: number of pictures that the model takes at a time.
        sheet: PNG for the first `SHEET_CELLS` pictures as one; of disagreements, the first pictures
            that have any.
        overwrite: whether to begin anew, whatever the folder holds.

    Raises:
        ValueError: output among the inputs, other settings than the folder's predictions were made
            with, or a dataset that does not fit.
    """
    output_dir = Path(output_dir)
    check_output(files, output_dir, sheet)
    annotated = judged = None
    if overlays.ground_truth is not None:
        annotated = read_ground_truth_of(files, overlays.ground_truth, predictor.names)
        judged = judged_ids(overlays.ground_truth, predictor.names)
    drawer = OverlayDrawer(predictor.names, overlays, annotated, judged)
    settings = {
        **predictor.settings,
        "score_threshold": score_threshold,
        **dataclasses.asdict(overlays),
    }
    output_dir.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(Journal(output_dir, settings, overwrite=overwrite)) as journal:
        overlay_of = zip(files, overlay_names(files, journal.overlay_names), strict=True)
        paths = {file: output_dir / name for file, name in overlay_of}
        if sheet is not None and Path(sheet).resolve() in {p.resolve() for p in paths.values()}:
            raise ValueError(f"the contact sheet {sheet} would replace an overlay; rename it")
        run = _Run(predictor, journal, drawer, paths, score_threshold)
        run.predict(files, batch_size)
        frames = [(file, number) for file in files for number in journal.frames_of(file)]
        if sheet is not None and not write_sheet(sheet, frames, journal, drawer, predictor.read):
            sheet = None
        image_ids = range(1, len(frames) + 1)
        if annotated is not None:
            image_ids = [annotated[file]["image_id"] for file, _ in frames]
        lines = (journal.read(*frame) for frame in frames)
        num_instances = write_results(
            output_dir / RESULTS_NAME, zip(image_ids, lines, strict=True), predictor.names
        )
    return JobResult(
        results=output_dir / RESULTS_NAME,
        num_images=len(frames),
        num_instances=num_instances,
        num_known=run.num_known,
        sheet=sheet,
        failures=run.failures,
        conversions=run.converted.describe(predictor.depth_range),
    )


def _tidy_after(image: np.ndarray) -> None:
    # What one step has freed is in pieces that the next one cannot use.
    if image.shape[0] * image.shape[1] > _PIXELS_UNDER_WAY:
        give_back_free_memory()


@dataclasses.dataclass
class _Run:
    """Reads, predicts, draws and writes at the same time, in the order of the files.

    One thread reads ahead, the caller's predicts, and some draw. A line of the journal is written
    after its overlay, or, for a video, after the frame is in the overlay's unfinished file.
    """

    predictor: Predictor  # used by the caller's thread only, but for `prepare`
    journal: Journal
    drawer: OverlayDrawer
    paths: Mapping[Path, Path]  # of each file's overlay
    score_threshold: float
    failures: list[str] = dataclasses.field(default_factory=list, init=False)
    num_known: int = dataclasses.field(default=0, init=False)
    converted: ConvertedPictures = dataclasses.field(default_factory=ConvertedPictures, init=False)
    _budget: PixelBudget = dataclasses.field(
        default_factory=lambda: PixelBudget(_PIXELS_UNDER_WAY), init=False
    )
    # File and frame number of each drawing, oldest first. Not the frames: they hold their pictures.
    _pending: deque[tuple[Path, int | None, Future]] = dataclasses.field(
        default_factory=deque, init=False
    )
    _video: VideoWriter | None = dataclasses.field(default=None, init=False)

    def predict(self, files: Sequence[Path], batch_size: int) -> None:
        """Leaves an overlay and lines of each file that can be read."""
        reader = BatchReader(
            batch_size=batch_size,
            read_picture=self.predictor.read,
            prepare=self._prepare,
            is_known=self.journal.is_current,
            is_drawn=lambda file: self.paths[file].exists(),
            converted=self.converted,
            budget=self._budget,
        )
        batches = read_ahead(reader.read(files), _BATCHES_AHEAD)
        pool = ThreadPoolExecutor(_NUM_DRAWING, thread_name_prefix="drawing")
        progress = tqdm(total=count_frames(files), desc="predicting", unit="image")
        try:
            for batch in batches:
                for message in batch.failures:
                    progress.write(f"left out: {message}", file=sys.stderr)
                self._predict_batch(batch, pool)
                progress.update(batch.num_items)
                del batch  # its pictures, while the next ones are read
            self._write_drawn(0)
        finally:
            progress.close()
            self._budget.lift()
            batches.close()
            pool.shutdown(cancel_futures=True)
            if self._video is not None:
                self._video.abandon()

    def _predict_batch(self, batch: Batch, pool: ThreadPoolExecutor) -> None:
        self.num_known += batch.num_known
        self.failures += batch.failures
        predictions = [None] * len(batch.frames)  # None: they are known
        if batch.frames and batch.frames[0].prepared is not None:
            predictions = self.predictor.predict([f.prepared for f in batch.frames])
            _tidy_after(batch.frames[0].image)
        for frame, instances in zip(batch.frames, predictions, strict=True):
            drawing = pool.submit(self._draw, frame, instances)
            self._pending.append((frame.file, frame.number, drawing))
        # This bounds the drawn frames in memory.
        self._write_drawn(0 if batch.ends_video else 2 * _NUM_DRAWING)
        if batch.ends_video:
            self._video.finish()
            self._video = None

    def _prepare(self, image: np.ndarray) -> dict:
        prepared = self.predictor.prepare(image)
        _tidy_after(image)
        return prepared

    def _draw(
        self, frame: Frame, instances: Instances | None
    ) -> tuple[dict | None, np.ndarray | None]:
        """Draws a picture or frame, and writes the overlay of a picture.

        Returns:
            The line of one that was not known, and the overlay of a video's frame.
        """
        try:
            if instances is None:
                line = self.journal.read(frame.file, frame.number)
            else:
                line = self._line(frame, instances[instances.get(SCORES) >= self.score_threshold])
                _tidy_after(frame.image)
            overlay = self.drawer.draw(frame.file, frame.image, line["annotations"])
            _tidy_after(frame.image)
            if frame.number is None:
                write_picture(self.paths[frame.file], overlay)
                overlay = None
            return line if instances is not None else None, overlay
        finally:
            if frame.number is None:
                self._budget.give(frame.image.shape[0] * frame.image.shape[1])

    def _line(self, frame: Frame, instances: Instances) -> dict:
        """The journal's line of a picture or frame."""
        file_name, names = frame.file.as_posix(), self.predictor.names
        annotations = instances_to_results(
            instances, file_name, spec=names.spec, category_ids=names.category_ids
        )
        for annotation in annotations:
            del annotation["image_id"]
        return {
            "file_name": file_name,
            **({} if frame.number is None else {"frame": frame.number}),
            "height": frame.image.shape[0],
            "width": frame.image.shape[1],
            "picture": self.paths[frame.file].name,
            "bytes": frame.stamp[0],
            "modified": frame.stamp[1],
            "annotations": annotations,
        }

    def _write_drawn(self, num_left: int) -> None:
        """Waits for the oldest drawings until `num_left` are pending; writes lines and videos."""
        while len(self._pending) > num_left:
            file, number, drawing = self._pending.popleft()
            line, overlay = drawing.result()
            if number is not None:
                if self._video is None:
                    with contextlib.closing(VideoReader(file)) as reader:
                        rate = reader.frames_per_second
                    self._video = VideoWriter(self.paths[file], rate)
                self._video.write(overlay)
            if line is not None:
                self.journal.append(line)
