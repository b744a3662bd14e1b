"""The joint metric AP^J beside COCO's segm AP: match once, then verify the labels of each match.

COCO's segm matching (class, IoU threshold, score order) runs once and unchanged. A match then stays
a true positive for AP^J only if every annotated subcategory of the ground truth is predicted right;
otherwise the detection is a false positive and the ground truth stays missed. Nothing is matched
again, so a duplicate with the right labels cannot repair a detection with wrong ones.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from pycocotools.coco import COCO

from mask2former_mt.evaluation import calibration, fashionpedia, paco
from mask2former_mt.evaluation.attributes import LabelMatches, label_metrics, match_labels
from mask2former_mt.evaluation.coco import FEW_DETS, run_engine
from mask2former_mt.evaluation.curves import Curves, curves, mean_percent, ranked_by_class
from mask2former_mt.evaluation.detections import Detections
from mask2former_mt.evaluation.ground_truth import GroundTruth, read_ground_truth
from mask2former_mt.evaluation.matching import (
    ALL_AREAS,
    AREAS,
    AT_50,
    AT_75,
    FALSE_POSITIVE,
    MAX_DETS,
    TRUE_POSITIVE,
    Matches,
)
from mask2former_mt.evaluation.overlaps import Pairs
from mask2former_mt.structures import UNKNOWN, SubcategorySpec

# T IoU thresholds, R recall thresholds, K classes, A area ranges, S subcategories, D detections


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Everything that was found out about one set of predictions.

    Args:
        truth, detections: both sides, checked and sorted.
        pairs: which of them overlap; at least all of the same class with a mask IoU >= .5.
        matches: by masks.
        segm, bbox: curves by masks, and by the masks' boxes, over (A, T, ...).
        joint: curves of AP^J over (T, ...), when all labels are verified.
        joint_of: the same by subcategory, when it alone is verified.
        labels: the labels of the matches at IoU >= .5, by subcategory.
        score_bins: how often detections are right, by their score.
        metrics: flat, in percent.
    """

    truth: GroundTruth
    detections: Detections
    pairs: Pairs
    matches: Matches
    segm: Curves
    bbox: Curves
    joint: Curves
    joint_of: dict[str, Curves]
    labels: dict[str, LabelMatches]
    score_bins: calibration.Bins
    metrics: dict[str, float]


def evaluate_joint(
    coco_gt: COCO,
    results: Iterable[Mapping],
    spec: SubcategorySpec,
    class_names: Sequence[str],
    *,
    max_dets: int = MAX_DETS,
    engine: str = "own",
) -> dict[str, float]:
    """The metrics of `evaluate`, from a dataset that is not read yet.

    Args:
        coco_gt: ground truth, see `read_ground_truth`; it is not changed.
        results, max_dets, engine: as of `evaluate`.
        spec: the S subcategories; with S = 0, AP^J is the segm AP.
        class_names: of the categories in the order of their ids.

    Raises:
        ValueError: a result or an annotation that does not fit (named), or class names that are
            not as many as the categories, or not unique.
    """
    truth = read_ground_truth(coco_gt, spec, class_names)
    return evaluate(truth, results, max_dets=max_dets, engine=engine).metrics


def evaluate(
    truth: GroundTruth,
    results: Iterable[Mapping],
    *,
    max_dets: int = MAX_DETS,
    engine: str = "own",
    least_iou: float = 0.5,
    same_class: bool = True,
) -> Evaluation:
    """Matches predictions with the ground truth and computes all metrics.

    Args:
        truth: the ground truth.
        results: entries as `results.instances_to_results` makes them, in any order; there may be
            none, and they may be a generator.
        max_dets: detections counted per image and class, the highest scores first.
        engine: what matches, of `engines.ENGINES`; the numbers are the same.
        least_iou, same_class: which overlaps `Evaluation.pairs` holds: more of them (at most .5)
            to explain errors; the metrics do not depend on it.

    Returns:
        The metrics in percent: `segm/` and `bbox/` `{AP,AP50,AP75,APs,APm,APl}`,
        `{AR1,AR10,AR100,ARs,ARm,ARl}` (the numbers are 1, 10 and `max_dets`) and `AP-<class>`;
        `joint/{AP,AP50}` and `joint/AP-<subcategory>`; `subcategory/<name>/...` of
        `labels.label_metrics`; `calibration/ECE`; `paco/...`; `fashionpedia/...`. NaN stands for
        undefined: an AP without ground truth to find (of that class or area), a share without
        matches to take it of. Where there is ground truth and no prediction, an AP is 0.

    Raises:
        ValueError: a result that does not fit (named), or an unknown engine.

    Source: COCO's evaluation; AP^J and AP^J_s as this module's docstring defines them.
    """
    run = run_engine(
        engine, truth, results, max_dets=max_dets, least_iou=least_iou, same_class=same_class
    )
    detections, matches, spec = run.detections, run.matches, truth.spec
    metrics = {}
    for task, found in (("segm", run.segm), ("bbox", run.bbox)):
        for key, value in coco_metrics(found, max_dets=max_dets).items():
            metrics[f"{task}/{key}"] = value
        for k, class_name in enumerate(truth.class_names):
            per_class = found.precisions[ALL_AREAS, ..., k]
            metrics[f"{task}/AP-{class_name}"] = mean_percent(per_class)
    joint = joint_curves(truth, detections, matches, range(len(spec)))
    metrics["joint/AP"] = mean_percent(joint.precisions)
    metrics["joint/AP50"] = mean_percent(joint.precisions[AT_50])
    joint_of = {
        name: joint_curves(truth, detections, matches, [column])
        for column, name in enumerate(spec.names)
    }
    for name, found in joint_of.items():
        metrics[f"joint/AP-{name}"] = mean_percent(found.precisions)
    labels = match_labels(truth, detections, matches)
    for name, found in labels.items():
        for key, value in label_metrics(found).items():
            metrics[f"subcategory/{name}/{key}"] = value
    score_bins = calibration.score_bins(detections, matches)
    metrics["calibration/ECE"] = score_bins.error_percent
    metrics |= paco.paco_metrics(truth, detections, matches, run.pairs, max_dets=max_dets)
    metrics |= fashionpedia.fashionpedia_metrics(truth, detections, run.pairs, max_dets=max_dets)
    return Evaluation(
        truth=truth,
        detections=detections,
        pairs=run.pairs,
        matches=matches,
        segm=run.segm,
        bbox=run.bbox,
        joint=joint,
        joint_of=joint_of,
        labels=labels,
        score_bins=score_bins,
        metrics=metrics,
    )


def coco_metrics(found: Curves, *, max_dets: int = MAX_DETS) -> dict[str, float]:
    """COCO's twelve numbers, in percent; NaN where there is nothing to find.

    Args:
        found: curves over (A, T, ...).
        max_dets: detections that counted per image and class, for the name of the recall.
    """
    precisions_ATRK, recalls_ATK = found.precisions, found.recalls
    metrics = {
        "AP": mean_percent(precisions_ATRK[ALL_AREAS]),
        "AP50": mean_percent(precisions_ATRK[ALL_AREAS, AT_50]),
        "AP75": mean_percent(precisions_ATRK[ALL_AREAS, AT_75]),
    }
    small_to_large = [(a, name[0]) for a, name in enumerate(AREAS) if a != ALL_AREAS]
    metrics |= {f"AP{letter}": mean_percent(precisions_ATRK[a]) for a, letter in small_to_large}
    metrics |= {f"AR{n}": mean_percent(found.recalls_of_first[n]) for n in FEW_DETS}
    metrics[f"AR{max_dets}"] = mean_percent(recalls_ATK[ALL_AREAS])
    metrics |= {f"AR{letter}": mean_percent(recalls_ATK[a]) for a, letter in small_to_large}
    return metrics


def joint_curves(
    truth: GroundTruth, detections: Detections, matches: Matches, columns: Iterable[int]
) -> Curves:
    """Precision and recall over all areas when the matches' labels in `columns` are verified.

    Args:
        truth, detections, matches: of `evaluate`; not changed.
        columns: of the labels, in 0..S-1; none of them leaves COCO's precision.

    Returns:
        Curves over (T, ...).
    """
    statuses_TD = verified_statuses(truth, detections, matches, columns)
    found = curves(
        statuses_TD[None],
        matches.counts[[ALL_AREAS]],
        truth.classes,
        ranked_by_class(detections.classes, detections.scores, len(truth.class_names)),
        detections.scores,
    )
    return Curves(found.precisions[0], found.scores[0], found.recalls[0])


def verified_statuses(
    truth: GroundTruth, detections: Detections, matches: Matches, columns: Iterable[int]
) -> np.ndarray:
    """What each detection is over all areas when its match's labels in `columns` are verified.

    Args:
        truth, detections, matches, columns: as of `joint_curves`.

    Returns:
        int8 (T, D): FALSE_POSITIVE, TRUE_POSITIVE or IGNORED.
    """
    columns = list(columns)
    statuses_TD = matches.statuses[ALL_AREAS].copy()
    t, of_D = (statuses_TD == TRUE_POSITIVE).nonzero()
    annotated = truth.labels[matches.objects[t, of_D]][:, columns]
    predicted = detections.labels[of_D][:, columns]
    wrong = ((annotated != UNKNOWN) & (annotated != predicted)).any(axis=1)
    statuses_TD[t[wrong], of_D[wrong]] = FALSE_POSITIVE
    return statuses_TD
