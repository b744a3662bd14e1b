"""How good the predictions are when only detections from a score on are shown."""

from __future__ import annotations

import dataclasses

import numpy as np

from mask2former_mt.evaluation.errors import (
    CLASS,
    NOT_COUNTED,
    RIGHT,
    SUBCATEGORY,
    Errors,
    best_for_each_object,
)
from mask2former_mt.evaluation.matching import IGNORED, NONE, TRUE_POSITIVE

# D detections, G objects, I images, K classes, N different scores


@dataclasses.dataclass(frozen=True)
class ScoreCurve:
    """Precision and recall of the detections, of any class, from each score on.

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
        """This curve read at other thresholds, for example at a few for a chart.

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
        num_objects: objects to find.
    """
    counted = statuses_D != IGNORED
    scores_D, right_D = scores_D[counted], statuses_D[counted] == TRUE_POSITIVE
    order = np.argsort(-scores_D, kind="stable")
    scores_D, hits_D = scores_D[order], np.cumsum(right_D[order])
    # Equal scores pass a threshold together: the last of them counts.
    last = np.flatnonzero(np.diff(scores_D, append=-np.inf))
    hits = hits_D[last]
    recalls = hits / (num_objects or np.nan)
    return ScoreCurve(scores_D[last], hits / (last + 1), recalls)


@dataclasses.dataclass(frozen=True)
class ImageScores:
    """How good the predictions of each image are, all labels included.

    Args:
        right, wrong, missed: int64 (I,): detections with mask, class and labels right, the other
            detections, and objects that no right detection found.
    """

    right: np.ndarray
    wrong: np.ndarray
    missed: np.ndarray

    @property
    def f1(self) -> np.ndarray:
        """float64 (I,), in [0, 1]; 1 where there is nothing and nothing was said."""
        total = 2 * self.right + self.wrong + self.missed
        return np.divide(2 * self.right, total, out=np.ones(total.shape), where=total > 0)

    def worst_first(self) -> np.ndarray:
        """int64 (I,): images by F1; of equal ones that with more errors first."""
        return np.lexsort((-(self.wrong + self.missed), self.f1))

    def best_first(self) -> np.ndarray:
        """int64 (I,): images with something right by F1; of equal ones that with more right."""
        order = np.lexsort((-self.right, -self.f1))
        return order[self.right[order] > 0]


def image_scores(errors: Errors, threshold: float) -> ImageScores:
    """Counts what is right at IoU .5 in each image, by the detections with at least this score."""
    matching = errors.matching
    truth, detections = matching.truth, matching.detections
    shown_D = (detections.scores >= threshold) & ~errors.of(NOT_COUNTED)
    right_D = shown_D & errors.of(RIGHT)
    right, wrong, to_find = (
        np.bincount(images, minlength=len(truth.image_ids))
        for images in (
            detections.images[right_D],
            detections.images[shown_D & ~right_D],
            truth.images[matching.to_find],
        )
    )
    return ImageScores(right, wrong, to_find - right)


def class_confusion(errors: Errors, threshold: float) -> np.ndarray:
    """Annotated against predicted classes at IoU .5, whatever the labels.

    A detection of the wrong class counts for its object if no other detection found it, the best
    score first; every other wrong one stands in the last row, every other object in the last
    column.

    Args:
        threshold: the least score of a detection.

    Returns:
        int64 (K + 1, K + 1), row annotated, column predicted; the last row is nothing annotated,
        the last column nothing predicted.
    """
    matching = errors.matching
    truth, detections = matching.truth, matching.detections
    num_classes = len(truth.class_names)
    shown_D = (detections.scores >= threshold) & ~errors.of(NOT_COUNTED)
    found_D = shown_D & (errors.of(RIGHT) | errors.of(SUBCATEGORY))
    objects_D = np.where(found_D, errors.objects, NONE)
    taken_G = np.zeros(len(truth), dtype=bool)
    taken_G[objects_D[found_D]] = True
    confused = np.flatnonzero(shown_D & errors.of(CLASS))
    chosen = best_for_each_object(errors, confused[~taken_G[errors.objects[confused]]])
    objects_D[chosen] = errors.objects[chosen]
    taken_G[objects_D[chosen]] = True
    annotated_D = np.full(len(detections), num_classes)
    paired_D = objects_D != NONE
    annotated_D[paired_D] = truth.classes[objects_D[paired_D]]
    counts = np.zeros((num_classes + 1, num_classes + 1), dtype=np.int64)
    np.add.at(counts, (annotated_D[shown_D], detections.classes[shown_D]), 1)
    counts[:num_classes, num_classes] = truth.per_class(matching.to_find & ~taken_G)
    return counts
