"""Why detections are wrong and objects are not found, after TIDE, with wrong labels as a kind.

Every false positive of AP^J at IoU .5 has one reason, and each reason has a price: what AP^J at .5
would gain if that reason alone were repaired. A detection that the mask and the class are right of
and whose labels are not is such a reason too.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from mask2former_mt.evaluation.joint import verified_statuses
from mask2former_mt.evaluation.matching import (
    AT_50,
    FALSE_POSITIVE,
    IGNORED,
    NONE,
    TRUE_POSITIVE,
    Matching,
    labels_agree,
)
from mask2former_mt.evaluation.overlaps import EXPLAINING_IOU, IOU_THRESHOLDS, Pairs
from mask2former_mt.evaluation.precision_recall import curves, mean_percent

# D detections, G objects, K classes

CLASS, SUBCATEGORY, LOCALISATION = "class wrong", "subcategory wrong", "localisation"
BOTH, DUPLICATE, BACKGROUND = "class and localisation", "duplicate", "background"
MISSED = "missed"
KINDS = (CLASS, SUBCATEGORY, LOCALISATION, BOTH, DUPLICATE, BACKGROUND, MISSED)
MEANINGS = {
    CLASS: "the mask fits an object of another class",
    SUBCATEGORY: "mask and class fit, a subcategory is wrong",
    LOCALISATION: f"an object of the class, at an IoU of {EXPLAINING_IOU} to 0.5",
    BOTH: f"an object of another class, at an IoU of {EXPLAINING_IOU} to 0.5",
    DUPLICATE: "an object that a better score has found already",
    BACKGROUND: f"no object at an IoU of {EXPLAINING_IOU}",
    MISSED: "an object that no detection above is about",
}
RIGHT, NOT_COUNTED = "right", "not counted"
_CODES = (*KINDS[:-1], RIGHT, NOT_COUNTED)


@dataclasses.dataclass(frozen=True)
class Errors:
    """Every detection's error.

    Args:
        matching: whose errors these are.
        kinds: int8 (D,), codes of the kinds; see `of`.
        objects: int64 (D,), the object that a right detection found or that an error is about;
            -1 where there is none.
        missed: bool (G,): objects to find that no detection found, and that no wrong class or
            localisation is about.
    """

    matching: Matching
    kinds: np.ndarray
    objects: np.ndarray
    missed: np.ndarray

    def of(self, kind: str) -> np.ndarray:
        """bool (D,): the detections of one of `KINDS`, RIGHT or NOT_COUNTED (COCO ignores them)."""
        return self.kinds == _CODES.index(kind)

    def counts(self, chosen_D: np.ndarray | None = None) -> dict[str, int]:
        """How many errors of each kind there are, in the order of `KINDS`.

        Args:
            chosen_D: bool (D,): only these detections. What is missed follows from all of them.
        """
        chosen_D = np.ones(len(self.kinds), dtype=bool) if chosen_D is None else chosen_D
        counts = {kind: int((self.of(kind) & chosen_D).sum()) for kind in KINDS[:-1]}
        return counts | {MISSED: int(self.missed.sum())}


def find_errors(matching: Matching) -> Errors:
    """Gives every detection at IoU .5 one reason.

    Args:
        matching: of `evaluate` with `explain`, which keeps the pairs of all classes with an IoU of
            `EXPLAINING_IOU` and more.

    Source: Bolya et al. 2020, "TIDE: A General Toolbox for Identifying Object Detection Errors",
        sec. 2.2, and its order of reasons where several hold. The wrong subcategory is ours; its
        "missed" leaves out, as there, what another error is about.
    """
    truth, detections = matching.truth, matching.detections
    # A crowd explains nothing: COCO ignores the detections on it.
    pairs = matching.pairs.select(~truth.crowds[matching.pairs.objects])
    same = detections.classes[pairs.detections] == truth.classes[pairs.objects]
    iou_D, best_D = _best(pairs, len(detections))
    same_iou_D, same_D = _best(pairs.select(same), len(detections))
    other_iou_D, other_D = _best(pairs.select(~same), len(detections))

    least = IOU_THRESHOLDS[AT_50]
    statuses_D, matched_D = matching.statuses[AT_50], matching.objects[AT_50]
    reasons = [
        (statuses_D == IGNORED, NOT_COUNTED, NONE),
        (verified_statuses(matching)[AT_50] == TRUE_POSITIVE, RIGHT, matched_D),
        (statuses_D == TRUE_POSITIVE, SUBCATEGORY, matched_D),
        ((same_iou_D >= EXPLAINING_IOU) & (same_iou_D < least), LOCALISATION, same_D),
        (other_iou_D >= least, CLASS, other_D),
        (same_iou_D >= least, DUPLICATE, same_D),
        (iou_D < EXPLAINING_IOU, BACKGROUND, NONE),
        (np.ones(len(detections), dtype=bool), BOTH, best_D),
    ]
    holds = [condition for condition, _, _ in reasons]
    kinds_D = np.select(holds, [_CODES.index(kind) for _, kind, _ in reasons]).astype(np.int8)
    objects_D = np.select(holds, [objects for _, _, objects in reasons]).astype(np.int64)

    explained_G = np.zeros(len(truth), dtype=bool)
    for kind in (RIGHT, SUBCATEGORY, CLASS, LOCALISATION):
        explained_G[objects_D[kinds_D == _CODES.index(kind)]] = True
    return Errors(matching, kinds_D, objects_D, matching.to_find & ~explained_G)


def gains(errors: Errors) -> dict[str, float]:
    """What AP^J at IoU .5 would gain if one kind of error were repaired, each by itself.

    A wrong subcategory becomes right. A wrong class becomes that of its object, and a badly placed
    mask fits, if nobody has found the object: of several the best score, the others go. Duplicates,
    detections on the background and those with both wrong go. Missed objects need not be found.
    Repaired masks and classes keep their labels, which may be wrong.

    Returns:
        Percent by kind, in the order of `KINDS`; NaN without objects to find.

    Source: TIDE, sec. 2.3 (its oracles), applied to AP^J.
    """
    matching = errors.matching
    truth, detections = matching.truth, matching.detections
    statuses_D = verified_statuses(matching)[AT_50]

    def average_precision(
        statuses_D: np.ndarray,
        classes_D: np.ndarray = detections.classes,
        to_find_G: np.ndarray = matching.to_find,
    ) -> float:
        repaired = dataclasses.replace(detections, classes=classes_D)
        return mean_percent(curves(truth, repaired, statuses_D[None], to_find_G).precisions)

    before = average_precision(statuses_D)
    found_G = np.zeros(len(truth), dtype=bool)
    found_G[errors.objects[errors.of(RIGHT) | errors.of(SUBCATEGORY)]] = True
    after = {}
    for kind in KINDS[:-1]:
        of_kind_D = errors.of(kind)
        if kind == SUBCATEGORY:
            after[kind] = average_precision(np.where(of_kind_D, TRUE_POSITIVE, statuses_D))
            continue
        repaired_D = np.where(of_kind_D, IGNORED, statuses_D)
        classes_D = detections.classes
        if kind in (CLASS, LOCALISATION):
            candidates = np.flatnonzero(of_kind_D)
            candidates = candidates[~found_G[errors.objects[candidates]]]
            chosen = best_for_each_object(errors, candidates)
            objects = errors.objects[chosen]
            classes_D = classes_D.copy()
            classes_D[chosen] = truth.classes[objects]
            is_right = labels_agree(matching, chosen, objects)
            repaired_D[chosen] = np.where(is_right, TRUE_POSITIVE, FALSE_POSITIVE)
        after[kind] = average_precision(repaired_D, classes_D)
    after[MISSED] = average_precision(statuses_D, to_find_G=matching.to_find & ~errors.missed)
    return {kind: value - before for kind, value in after.items()}


def best_for_each_object(errors: Errors, candidates: np.ndarray) -> np.ndarray:
    """Of the detections about the same object the one with the best score, as indices."""
    scores = errors.matching.detections.scores
    by_score = candidates[np.argsort(-scores[candidates], kind="stable")]
    _, first = np.unique(errors.objects[by_score], return_index=True)
    return by_score[first]


def _best(pairs: Pairs, num_detections: int) -> tuple[np.ndarray, np.ndarray]:
    """The highest IoU of each detection, 0 without a pair, and its object, or -1."""
    order = np.lexsort((pairs.ious, pairs.detections))
    last = order[np.flatnonzero(np.diff(pairs.detections[order], append=-1))]
    ious_D, objects_D = np.zeros(num_detections), np.full(num_detections, NONE, dtype=np.int64)
    ious_D[pairs.detections[last]] = pairs.ious[last]
    objects_D[pairs.detections[last]] = pairs.objects[last]
    return ious_D, objects_D
