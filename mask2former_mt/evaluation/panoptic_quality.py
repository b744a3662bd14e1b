"""Panoptic quality, PQ, and the same with labels verified, PQ^J."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Sequence

import numpy as np

from mask2former_mt.structures import UNKNOWN

# Segments overlap nowhere, so at most one pair per segment has more than this IoU.
_MATCHED_ABOVE = 0.5
# The id of pixels that belong to no segment.
VOID_ID = 0

# H x W pixels, K classes, S subcategories


@dataclasses.dataclass(frozen=True)
class Segment:
    """One segment of a picture.

    Args:
        id: its value in the map of ids; not `VOID_ID`.
        category: contiguous class, in 0..K-1.
        subcategories: S labels, each in {-1, 0..K_s}; empty where nobody annotates any.
        is_crowd: of the ground truth: a region of many objects, which nothing is matched with and
            which forgives predictions of its class.
    """

    id: int
    category: int
    subcategories: tuple[int, ...] = ()
    is_crowd: bool = False


class PanopticQuality:
    """Sums up pictures; see `metrics`.

    Args:
        num_classes: K.

    Attributes:
        sums: float64 (2, K, 4): without and with labels verified, per class the sum of the matched
            pairs' IoU, the numbers of true positives, of false positives and of false negatives.
            Those of several processes may be added.

    Source: Kirillov et al., "Panoptic Segmentation", section 4.2. PQ^J as AP^J: a matched pair
    whose annotated labels are not all predicted right is a false positive and a false negative.
    """

    def __init__(self, num_classes: int) -> None:
        self.sums = np.zeros((2, num_classes, 4))

    def add(
        self,
        predicted_HW: np.ndarray,
        predicted: Sequence[Segment],
        true_HW: np.ndarray,
        truth: Sequence[Segment],
    ) -> None:
        """Counts one picture.

        Args:
            predicted_HW: integers (H, W), the id of each pixel's segment.
            predicted: the segments in it.
            true_HW, truth: likewise of the ground truth; pixels without a segment are void.

        Raises:
            ValueError: maps of different sizes, or one with an id that no segment has.
        """
        if predicted_HW.shape != true_HW.shape:
            raise ValueError(
                f"the predicted map must be {true_HW.shape} as the ground truth is, got "
                f"{predicted_HW.shape}"
            )
        predicted_index = _index_map(predicted_HW, predicted, "prediction")
        true_index = _index_map(true_HW, truth, "ground truth")
        # Pixels by pair; row and column 0 are those without a segment.
        shape = (len(truth) + 1, len(predicted) + 1)
        pairs = np.bincount(
            true_index.ravel() * shape[1] + predicted_index.ravel(), minlength=math.prod(shape)
        ).reshape(shape)
        true_areas, predicted_areas = pairs.sum(1), pairs.sum(0)
        matched_truth, matched_predictions = set(), set()
        for row, column in zip(*pairs[1:, 1:].nonzero(), strict=True):
            segment, detection = truth[row], predicted[column]
            if segment.is_crowd or segment.category != detection.category:
                continue
            overlap = pairs[row + 1, column + 1]
            # What the prediction covers of void is not held against it.
            union = true_areas[row + 1] + predicted_areas[column + 1] - overlap
            iou = overlap / (union - pairs[0, column + 1])
            if iou <= _MATCHED_ABOVE:
                continue
            matched_truth.add(row)
            matched_predictions.add(column)
            is_right = all(
                annotated in (UNKNOWN, value)
                for annotated, value in zip(
                    segment.subcategories, detection.subcategories, strict=True
                )
            )
            self.sums[0, segment.category] += (iou, 1, 0, 0)
            self.sums[1, segment.category] += (iou, 1, 0, 0) if is_right else (0, 0, 1, 1)
        for row, segment in enumerate(truth):
            if row not in matched_truth and not segment.is_crowd:
                self.sums[:, segment.category, 3] += 1
        for column, detection in enumerate(predicted):
            if column in matched_predictions:
                continue
            crowds = [
                row + 1
                for row, segment in enumerate(truth)
                if segment.is_crowd and segment.category == detection.category
            ]
            forgiven = pairs[[0, *crowds], column + 1].sum()
            if forgiven / predicted_areas[column + 1] <= _MATCHED_ABOVE:
                self.sums[:, detection.category, 2] += 1

    def metrics(self, things: Collection[int]) -> dict[str, float]:
        """The numbers in percent.

        Args:
            things: classes that are things; all others are stuff.

        Returns:
            PQ, SQ (mean IoU of the matches), RQ (share of segments found), each also of things,
            `PQ_th`, and of stuff, `PQ_st`; and `PQ^J`. Each is a mean over the classes that occur
            in ground truth or predictions; NaN where none does.
        """
        is_thing = np.isin(np.arange(self.sums.shape[1]), list(things))
        kinds = {"": np.ones_like(is_thing), "_th": is_thing, "_st": ~is_thing}
        metrics = {}
        for suffix, kind in kinds.items():
            quality = _mean_qualities(self.sums[0, kind])
            metrics |= {f"{k}{suffix}": v for k, v in zip(("PQ", "SQ", "RQ"), quality, strict=True)}
        metrics["PQ^J"] = _mean_qualities(self.sums[1])[0]
        return metrics

    def by_class(self) -> list[float]:
        """PQ of each class in percent; NaN where it does not occur."""
        return [_mean_qualities(sums[None])[0] for sums in self.sums[0]]


def _mean_qualities(sums: np.ndarray) -> tuple[float, float, float]:
    """PQ, SQ and RQ in percent, means over the classes of float (K, 4) sums that occur."""
    sums = sums[sums[:, 1:].any(1)]
    if len(sums) == 0:
        return math.nan, math.nan, math.nan
    iou, true_positives, false_positives, false_negatives = sums.T
    found = true_positives / (true_positives + (false_positives + false_negatives) / 2)
    segmented = iou / np.maximum(true_positives, 1)
    return tuple(float(100 * q.mean()) for q in (segmented * found, segmented, found))


def _index_map(ids_HW: np.ndarray, segments: Sequence[Segment], what: str) -> np.ndarray:
    """The map with 1 + the segment's position instead of its id, 0 for void."""
    ids, inverse = np.unique(ids_HW, return_inverse=True)
    position = {segment.id: 1 + index for index, segment in enumerate(segments)}
    position[VOID_ID] = 0
    unknown = sorted(set(ids.tolist()) - set(position))
    if unknown:
        raise ValueError(f"the map of the {what} has id {unknown[0]}, which no segment has")
    return np.array([position[i] for i in ids.tolist()])[inverse].reshape(ids_HW.shape)
