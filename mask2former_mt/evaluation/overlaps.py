"""Which detections and objects overlap enough to be matched, found while the masks are read."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import shapely
from pycocotools import mask as mask_utils

from mask2former_mt.evaluation.detections import Columns, Detections, read_parts
from mask2former_mt.evaluation.ground_truth import GroundTruth

# N detections and M objects of one image; D, G of all; P pairs of a detection and an object

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
# A detection that overlaps less than this with an object has nothing to do with it.
EXPLAINING_IOU = 0.1


@dataclasses.dataclass(frozen=True)
class Pairs(Columns):
    """Detections and objects of the same image that overlap.

    Args:
        detections, objects: int64 (P,), indices; sorted by detection, then by object.
        ious: float64 (P,), in [0, 1]; with a crowd region, the share of the detection inside it.
    """

    detections: np.ndarray
    objects: np.ndarray
    ious: np.ndarray


_NO_PAIRS = Pairs(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros(0))


def read_detections(
    truth: GroundTruth, results: Iterable[Mapping], *, explain: bool = False
) -> tuple[Detections, Pairs]:
    """Checks results against their dataset and compares their masks with the objects'.

    Args:
        truth: the ground truth.
        results: entries as `instances_to_results` makes them, in any order; there may be none.
            They are read once and not kept, so a generator needs no memory for the masks.
        explain: pairs of different classes and of an IoU from `EXPLAINING_IOU` on too, which
            explain errors; otherwise those of the same class with an IoU from .5 on.

    Returns:
        The detections, sorted by image and then as the results list them; and the pairs by the IoU
        of their masks.

    Raises:
        ValueError: names the first entry that does not fit.
    """
    least_iou = EXPLAINING_IOU if explain else IOU_THRESHOLDS[0]
    parts, pairs = [], [_NO_PAIRS]
    # The entries usually come image by image.
    finder_of = functools.lru_cache(maxsize=1)(lambda image: ObjectFinder.of_image(truth, image))
    for part, rles in read_parts(truth, results):
        starts = np.flatnonzero(np.diff(part.images, prepend=-1)).tolist()
        for start, stop in itertools.pairwise([*starts, len(part)]):
            of_image = part.select(slice(start, stop))
            image = int(of_image.images[0])
            first, last = truth.firsts[image : image + 2]
            of_pair = finder_of(image).pairs(
                rles[start:stop],
                of_image.areas,
                of_image.extents,
                least_iou=least_iou,
                classes=None if explain else (of_image.classes, truth.classes[first:last]),
            )
            # They know a detection by its place in the results.
            places = of_image.places[of_pair.detections]
            pairs.append(Pairs(places, of_pair.objects + first, of_pair.ious))
        parts.append(part)
    detections, pairs = Detections.concatenate(parts), Pairs.concatenate(pairs)
    order = np.argsort(detections.images, kind="stable")
    index_of_place = np.empty(len(order), dtype=np.int64)
    index_of_place[order] = np.arange(len(order))
    pairs = dataclasses.replace(pairs, detections=index_of_place[pairs.detections])
    by_detection = np.lexsort((pairs.objects, pairs.detections))
    return detections.select(order), pairs.select(by_detection)


class ObjectFinder:
    """The objects of one image, of which those near a mask are found without a look at all of them.

    Args:
        rles: M compressed RLEs.
        areas_M: float64 (M,), pixels of the masks.
        extents_M: float64 (M, 4), xywh of the masks, in pixels.
        crowds_M: bool (M,).
    """

    def __init__(
        self,
        rles: Sequence[Mapping],
        areas_M: np.ndarray,
        extents_M: np.ndarray,
        crowds_M: np.ndarray,
    ) -> None:
        self._rles = rles
        self._areas = areas_M
        self._extents = extents_M
        self._crowds = crowds_M
        self._tree = shapely.STRtree(_boxes(extents_M))

    @classmethod
    def of_image(cls, truth: GroundTruth, image: int) -> ObjectFinder:
        """The objects of an image of the ground truth, crowds included."""
        objects = slice(*truth.firsts[image : image + 2])
        return cls(
            truth.rles[objects],
            truth.mask_areas[objects],
            truth.extents[objects],
            truth.crowds[objects],
        )

    def pairs(
        self,
        rles: Sequence[Mapping],
        areas_N: np.ndarray,
        extents_N: np.ndarray,
        *,
        least_iou: float,
        classes: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> Pairs:
        """Pairs by the IoU of their masks, as pycocotools computes it.

        Args:
            rles, areas_N, extents_N: N detections, a few hundred at most: a matrix has a row of
                each.
            least_iou: of the pairs, above 0.
            classes: int (N,) and (M,): only pairs of the same class are wanted.

        Returns:
            Pairs of positions in 0..N-1 and 0..M-1, class by class.
        """
        of_N, of_M = _touching(extents_N, self._tree)
        # No IoU is above what box and area allow: most pairs need no look at their masks.
        ours, theirs = areas_N[of_N], self._areas[of_M]
        common_P = _common_area(extents_N[of_N], self._extents[of_M])
        common_P = np.minimum(common_P, np.minimum(ours, theirs))
        union_P = np.where(self._crowds[of_M], ours, ours + theirs - common_P)
        # A little less, for what rounding may take.
        is_candidate_P = (common_P >= least_iou * (1 - 1e-9) * union_P) & (common_P > 0)
        if classes is not None:
            is_candidate_P &= classes[0][of_N] == classes[1][of_M]
        of_N, of_M = of_N[is_candidate_P], of_M[is_candidate_P]
        parts = [_NO_PAIRS]
        # A matrix for each class, so that few masks are compared that are no candidates.
        groups_P = np.zeros_like(of_M) if classes is None else classes[1][of_M]
        for group in np.unique(groups_P):
            rows, row_P = np.unique(of_N[groups_P == group], return_inverse=True)
            columns, column_P = np.unique(of_M[groups_P == group], return_inverse=True)
            ious = mask_utils.iou(
                [rles[n] for n in rows],
                [self._rles[m] for m in columns],
                self._crowds[columns].tolist(),
            )
            is_wanted = np.zeros(ious.shape, dtype=bool)
            is_wanted[row_P, column_P] = ious[row_P, column_P] >= least_iou
            n, m = is_wanted.nonzero()
            parts.append(Pairs(rows[n], columns[m], ious[n, m]))
        return Pairs.concatenate(parts)


def box_pairs(truth: GroundTruth, detections: Detections, *, max_dets: int) -> Pairs:
    """The pairs of the same class in all images by the IoU of their boxes, as pycocotools' bbIou.

    Args:
        truth: the ground truth.
        detections: sorted by image; the masks' extents are their boxes.
        max_dets: detections that count per image and class; the others have no pairs.

    Returns:
        The pairs with an IoU from .5 on, sorted.
    """
    counted = np.flatnonzero(detections.ranks < max_dets)
    of_G = truth.groups
    of_D = truth.group_of(detections.images[counted], detections.classes[counted])
    # Each image and class has a strip of its own, so that only boxes of the same one touch.
    everything = np.concatenate([truth.boxes, detections.extents, np.zeros((1, 4))])
    low, high = everything[:, 1].min(), (everything[:, 1] + everything[:, 3]).max()
    strip = np.array([0, 1, 0, 0]) * (high - low + 2)
    tree = shapely.STRtree(_boxes(truth.boxes + of_G[:, None] * strip))
    touching_D, objects_P = _touching(detections.extents[counted] + of_D[:, None] * strip, tree)
    detections_P = counted[touching_D]
    ours, theirs = detections.extents[detections_P], truth.boxes[objects_P]
    common_P = _common_area(ours, theirs)
    area_ours, area_theirs = ours[:, 2] * ours[:, 3], theirs[:, 2] * theirs[:, 3]
    union_P = np.where(truth.crowds[objects_P], area_ours, area_ours + area_theirs - common_P)
    ious_P = np.divide(common_P, union_P, out=np.zeros_like(common_P), where=union_P > 0)
    is_wanted_P = (ious_P >= IOU_THRESHOLDS[0]) & (of_G[objects_P] == of_D[touching_D])
    return Pairs(detections_P, objects_P, ious_P).select(is_wanted_P)


def _boxes(boxes_N4: np.ndarray) -> np.ndarray:
    """Boxes xywh as shapely's, half a pixel larger on every side, for what rounding may take."""
    x, y, width, height = boxes_N4.T
    return shapely.box(x - 0.5, y - 0.5, x + width + 0.5, y + height + 0.5)


def _touching(boxes_N4: np.ndarray, tree: shapely.STRtree) -> tuple[np.ndarray, np.ndarray]:
    """Indices of boxes xywh and of those in a tree of `_boxes` that touch, sorted."""
    of_N, of_M = tree.query(_boxes(boxes_N4))
    order = np.lexsort((of_M, of_N))
    return of_N[order], of_M[order]


def _common_area(boxes_P4: np.ndarray, others_P4: np.ndarray) -> np.ndarray:
    """The area that each box xywh has in common with the other of its pair."""
    starts_P2 = np.maximum(boxes_P4[:, :2], others_P4[:, :2])
    stops_P2 = np.minimum(boxes_P4[:, :2] + boxes_P4[:, 2:], others_P4[:, :2] + others_P4[:, 2:])
    sides_P2 = np.maximum(stops_P2 - starts_P2, 0)
    return sides_P2[:, 0] * sides_P2[:, 1]
