"""Fashionpedia's AP_IoU+F1: an object is found only if its mask and its attributes are good enough.

The attributes of an object are the values of all its subcategories: a vector of yes and no over all
of them, none being no everywhere. A detection may take an object whose IoU and whose F1 of that
vector reach their thresholds; AP is the mean over thresholds of both.

Differences: of what nobody annotated on an object nothing is asked, so its vector is over the
subcategories that are annotated. As published, F1 counts an agreement on no as well, so it rises
with the number of values: compare it between models, not between datasets.
"""

from __future__ import annotations

import numpy as np

from mask2former_mt.evaluation.curves import curves, mean_percent, ranked_by_class
from mask2former_mt.evaluation.detections import Detections
from mask2former_mt.evaluation.ground_truth import GroundTruth
from mask2former_mt.evaluation.matching import (
    FALSE_POSITIVE,
    IGNORED,
    IOU_THRESHOLDS,
    NONE,
    TRUE_POSITIVE,
    take_objects,
)
from mask2former_mt.evaluation.overlaps import Pairs
from mask2former_mt.structures import UNKNOWN

# D detections, P pairs, T IoU thresholds, F F1 thresholds, R recalls, K classes

F1_THRESHOLDS = np.linspace(0.5, 0.95, 10)


def fashionpedia_metrics(
    truth: GroundTruth, detections: Detections, pairs: Pairs, *, max_dets: int
) -> dict[str, float]:
    """AP_IoU+F1, in percent; NaN without ground truth.

    Args:
        truth, detections: both sides.
        pairs: at least all of the same class with IoU >= .5.
        max_dets: detections that count per image and class.

    Returns:
        `fashionpedia/AP_IoU+F1`, the mean over IoU and F1 of .5 to .95, and
        `fashionpedia/AP_IoU50+F1_50`; nothing without subcategories. A class none of whose objects
        is annotated is judged by IoU, and counts once where others count for each F1 threshold.

    Source: Jia et al. 2020, "Fashionpedia", section 5, and its published evaluation, where F1 is
        the mean of that of yes and that of no.
    """
    if not len(truth.spec):
        return {}
    over_D = detections.ranks >= max_dets
    same_class = detections.classes[pairs.detections] == truth.classes[pairs.objects]
    pairs = pairs.select(same_class & ~over_D[pairs.detections])
    f1_P = attribute_f1(truth, detections, pairs)
    ranked = ranked_by_class(detections.classes, detections.scores, len(truth.class_names))
    precisions_FTRK = []
    for threshold in F1_THRESHOLDS:
        candidates, found_CT = take_objects(
            pairs,
            detections.ranks,
            truth.groups,
            thresholds_L=IOU_THRESHOLDS,
            ignored_GL=np.repeat(truth.crowds[:, None], len(IOU_THRESHOLDS), axis=1),
            crowds_G=truth.crowds,
            others_P=f1_P,
            other_thresholds_L=np.full(len(IOU_THRESHOLDS), threshold),
        )
        statuses_TD = np.full((len(IOU_THRESHOLDS), len(detections)), FALSE_POSITIVE, dtype=np.int8)
        c, t = (found_CT != NONE).nonzero()
        on_crowd = truth.crowds[found_CT[c, t]]
        statuses_TD[t, candidates[c]] = np.where(on_crowd, IGNORED, TRUE_POSITIVE)
        statuses_TD[:, over_D] = IGNORED
        found = curves(
            statuses_TD[None], ~truth.crowds[None], truth.classes, ranked, detections.scores
        )
        precisions_FTRK.append(found.precisions[0])
    precisions_FTRK = np.stack(precisions_FTRK)
    annotated_G = ~truth.crowds & (truth.labels != UNKNOWN).any(axis=1)
    with_labels_K = np.bincount(truth.classes[annotated_G], minlength=len(ranked)) > 0
    counted = [precisions_FTRK[..., with_labels_K], precisions_FTRK[:1][..., ~with_labels_K]]
    return {
        "fashionpedia/AP_IoU+F1": mean_percent(np.concatenate([c.ravel() for c in counted])),
        "fashionpedia/AP_IoU50+F1_50": mean_percent(precisions_FTRK[0, 0]),
    }


def attribute_f1(truth: GroundTruth, detections: Detections, pairs: Pairs) -> np.ndarray:
    """How well a detection's values agree with those annotated on an object, in [0, 1].

    Returns:
        float64 (P,): the mean of the F1 of yes and of no over all values of the annotated
        subcategories, of those of the two that occur; 1 where nothing is annotated.
    """
    none_S = np.array(truth.spec.num_classes)
    annotated_PS = truth.labels[pairs.objects]
    predicted_PS = detections.labels[pairs.detections]
    known_PS = annotated_PS != UNKNOWN
    yes_PS, found_PS = known_PS & (annotated_PS != none_S), known_PS & (predicted_PS != none_S)
    num_values = (known_PS * none_S).sum(axis=1)
    num_annotated, num_predicted = yes_PS.sum(axis=1), found_PS.sum(axis=1)
    both_yes = (yes_PS & (annotated_PS == predicted_PS)).sum(axis=1)
    both_no = num_values - num_annotated - num_predicted + both_yes
    sums = np.stack([num_annotated + num_predicted, 2 * num_values - num_annotated - num_predicted])
    f1 = np.divide(
        2 * np.stack([both_yes, both_no]), sums, out=np.zeros(sums.shape), where=sums > 0
    )
    occurs = (sums > 0).sum(axis=0)
    return np.divide(f1.sum(axis=0), occurs, out=np.ones(len(occurs)), where=occurs > 0)
