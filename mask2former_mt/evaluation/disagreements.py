"""Where the predictions for one image and its annotations disagree."""

# D predictions, G annotations, S subcategories

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pycocotools.mask as mask_util

from mask2former_mt.evaluation.detections import ranks
from mask2former_mt.evaluation.ground_truth import to_rle
from mask2former_mt.evaluation.matching import NONE, take_objects
from mask2former_mt.evaluation.overlaps import Pairs
from mask2former_mt.structures import UNKNOWN, SubcategorySpec

MIN_IOU = 0.5
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
    ids = list(category_ids)
    classes_D = np.array([ids.index(result["category_id"]) for result in results], dtype=np.int64)
    classes_G = np.array([a["category_id"] for a in annotations], dtype=np.int64)
    crowds_G = np.array([bool(a.get("iscrowd")) for a in annotations], dtype=bool)
    ious_DG = np.zeros((len(results), len(annotations)))
    if ious_DG.size:
        masks_D, masks_G = (
            [to_rle(entry["segmentation"], *size) for entry in entries]
            for entries in (results, annotations)
        )
        ious_DG = mask_util.iou(masks_D, masks_G, crowds_G.tolist())
    scores_D = np.array([result["score"] for result in results], dtype=np.float64)
    ranks_D = ranks(np.zeros_like(classes_D), scores_D)

    overlaps_DG = ious_DG >= MIN_IOU
    same_class_DG = classes_D[:, None] == classes_G
    in_crowd_D = (overlaps_DG & same_class_DG & crowds_G).any(axis=1)
    partners_D = np.full(len(results), NONE, dtype=np.int64)
    free_G = ~crowds_G
    one_group_G = np.zeros_like(classes_G)
    for allowed_DG, groups_G in ((same_class_DG, classes_G), (True, one_group_G)):
        free_DG = (partners_D == NONE)[:, None] & free_G
        d, g = (overlaps_DG & free_DG & allowed_DG).nonzero()
        candidates, objects = take_objects(
            Pairs(d, g, ious_DG[d, g]),
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


def _has_wrong_value(result: Mapping, annotation: Mapping, spec: SubcategorySpec) -> bool:
    annotated = annotation.get("subcategories", [UNKNOWN] * len(spec))
    return any(
        value not in (UNKNOWN, s.value_index(result["subcategories"][s.name]["value"]))
        for s, value in zip(spec, annotated, strict=True)
    )
