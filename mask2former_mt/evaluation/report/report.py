"""The report of an evaluation: one HTML page that holds all of its charts and pictures."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Sequence

import numpy as np
from detectron2.data import MetadataCatalog

from mask2former_mt.evaluation import errors as error_kinds
from mask2former_mt.evaluation.at_threshold import class_confusion, image_scores
from mask2former_mt.evaluation.joint import Evaluation, verified_statuses
from mask2former_mt.evaluation.matching import ALL_AREAS
from mask2former_mt.evaluation.operating_point import score_curve
from mask2former_mt.evaluation.report import charts, tables
from mask2former_mt.evaluation.report.pictures import choose_images, draw_images
from mask2former_mt.files import write_whole
from mask2former_mt.visualization import pages
from mask2former_mt.visualization.charts import chart_style, heat

REPORT_FILE = "report.html"
# What `evaluate` needs for it: overlaps that explain errors.
EXPLAINING = {"least_iou": error_kinds.LEAST_IOU, "same_class": False}


@dataclasses.dataclass(frozen=True)
class Run:
    """Where the predictions come from, as names and values that the page shows.

    Args:
        facts: such as the seed and how long it took.
        versions: of the software and the machine.
        config: YAML, or empty.
    """

    facts: Sequence[tuple[str, object]] = ()
    versions: Sequence[tuple[str, object]] = ()
    config: str = ""


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
        output_dir: exists.
        evaluation: made with `EXPLAINING`.
        dataset_name: registered; its pictures are read.
        predictions: the file that was evaluated, for the masks.

    Returns:
        The file.
    """
    body = _body(evaluation, dataset_name, predictions, run)
    path = pathlib.Path(output_dir) / REPORT_FILE
    write_whole({path: pages.page(f"Evaluation: {dataset_name}", body)})
    return path


def _body(
    evaluation: Evaluation, dataset_name: str, predictions: str | os.PathLike, run: Run
) -> list[str]:
    truth, detections, matches = evaluation.truth, evaluation.detections, evaluation.matches
    num_objects = int(matches.counts[ALL_AREAS].sum())
    verified = verified_statuses(truth, detections, matches, range(len(truth.spec)))[0]
    by_score = {
        name: score_curve(statuses, detections.scores, num_objects)
        for name, statuses in (("segm", matches.statuses[ALL_AREAS, 0]), ("joint", verified))
    }
    threshold = by_score["joint"].best_score
    errors = error_kinds.find_errors(truth, detections, evaluation.pairs, matches)
    gains = error_kinds.gains(truth, detections, matches, errors)
    scores = image_scores(truth, detections, matches, errors, threshold)
    confusion = class_confusion(truth, detections, matches, errors, threshold)
    image_root = MetadataCatalog.get(dataset_name).get("image_root", "")
    worst, best = choose_images(scores)
    panels = draw_images(
        [*worst, *best],
        scores,
        truth,
        detections,
        image_root=image_root,
        predictions=predictions,
        threshold=threshold,
    )
    counts = (
        ("images", len(truth.image_ids)),
        ("objects to find", num_objects),
        ("detections", len(detections)),
    )
    with chart_style():
        curves = [
            ("Precision by recall, mean of the classes", charts.precision_recall(evaluation)),
            ("By class, IoU 0.50", charts.precision_recall_by_class(evaluation)),
            (
                "Precision, recall and F1 by score threshold, IoU 0.50",
                charts.precision_by_score(by_score, threshold),
            ),
        ]
        return [
            f"<h1>Evaluation: {pages.text(dataset_name)}</h1>",
            tables.headline(evaluation),
            "<p>In percent. A dash is undefined: there is nothing to measure it by.</p>",
            pages.facts([*counts, *run.facts]),
            "<h2>Average precision by class, size and IoU</h2>",
            tables.per_class(evaluation),
            tables.per_iou(evaluation),
            *pages.charts([("AP by IoU threshold", charts.precision_by_iou(evaluation))]),
            "<h2>Precision, recall and score</h2>",
            _threshold_text(threshold),
            *pages.charts(curves),
            "<h2>Errors at IoU 0.50</h2>",
            tables.errors(errors.counts(), errors.counts(detections.scores >= threshold), gains),
            *pages.charts([("What each kind costs", charts.error_bars(gains))]),
            "<h2>Confusion</h2>",
            *_confusions(evaluation, confusion),
            *_calibrations(evaluation),
            *pages.panels("Worst pictures", _chosen(panels, worst), wide=True),
            *pages.panels("Best pictures", _chosen(panels, best), wide=True),
            _left_out(len(worst) + len(best) - len(panels), image_root),
            "<h2>All numbers</h2>",
            tables.others(evaluation.metrics),
            "<h2>Run</h2>",
            pages.facts(run.versions),
            _config(run.config),
        ]


def _config(config: str) -> str:
    if not config:
        return ""
    return f"<details><summary>Config</summary><pre>{pages.text(config)}</pre></details>"


def _threshold_text(threshold: float) -> str:
    if not np.isfinite(threshold):
        return "<p>No detection counts, so no threshold is the best one.</p>"
    return (
        f'<p>The best F1 with all labels right is at a score of <b id="threshold">{threshold:.3f}'
        "</b>. <q>Above the threshold</q> and the pictures below mean this one.</p>"
    )


def _confusions(evaluation: Evaluation, class_counts: np.ndarray) -> list[str]:
    truth = evaluation.truth
    labels = ("predicted", "annotated")
    titled = [
        (
            "Classes, detections above the threshold",
            heat(
                [*truth.class_names, "(nothing)"],
                [*truth.class_names, "(missed)"],
                class_counts,
                labels=labels,
            ),
        )
    ]
    for name, found in evaluation.labels.items():
        values = ["(none)" if value is None else value for value in found.values]
        title = f"{name}, of objects found at IoU 0.50"
        titled.append((title, heat(values, values, found.confusion, labels=labels)))
    return pages.charts(titled)


def _calibrations(evaluation: Evaluation) -> list[str]:
    titled = [("Score, of detections", evaluation.score_bins)]
    titled += [
        (f"{name}, of objects found", found.bins) for name, found in evaluation.labels.items()
    ]
    drawn, undefined = [], []
    for title, bins in titled:
        title = f"{title} (ECE {pages.figure(bins.error_percent)})"
        if bins.defined:
            drawn.append((title, charts.calibration(bins)))
        else:
            undefined.append(f"<p>{pages.text(title)}: undefined, no scores in [0, 1].</p>")
    heading = "<h2>Calibration: is a score a probability?</h2>"
    return [heading, *pages.charts(drawn), *undefined]


def _left_out(count: int, image_root: str) -> str:
    if not count:
        return ""
    return f"<p>Pictures that could not be read from {pages.text(image_root)}: {count}.</p>"


def _chosen(panels: dict[int, pages.Panel], images: Sequence[int]) -> list[pages.Panel]:
    return [panels[i] for i in images if i in panels]
