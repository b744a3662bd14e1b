"""Picture and video files to overlays, lines of predictions and one COCO-style JSON."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from detectron2.data import DatasetCatalog, MetadataCatalog

from mask2former_mt.dataset.catalog import spec_of
from mask2former_mt.predict.journal import PredictionLines
from mask2former_mt.predict.media import (
    is_video,
)
from mask2former_mt.predict.outputs import (
    RESULTS_NAME,
    check_output,
    overlay_names,
    write_results,
)
from mask2former_mt.predict.overlays import OverlayDrawer, write_sheet
from mask2former_mt.predict.predictor import Predictor
from mask2former_mt.predict.run import PredictionRun

MAX_SIDE = 4000  # pixels of an overlay


def predict_files(
    predictor: Predictor,
    files: Sequence[Path],
    output_dir: str | os.PathLike,
    *,
    score_threshold: float = 0.5,
    ground_truth: str | None = None,
    only_disagreements: bool = False,
    sheet: str | os.PathLike | None = None,
    batch_size: int = 1,
    max_side: int = MAX_SIDE,
    overwrite: bool = False,
) -> dict:
    """Writes an overlay and a line of JSON per picture, and at the end the JSON of all of them.

    What an earlier call with the same settings has finished is not done again, unless the picture
    has changed since; so a call that was interrupted goes on. A picture that cannot be read is
    left out and named in the result.

    Args:
        predictor: gives instances, and the names for them.
        files: pictures and videos, as `find_inputs` gives them.
        output_dir: made where missing.
        score_threshold: instances with a lower score are left out.
        ground_truth: a registered dataset that has all the pictures; its annotations are drawn
            beside the predictions, and its image ids are used.
        only_disagreements: whether to draw only what differs from the ground truth.
        sheet: where to write the first `SHEET_CELLS` pictures as one; of disagreements, the first
            that have any.
        batch_size: pictures that the model takes at a time.
        max_side: pixels; overlays whose longer side would be more are reduced; 0 never.
        overwrite: whether to begin anew, whatever the folder holds.

    Returns:
        {"pictures": paths of the overlays, "results": path of the JSON, "images": how many pictures
        and frames it has, "instances": how many it has,
        "known": how many pictures and frames were predicted before, "sheet": its path, None where
        there was nothing to show, "failures": messages}.

    Raises:
        ValueError: output among the inputs, other settings than the folder's predictions were made
            with, a dataset that does not fit, or disagreements with no ground truth.
    """
    output_dir = Path(output_dir)
    check_output(files, output_dir, sheet)
    if only_disagreements and ground_truth is None:
        raise ValueError("disagreements need a ground truth to disagree with; name a dataset")
    annotated = None if ground_truth is None else _annotated(predictor, files, ground_truth)
    settings = {
        **predictor.settings(),
        "score_threshold": score_threshold,
        "ground_truth": ground_truth,
        "only_disagreements": only_disagreements,
        "max_side": max_side,
    }
    output_dir.mkdir(parents=True, exist_ok=True)
    lines = PredictionLines(output_dir, settings, overwrite=overwrite)
    try:
        names = overlay_names(files, lines.pictures)
        pictures = {file: output_dir / name for file, name in zip(files, names, strict=True)}
        if sheet is not None and Path(sheet).resolve() in {p.resolve() for p in pictures.values()}:
            raise ValueError(f"the contact sheet {sheet} would replace an overlay; rename it")
        drawer = OverlayDrawer(predictor, annotated, only_disagreements, max_side)
        run = PredictionRun(predictor, lines, pictures, drawer, score_threshold)
        run.predict(files, batch_size)
        done = [key for file in files for key in _keys(lines, file)]
        if sheet is not None and not write_sheet(sheet, done, lines, drawer):
            sheet = None
        ids = range(1, len(done) + 1)
        if annotated is not None:
            ids = [annotated[file]["image_id"] for file, _ in done]
        num_instances = write_results(
            output_dir / RESULTS_NAME,
            zip(ids, (_line_of(lines, *key) for key in done), strict=True),
            {
                "categories": [
                    {"id": category_id, "name": name}
                    for category_id, name in zip(
                        predictor.category_ids, predictor.class_names, strict=True
                    )
                ],
                "subcategories": predictor.spec.to_json(),
            },
        )
    finally:
        lines.close()
    drawn = dict.fromkeys(file for file, _ in done)
    return {
        "pictures": [pictures[file] for file in drawn],
        "results": output_dir / RESULTS_NAME,
        "images": len(done),
        "instances": num_instances,
        "known": run.num_known,
        "sheet": sheet,
        "failures": run.failures,
    }


def _keys(lines: PredictionLines, file: Path) -> Iterator[tuple[Path, int | None]]:
    """What there is of a file: the picture, or a video's frames."""
    if not is_video(file):
        if lines.is_current(file):
            yield file, None
        return
    number = 0
    while lines.is_current(file, number):
        yield file, number
        number += 1


def _line_of(lines: PredictionLines, file: Path, number: int | None) -> dict:
    # The file may have been called by another relative path when its line was written.
    return {**lines.read(file, number), "file_name": file.as_posix()}


def _annotated(predictor: Predictor, files: Sequence[Path], dataset: str) -> dict[Path, dict]:
    """The dataset dict of each file.

    Raises:
        ValueError: a dataset that is not registered, has other labels or lacks a file.
    """
    spec = spec_of(dataset)
    class_names = list(MetadataCatalog.get(dataset).get("thing_classes", ()))
    for what, expected, got in (
        ("classes", predictor.class_names, class_names),
        ("subcategories", predictor.spec.to_json(), spec.to_json()),
    ):
        if got != expected:
            raise ValueError(
                f"ground truth {dataset!r} must have the model's {what} {expected}, got {got}"
            )
    known = {Path(record["file_name"]).resolve(): record for record in DatasetCatalog.get(dataset)}
    for file in files:
        if file.resolve() not in known:
            raise ValueError(
                f"input {file} is not among the {len(known)} images of dataset {dataset!r}"
            )
    return {file: known[file.resolve()] for file in files}
