"""Where the predictions for one image and its annotations disagree."""

# D predictions, G annotations, S subcategories

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from mask2former_mt.evaluation.detections import ranks
from mask2former_mt.evaluation.ground_truth import measure_masks, to_rle
from mask2former_mt.evaluation.matching import NONE, take_objects
from mask2former_mt.evaluation.overlaps import ObjectFinder, Pairs
from mask2former_mt.structures import UNKNOWN, SubcategorySpec

MIN_IOU = 0.5
_AT_ONCE = 200  # predictions whose masks are compared together
WRONG_CLASS = "wrong class"
WRONG_SUBCATEGORY = "wrong subcategory"
MISSED = "missed"
SPURIOUS = "spurious"


class Disagreement(NamedTuple):
    """A prediction, an annotation or a pair of them that is not as it should be.

    Args:
        kind: WRONG_CLASS, WRONG_SUBCATEGORY, MISSED or SPURIOUS.
        prediction: index in 0..D-1; None for a missed object.
        annotation: index in 0..G-1; None for a spurious prediction.
    """

    kind: str
    prediction: int | None
    annotation: int | None


class Comparison(NamedTuple):
    """Everything that disagrees in one image, and the number of pairs that agree."""

    disagreements: list[Disagreement]
    num_agreeing: int


def compare_results(
    results: Sequence[Mapping],
    annotations: Sequence[Mapping],
    size: tuple[int, int],
    *,
    category_ids: Sequence[int],
    spec: SubcategorySpec,
) -> Comparison:
    """Matches predictions with annotations at IoU >= 0.5 and says what is wrong.

    The highest score chooses first, among the annotations of its own class, as in COCO's matching.
    What is left on both sides is then matched without regard to the class. A second prediction of
    the same object is spurious; a prediction inside a crowd of its class counts for nothing.

    Args:
        results: D entries of a results JSON.
        annotations: G annotations of a dataset dict; unknown values agree with everything.
        size: H, W of the image in pixels.
        category_ids: the dataset's category id of each class.
        spec: the S subcategories.
    """
    class_of = {category_id: index for index, category_id in enumerate(category_ids)}
    classes_D = np.array([class_of[result["category_id"]] for result in results], dtype=np.int64)
    classes_G = np.array([a["category_id"] for a in annotations], dtype=np.int64)
    crowds_G = np.array([bool(a.get("iscrowd")) for a in annotations], dtype=bool)
    pairs = _pairs(results, annotations, crowds_G, size)
    scores_D = np.array([result["score"] for result in results], dtype=np.float64)
    ranks_D = ranks(np.zeros_like(classes_D), scores_D)

    same_class_P = classes_D[pairs.detections] == classes_G[pairs.objects]
    in_crowd_D = np.zeros(len(results), dtype=bool)
    in_crowd_D[pairs.detections[same_class_P & crowds_G[pairs.objects]]] = True
    partners_D = np.full(len(results), NONE, dtype=np.int64)
    free_G = ~crowds_G
    one_group_G = np.zeros_like(classes_G)
    for allowed_P, groups_G in ((same_class_P, classes_G), (True, one_group_G)):
        free_P = (partners_D[pairs.detections] == NONE) & free_G[pairs.objects]
        candidates, objects = take_objects(
            pairs.select(free_P & allowed_P),
            ranks_D,
            groups_G,
            thresholds_L=np.array([MIN_IOU]),
            ignored_GL=crowds_G[:, None],
            crowds_G=crowds_G,
        )
        partners_D[candidates] = objects[:, 0]
        free_G[partners_D[partners_D != NONE]] = False

    disagreements, num_agreeing = [], 0
    for d in np.argsort(ranks_D).tolist():
        g = int(partners_D[d])
        if g == NONE:
            if not in_crowd_D[d]:
                disagreements.append(Disagreement(SPURIOUS, d, None))
        elif classes_D[d] != classes_G[g]:
            disagreements.append(Disagreement(WRONG_CLASS, d, g))
        elif _has_wrong_value(results[d], annotations[g], spec):
            disagreements.append(Disagreement(WRONG_SUBCATEGORY, d, g))
        else:
            num_agreeing += 1
    missed = [Disagreement(MISSED, None, g) for g in np.flatnonzero(free_G).tolist()]
    return Comparison(disagreements + missed, num_agreeing)


def _pairs(
    results: Sequence[Mapping],
    annotations: Sequence[Mapping],
    crowds_G: np.ndarray,
    size: tuple[int, int],
) -> Pairs:
    """Predictions and annotations of any class with an IoU from MIN_IOU on, sorted."""
    masks_D, masks_G = (
        [to_rle(entry["segmentation"], *size) for entry in entries]
        for entries in (results, annotations)
    )
    areas_D, extents_D = measure_masks(masks_D)
    finder = ObjectFinder(masks_G, *measure_masks(masks_G), crowds_G)
    parts = [Pairs(*np.zeros((2, 0), dtype=np.int64), np.zeros(0))]
    for start in range(0, len(results), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        found = finder.pairs(masks_D[part], areas_D[part], extents_D[part], least_iou=MIN_IOU)
        parts.append(Pairs(found.detections + start, found.objects, found.ious))
    return Pairs.concatenate(parts)


def _has_wrong_value(result: Mapping, annotation: Mapping, spec: SubcategorySpec) -> bool:
    annotated = annotation.get("subcategories", [UNKNOWN] * len(spec))
    return any(
        value not in (UNKNOWN, s.value_index(result["subcategories"][s.name]["value"]))
        for s, value in zip(spec, annotated, strict=True)
    )
