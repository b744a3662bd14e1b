"""Confusion, accuracy, balanced accuracy and F1 of the subcategories of found objects."""

from __future__ import annotations

import dataclasses

import numpy as np

from mask2former_mt.evaluation.calibration import Bins, bin_scores
from mask2former_mt.evaluation.matching import AT_50, TRUE_POSITIVE, Matching
from mask2former_mt.structures import UNKNOWN

# K classes, V values of a subcategory with none as the last one, N matches


@dataclasses.dataclass(frozen=True)
class LabelMatches:
    """One subcategory in the matches at IoU >= .5 whose ground truth has the label.

    Args:
        values: the V names; None, the last one, is none.
        counts: int64 (K, V, V), matches by class, annotated value and predicted value.
        bins: the predicted values' probabilities, and how often they are right.
    """

    values: tuple[str | None, ...]
    counts: np.ndarray
    bins: Bins

    @property
    def confusion(self) -> np.ndarray:
        """Matches by annotated and predicted value."""
        return self.counts.sum(axis=0)


def match_labels(matching: Matching) -> dict[str, LabelMatches]:
    """Counts annotated against predicted values, by subcategory."""
    truth, detections = matching.truth, matching.detections
    detections_N = np.flatnonzero(matching.statuses[AT_50] == TRUE_POSITIVE)
    objects_N = matching.objects[AT_50, detections_N]
    labels = {}
    for column, s in enumerate(truth.spec):
        annotated_N = truth.labels[objects_N, column]
        known = annotated_N != UNKNOWN
        annotated_N, of_N = annotated_N[known], detections_N[known]
        predicted_N = detections.labels[of_N, column]
        shape = (len(truth.class_names), s.num_values + 1, s.num_values + 1)
        counts_KVV = np.zeros(shape, dtype=np.int64)
        np.add.at(counts_KVV, (detections.classes[of_N], annotated_N, predicted_N), 1)
        bins = bin_scores(detections.label_scores[of_N, column], annotated_N == predicted_N)
        labels[s.name] = LabelMatches((*s.values, None), counts_KVV, bins)
    return labels


def label_metrics(labels: LabelMatches) -> dict[str, float]:
    """Summarises one subcategory, in percent; NaN without a match to judge it by.

    Returns:
        `accuracy`, the share of right values; `balanced_accuracy`, the mean over annotated values
        of the share that was recognised; `macro_f1`, the mean F1 over values that are annotated or
        predicted; `ECE`, the expected calibration error of the values' probabilities. None counts
        as a value. Values that nobody annotates or predicts have no part in it.
    """
    confusion_VV = labels.confusion
    right_V = np.diag(confusion_VV)
    annotated_V, predicted_V = confusion_VV.sum(axis=1), confusion_VV.sum(axis=0)
    return {
        "accuracy": _mean_share(right_V.sum(keepdims=True), annotated_V.sum(keepdims=True)),
        "balanced_accuracy": _mean_share(right_V, annotated_V),
        "macro_f1": _mean_share(2 * right_V, annotated_V + predicted_V),
        "ECE": labels.bins.error_percent,
    }


def confusion_json(labels: dict[str, LabelMatches], class_names: list[str]) -> dict:
    """The confusion matrices as plain JSON.

    Returns:
        By subcategory: `values` (null is none); `all`, counts with a row per annotated and a column
        per predicted value; `classes`, the same by class name, for classes that have any.
    """
    return {
        name: {
            "values": list(matches.values),
            "all": matches.confusion.tolist(),
            "classes": {
                class_name: counts_VV.tolist()
                for class_name, counts_VV in zip(class_names, matches.counts, strict=True)
                if counts_VV.any()
            },
        }
        for name, matches in labels.items()
    }


def _mean_share(parts: np.ndarray, wholes: np.ndarray) -> float:
    """The mean of parts / wholes in percent, where there is a whole."""
    filled = wholes > 0
    return float(100 * np.mean(parts[filled] / wholes[filled])) if filled.any() else float("nan")
