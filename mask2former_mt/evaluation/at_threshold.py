"""What a user gets who shows the detections from one score on: per image, and class by class."""

from __future__ import annotations

import dataclasses

import numpy as np

from mask2former_mt.evaluation.detections import Detections
from mask2former_mt.evaluation.errors import CLASS, NOT_COUNTED, RIGHT, SUBCATEGORY, Errors
from mask2former_mt.evaluation.ground_truth import GroundTruth
from mask2former_mt.evaluation.matching import ALL_AREAS, Matches

# D detections, G objects, I images, K classes


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


def image_scores(
    truth: GroundTruth,
    detections: Detections,
    matches: Matches,
    errors: Errors,
    threshold: float,
) -> ImageScores:
    """Counts per image at IoU .5 what the detections with at least this score make of it."""
    shown_D = (detections.scores >= threshold) & ~errors.of(NOT_COUNTED)
    right_D = shown_D & errors.of(RIGHT)
    counts = [
        np.bincount(images, minlength=len(truth.image_ids))
        for images in (
            detections.images[right_D],
            detections.images[shown_D & ~right_D],
            truth.images[matches.counts[ALL_AREAS]],
        )
    ]
    right, wrong, to_find = counts
    return ImageScores(right, wrong, to_find - right)


def class_confusion(
    truth: GroundTruth,
    detections: Detections,
    matches: Matches,
    errors: Errors,
    threshold: float,
) -> np.ndarray:
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
    num_classes = len(truth.class_names)
    shown_D = (detections.scores >= threshold) & ~errors.of(NOT_COUNTED)
    found_D = shown_D & (errors.of(RIGHT) | errors.of(SUBCATEGORY))
    objects_D = np.where(found_D, errors.objects, -1)
    taken_G = np.zeros(len(truth), dtype=bool)
    taken_G[objects_D[found_D]] = True
    confused = np.flatnonzero(shown_D & errors.of(CLASS))
    for d in confused[np.argsort(-detections.scores[confused], kind="stable")]:
        if not taken_G[errors.objects[d]]:
            taken_G[errors.objects[d]] = True
            objects_D[d] = errors.objects[d]
    annotated = np.full(len(detections), num_classes)
    paired_D = objects_D >= 0
    annotated[paired_D] = truth.classes[objects_D[paired_D]]
    counts = np.zeros((num_classes + 1, num_classes + 1), dtype=np.int64)
    np.add.at(counts, (annotated[shown_D], detections.classes[shown_D]), 1)
    left_G = matches.counts[ALL_AREAS] & ~taken_G
    counts[:num_classes, num_classes] = np.bincount(truth.classes[left_G], minlength=num_classes)
    return counts
