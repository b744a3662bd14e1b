"""How well scores are probabilities: the expected calibration error and its bins."""

from __future__ import annotations

import dataclasses

import numpy as np

from mask2former_mt.evaluation.matching import AT_50, IGNORED, TRUE_POSITIVE, Matching

# N scores, B bins

NUM_BINS = 15


@dataclasses.dataclass(frozen=True)
class Bins:
    """Scores in 15 bins of equal width, 0 < score <= 1/15 and so on; a score of 0 is in the first.

    Args:
        counts: int64 (B,).
        scores: float64 (B,), the mean score in each bin; NaN in an empty one.
        right: float64 (B,), the share that was right; NaN in an empty one.
        defined: whether there are scores, all of them in [0, 1].
    """

    counts: np.ndarray
    scores: np.ndarray
    right: np.ndarray
    defined: bool

    @property
    def error_percent(self) -> float:
        """The expected calibration error in percent; NaN where it is not defined."""
        if not self.defined:
            return float("nan")
        filled = self.counts > 0
        gaps = abs(self.right[filled] - self.scores[filled])
        return float(100 * np.average(gaps, weights=self.counts[filled]))


def bin_scores(scores_N: np.ndarray, right_N: np.ndarray) -> Bins:
    """Sorts scores into bins.

    Args:
        scores_N: float (N,), what should be the probability of being right.
        right_N: bool (N,).

    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", eq. 3, with its 15 bins.
    """
    # NaN, which stands for "not stated", is in no range either.
    if not scores_N.size or not ((scores_N >= 0) & (scores_N <= 1)).all():
        empty = np.full(NUM_BINS, np.nan)
        return Bins(np.zeros(NUM_BINS, dtype=np.int64), empty, empty, defined=False)
    bins_N = np.maximum(np.ceil(scores_N * NUM_BINS).astype(np.int64) - 1, 0)
    counts_B = np.bincount(bins_N, minlength=NUM_BINS)
    sums_2B = np.stack([np.bincount(bins_N, weights, NUM_BINS) for weights in (scores_N, right_N)])
    undefined = np.full(sums_2B.shape, np.nan)
    scores_B, right_B = np.divide(sums_2B, counts_B, out=undefined, where=counts_B > 0)
    return Bins(counts_B, scores_B, right_B, defined=True)


def score_bins(matching: Matching) -> Bins:
    """The scores of the detections, which are right when they match at IoU >= .5.

    Those that COCO leaves out (on a crowd, or beyond the number that counts) are left out. Where
    there is nothing to find, nothing could be right, and nothing is learnt about the scores.
    """
    statuses_D = matching.statuses[AT_50]
    counted_D = (statuses_D != IGNORED) & matching.to_find.any()
    return bin_scores(matching.detections.scores[counted_D], statuses_D[counted_D] == TRUE_POSITIVE)
