"""Which detections and objects overlap enough to be matched, and by how much."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from pycocotools import mask as mask_utils

from mask2former_mt.evaluation.ground_truth import GroundTruth

# N detections and M objects of one image; D, G of all; P pairs of a detection and an object


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Detections and objects of the same image that overlap.

    Args:
        detections, objects: int64 (P,), indices; sorted by detection, then by object.
        ious: float64 (P,), in [0, 1]; of a crowd region, the share of the detection inside it.
    """

    detections: np.ndarray
    objects: np.ndarray
    ious: np.ndarray

    @classmethod
    def nothing(cls) -> Pairs:
        return cls(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros(0))

    @classmethod
    def concatenate(cls, parts: Sequence[Pairs]) -> Pairs:
        names = [field.name for field in dataclasses.fields(cls)]
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))

    def sorted(self) -> Pairs:
        return self.select(np.lexsort((self.objects, self.detections)))

    def select(self, which: np.ndarray) -> Pairs:
        """The pairs at an index or under a mask."""
        return Pairs(self.detections[which], self.objects[which], self.ious[which])


def mask_pairs(
    truth: GroundTruth,
    objects: slice,
    rles: Sequence[Mapping],
    classes_N: np.ndarray,
    areas_N: np.ndarray,
    extents_N4: np.ndarray,
    *,
    least_iou: float,
    same_class: bool,
) -> Pairs:
    """The pairs of one image by the IoU of their masks, as pycocotools computes it.

    Args:
        truth: the ground truth.
        objects: which of its M objects are the image's.
        rles: N compressed RLEs of the image's size.
        classes_N: int64 (N,).
        areas_N: float64 (N,), pixels of the masks.
        extents_N4: float64 (N, 4), xywh of the masks.
        least_iou: above 0; pairs with less are left out.
        same_class: only pairs of the same class.

    Returns:
        Pairs whose detections count from 0 within the N.
    """
    if not len(rles) or objects.start == objects.stop:
        return Pairs.nothing()
    areas_M, crowds_M = truth.mask_areas[objects], truth.crowds[objects]
    # No mask's IoU is above what its box and area allow; most pairs need no look at their masks.
    common_NM = np.minimum(
        _common_area(extents_N4, truth.extents[objects]),
        np.minimum(areas_N[:, None], areas_M),
    )
    # A little less, for what rounding may take.
    bound = least_iou * (1 - 1e-9)
    candidates_NM = common_NM >= bound * _union(areas_N, areas_M, crowds_M, common_NM)
    candidates_NM &= common_NM > 0
    if same_class:
        candidates_NM &= classes_N[:, None] == truth.classes[objects]
    of_N, of_M = candidates_NM.nonzero()
    if not of_N.size:
        return Pairs.nothing()
    parts = []
    # A matrix at a time, so that few masks are compared that are no candidates.
    groups_P = truth.classes[objects][of_M] if same_class else np.zeros_like(of_M)
    for group in np.unique(groups_P):
        rows = np.unique(of_N[groups_P == group])
        columns = np.unique(of_M[groups_P == group])
        ious = mask_utils.iou(
            [rles[n] for n in rows],
            [truth.rles[objects.start + m] for m in columns],
            crowds_M[columns].tolist(),
        )
        n, m = ((ious >= least_iou) & candidates_NM[np.ix_(rows, columns)]).nonzero()
        parts.append(Pairs(rows[n], columns[m] + objects.start, ious[n, m]))
    return Pairs.concatenate(parts)


def box_pairs(
    truth: GroundTruth,
    images_D: np.ndarray,
    classes_D: np.ndarray,
    boxes_D4: np.ndarray,
    *,
    least_iou: float,
) -> Pairs:
    """The pairs of the same class in all images by the IoU of their boxes, as pycocotools' bbIou.

    Args:
        truth: the ground truth.
        images_D, classes_D: int64 (D,); `images` is sorted.
        boxes_D4: float64 (D, 4), xywh in pixels.
        least_iou: pairs with less are left out.

    Returns:
        The pairs, sorted.
    """
    of_G, of_D = truth.groups, truth.group_of(images_D, classes_D)
    order_G = np.argsort(of_G, kind="stable")
    starts_D = np.searchsorted(of_G[order_G], of_D, side="left")
    sizes_D = np.searchsorted(of_G[order_G], of_D, side="right") - starts_D
    detections_P = np.repeat(np.arange(len(of_D)), sizes_D)
    before_D = np.cumsum(sizes_D) - sizes_D
    places_P = np.arange(len(detections_P)) - np.repeat(before_D - starts_D, sizes_D)
    objects_P = order_G[places_P]
    ours, theirs = boxes_D4[detections_P], truth.boxes[objects_P]
    sides = [
        np.maximum(
            np.minimum(ours[:, i] + ours[:, i + 2], theirs[:, i] + theirs[:, i + 2])
            - np.maximum(ours[:, i], theirs[:, i]),
            0,
        )
        for i in (0, 1)
    ]
    common_P = sides[0] * sides[1]
    area_ours, area_theirs = ours[:, 2] * ours[:, 3], theirs[:, 2] * theirs[:, 3]
    union_P = np.where(truth.crowds[objects_P], area_ours, area_ours + area_theirs - common_P)
    ious_P = np.divide(common_P, union_P, out=np.zeros_like(common_P), where=union_P > 0)
    return Pairs(detections_P, objects_P, ious_P).select(ious_P >= least_iou)


def _common_area(boxes_N4: np.ndarray, boxes_M4: np.ndarray) -> np.ndarray:
    starts_NM2 = np.maximum(boxes_N4[:, None, :2], boxes_M4[:, :2])
    stops_NM2 = np.minimum(
        boxes_N4[:, None, :2] + boxes_N4[:, None, 2:], boxes_M4[:, :2] + boxes_M4[:, 2:]
    )
    sides_NM2 = np.maximum(stops_NM2 - starts_NM2, 0)
    return sides_NM2[..., 0] * sides_NM2[..., 1]


def _union(
    areas_N: np.ndarray, areas_M: np.ndarray, crowds_M: np.ndarray, common_NM: np.ndarray
) -> np.ndarray:
    return np.where(crowds_M, areas_N[:, None], areas_N[:, None] + areas_M - common_NM)
