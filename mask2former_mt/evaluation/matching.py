"""COCO's matching, for all images, thresholds and area ranges at once.

COCO goes through the detections of an image and class by score; each takes, of the objects that
are not taken yet, the one with the highest IoU. That is a loop over images, classes, area ranges,
thresholds, detections and objects. Most of it decides nothing: a detection without an object of
IoU >= .5 finds none. So only pairs that overlap enough are looked at, the first such detections of
all images and classes together, then the second ones, and so on.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from mask2former_mt.evaluation.detections import Detections, ranks
from mask2former_mt.evaluation.ground_truth import GroundTruth
from mask2former_mt.evaluation.overlaps import IOU_THRESHOLDS, Pairs
from mask2former_mt.structures import UNKNOWN

# D detections, G objects, P pairs, T IoU thresholds, A area ranges, L settings to match under,
# C detections that have pairs, N of them in one turn

AT_50, AT_75 = (int(np.argmin(abs(IOU_THRESHOLDS - t))) for t in (0.5, 0.75))
AREAS = {
    "all": (0, 1e5**2),
    "small": (0, 32**2),
    "medium": (32**2, 96**2),
    "large": (96**2, 1e5**2),
}
ALL_AREAS = 0
# COCO's; its numbers are stated for it.
MAX_DETS = 100
# An ignored detection neither helps nor costs: it lies on a crowd, or outside of the area range.
FALSE_POSITIVE, TRUE_POSITIVE, IGNORED = 0, 1, 2
NONE = -1


@dataclasses.dataclass(frozen=True)
class Matching:
    """Predictions, the ground truth, and which of them belong together.

    Args:
        truth, detections: both sides, checked and sorted by image.
        pairs: which of them overlap; at least all of the same class with an IoU >= .5.
        max_dets: detections that counted per image and class, the highest scores first.
        objects: int32 (T, D), the object that each detection is matched to over all areas, or -1;
            it may be a crowd, see `statuses`.
        area_statuses: int8 (A, T, D): FALSE_POSITIVE, TRUE_POSITIVE or IGNORED.
        area_counts: bool (A, G): the object is to be found, it is no crowd and in the area range.
    """

    truth: GroundTruth
    detections: Detections
    pairs: Pairs
    max_dets: int
    objects: np.ndarray
    area_statuses: np.ndarray
    area_counts: np.ndarray

    @property
    def statuses(self) -> np.ndarray:
        """int8 (T, D): what the detections are over all areas."""
        return self.area_statuses[ALL_AREAS]

    @property
    def to_find(self) -> np.ndarray:
        """bool (G,): the objects to find over all areas."""
        return self.area_counts[ALL_AREAS]

    @property
    def num_to_find(self) -> np.ndarray:
        """int64 (K,): how many objects of each class there are to find."""
        return self.truth.per_class(self.to_find)

    @property
    def is_over(self) -> np.ndarray:
        """bool (D,): the detections beyond `max_dets`, which do not count."""
        return self.detections.ranks >= self.max_dets

    def of_first(self, limit: int) -> Matching:
        """The matching when only the first `limit` detections per image and class count.

        A detection takes its object before those with lower scores, so that no other changes.
        """
        is_over = self.detections.ranks >= limit
        statuses = np.where(is_over, np.int8(IGNORED), self.area_statuses)
        return dataclasses.replace(self, max_dets=limit, area_statuses=statuses)

    @property
    def class_pairs(self) -> Pairs:
        """The pairs of the same class whose detections count."""
        return _class_pairs(self.truth, self.detections, self.pairs, self.is_over)


def match(
    truth: GroundTruth, detections: Detections, pairs: Pairs, *, areas_D: np.ndarray, max_dets: int
) -> Matching:
    """Matches as COCO does.

    Args:
        pairs: those of different classes are left out; those with an IoU below .5 may be missing.
        areas_D: float64 (D,), pixels, which decides on small, medium and large.
        max_dets: detections that count per image and class, the highest scores first.

    Source: COCO's `evaluateImg`; the same matches in another order of work.
    """
    ranges_A2 = np.array(list(AREAS.values()))
    num_areas, num_thresholds = len(ranges_A2), len(IOU_THRESHOLDS)
    outside_AD = (areas_D < ranges_A2[:, :1]) | (areas_D > ranges_A2[:, 1:])
    outside_AG = (truth.areas < ranges_A2[:, :1]) | (truth.areas > ranges_A2[:, 1:])
    ignored_AG = outside_AG | truth.crowds
    is_over_D = detections.ranks >= max_dets
    candidates_C, objects_CL = take_objects(
        _class_pairs(truth, detections, pairs, is_over_D),
        detections.ranks,
        truth.groups,
        thresholds_L=np.tile(IOU_THRESHOLDS, num_areas),
        ignored_GL=np.repeat(ignored_AG.T, num_thresholds, axis=1),
        crowds_G=truth.crowds,
    )
    objects_TD = np.full((num_thresholds, len(detections)), NONE, dtype=np.int32)
    objects_TD[:, candidates_C] = objects_CL.T[:num_thresholds]
    statuses_ATD = np.empty((num_areas, num_thresholds, len(detections)), dtype=np.int8)
    for a, statuses_TD in enumerate(statuses_ATD):
        statuses_TD[:] = np.where(outside_AD[a], IGNORED, FALSE_POSITIVE)
        of_area = slice(a * num_thresholds, (a + 1) * num_thresholds)
        set_statuses(statuses_TD, candidates_C, objects_CL[:, of_area], ignored_AG[a])
    statuses_ATD[..., is_over_D] = IGNORED
    return Matching(truth, detections, pairs, max_dets, objects_TD, statuses_ATD, ~ignored_AG)


def take_objects(
    pairs: Pairs,
    order_D: np.ndarray,
    groups_G: np.ndarray,
    *,
    thresholds_L: np.ndarray,
    ignored_GL: np.ndarray,
    crowds_G: np.ndarray,
    others_P: np.ndarray | None = None,
    least_other: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Lets detections take objects in turn, under L settings at once.

    Under each setting a detection takes one object whose IoU reaches the threshold and that nobody
    has taken: the last one with the highest IoU among those that are not ignored, else the same
    among the ignored ones. A crowd can be taken again.

    Args:
        pairs: sorted; the detections of a pair are indices of `order_D`.
        order_D: int (D,), who comes first within a group; unique there.
        groups_G: int (G,); objects of different groups never share a detection.
        thresholds_L: float (L,), least IoU.
        ignored_GL: bool (G, L), or (G, 1) where the settings do not differ in it.
        crowds_G: bool (G,).
        others_P, least_other: a second measure of each pair, and its least value: an object must
            then be at least as good by both measures to be preferred.

    Returns:
        int64 (C,), the detections that have pairs, and int32 (C, L), the object of each or -1.
    """
    taken_GL = np.zeros((len(groups_G), len(thresholds_L)), dtype=bool)
    firsts_C = np.flatnonzero(np.diff(pairs.detections, prepend=-1))
    candidates_C = pairs.detections[firsts_C]
    objects_CL = np.full((len(candidates_C), len(thresholds_L)), NONE, dtype=np.int32)
    if not len(candidates_C):
        return candidates_C, objects_CL
    num_pairs_C = np.diff(firsts_C, append=len(pairs.detections))
    turns_C = ranks(groups_G[pairs.objects[firsts_C]], -order_D[candidates_C])
    by_turn = np.argsort(turns_C, kind="stable")
    stops = np.cumsum(np.bincount(turns_C))
    any_ignored_G = ignored_GL.any(axis=1)
    for turn in np.split(by_turn, stops[:-1]):
        objects_NL = np.full((len(turn), len(thresholds_L)), NONE, dtype=np.int32)
        best_NL = np.empty(objects_NL.shape)
        best_NL[:] = np.minimum(thresholds_L, 1 - 1e-10)
        if others_P is not None:
            best_others_NL = np.full(objects_NL.shape, min(least_other, 1 - 1e-10))
        for want_ignored in (False, True):
            is_free_NL = objects_NL == NONE if want_ignored else True
            for slot in range(num_pairs_C[turn].max()):
                rows = np.flatnonzero(num_pairs_C[turn] > slot)
                places = firsts_C[turn[rows]] + slot
                if want_ignored:
                    keep = any_ignored_G[pairs.objects[places]]
                    rows, places = rows[keep], places[keep]
                    if not rows.size:
                        continue
                objects = pairs.objects[places]
                better = pairs.ious[places, None] >= best_NL[rows]
                better &= ~taken_GL[objects] | crowds_G[objects, None]
                better &= ignored_GL[objects] == want_ignored
                if want_ignored:
                    better &= is_free_NL[rows]
                if others_P is not None:
                    others = others_P[places, None]
                    better &= others >= best_others_NL[rows]
                    best_others_NL[rows] = np.where(better, others, best_others_NL[rows])
                best_NL[rows] = np.where(better, pairs.ious[places, None], best_NL[rows])
                objects_NL[rows] = np.where(better, objects[:, None], objects_NL[rows])
        n, setting = (objects_NL != NONE).nonzero()
        taken_GL[objects_NL[n, setting], setting] = True
        objects_CL[turn] = objects_NL
    return candidates_C, objects_CL


def set_statuses(
    statuses_TD: np.ndarray, candidates_C: np.ndarray, objects_CT: np.ndarray, ignored_G: np.ndarray
) -> None:
    """Makes those that took an object true positives, or ignored ones like their object.

    Args:
        statuses_TD: int8 (T, D), what the detections are that found nothing; changed in place.
        candidates_C, objects_CT: of `take_objects`.
        ignored_G: bool (G,).
    """
    c, t = (objects_CT != NONE).nonzero()
    is_ignored = ignored_G[objects_CT[c, t]]
    statuses_TD[t, candidates_C[c]] = np.where(is_ignored, IGNORED, TRUE_POSITIVE)


def labels_agree(
    matching: Matching,
    detections_N: np.ndarray,
    objects_N: np.ndarray,
    columns: slice = slice(None),
) -> np.ndarray:
    """Whether detections have the values that are annotated on objects; unknown is never wrong.

    Args:
        detections_N, objects_N: int (N,), indices.
        columns: the subcategories to look at, all of them if not given.

    Returns:
        bool (N,).
    """
    annotated_NS = matching.truth.labels[objects_N, columns]
    predicted_NS = matching.detections.labels[detections_N, columns]
    return ((annotated_NS == UNKNOWN) | (annotated_NS == predicted_NS)).all(axis=1)


def _class_pairs(
    truth: GroundTruth, detections: Detections, pairs: Pairs, is_over_D: np.ndarray
) -> Pairs:
    same_class = detections.classes[pairs.detections] == truth.classes[pairs.objects]
    return pairs.select(same_class & ~is_over_D[pairs.detections])
