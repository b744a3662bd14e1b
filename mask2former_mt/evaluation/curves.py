"""Precision and recall from matches, as COCO accumulates them."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from mask2former_mt.evaluation.matching import FALSE_POSITIVE, TRUE_POSITIVE

# D detections, G objects, T IoU thresholds, R recalls, K classes, A area ranges

RECALLS = np.linspace(0.0, 1.0, 101)
# The precision and recall of a class without objects to find.
UNDEFINED = -1.0


@dataclasses.dataclass(frozen=True)
class Curves:
    """Precision and recall.

    Args:
        precisions: float64 (..., T, R, K), in [0, 1]: the best precision at this recall or
            more, 0 where it is not reached, -1 without objects to find.
        scores: float64, likewise: the score of the detection that reaches the recall.
        recalls: float64 (..., T, K), in [0, 1], of all detections; -1 likewise.
        recalls_of_first: the same over all areas, (T, K), of the first so many detections of each
            image and class.
    """

    precisions: np.ndarray
    scores: np.ndarray
    recalls: np.ndarray
    recalls_of_first: Mapping[int, np.ndarray] = dataclasses.field(default_factory=dict)


def curves(
    statuses_ATD: np.ndarray,
    counts_AG: np.ndarray,
    classes_G: np.ndarray,
    ranked_K: Sequence[np.ndarray],
    scores_D: np.ndarray,
) -> Curves:
    """Precision at 101 recalls.

    Args:
        statuses_ATD: int8 (A, T, D), of `Matches`.
        counts_AG: bool (A, G), of `Matches`.
        classes_G: int64 (G,), in 0..K-1.
        ranked_K: of `ranked_by_class`.
        scores_D: float64 (D,).

    Returns:
        Curves whose arrays begin with A.

    Source: COCO's `accumulate`: the same sums and quotients, at true positives only.
    """
    num_classes = len(ranked_K)
    num_areas, num_thresholds, _ = statuses_ATD.shape
    shape = (num_areas, num_thresholds, len(RECALLS), num_classes)
    precisions, scores = np.full(shape, UNDEFINED), np.full(shape, UNDEFINED)
    recalls = np.full((num_areas, num_thresholds, num_classes), UNDEFINED)
    nums_AK = _to_find(counts_AG, classes_G, num_classes)
    for k, ranked in enumerate(ranked_K):
        if not nums_AK[:, k].any():
            continue
        statuses_ATN = statuses_ATD[..., ranked]
        false_ATN = np.cumsum(statuses_ATN == FALSE_POSITIVE, axis=-1, dtype=np.int32)
        for a, t in np.ndindex(num_areas, num_thresholds):
            if nums_AK[a, k] == 0:
                continue
            hits = np.flatnonzero(statuses_ATN[a, t] == TRUE_POSITIVE)
            true = np.arange(1, hits.size + 1, dtype=np.float64)
            recall = true / nums_AK[a, k]
            precision = true / (false_ATN[a, t, hits] + true + np.spacing(1))
            # The best one at this recall or more.
            precision = np.maximum.accumulate(precision[::-1])[::-1]
            # Where each recall is reached.
            places = np.searchsorted(recall, RECALLS, side="left")
            reached = places < hits.size
            precisions[a, t, :, k] = 0
            precisions[a, t, reached, k] = precision[places[reached]]
            scores[a, t, :, k] = 0
            scores[a, t, reached, k] = scores_D[ranked[hits[places[reached]]]]
            recalls[a, t, k] = hits.size / nums_AK[a, k]
    return Curves(precisions, scores, recalls)


def recalls_of_first(
    statuses_TD: np.ndarray,
    counts_G: np.ndarray,
    classes_D: np.ndarray,
    classes_G: np.ndarray,
    ranks_D: np.ndarray,
    num_classes: int,
    limit: int,
) -> np.ndarray:
    """The recall of the first `limit` detections of each image and class.

    Args:
        statuses_TD: int8 (T, D), over one area range.
        counts_G: bool (G,), likewise.
        classes_D, classes_G: int64.
        ranks_D: int64 (D,), of `Detections`.

    Returns:
        float64 (T, K), -1 where there is nothing to find.
    """
    num_to_find_K = _to_find(counts_G[None], classes_G, num_classes)[0]
    hits_TD = (statuses_TD == TRUE_POSITIVE) & (ranks_D < limit)
    hits_TK = np.stack(
        [np.bincount(classes_D[hits_D], minlength=num_classes) for hits_D in hits_TD]
    )
    undefined = np.full(hits_TK.shape, UNDEFINED)
    return np.divide(hits_TK, num_to_find_K, out=undefined, where=num_to_find_K > 0)


def ranked_by_class(
    classes_D: np.ndarray, scores_D: np.ndarray, num_classes: int
) -> list[np.ndarray]:
    """The detections of each class by score, highest first; equal ones in their order."""
    order = np.lexsort((-scores_D, classes_D))
    stops = np.searchsorted(classes_D[order], np.arange(num_classes + 1))
    return [order[start:stop] for start, stop in itertools.pairwise(stops)]


def mean_percent(values: np.ndarray) -> float:
    """COCO's mean in percent, which leaves out what is undefined; NaN when that is everything."""
    defined = values[values > UNDEFINED]
    return float(100 * defined.mean()) if defined.size else float("nan")


def _to_find(counts_AG: np.ndarray, classes_G: np.ndarray, num_classes: int) -> np.ndarray:
    """int64 (A, K): objects to find."""
    return np.stack(
        [np.bincount(classes_G[counts_G], minlength=num_classes) for counts_G in counts_AG]
    )
