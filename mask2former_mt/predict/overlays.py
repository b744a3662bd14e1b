"""Overlays of predicted pictures: their names, what they show, and contact sheets of them."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from detectron2.data import DatasetCatalog

from mask2former_mt.dataset.catalog import labels_of, map_onto, relabelled
from mask2former_mt.evaluation.disagreements import Comparison, compare_results
from mask2former_mt.files import replacing
from mask2former_mt.label_lists import Labels
from mask2former_mt.predict.journal import Journal
from mask2former_mt.predict.videos import VideoReader, is_video
from mask2former_mt.visualization import (
    LabelNames,
    SizeLimits,
    contact_sheet,
    draw_disagreements,
    draw_pair,
    draw_results,
)

MAX_SIDE = 4000  # pixels of an overlay
MAX_STEM = 200  # bytes; with what the name of an unfinished file has besides, less than 255
SHEET_CELLS = 24  # most pictures on a contact sheet
SHEET_SIDE = 720  # pixels of the longer side of each


def overlay_names(files: Sequence[Path], before: Mapping[str, str]) -> list[str]:
    """Gives each file a name `<stem>.png`, or `<stem>.mp4` for a video.

    No two have the same stem, not even where letter case does not count. Files with a name in
    `before`, by absolute path, keep it, and no other file gets one of those.
    """
    paths = [os.path.abspath(file) for file in files]
    stems = [_shortened(file.stem) for file in files]
    seen = {Path(name).stem.casefold() for name in before.values()}
    # No number may make a name that another file has from its stem.
    taken = seen | {s.casefold() for s, p in zip(stems, paths, strict=True) if p not in before}
    names = []
    # Of thousands of equal stems each would begin anew at 2.
    counts: dict[str, int] = {}
    for file, path, stem in zip(files, paths, stems, strict=True):
        if path in before:
            names.append(before[path])
            continue
        name = stem
        if stem.casefold() in seen:
            count = counts.get(stem.casefold(), 2)
            while (name := f"{stem}_{count}").casefold() in taken:
                count += 1
            counts[stem.casefold()] = count + 1
        seen.add(stem.casefold())
        taken.add(name.casefold())
        names.append(name + (".mp4" if is_video(file) else ".png"))
    return names


def _shortened(stem: str) -> str:
    while len(os.fsencode(stem)) > MAX_STEM:
        stem = stem[:-1]
    return stem


def check_output(
    files: Iterable[Path], output_dir: str | os.PathLike, sheet: str | os.PathLike | None
) -> None:
    """Refuses to write overlays and contact sheet where something else would be lost.

    Raises:
        ValueError: the output folder is a file or holds an input, or the sheet is an input.
    """
    output_dir = Path(output_dir)
    if output_dir.exists() and not output_dir.is_dir():
        raise ValueError(f"output {output_dir} must be a folder, got a file")
    folder = output_dir.resolve()
    for file in files:
        if file.resolve().parent == folder:
            raise ValueError(
                f"output folder {output_dir} holds the input {file}, which an overlay could "
                "replace; choose another folder"
            )
        if sheet is not None and file.resolve() == Path(sheet).resolve():
            raise ValueError(f"the contact sheet {sheet} would replace an input; rename it")


def write_picture(path: str | os.PathLike, picture: np.ndarray) -> None:
    """Writes uint8 RGB (H, W, 3) as PNG, whole or not at all; makes the folder where missing."""
    encoded, data = cv2.imencode(".png", np.ascontiguousarray(picture[:, :, ::-1]))
    assert encoded
    with replacing(path) as stream:
        stream.write(data.data)


@dataclasses.dataclass(frozen=True)
class OverlayOptions:
    """What the overlays of a job show.

    Args:
        ground_truth: name of a registered dataset that has all the pictures; its annotations are
            drawn beside the predictions.
        only_disagreements: whether to draw only what differs from the ground truth.
        max_side: pixels; overlays whose longer side would be more are reduced to it; 0 never.

    Raises:
        ValueError: disagreements without a ground truth.
    """

    ground_truth: str | None = None
    only_disagreements: bool = False
    max_side: int = MAX_SIDE

    def __post_init__(self) -> None:
        if self.only_disagreements and self.ground_truth is None:
            raise ValueError("disagreements need a ground truth to disagree with; name a dataset")


def read_ground_truth_of(
    files: Iterable[Path], dataset: str, names: LabelNames
) -> dict[Path, dict]:
    """Finds the dataset dict of each file, with the model's labels.

    Raises:
        ValueError: a dataset that is not registered, lists what the model does not know, or lacks
            a file.
    """
    model = Labels(tuple(names.classes), names.spec, tuple(names.category_ids))
    to_model = map_onto(model, dataset, "the model")
    known = {Path(record["file_name"]).resolve(): record for record in DatasetCatalog.get(dataset)}
    records = {}
    for file in files:
        if file.resolve() not in known:
            raise ValueError(
                f"input {file} is not among the {len(known)} images of dataset {dataset!r}"
            )
        records[file] = known[file.resolve()]
    return dict(zip(records, relabelled(records.values(), to_model), strict=True))


def judged_ids(dataset: str, names: LabelNames) -> set[int]:
    """The category ids, in `names`, of the classes that a dataset lists."""
    listed = labels_of(dataset).class_names
    pairs = zip(names.category_ids, names.classes, strict=True)
    return {category_id for category_id, name in pairs if name in listed}


@dataclasses.dataclass(frozen=True)
class OverlayDrawer:
    """Draws the overlays of a job."""

    names: LabelNames  # with category ids
    options: OverlayOptions
    annotated: Mapping[Path, dict] | None  # dataset dict of each file; None without ground truth
    judged: Collection[int] | None = None  # ids of the classes that it lists; None: all

    def draw(
        self, file: Path, image: np.ndarray, results: Sequence[dict], max_side: int | None = None
    ) -> np.ndarray:
        """Draws the overlay of one picture or frame, uint8 RGB.

        Args:
            file: the picture or video.
            image: uint8 RGB (H, W, 3), which may be painted on.
            results: its entries of the results JSON.
            max_side: pixels; in place of the options' one.
        """
        max_side = self.options.max_side if max_side is None else max_side
        # The frames of a video must not differ in size.
        limits = SizeLimits(max_side=max_side, grows=not is_video(file))
        if self.annotated is None:
            return draw_results(image, results, self.names, limits, overwrite=True)
        annotations = self.annotated[file]["annotations"]
        if self.options.only_disagreements:
            results = self._judged(results)
            comparison = self._compare(file, results, image.shape[:2])
            return draw_disagreements(image, results, annotations, *comparison, self.names, limits)
        return draw_pair(image, results, annotations, self.names, limits)

    def is_worth_showing(self, file: Path, line: Mapping) -> bool:
        """Whether a contact sheet should have the picture of this line of the journal."""
        if not self.options.only_disagreements:
            return True
        size = (line["height"], line["width"])
        return bool(self._compare(file, self._judged(line["annotations"]), size).disagreements)

    def _judged(self, results: Sequence[dict]) -> list[dict]:
        """Those of classes that the ground truth lists: it says nothing of others."""
        if self.judged is None:
            return list(results)
        return [result for result in results if result["category_id"] in self.judged]

    def _compare(self, file: Path, results: Sequence[dict], size: tuple[int, int]) -> Comparison:
        return compare_results(
            results,
            self.annotated[file]["annotations"],
            size,
            category_ids=self.names.category_ids,
            spec=self.names.spec,
        )


def write_sheet(
    sheet: str | os.PathLike,
    frames: Iterable[tuple[Path, int | None]],
    journal: Journal,
    drawer: OverlayDrawer,
    read: Callable[[Path], np.ndarray],
) -> bool:
    """Writes the first pictures as one PNG, of a video the first frame, if any is worth showing.

    They are drawn anew, as text reduced in size is unreadable.

    Args:
        sheet: path of the PNG.
        frames: file and frame number of each picture; the journal has a line of each.
        journal: says what was predicted.
        drawer: draws the pictures.
        read: reads a picture, uint8 RGB (H, W, 3).

    Returns:
        Whether there was anything to show.
    """
    cells, titles = [], []
    for file, number in frames:
        if len(cells) == SHEET_CELLS:
            break
        line = journal.read(file, number)
        if number or not drawer.is_worth_showing(file, line):
            continue
        if number is None:
            image = read(file)
        else:
            with contextlib.closing(VideoReader(file)) as video:
                image = next(iter(video))
        cells.append(drawer.draw(file, image, line["annotations"], max_side=SHEET_SIDE))
        titles.append(file.name)
    if not cells:
        return False
    shows_pairs = drawer.annotated is not None and not drawer.options.only_disagreements
    write_picture(sheet, contact_sheet(cells, 2 if shows_pairs else 4, titles=titles))
    return True
