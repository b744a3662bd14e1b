"""Evaluates a file of predictions, without a model."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import time

from mask2former_mt.evaluation.joint import Evaluation, evaluate
from mask2former_mt.evaluation.prediction_files import read_predictions
from mask2former_mt.evaluation.registered import ground_truth_of
from mask2former_mt.evaluation.report.report import EXPLAINING, Run, write_report
from mask2former_mt.evaluation.summary import write_confusion, write_metrics


def evaluate_file(
    predictions: str | os.PathLike,
    dataset_name: str,
    output_dir: str | os.PathLike,
    *,
    engine: str = "own",
    run: Run | None = None,
) -> Evaluation:
    """Computes the metrics that the run which wrote the predictions computed.

    Args:
        predictions: of `prediction_files.read_predictions`.
        dataset_name: a registered dataset.
        output_dir: made where missing; gets `metrics.json`, and with subcategories
            `confusion.json`.
        engine: of `engines.ENGINES`.
        run: what `report.html`, which is then written too, tells of the run.

    Raises:
        FileNotFoundError: no such file.
        ValueError: predictions that are damaged or not of this dataset, an annotation that cannot
            be evaluated, or an unknown engine.
    """
    truth = ground_truth_of(dataset_name)
    try:
        started = time.monotonic()
        evaluation = evaluate(
            truth,
            read_predictions(predictions),
            engine=engine,
            **(EXPLAINING if run is not None else {}),
        )
    except ValueError as error:
        path = os.fspath(predictions)
        raise ValueError(str(error) if path in str(error) else f"{path}: {error}") from error
    write_metrics(evaluation.metrics, output_dir)
    if len(truth.spec):
        write_confusion(evaluation, pathlib.Path(output_dir))
    if run is not None:
        duration = ("evaluated in", f"{time.monotonic() - started:.1f} s")
        write_report(
            output_dir,
            evaluation,
            dataset_name=dataset_name,
            predictions=predictions,
            run=dataclasses.replace(run, facts=(*run.facts, duration)),
        )
    return evaluation
