"""The tables of an evaluation's report; APs and shares in percent."""

from __future__ import annotations

from collections.abc import Mapping

from mask2former_mt.evaluation.errors import KINDS
from mask2former_mt.evaluation.joint import Evaluation
from mask2former_mt.evaluation.matching import ALL_AREAS, AREAS, AT_50, AT_75
from mask2former_mt.evaluation.overlaps import IOU_THRESHOLDS
from mask2former_mt.evaluation.precision_recall import mean_percent
from mask2former_mt.visualization.pages import Table

# T IoU thresholds, R recalls, K classes


def headline(evaluation: Evaluation) -> Table:
    """The APs that runs are compared by."""
    sides = {
        "masks and classes (segm)": evaluation.segm.precisions[ALL_AREAS],
        "masks, classes and all subcategories (joint)": evaluation.joint.precisions,
        **{
            f"masks, classes and {name}": joint.precisions
            for name, joint in evaluation.joint_of.items()
        },
        "boxes and classes (bbox)": evaluation.bbox.precisions[ALL_AREAS],
    }
    rows = [
        (name, *(mean_percent(part) for part in (p_TRK, p_TRK[AT_50], p_TRK[AT_75])))
        for name, p_TRK in sides.items()
    ]
    return Table(("right are", "AP", "AP50", "AP75"), rows)


def label_scores(evaluation: Evaluation) -> Table:
    """How often the subcategories of found objects are right; no rows without subcategories."""
    metrics = ("accuracy", "balanced_accuracy", "macro_f1", "ECE")
    rows = [
        (name, *(evaluation.metrics[f"subcategory/{name}/{metric}"] for metric in metrics))
        for name in evaluation.truth.spec.names
    ]
    header = ("subcategory, of found objects", "accuracy", "balanced", "macro F1", "ECE")
    return Table(header, rows)


def per_class(evaluation: Evaluation) -> Table:
    """AP of all and of each class: by size of the objects and by IoU, with labels and without."""
    truth, segm, joint = evaluation.truth, evaluation.segm.precisions, evaluation.joint.precisions
    objects_K = evaluation.num_to_find
    sizes = {name: a for a, name in enumerate(AREAS) if a != ALL_AREAS}
    rows = []
    for name, k in [("all", slice(None)), *((n, k) for k, n in enumerate(truth.class_names))]:
        parts = (
            segm[ALL_AREAS, ..., k],
            segm[ALL_AREAS, AT_50, :, k],
            segm[ALL_AREAS, AT_75, :, k],
            *(segm[a, ..., k] for a in sizes.values()),
            joint[..., k],
            joint[AT_50, :, k],
            evaluation.bbox.precisions[ALL_AREAS, ..., k],
        )
        rows.append((name, int(objects_K[k].sum()), *map(mean_percent, parts)))
    header = ("class", "objects", "AP", "AP50", "AP75", *sizes, "joint AP", "joint AP50", "bbox AP")
    return Table(header, rows)


def per_iou(evaluation: Evaluation) -> Table:
    """AP at every IoU threshold."""
    sides = {
        "segm": evaluation.segm.precisions[ALL_AREAS],
        "joint": evaluation.joint.precisions,
        "bbox": evaluation.bbox.precisions[ALL_AREAS],
    }
    rows = [(name, *map(mean_percent, precisions_TRK)) for name, precisions_TRK in sides.items()]
    return Table(("AP at IoU", *(f"{threshold:.2f}" for threshold in IOU_THRESHOLDS)), rows)


def errors(
    all_counts: Mapping[str, int], shown_counts: Mapping[str, int], gains: Mapping[str, float]
) -> Table:
    """How many errors there are of each kind, and what they cost.

    Args:
        all_counts: errors of all detections, by kind.
        shown_counts: errors of the detections above the threshold.
        gains: joint AP50 that repairing the kind would gain, percent.
    """
    header = ("error", "detections", "above the threshold", "joint AP50 to gain")
    rows = [(kind, all_counts[kind], shown_counts[kind], gains[kind]) for kind in KINDS]
    return Table(header, rows)
