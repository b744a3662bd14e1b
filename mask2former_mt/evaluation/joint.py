"""The joint metric AP^J beside COCO's segm AP: match once, then verify the labels of each match.

COCO's segm matching (class, IoU threshold, score order) runs once and unchanged. A match then stays
a true positive for AP^J only if every annotated subcategory of the ground truth is predicted right;
otherwise the detection is a false positive and the ground truth stays missed. Nothing is matched
again, so a duplicate with the right labels cannot repair a detection with wrong ones.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

import numpy as np

from mask2former_mt.evaluation import calibration, fashionpedia, paco
from mask2former_mt.evaluation.attributes import LabelMatches, label_metrics, match_labels
from mask2former_mt.evaluation.coco import coco_metrics, match_results
from mask2former_mt.evaluation.ground_truth import GroundTruth
from mask2former_mt.evaluation.matching import (
    ALL_AREAS,
    AT_50,
    FALSE_POSITIVE,
    MAX_DETS,
    TRUE_POSITIVE,
    Matching,
    labels_agree,
)
from mask2former_mt.evaluation.precision_recall import Curves, curves, mean_percent

# T IoU thresholds, R recall thresholds, K classes, A area ranges, S subcategories, D detections


@dataclasses.dataclass(frozen=True)
class Evaluation(Matching):
    """A matching and everything that was found out about it.

    Args:
        segm, bbox: curves by masks, and by the masks' boxes, over (A, T, ...).
        joint: curves of AP^J over (T, ...), when all labels are verified.
        joint_of: the same by subcategory, when it alone is verified.
        labels: the labels of the matches at IoU >= .5, by subcategory.
        score_bins: how often detections are right, by their score.
        metrics: flat, in percent.
    """

    segm: Curves
    bbox: Curves
    joint: Curves
    joint_of: dict[str, Curves]
    labels: dict[str, LabelMatches]
    score_bins: calibration.Bins
    metrics: dict[str, float]


def evaluate(
    truth: GroundTruth,
    results: Iterable[Mapping],
    *,
    max_dets: int = MAX_DETS,
    engine: str = "own",
    explain: bool = False,
) -> Evaluation:
    """Matches predictions with the ground truth and computes all metrics.

    Args:
        truth: the ground truth.
        results: entries as `instances_to_results` makes them, in any order; there may be none, and
            they may be a generator.
        max_dets: detections counted per image and class, the highest scores first.
        engine: one of `coco.ENGINES`; the numbers are the same.
        explain: `Evaluation.pairs` holds the weaker overlaps too, and those of other classes, as
            `errors.find_errors` needs them; the metrics do not depend on it.

    Returns:
        The metrics in percent: `segm/` and `bbox/` `{AP,AP50,AP75,APs,APm,APl}`,
        `{AR1,AR10,AR100,ARs,ARm,ARl}` (the numbers are 1, 10 and `max_dets`) and `AP-<class>`;
        `joint/{AP,AP50}` and `joint/AP-<subcategory>`; `subcategory/<name>/...` of
        `label_metrics`; `calibration/ECE`; `paco/...`; `fashionpedia/...`. NaN stands for
        undefined: an AP without ground truth to find (of that class or area), a share without
        matches to take it of. Where there is ground truth and no prediction, an AP is 0. With more
        than COCO's 100 detections, `segm/AP@100` and `joint/AP@100` are those of the first 100, and
        `AP@<max_dets>` is `AP`.

    Raises:
        ValueError: a result that does not fit (named), or an unknown engine.

    Source: COCO's evaluation; AP^J and AP^J_s as this module's docstring defines them.
    """
    matching, segm, bbox = match_results(engine, truth, results, max_dets=max_dets, explain=explain)
    metrics = {}
    for task, task_curves in (("segm", segm), ("bbox", bbox)):
        for key, value in coco_metrics(task_curves, max_dets=max_dets).items():
            metrics[f"{task}/{key}"] = value
        for k, class_name in enumerate(truth.class_names):
            of_class = task_curves.precisions[ALL_AREAS, ..., k]
            metrics[f"{task}/AP-{class_name}"] = mean_percent(of_class)
    joint = _joint_curves(matching)
    metrics["joint/AP"] = mean_percent(joint.precisions)
    metrics["joint/AP50"] = mean_percent(joint.precisions[AT_50])
    if max_dets > MAX_DETS:
        first = matching.of_first(MAX_DETS)
        segm_of_first = curves(truth, first.detections, first.statuses, first.to_find)
        for task, of_first in (("segm", segm_of_first), ("joint", _joint_curves(first))):
            metrics[f"{task}/AP@{MAX_DETS}"] = mean_percent(of_first.precisions)
            metrics[f"{task}/AP@{max_dets}"] = metrics[f"{task}/AP"]
    joint_of = {
        name: _joint_curves(matching, slice(s, s + 1)) for s, name in enumerate(truth.spec.names)
    }
    for name, one_verified in joint_of.items():
        metrics[f"joint/AP-{name}"] = mean_percent(one_verified.precisions)
    labels = match_labels(matching)
    for name, label_matches in labels.items():
        for key, value in label_metrics(label_matches).items():
            metrics[f"subcategory/{name}/{key}"] = value
    score_bins = calibration.score_bins(matching)
    metrics["calibration/ECE"] = score_bins.error_percent
    metrics |= paco.paco_metrics(matching)
    metrics |= fashionpedia.fashionpedia_metrics(matching)
    return Evaluation(
        **vars(matching),
        segm=segm,
        bbox=bbox,
        joint=joint,
        joint_of=joint_of,
        labels=labels,
        score_bins=score_bins,
        metrics=metrics,
    )


def verified_statuses(matching: Matching, columns: slice = slice(None)) -> np.ndarray:
    """What each detection is over all areas when the labels of its match are verified.

    Args:
        columns: the subcategories to verify, all of them if not given.

    Returns:
        int8 (T, D): FALSE_POSITIVE, TRUE_POSITIVE or IGNORED.
    """
    statuses_TD = matching.statuses.copy()
    t, d = (statuses_TD == TRUE_POSITIVE).nonzero()
    wrong = ~labels_agree(matching, d, matching.objects[t, d], columns)
    statuses_TD[t[wrong], d[wrong]] = FALSE_POSITIVE
    return statuses_TD


def _joint_curves(matching: Matching, columns: slice = slice(None)) -> Curves:
    statuses_TD = verified_statuses(matching, columns)
    return curves(matching.truth, matching.detections, statuses_TD, matching.to_find)
