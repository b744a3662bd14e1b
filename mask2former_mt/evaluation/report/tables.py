"""The report's tables, as HTML."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mask2former_mt.evaluation.curves import mean_percent
from mask2former_mt.evaluation.errors import KINDS, MEANINGS
from mask2former_mt.evaluation.joint import Evaluation
from mask2former_mt.evaluation.matching import ALL_AREAS, AREAS, AT_50, AT_75, IOU_THRESHOLDS
from mask2former_mt.visualization import pages


def headline(evaluation: Evaluation) -> str:
    """The numbers that one compares runs by, in percent."""
    metrics, spec = evaluation.metrics, evaluation.truth.spec
    rows = [
        ("masks and classes (segm)", *_three(metrics, "segm")),
        (
            "masks, classes and all subcategories (joint)",
            metrics["joint/AP"],
            metrics["joint/AP50"],
            mean_percent(evaluation.joint.precisions[AT_75]),
        ),
    ]
    rows += [
        (
            f"masks, classes and {name}",
            mean_percent(found.precisions),
            mean_percent(found.precisions[AT_50]),
            mean_percent(found.precisions[AT_75]),
        )
        for name, found in evaluation.joint_of.items()
    ]
    rows.append(("boxes and classes (bbox)", *_three(metrics, "bbox")))
    tables = [pages.numbers(("right are", "AP", "AP50", "AP75"), rows)]
    if len(spec):
        columns = ("accuracy", "balanced_accuracy", "macro_f1", "ECE")
        labels = [
            (name, *(metrics[f"subcategory/{name}/{column}"] for column in columns))
            for name in spec.names
        ]
        header = ("subcategory, of found objects", "accuracy", "balanced", "macro F1", "ECE")
        tables.append(pages.numbers(header, labels))
    return "".join(tables)


def per_class(evaluation: Evaluation) -> str:
    """AP of each class: by size of the objects and by IoU, with labels and without."""
    truth, segm = evaluation.truth, evaluation.segm.precisions
    counts = evaluation.matches.counts[ALL_AREAS]
    objects_K = np.bincount(truth.classes[counts], minlength=len(truth.class_names))
    sizes = [a for a in range(len(AREAS)) if a != ALL_AREAS]
    rows = []
    for name, k in [("all", slice(None)), *((n, k) for k, n in enumerate(truth.class_names))]:
        rows.append(
            (
                name,
                int(objects_K[k].sum()),
                mean_percent(segm[ALL_AREAS, ..., k]),
                mean_percent(segm[ALL_AREAS, AT_50, :, k]),
                mean_percent(segm[ALL_AREAS, AT_75, :, k]),
                *(mean_percent(segm[a, ..., k]) for a in sizes),
                mean_percent(evaluation.joint.precisions[..., k]),
                mean_percent(evaluation.joint.precisions[AT_50, :, k]),
                mean_percent(evaluation.bbox.precisions[ALL_AREAS, ..., k]),
            )
        )
    names = [name for name in AREAS if name != "all"]
    header = ("class", "objects", "AP", "AP50", "AP75", *names, "joint AP", "joint AP50", "bbox AP")
    return pages.numbers(header, rows)


def per_iou(evaluation: Evaluation) -> str:
    """AP at every IoU threshold."""
    sides = (
        ("segm", evaluation.segm.precisions[ALL_AREAS]),
        ("joint", evaluation.joint.precisions),
        ("bbox", evaluation.bbox.precisions[ALL_AREAS]),
    )
    header = ("AP at IoU", *(f"{threshold:.2f}" for threshold in IOU_THRESHOLDS))
    return pages.numbers(header, ((name, *map(mean_percent, found)) for name, found in sides))


def errors(
    all_counts: Mapping[str, int], shown_counts: Mapping[str, int], gains: Mapping[str, float]
) -> str:
    """How many errors of each kind, and what they cost.

    Args:
        all_counts: of all detections.
        shown_counts: of those above the threshold.
        gains: of joint AP50, in percent.
    """
    header = ("error", "detections", "above the threshold", "joint AP50 to gain")
    rows = [(kind, all_counts[kind], shown_counts[kind], gains[kind]) for kind in KINDS]
    meanings = "".join(f"<li><b>{kind}</b>: {pages.text(MEANINGS[kind])}</li>" for kind in KINDS)
    return f"{pages.numbers(header, rows)}<ul>{meanings}</ul>"


def others(metrics: Mapping[str, float]) -> str:
    """Every metric by its name, folded."""
    rows = [(name, value) for name, value in metrics.items()]
    table = pages.numbers(("metric", "percent"), rows)
    return f"<details><summary>All {len(rows)} metrics</summary>{table}</details>"


def _three(metrics: Mapping[str, float], task: str) -> list[float]:
    return [metrics[f"{task}/{name}"] for name in ("AP", "AP50", "AP75")]
