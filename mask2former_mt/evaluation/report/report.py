"""The report of an evaluation: one HTML page that holds all of its charts and pictures."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Sequence

import numpy as np
from detectron2.data import MetadataCatalog

from mask2former_mt.evaluation import errors as error_kinds
from mask2former_mt.evaluation.joint import Evaluation, verified_statuses
from mask2former_mt.evaluation.matching import AT_50
from mask2former_mt.evaluation.report import evaluation_charts as charts
from mask2former_mt.evaluation.report import report_tables as tables
from mask2former_mt.evaluation.report.example_pictures import draw_examples
from mask2former_mt.evaluation.score_threshold import (
    ScoreCurve,
    class_confusion,
    image_scores,
    score_curve,
)
from mask2former_mt.files import write_whole
from mask2former_mt.visualization.chart_tools import chart_style, heat
from mask2former_mt.visualization.pages import Table, figure, render

REPORT_FILE = "report.html"


@dataclasses.dataclass(frozen=True)
class Run:
    """Where the predictions come from, as names and values that the page shows.

    Args:
        facts: of the run, such as its seed and duration.
        versions: of the software and the machine.
        config: YAML, or empty.
        depth_range: INPUT.DEPTH_RANGE, for pictures deeper than 8 bits.
    """

    facts: Sequence[tuple[str, object]] = ()
    versions: Sequence[tuple[str, object]] = ()
    config: str = ""
    depth_range: Sequence[float] = ()

    def with_facts(self, *facts: tuple[str, object]) -> Run:
        """The same with more facts at the end."""
        return dataclasses.replace(self, facts=(*self.facts, *facts))


def write_report(
    output_dir: str | os.PathLike,
    evaluation: Evaluation,
    *,
    dataset_name: str,
    predictions: str | os.PathLike,
    run: Run,
) -> pathlib.Path:
    """Writes `report.html`.

    Args:
        output_dir: an existing folder.
        evaluation: made by `evaluate` with `explain`.
        dataset_name: a registered dataset; its pictures are read.
        predictions: the file that was evaluated, for the masks.

    Returns:
        The report's path.
    """
    errors = error_kinds.find_errors(evaluation)
    curves = _score_curves(evaluation)
    threshold = curves["joint"].best_score
    with chart_style():
        page = render(
            "evaluation.html",
            title=f"Evaluation: {dataset_name}",
            run=run,
            run_facts=[*_counts(evaluation), *run.facts],
            examples=draw_examples(
                evaluation,
                image_scores(errors, threshold),
                predictions=predictions,
                threshold=threshold,
                depth_range=run.depth_range,
            ),
            image_root=MetadataCatalog.get(dataset_name).get("image_root", ""),
            **_numbers(evaluation),
            **_curves(evaluation, curves, threshold),
            **_errors(evaluation, errors, threshold),
            **_calibrations(evaluation),
        )
    path = pathlib.Path(output_dir) / REPORT_FILE
    write_whole({path: page})
    return path


def _counts(evaluation: Evaluation) -> list[tuple[str, object]]:
    return [
        ("images", len(evaluation.truth.image_ids)),
        ("objects to find", int(evaluation.to_find.sum())),
        ("detections", len(evaluation.detections)),
    ]


def _score_curves(evaluation: Evaluation) -> dict[str, ScoreCurve]:
    """Precision and recall at IoU .5 by score, when masks and classes or all labels are right."""
    sides = {"segm": evaluation.statuses, "joint": verified_statuses(evaluation)}
    num_objects = int(evaluation.to_find.sum())
    return {
        name: score_curve(statuses_TD[AT_50], evaluation.detections.scores, num_objects)
        for name, statuses_TD in sides.items()
    }


def _numbers(evaluation: Evaluation) -> dict[str, object]:
    """The page's tables, and AP by IoU as a chart."""
    return {
        "headline": tables.headline(evaluation),
        "labels": tables.label_scores(evaluation),
        "per_class": tables.per_class(evaluation),
        "per_iou": tables.per_iou(evaluation),
        "iou_chart": charts.precision_by_iou(evaluation),
        "metrics": Table(("metric", "percent"), list(evaluation.metrics.items())),
    }


def _curves(
    evaluation: Evaluation, score_curves: dict[str, ScoreCurve], threshold: float
) -> dict[str, object]:
    """The titled curves, and the score threshold with the best F1, if there is one."""
    by_score = charts.precision_by_score(score_curves, threshold)
    return {
        "has_threshold": np.isfinite(threshold),
        "threshold": threshold,
        "curves": [
            ("Precision by recall, mean of the classes", charts.precision_recall(evaluation)),
            ("By class, IoU 0.50", charts.precision_recall_by_class(evaluation)),
            ("Precision, recall and F1 by score threshold, IoU 0.50", by_score),
        ],
    }


def _errors(
    evaluation: Evaluation, errors: error_kinds.Errors, threshold: float
) -> dict[str, object]:
    """What is wrong, what it costs, and what was taken for what."""
    gains = error_kinds.gains(errors)
    shown_D = evaluation.detections.scores >= threshold
    return {
        "errors": tables.errors(errors.counts(), errors.counts(shown_D), gains),
        "error_meanings": error_kinds.MEANINGS,
        "error_chart": charts.error_bars(gains),
        "confusions": _confusions(evaluation, class_confusion(errors, threshold)),
    }


def _confusions(evaluation: Evaluation, class_counts: np.ndarray) -> list[tuple[str, bytes]]:
    """Titles and charts of what was taken for what: classes, then the values of subcategories."""
    names, axes = evaluation.truth.class_names, ("predicted", "annotated")
    chart = heat([*names, "(nothing)"], [*names, "(missed)"], class_counts, labels=axes)
    titled = [("Classes, detections above the threshold", chart)]
    for name, found in evaluation.labels.items():
        values = ["(none)" if value is None else value for value in found.values]
        chart = heat(values, values, found.confusion, labels=axes)
        titled.append((f"{name}, of objects found at IoU 0.50", chart))
    return titled


def _calibrations(evaluation: Evaluation) -> dict[str, object]:
    """Titles and charts of the scores that are probabilities, and titles of those that are not."""
    titled_bins = {"Score, of detections": evaluation.score_bins}
    titled_bins |= {
        f"{name}, of objects found": found.bins for name, found in evaluation.labels.items()
    }
    drawn, undefined = [], []
    for title, bins in titled_bins.items():
        title = f"{title} (ECE {figure(bins.error_percent)})"
        if bins.defined:
            drawn.append((title, charts.calibration(bins)))
        else:
            undefined.append(title)
    return {"calibrations": drawn, "uncalibrated": undefined}
