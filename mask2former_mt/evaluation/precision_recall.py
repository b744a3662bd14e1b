"""Precision and recall from matches, as COCO accumulates them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from mask2former_mt.evaluation.detections import Detections
from mask2former_mt.evaluation.ground_truth import GroundTruth
from mask2former_mt.evaluation.matching import FALSE_POSITIVE, TRUE_POSITIVE, Matching

# D detections, G objects, T IoU thresholds, R recalls, K classes

RECALLS = np.linspace(0.0, 1.0, 101)
# The precision and recall of a class without objects to find.
UNDEFINED = -1.0
# Detections per image and class that COCO's average recalls are stated for, besides the most.
FEW_DETS = (1, 10)


@dataclasses.dataclass(frozen=True)
class Curves:
    """Precision and recall.

    Args:
        precisions: float64 (..., T, R, K), in [0, 1]: the best precision at this recall or
            more, 0 where it is not reached, -1 without objects to find.
        recalls: float64 (..., T, K), in [0, 1], of all detections; -1 likewise.
        recalls_of_first: the same over all areas, (T, K), of the first so many detections of each
            image and class, for each of `FEW_DETS`; empty where nobody asked for it.
    """

    precisions: np.ndarray
    recalls: np.ndarray
    recalls_of_first: Mapping[int, np.ndarray] = dataclasses.field(default_factory=dict)


def curves(
    truth: GroundTruth, detections: Detections, statuses_TD: np.ndarray, to_find_G: np.ndarray
) -> Curves:
    """Precision at 101 recalls.

    Args:
        truth: whose objects were matched.
        detections: D of them, with the classes and scores to rank them by.
        statuses_TD: int8 (T, D): FALSE_POSITIVE, TRUE_POSITIVE or IGNORED.
        to_find_G: bool (G,).

    Source: COCO's `accumulate`: the same sums and quotients, at true positives only.
    """
    num_objects_K = truth.per_class(to_find_G)
    shape = (len(statuses_TD), len(RECALLS), len(num_objects_K))
    precisions = np.full(shape, UNDEFINED)
    recalls = np.full((shape[0], shape[2]), UNDEFINED)
    stops = np.searchsorted(
        detections.classes[detections.by_class], np.arange(len(num_objects_K)), side="right"
    )
    for k, ranked in enumerate(np.split(detections.by_class, stops[:-1])):
        if num_objects_K[k] == 0:
            continue
        statuses_TN = statuses_TD[:, ranked]
        false_TN = np.cumsum(statuses_TN == FALSE_POSITIVE, axis=-1, dtype=np.int32)
        for t, statuses_N in enumerate(statuses_TN):
            hits = np.flatnonzero(statuses_N == TRUE_POSITIVE)
            true = np.arange(1, hits.size + 1, dtype=np.float64)
            recall = true / num_objects_K[k]
            precision = true / (false_TN[t, hits] + true + np.spacing(1))
            # The best one at this recall or more.
            precision = np.maximum.accumulate(precision[::-1])[::-1]
            # Where each recall is reached.
            places = np.searchsorted(recall, RECALLS, side="left")
            reached = places < hits.size
            precisions[t, :, k] = 0
            precisions[t, reached, k] = precision[places[reached]]
            recalls[t, k] = hits.size / num_objects_K[k]
    return Curves(precisions, recalls)


def curves_by_area(matching: Matching) -> Curves:
    """Curves over (A, T, ...), with the recalls of the first detections."""
    all_curves = [
        curves(matching.truth, matching.detections, statuses_TD, to_find_G)
        for statuses_TD, to_find_G in zip(matching.area_statuses, matching.area_counts, strict=True)
    ]
    return Curves(
        np.stack([of_area.precisions for of_area in all_curves]),
        np.stack([of_area.recalls for of_area in all_curves]),
        {limit: recalls_of_first(matching, limit) for limit in FEW_DETS},
    )


def recalls_of_first(matching: Matching, limit: int) -> np.ndarray:
    """The recall over all areas of the first `limit` detections of each image and class.

    Returns:
        float64 (T, K), -1 where there is nothing to find.
    """
    detections, num_objects_K = matching.detections, matching.num_to_find
    hits_TD = (matching.statuses == TRUE_POSITIVE) & (detections.ranks < limit)
    hits_TK = np.stack(
        [
            np.bincount(detections.classes[hits_D], minlength=len(num_objects_K))
            for hits_D in hits_TD
        ]
    )
    undefined = np.full(hits_TK.shape, UNDEFINED)
    return np.divide(hits_TK, num_objects_K, out=undefined, where=num_objects_K > 0)


def mean_percent(values: np.ndarray) -> float:
    """COCO's mean in percent, which leaves out what is undefined; NaN when that is everything."""
    defined = values[values > UNDEFINED]
    return float(100 * defined.mean()) if defined.size else float("nan")
