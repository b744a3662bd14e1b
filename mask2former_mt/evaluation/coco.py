"""What computes COCO's numbers: our own matching, or pycocotools as the reference."""

from __future__ import annotations

import contextlib
import dataclasses
import io
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mask2former_mt.evaluation.curves import Curves, curves, ranked_by_class, recalls_of_first
from mask2former_mt.evaluation.detections import Detections, read_detections
from mask2former_mt.evaluation.ground_truth import GroundTruth
from mask2former_mt.evaluation.matching import (
    ALL_AREAS,
    AREAS,
    FALSE_POSITIVE,
    IGNORED,
    IOU_THRESHOLDS,
    NONE,
    TRUE_POSITIVE,
    Matches,
    match,
)
from mask2former_mt.evaluation.overlaps import Pairs, box_pairs

# The same numbers; "own" is many times as fast and does not keep the results in memory.
ENGINES = ("own", "pycocotools")
# Detections per image and class that COCO's average recalls are stated for, besides the most.
FEW_DETS = (1, 10)


@dataclasses.dataclass(frozen=True)
class EngineRun:
    """What an engine found.

    Args:
        detections, pairs: as `read_detections` gives them.
        matches: by masks.
        segm, bbox: curves over (A, T, ...), by masks and by the masks' boxes.
    """

    detections: Detections
    pairs: Pairs
    matches: Matches
    segm: Curves
    bbox: Curves


def run_engine(
    engine: str,
    truth: GroundTruth,
    results: Iterable[Mapping],
    *,
    max_dets: int,
    least_iou: float = 0.5,
    same_class: bool = True,
) -> EngineRun:
    """Matches results with the ground truth, by masks and by boxes.

    Args:
        engine: of `ENGINES`. "pycocotools" keeps all results in memory.
        truth, results, least_iou, same_class: as of `read_detections`.
        max_dets: detections that count per image and class.

    Raises:
        ValueError: an unknown engine, or as `read_detections`.
    """
    check_engine(engine)
    if max_dets < 1:
        raise ValueError(f"max_dets must be at least 1, got {max_dets}")
    if not 0 < least_iou <= IOU_THRESHOLDS[0]:
        raise ValueError(f"least_iou must be above 0 and at most .5, got {least_iou}")
    if engine == "pycocotools":
        results = list(results)
    detections, pairs = read_detections(truth, results, least_iou=least_iou, same_class=same_class)
    if engine == "pycocotools":
        matches, segm = _pycocotools("segm", truth, detections, results, max_dets)
        _, bbox = _pycocotools("bbox", truth, detections, results, max_dets)
    else:
        is_same = detections.classes[pairs.detections] == truth.classes[pairs.objects]
        matches, segm = _own(truth, detections, pairs.select(is_same), detections.areas, max_dets)
        by_box = box_pairs(
            truth,
            detections.images,
            detections.classes,
            detections.extents,
            least_iou=IOU_THRESHOLDS[0],
        )
        _, bbox = _own(truth, detections, by_box, detections.extents[:, 2:].prod(axis=1), max_dets)
    return EngineRun(detections, pairs, matches, segm, bbox)


def check_engine(engine: str) -> None:
    """Refuses what is no engine.

    Raises:
        ValueError: names the known ones.
    """
    if engine not in ENGINES:
        raise ValueError(f"the COCO engine must be one of {list(ENGINES)}, got {engine!r}")


def _own(
    truth: GroundTruth,
    detections: Detections,
    pairs: Pairs,
    areas_D: np.ndarray,
    max_dets: int,
) -> tuple[Matches, Curves]:
    num_classes = len(truth.class_names)
    matches = match(truth, detections, pairs, areas_D=areas_D, max_dets=max_dets)
    found = curves(
        matches.statuses,
        matches.counts,
        truth.classes,
        ranked_by_class(detections.classes, detections.scores, num_classes),
        detections.scores,
    )
    few = {
        limit: recalls_of_first(
            matches.statuses[ALL_AREAS],
            matches.counts[ALL_AREAS],
            detections.classes,
            truth.classes,
            detections.ranks,
            num_classes,
            limit,
        )
        for limit in FEW_DETS
    }
    return matches, dataclasses.replace(found, recalls_of_first=few)


def _pycocotools(
    task: str,
    truth: GroundTruth,
    detections: Detections,
    results: Sequence[Mapping],
    max_dets: int,
) -> tuple[Matches, Curves]:
    """COCOeval itself, on copies whose ids are our indices + 1; 0 means "no match" there."""
    images = [
        {"id": i + 1, "height": int(h), "width": int(w)} for i, (h, w) in enumerate(truth.sizes)
    ]
    categories = [{"id": k + 1, "name": name} for k, name in enumerate(truth.class_names)]
    objects = [
        {
            "id": g + 1,
            "image_id": int(truth.images[g]) + 1,
            "category_id": int(truth.classes[g]) + 1,
            "segmentation": truth.rles[g],
            "bbox": truth.boxes[g].tolist(),
            "area": truth.areas[g],
            "iscrowd": int(truth.crowds[g]),
        }
        for g in range(len(truth))
    ]
    found = []
    for d, place in enumerate(detections.places):
        box = detections.extents[d].tolist()
        found.append(
            {
                "id": d + 1,
                "image_id": int(detections.images[d]) + 1,
                "category_id": int(detections.classes[d]) + 1,
                "segmentation": results[place]["segmentation"],
                "bbox": box,
                "score": detections.scores[d],
                "area": detections.areas[d] if task == "segm" else box[2] * box[3],
                "iscrowd": 0,
            }
        )
    with contextlib.redirect_stdout(io.StringIO()):
        coco_eval = COCOeval(
            _coco(images, categories, objects), _coco(images, categories, found), task
        )
        limits = sorted({limit for limit in FEW_DETS if limit < max_dets} | {max_dets})
        coco_eval.params.maxDets = limits
        coco_eval.evaluate()
        coco_eval.accumulate()
    few = {
        limit: coco_eval.eval["recall"][..., ALL_AREAS, min(place, len(limits) - 1)]
        for place, limit in enumerate(FEW_DETS)
    }
    return _matches(coco_eval, len(detections), len(truth)), Curves(
        *(np.moveaxis(coco_eval.eval[name][..., -1], -1, 0) for name in ("precision", "scores")),
        np.moveaxis(coco_eval.eval["recall"][..., -1], -1, 0),
        few,
    )


def _matches(coco_eval: COCOeval, num_detections: int, num_objects: int) -> Matches:
    shape = (len(AREAS), len(IOU_THRESHOLDS), num_detections)
    objects_ATD = np.full(shape, NONE, dtype=np.int32)
    # Those beyond the number that counts are in no entry.
    statuses_ATD = np.full(shape, IGNORED, dtype=np.int8)
    counts_AG = np.zeros((len(AREAS), num_objects), dtype=bool)
    num_images = len(coco_eval.params.imgIds)
    for position, entry in enumerate(coco_eval.evalImgs):
        if entry is None:
            continue
        a = position // num_images % len(AREAS)
        of_D = np.array(entry["dtIds"], dtype=np.int64) - 1
        of_G = np.array(entry["gtIds"], dtype=np.int64) - 1
        objects_TD = entry["dtMatches"].astype(np.int32) - 1
        objects_ATD[a][:, of_D] = objects_TD
        statuses_TD = np.where(objects_TD == NONE, FALSE_POSITIVE, TRUE_POSITIVE)
        statuses_ATD[a][:, of_D] = np.where(entry["dtIgnore"], IGNORED, statuses_TD)
        counts_AG[a, of_G] = np.logical_not(entry["gtIgnore"])
    return Matches(objects_ATD[ALL_AREAS], statuses_ATD, counts_AG)


def _coco(images: list[dict], categories: list[dict], annotations: list[dict]) -> COCO:
    coco = COCO()
    coco.dataset = {"images": images, "categories": categories, "annotations": annotations}
    coco.createIndex()
    return coco
