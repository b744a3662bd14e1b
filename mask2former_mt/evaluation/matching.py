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
from mask2former_mt.evaluation.overlaps import Pairs

# D detections, G objects, P pairs, T IoU thresholds, A area ranges, L settings to match under,
# C detections that have pairs, N of them in one turn

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
AT_50, AT_75 = (int(np.argmin(abs(IOU_THRESHOLDS - t))) for t in (0.5, 0.75))
AREAS = {
    "all": (0, 1e5**2),
    "small": (0, 32**2),
    "medium": (32**2, 96**2),
    "large": (96**2, 1e5**2),
}
ALL_AREAS = 0
MAX_DETS = 100
# A detection neither helps nor costs: it lies on a crowd, or outside of the area range.
FALSE_POSITIVE, TRUE_POSITIVE, IGNORED = 0, 1, 2
NONE = -1


@dataclasses.dataclass(frozen=True)
class Matches:
    """What each detection found.

    Args:
        objects: int32 (T, D), the object it is matched to over all areas, or -1; it may be a
            crowd, see `statuses`.
        statuses: int8 (A, T, D): FALSE_POSITIVE, TRUE_POSITIVE or IGNORED.
        counts: bool (A, G): the object is to be found, it is no crowd and in the area range.
    """

    objects: np.ndarray
    statuses: np.ndarray
    counts: np.ndarray


def match(
    truth: GroundTruth,
    detections: Detections,
    pairs: Pairs,
    *,
    areas_D: np.ndarray,
    max_dets: int = MAX_DETS,
) -> Matches:
    """Matches as COCO does.

    Args:
        truth, detections: both sides.
        pairs: of the same class; those below the first threshold may be missing.
        areas_D: float64 (D,), pixels, which decides on small, medium and large.
        max_dets: detections that count per image and class, the highest scores first.

    Source: COCO's `evaluateImg`; the same matches in another order of work.
    """
    ranges_A2 = np.array(list(AREAS.values()))
    num_areas, num_thresholds = len(ranges_A2), len(IOU_THRESHOLDS)
    outside_AD = (areas_D < ranges_A2[:, :1]) | (areas_D > ranges_A2[:, 1:])
    outside_AG = (truth.areas < ranges_A2[:, :1]) | (truth.areas > ranges_A2[:, 1:])
    ignored_AG = outside_AG | truth.crowds
    over_D = detections.ranks >= max_dets
    pairs = pairs.select(~over_D[pairs.detections])
    candidates, found_CL = take_objects(
        pairs,
        detections.ranks,
        truth.groups,
        thresholds_L=np.tile(IOU_THRESHOLDS, num_areas),
        ignored_GL=np.repeat(ignored_AG.T, num_thresholds, axis=1),
        crowds_G=truth.crowds,
    )
    objects_TD = np.full((num_thresholds, len(detections)), NONE, dtype=np.int32)
    objects_TD[:, candidates] = found_CL.T[:num_thresholds]
    statuses_ATD = np.empty((num_areas, num_thresholds, len(detections)), dtype=np.int8)
    for a, (outside_D, ignored_G) in enumerate(zip(outside_AD, ignored_AG, strict=True)):
        statuses_ATD[a] = np.where(outside_D, IGNORED, FALSE_POSITIVE)
        part = slice(a * num_thresholds, (a + 1) * num_thresholds)
        c, t = (found_CL[:, part] != NONE).nonzero()
        is_ignored = ignored_G[found_CL[:, part][c, t]]
        statuses_ATD[a, t, candidates[c]] = np.where(is_ignored, IGNORED, TRUE_POSITIVE)
    statuses_ATD[..., over_D] = IGNORED
    return Matches(objects_TD, statuses_ATD, ~ignored_AG)


def take_objects(
    pairs: Pairs,
    order_D: np.ndarray,
    groups_G: np.ndarray,
    *,
    thresholds_L: np.ndarray,
    ignored_GL: np.ndarray,
    crowds_G: np.ndarray,
    others_P: np.ndarray | None = None,
    other_thresholds_L: np.ndarray | None = None,
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
        ignored_GL: bool (G, L).
        crowds_G: bool (G,).
        others_P, other_thresholds_L: a second measure of each pair, and its least value: an object
            must then be at least as good by both measures to be preferred.

    Returns:
        int64 (C,), the detections that have pairs, and int32 (C, L), the object of each or -1.
    """
    taken_GL = np.zeros(ignored_GL.shape, dtype=bool)
    firsts_C = np.flatnonzero(np.diff(pairs.detections, prepend=-1))
    candidates_C = pairs.detections[firsts_C]
    found_CL = np.full((len(candidates_C), len(thresholds_L)), NONE, dtype=np.int32)
    if not len(candidates_C):
        return candidates_C, found_CL
    num_pairs_C = np.diff(firsts_C, append=len(pairs.detections))
    turns_C = ranks(groups_G[pairs.objects[firsts_C]], -order_D[candidates_C])
    by_turn = np.argsort(turns_C, kind="stable")
    stops = np.cumsum(np.bincount(turns_C))
    any_ignored_G = ignored_GL.any(axis=1)
    for turn in np.split(by_turn, stops[:-1]):
        found_NL = np.full((len(turn), len(thresholds_L)), NONE, dtype=np.int32)
        best_NL = np.empty(found_NL.shape)
        best_NL[:] = np.minimum(thresholds_L, 1 - 1e-10)
        others_NL = None
        if others_P is not None:
            others_NL = np.empty_like(best_NL)
            others_NL[:] = np.minimum(other_thresholds_L, 1 - 1e-10)
        for want_ignored in (False, True):
            free_NL = found_NL == NONE if want_ignored else True
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
                    better &= free_NL[rows]
                if others_P is not None:
                    better &= others_P[places, None] >= others_NL[rows]
                    others_NL[rows] = np.where(better, others_P[places, None], others_NL[rows])
                best_NL[rows] = np.where(better, pairs.ious[places, None], best_NL[rows])
                found_NL[rows] = np.where(better, objects[:, None], found_NL[rows])
        n, setting = (found_NL != NONE).nonzero()
        taken_GL[found_NL[n, setting], setting] = True
        found_CL[turn] = found_NL
    return candidates_C, found_CL
