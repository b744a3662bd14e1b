"""Precision and recall from matches, as COCO accumulates them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from mask2former_mt.evaluation.detections import Detections
from mask2former_mt.evaluation.ground_truth import GroundTruth
from mask2former_mt.evaluation.matching import ALL_AREAS, FALSE_POSITIVE, TRUE_POSITIVE, Matches

# D detections, G objects, T IoU thresholds, R recalls, K classes, A area ranges

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
    truth: GroundTruth,
    detections: Detections,
    statuses_ATD: np.ndarray,
    counts_AG: np.ndarray,
) -> Curves:
    """Precision at 101 recalls.

    Args:
        truth: whose objects were matched.
        detections: D of them, with the classes and scores to rank them by.
        statuses_ATD: int8 (A, T, D), as of `Matches`.
        counts_AG: bool (A, G), as of `Matches`.

    Returns:
        Curves whose arrays begin with A.

    Source: COCO's `accumulate`: the same sums and quotients, at true positives only.
    """
    num_classes = len(truth.class_names)
    num_areas, num_thresholds, _ = statuses_ATD.shape
    precisions = np.full((num_areas, num_thresholds, len(RECALLS), num_classes), UNDEFINED)
    recalls = np.full((num_areas, num_thresholds, num_classes), UNDEFINED)
    num_objects_AK = np.stack([_per_class(truth, counts_G) for counts_G in counts_AG])
    stops = np.searchsorted(
        detections.classes[detections.by_class], np.arange(num_classes), side="right"
    )
    for k, ranked in enumerate(np.split(detections.by_class, stops[:-1])):
        if not num_objects_AK[:, k].any():
            continue
        statuses_ATN = statuses_ATD[..., ranked]
        false_ATN = np.cumsum(statuses_ATN == FALSE_POSITIVE, axis=-1, dtype=np.int32)
        for a, t in np.ndindex(num_areas, num_thresholds):
            if num_objects_AK[a, k] == 0:
                continue
            hits = np.flatnonzero(statuses_ATN[a, t] == TRUE_POSITIVE)
            true = np.arange(1, hits.size + 1, dtype=np.float64)
            recall = true / num_objects_AK[a, k]
            precision = true / (false_ATN[a, t, hits] + true + np.spacing(1))
            # The best one at this recall or more.
            precision = np.maximum.accumulate(precision[::-1])[::-1]
            # Where each recall is reached.
            places = np.searchsorted(recall, RECALLS, side="left")
            reached = places < hits.size
            precisions[a, t, :, k] = 0
            precisions[a, t, reached, k] = precision[places[reached]]
            recalls[a, t, k] = hits.size / num_objects_AK[a, k]
    return Curves(precisions, recalls)


def recalls_of_first(
    truth: GroundTruth, detections: Detections, matches: Matches, limit: int
) -> np.ndarray:
    """The recall over all areas of the first `limit` detections of each image and class.

    Returns:
        float64 (T, K), -1 where there is nothing to find.
    """
    hits_TD = matches.statuses[ALL_AREAS] == TRUE_POSITIVE
    hits_TD &= detections.ranks < limit
    num_classes = len(truth.class_names)
    hits_TK = np.stack(
        [np.bincount(detections.classes[hits_D], minlength=num_classes) for hits_D in hits_TD]
    )
    num_objects_K = _per_class(truth, matches.counts[ALL_AREAS])
    undefined = np.full(hits_TK.shape, UNDEFINED)
    return np.divide(hits_TK, num_objects_K, out=undefined, where=num_objects_K > 0)


def mean_percent(values: np.ndarray) -> float:
    """COCO's mean in percent, which leaves out what is undefined; NaN when that is everything."""
    defined = values[values > UNDEFINED]
    return float(100 * defined.mean()) if defined.size else float("nan")


def _per_class(truth: GroundTruth, chosen_G: np.ndarray) -> np.ndarray:
    """int64 (K,): how many of the chosen objects are of each class."""
    return np.bincount(truth.classes[chosen_G], minlength=len(truth.class_names))
