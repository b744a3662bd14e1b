"""Fashionpedia's AP_IoU+F1: an object is found only if its mask and its attributes are good enough.

The attributes of an object are the values of all its subcategories: a vector of yes and no over all
of them, none being no everywhere. A detection may take an object whose IoU and whose F1 of that
vector reach their thresholds; AP is the mean over thresholds of both.

Differences: subcategories that are not annotated on an object have no part in its vector. As
published, F1 counts an agreement on no as well, so it rises with the number of values: compare it
between models, not between datasets.
"""

from __future__ import annotations

import numpy as np

from mask2former_mt.evaluation.matching import (
    FALSE_POSITIVE,
    IGNORED,
    Matching,
    set_statuses,
    take_objects,
)
from mask2former_mt.evaluation.overlaps import IOU_THRESHOLDS, Pairs
from mask2former_mt.evaluation.precision_recall import curves, mean_percent
from mask2former_mt.structures import UNKNOWN

# D detections, P pairs, T IoU thresholds, F F1 thresholds, R recalls, K classes

F1_THRESHOLDS = np.linspace(0.5, 0.95, 10)


def fashionpedia_metrics(matching: Matching) -> dict[str, float]:
    """AP_IoU+F1, in percent; NaN without ground truth.

    Returns:
        `fashionpedia/AP_IoU+F1`, the mean over IoU and F1 of .5 to .95, and
        `fashionpedia/AP_IoU50+F1_50`; nothing without subcategories. A class none of whose objects
        is annotated is judged by IoU, and counts once where others count for each F1 threshold.

    Source: Jia et al. 2020, "Fashionpedia", section 5, and its published evaluation, where F1 is
        the mean of that of yes and that of no.
    """
    truth, detections, pairs = matching.truth, matching.detections, matching.class_pairs
    if not len(truth.spec):
        return {}
    f1_P = attribute_f1(matching, pairs)
    precisions_FTRK = []
    for threshold in F1_THRESHOLDS:
        candidates_C, objects_CT = take_objects(
            pairs,
            detections.ranks,
            truth.groups,
            thresholds_L=IOU_THRESHOLDS,
            ignored_GL=truth.crowds[:, None],
            crowds_G=truth.crowds,
            others_P=f1_P,
            least_other=threshold,
        )
        statuses_TD = np.full((len(IOU_THRESHOLDS), len(detections)), FALSE_POSITIVE, dtype=np.int8)
        set_statuses(statuses_TD, candidates_C, objects_CT, truth.crowds)
        statuses_TD[:, matching.is_over] = IGNORED
        precisions_FTRK.append(curves(truth, detections, statuses_TD, ~truth.crowds).precisions)
    precisions_FTRK = np.stack(precisions_FTRK)
    annotated_G = ~truth.crowds & (truth.labels != UNKNOWN).any(axis=1)
    with_labels_K = truth.per_class(annotated_G) > 0
    counted = [precisions_FTRK[..., with_labels_K], precisions_FTRK[:1][..., ~with_labels_K]]
    return {
        "fashionpedia/AP_IoU+F1": mean_percent(np.concatenate([c.ravel() for c in counted])),
        "fashionpedia/AP_IoU50+F1_50": mean_percent(precisions_FTRK[0, 0]),
    }


def attribute_f1(matching: Matching, pairs: Pairs) -> np.ndarray:
    """How well a detection's values agree with those annotated on an object, in [0, 1].

    Returns:
        float64 (P,): the mean of the F1 of yes and of no over all values of the annotated
        subcategories, of those of the two that occur; 1 where nothing is annotated.
    """
    truth, detections = matching.truth, matching.detections
    none_S = np.array(truth.spec.num_classes)
    annotated_PS = truth.labels[pairs.objects]
    predicted_PS = detections.labels[pairs.detections]
    known_PS = annotated_PS != UNKNOWN
    yes_PS = known_PS & (annotated_PS != none_S)
    predicted_yes_PS = known_PS & (predicted_PS != none_S)
    num_values = (known_PS * none_S).sum(axis=1)
    num_annotated, num_predicted = yes_PS.sum(axis=1), predicted_yes_PS.sum(axis=1)
    both_yes = (yes_PS & (annotated_PS == predicted_PS)).sum(axis=1)
    both_no = num_values - num_annotated - num_predicted + both_yes
    sums = np.stack([num_annotated + num_predicted, 2 * num_values - num_annotated - num_predicted])
    f1 = np.divide(
        2 * np.stack([both_yes, both_no]), sums, out=np.zeros(sums.shape), where=sums > 0
    )
    occurs = (sums > 0).sum(axis=0)
    return np.divide(f1.sum(axis=0), occurs, out=np.ones(len(occurs)), where=occurs > 0)
