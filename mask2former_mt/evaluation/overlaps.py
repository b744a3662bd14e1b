"""Which detections and objects overlap enough to be matched, found while the masks are read."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
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
    parts, pairs = [], [_NO_PAIRS]
    for part, rles in read_parts(truth, results):
        starts = np.flatnonzero(np.diff(part.images, prepend=-1)).tolist()
        for start, stop in itertools.pairwise([*starts, len(part)]):
            of_image = part.select(slice(start, stop))
            pairs.append(_pairs_of_image(truth, of_image, rles[start:stop], explain))
        parts.append(part)
    detections, pairs = Detections.concatenate(parts), Pairs.concatenate(pairs)
    order = np.argsort(detections.images, kind="stable")
    # The pairs know a detection by its place in the results.
    index_of_place = np.empty(len(order), dtype=np.int64)
    index_of_place[order] = np.arange(len(order))
    pairs = dataclasses.replace(pairs, detections=index_of_place[pairs.detections])
    by_detection = np.lexsort((pairs.objects, pairs.detections))
    return detections.select(order), pairs.select(by_detection)


def _pairs_of_image(
    truth: GroundTruth, detections: Detections, rles: Sequence[Mapping], explain: bool
) -> Pairs:
    """The pairs of one image by the IoU of their masks, as pycocotools computes it.

    Args:
        truth, explain: see `read_detections`.
        detections, rles: N detections of the image and their masks.

    Returns:
        Pairs that know a detection by its place in the results.
    """
    image = detections.images[0]
    objects = slice(*truth.firsts[image : image + 2])
    least_iou = EXPLAINING_IOU if explain else IOU_THRESHOLDS[0]
    areas_N, areas_M = detections.areas, truth.mask_areas[objects]
    crowds_M, classes_M = truth.crowds[objects], truth.classes[objects]
    # No mask's IoU is above what its box and area allow; most pairs need no look at their masks.
    common_NM = np.minimum(
        _common_area(detections.extents, truth.extents[objects]),
        np.minimum(areas_N[:, None], areas_M),
    )
    union_NM = np.where(crowds_M, areas_N[:, None], areas_N[:, None] + areas_M - common_NM)
    # A little less, for what rounding may take.
    candidates_NM = common_NM >= least_iou * (1 - 1e-9) * union_NM
    candidates_NM &= common_NM > 0
    if not explain:
        candidates_NM &= detections.classes[:, None] == classes_M
    of_N, of_M = candidates_NM.nonzero()
    parts = [_NO_PAIRS]
    # A matrix for each class, so that few masks are compared that are no candidates.
    groups_P = np.zeros_like(of_M) if explain else classes_M[of_M]
    for group in np.unique(groups_P):
        rows = np.unique(of_N[groups_P == group])
        columns = np.unique(of_M[groups_P == group])
        ious = mask_utils.iou(
            [rles[n] for n in rows],
            [truth.rles[objects.start + m] for m in columns],
            crowds_M[columns].tolist(),
        )
        n, m = ((ious >= least_iou) & candidates_NM[np.ix_(rows, columns)]).nonzero()
        places = detections.places[rows[n]]
        parts.append(Pairs(places, columns[m] + objects.start, ious[n, m]))
    return Pairs.concatenate(parts)


def box_pairs(truth: GroundTruth, detections: Detections) -> Pairs:
    """The pairs of the same class in all images by the IoU of their boxes, as pycocotools' bbIou.

    Args:
        truth: the ground truth.
        detections: sorted by image; the masks' extents are their boxes.

    Returns:
        The pairs with an IoU from .5 on, sorted.
    """
    of_G, of_D = truth.groups, truth.group_of(detections.images, detections.classes)
    order_G = np.argsort(of_G, kind="stable")
    starts_D = np.searchsorted(of_G[order_G], of_D, side="left")
    sizes_D = np.searchsorted(of_G[order_G], of_D, side="right") - starts_D
    detections_P = np.repeat(np.arange(len(of_D)), sizes_D)
    before_D = np.cumsum(sizes_D) - sizes_D
    places_P = np.arange(len(detections_P)) - np.repeat(before_D - starts_D, sizes_D)
    objects_P = order_G[places_P]
    ours, theirs = detections.extents[detections_P], truth.boxes[objects_P]
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
    return Pairs(detections_P, objects_P, ious_P).select(ious_P >= IOU_THRESHOLDS[0])


def _common_area(boxes_N4: np.ndarray, boxes_M4: np.ndarray) -> np.ndarray:
    starts_NM2 = np.maximum(boxes_N4[:, None, :2], boxes_M4[:, :2])
    stops_NM2 = np.minimum(
        boxes_N4[:, None, :2] + boxes_N4[:, None, 2:], boxes_M4[:, :2] + boxes_M4[:, 2:]
    )
    sides_NM2 = np.maximum(stops_NM2 - starts_NM2, 0)
    return sides_NM2[..., 0] * sides_NM2[..., 1]
