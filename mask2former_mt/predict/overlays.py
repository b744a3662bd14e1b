"""Overlays and contact sheets of predicted pictures."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mask2former_mt.dataset.images import read_image
from mask2former_mt.evaluation.disagreements import Comparison, compare_results
from mask2former_mt.predict.journal import PredictionLines
from mask2former_mt.predict.media import is_video
from mask2former_mt.predict.outputs import write_picture
from mask2former_mt.predict.predictor import Predictor
from mask2former_mt.predict.videos import VideoReader
from mask2former_mt.visualization import (
    contact_sheet,
    draw_disagreements,
    draw_pair,
    draw_results,
)

SHEET_CELLS = 24  # at most so many pictures on a contact sheet
SHEET_SIDE = 720  # pixels of the longer side of each


class OverlayDrawer:
    """Draws what the overlays of a run show.

    Args:
        predictor: for the names.
        annotated: the dataset dict of each file, or None for no ground truth.
        only_disagreements: whether to show only what differs from it.
        max_side: pixels; larger overlays are reduced; 0 never.
    """

    def __init__(
        self,
        predictor: Predictor,
        annotated: dict[Path, dict] | None,
        only_disagreements: bool,
        max_side: int,
    ) -> None:
        self.annotated = annotated
        self.only_disagreements = only_disagreements
        self.max_side = max_side
        self.ids = {"category_ids": predictor.category_ids, "spec": predictor.spec}
        self.names = {"class_names": predictor.class_names}

    def draw(
        self, file: Path, image: np.ndarray, results: list[dict], max_side: int | None = None
    ) -> np.ndarray:
        """The overlay of one picture or frame.

        Args:
            file: where it is from.
            image: uint8 RGB (H, W, 3).
            results: its entries of the results JSON.
            max_side: instead of the run's.
        """
        size = {"max_side": self.max_side if max_side is None else max_side}
        if self.annotated is None:
            grows = not is_video(file)
            return draw_results(image, results, **self.names, **self.ids, **size, grows=grows)
        annotations = self.annotated[file]["annotations"]
        if self.only_disagreements:
            comparison = self._compare(file, results, image.shape[:2])._asdict()
            return draw_disagreements(
                image, results, annotations, **comparison, **self.names, **self.ids, **size
            )
        return draw_pair(image, results, annotations, **self.names, **self.ids, **size)

    def is_worth_showing(self, file: Path, line: dict) -> bool:
        """Whether a contact sheet should have it."""
        if not self.only_disagreements:
            return True
        size = (line["height"], line["width"])
        return bool(self._compare(file, line["annotations"], size).disagreements)

    def _compare(self, file: Path, results: list[dict], size: tuple[int, int]) -> Comparison:
        return compare_results(results, self.annotated[file]["annotations"], size, **self.ids)


def write_sheet(
    sheet: str | os.PathLike,
    done: Sequence[tuple[Path, int | None]],
    lines: PredictionLines,
    drawer: OverlayDrawer,
) -> bool:
    """Writes the first pictures as one, drawn anew: reduced overlays' text could not be read.

    Args:
        sheet: path of the PNG.
        done: file and frame of each picture; of a video the first frame is taken.
        lines: of all of them.

    Returns:
        Whether there was anything to show.
    """
    cells, titles = [], []
    for file, number in done:
        if len(cells) == SHEET_CELLS:
            break
        line = lines.read(file, number)
        if number or not drawer.is_worth_showing(file, line):
            continue
        if number is None:
            image = read_image(file, "RGB")
        else:
            video = VideoReader(file)
            image = next(iter(video))
            video.close()
        cells.append(drawer.draw(file, image, line["annotations"], max_side=SHEET_SIDE))
        titles.append(file.name)
    if not cells:
        return False
    pairs = drawer.annotated is not None and not drawer.only_disagreements
    columns = 2 if pairs else 4
    write_picture(sheet, contact_sheet(cells, columns, titles=titles))
    return True
