"""Precision and recall by score threshold, and the threshold that serves best."""

from __future__ import annotations

import dataclasses

import numpy as np

from mask2former_mt.evaluation.matching import IGNORED, TRUE_POSITIVE

# D detections, N different scores


@dataclasses.dataclass(frozen=True)
class ScoreCurve:
    """What is right of all detections, of any class, whose score is at least so much.

    Args:
        scores: float64 (N,), falling.
        precisions, recalls: float64 (N,), in [0, 1]; the recall is NaN without objects to find.
    """

    scores: np.ndarray
    precisions: np.ndarray
    recalls: np.ndarray

    @property
    def f1(self) -> np.ndarray:
        """The harmonic mean of both, float64 (N,); 0 where nothing is right."""
        total = self.precisions + self.recalls
        product = 2 * self.precisions * self.recalls
        return np.divide(product, total, out=np.zeros_like(total), where=total > 0)

    @property
    def best_score(self) -> float:
        """The threshold with the best F1, the highest of them; infinite without detections."""
        return float(self.scores[self.f1.argmax()]) if self.scores.size else float("inf")

    def at(self, thresholds: np.ndarray) -> ScoreCurve:
        """The same at other thresholds, such as few of them for a chart.

        Args:
            thresholds: float64 (M,), falling; those above all scores, which leave no detections,
                are left out.
        """
        places = np.searchsorted(-self.scores, -thresholds, side="right") - 1
        kept = places >= 0
        places = places[kept]
        return ScoreCurve(thresholds[kept], self.precisions[places], self.recalls[places])


def score_curve(statuses_D: np.ndarray, scores_D: np.ndarray, num_objects: int) -> ScoreCurve:
    """Precision and recall at every score that occurs.

    Args:
        statuses_D: int8 (D,) of one IoU threshold; ignored detections are left out.
        scores_D: float64 (D,).
        num_objects: that are to be found.
    """
    counted = statuses_D != IGNORED
    scores_D, right_D = scores_D[counted], statuses_D[counted] == TRUE_POSITIVE
    order = np.argsort(-scores_D, kind="stable")
    scores_D, hits_D = scores_D[order], np.cumsum(right_D[order])
    # Equal scores pass a threshold together: the last of them counts.
    last = np.flatnonzero(np.diff(scores_D, append=-np.inf))
    hits = hits_D[last]
    undefined = np.full(hits.shape, np.nan)
    recalls = hits / num_objects if num_objects else undefined
    return ScoreCurve(scores_D[last], hits / (last + 1), recalls)
