"""PACO's attribute AP: each pair of a class and a value is a category of its own.

A detection of class c stands for the category (c, v) of each value v that it predicts, with its
score times the probability of v, and finds objects of class c that have the value v. Where it finds
none, it is a false positive, unless the class matching gave it an object whose value nobody
annotated, or one that COCO ignores.

Differences: the results name one value per subcategory and its probability, so a detection stands
for that value only, where PACO has a probability of every attribute. None is no value here, as
PACO leaves out its "other".
"""

from __future__ import annotations

import dataclasses

import numpy as np

from mask2former_mt.evaluation.matching import (
    AT_50,
    FALSE_POSITIVE,
    IGNORED,
    NONE,
    TRUE_POSITIVE,
    Matching,
    set_statuses,
    take_objects,
)
from mask2former_mt.evaluation.overlaps import IOU_THRESHOLDS
from mask2former_mt.evaluation.precision_recall import UNDEFINED, curves
from mask2former_mt.structures import UNKNOWN

# D detections, G objects, K classes, T IoU thresholds

KINDS = ("", "_lower", "_upper")


def paco_metrics(matching: Matching) -> dict[str, float]:
    """AP_att and its bounds, in percent; NaN where no object has a value of a subcategory.

    Returns:
        `paco/AP_att` and `paco/AP_att-<subcategory>`; each with `_lower`, where every detection
        stands for every value with its own score, as if it knew nothing of attributes, and
        `_upper`, where it is ranked first for the values of what it finds at IoU .5, and last for
        all others. They tell what these masks and classes are worth with no and with perfect
        attributes; neither is a bound in the strict sense. Nothing without subcategories.

    Source: Ramanathan et al. 2023, "PACO: Parts and Attributes of Common Objects", section 5, and
        its published evaluation: the AP of a value is the mean over classes, that of a subcategory
        the mean over values, AP_att the mean over subcategories.
    """
    spec = matching.truth.spec
    if not len(spec):
        return {}
    parts = [_OneSubcategory(matching, column) for column in range(len(spec))]
    aps = {kind: [part.ap(kind) for part in parts] for kind in KINDS}
    metrics = {f"paco/AP_att{kind}": _mean(aps[kind]) for kind in KINDS}
    for column, name in enumerate(spec.names):
        metrics |= {f"paco/AP_att{kind}-{name}": aps[kind][column] for kind in KINDS}
    return metrics


class _OneSubcategory:
    """The values of one subcategory as categories."""

    def __init__(self, matching: Matching, column: int) -> None:
        self.truth, self.detections = matching.truth, matching.detections
        self.pairs, self.counted_D = matching.class_pairs, ~matching.is_over
        self.num_values = self.truth.spec.subcategories[column].num_values
        self.annotated_G = self.truth.labels[:, column]
        self.predicted_D = self.detections.labels[:, column]
        self.probs_D = self.detections.label_scores[:, column]
        # The status of a detection that finds no object of a category.
        unknown_TD = matching.objects != NONE
        unknown_TD &= self.annotated_G[matching.objects] == UNKNOWN if len(self.truth) else False
        ignored_TD = (matching.statuses == IGNORED) | unknown_TD
        self.missed_TD = np.where(ignored_TD, IGNORED, FALSE_POSITIVE).astype(np.int8)

    def ap(self, kind: str) -> float:
        """The mean over values and, within each, over classes; NaN where nothing has a value."""
        scores_D = self.detections.scores
        if kind == "":
            scores_D = scores_D * self.probs_D
        aps = []
        for value in range(self.num_values):
            to_find_G = (self.annotated_G == value) & ~self.truth.crowds
            if not to_find_G.any():
                continue
            stands_D = self.counted_D
            if kind == "":
                stands_D = stands_D & (self.predicted_D == value)
            # Without their probabilities the detections have no ranking.
            is_ranked = np.isfinite(scores_D[stands_D]).all()
            aps.append(self._value_ap(kind, stands_D, scores_D, to_find_G) if is_ranked else np.nan)
        return float(np.mean(aps)) if aps else float("nan")

    def _value_ap(
        self, kind: str, stands_D: np.ndarray, scores_D: np.ndarray, to_find_G: np.ndarray
    ) -> float:
        """The AP of one value, from the detections that stand for it and their scores."""
        suits_P = stands_D[self.pairs.detections] & to_find_G[self.pairs.objects]
        pairs = self.pairs.select(suits_P)
        none_ignored_G = np.zeros(len(self.truth), dtype=bool)
        candidates_C, objects_CT = take_objects(
            pairs,
            _order(scores_D, pairs.detections),
            self.truth.groups,
            thresholds_L=IOU_THRESHOLDS,
            ignored_GL=none_ignored_G[:, None],
            crowds_G=self.truth.crowds,
        )
        statuses_TD = self.missed_TD.copy()
        set_statuses(statuses_TD, candidates_C, objects_CT, none_ignored_G)
        if kind == "_upper":
            scores_D = (statuses_TD[AT_50] == TRUE_POSITIVE).astype(np.float64)
        standing = np.flatnonzero(stands_D)
        detections = dataclasses.replace(self.detections, scores=scores_D).select(standing)
        found = curves(self.truth, detections, statuses_TD[:, standing], to_find_G)
        aps_K = found.precisions.mean(axis=(0, 1))
        return float(100 * aps_K[aps_K > UNDEFINED].mean())


def _order(scores_D: np.ndarray, which_P: np.ndarray) -> np.ndarray:
    """int64 (D,): the ranks of some detections by score; others have none."""
    some = np.unique(which_P)
    order_D = np.zeros(len(scores_D), dtype=np.int64)
    order_D[some[np.argsort(-scores_D[some], kind="stable")]] = np.arange(len(some))
    return order_D


def _mean(aps: list[float]) -> float:
    defined = [ap for ap in aps if not np.isnan(ap)]
    return float(np.mean(defined)) if defined else float("nan")
