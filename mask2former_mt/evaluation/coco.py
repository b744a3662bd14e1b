"""COCO's numbers: by our own matching, or by pycocotools as the reference."""

from __future__ import annotations

import contextlib
import dataclasses
import io
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mask2former_mt.evaluation.detections import Detections
from mask2former_mt.evaluation.ground_truth import GroundTruth
from mask2former_mt.evaluation.matching import (
    ALL_AREAS,
    AREAS,
    AT_50,
    AT_75,
    FALSE_POSITIVE,
    IGNORED,
    MAX_DETS,
    NONE,
    TRUE_POSITIVE,
    Matches,
    Matching,
    match,
)
from mask2former_mt.evaluation.overlaps import (
    IOU_THRESHOLDS,
    Pairs,
    box_pairs,
    read_detections,
)
from mask2former_mt.evaluation.precision_recall import (
    FEW_DETS,
    Curves,
    curves,
    mean_percent,
    recalls_of_first,
)

# The same numbers; "own" is many times as fast and does not keep the results in memory.
ENGINES = ("own", "pycocotools")


def match_results(
    engine: str,
    truth: GroundTruth,
    results: Iterable[Mapping],
    *,
    max_dets: int = MAX_DETS,
    explain: bool = False,
) -> tuple[Matching, Curves, Curves]:
    """Matches results with the ground truth, by masks and by boxes.

    Args:
        engine: one of `ENGINES`. "pycocotools" keeps all results in memory.
        truth, results, explain: see `read_detections`.
        max_dets: detections that count per image and class.

    Returns:
        The matching by masks; curves over (A, T, ...) by masks, and by the masks' boxes.

    Raises:
        ValueError: an unknown engine, or a result that does not fit.
    """
    check_engine(engine)
    if max_dets < 1:
        raise ValueError(f"max_dets must be at least 1, got {max_dets}")
    if engine == "pycocotools":
        results = list(results)
    detections, pairs = read_detections(truth, results, explain=explain)
    if engine == "pycocotools":
        matches, segm = _pycocotools("segm", truth, detections, results, max_dets)
        _, bbox = _pycocotools("bbox", truth, detections, results, max_dets)
    else:
        matches, segm = _own(truth, detections, pairs, detections.areas, max_dets)
        box_areas_D = detections.extents[:, 2:].prod(axis=1)
        _, bbox = _own(truth, detections, box_pairs(truth, detections), box_areas_D, max_dets)
    return Matching(truth, detections, pairs, matches, max_dets), segm, bbox


def check_engine(engine: str) -> None:
    """Refuses an unknown engine.

    Raises:
        ValueError: names the known ones.
    """
    if engine not in ENGINES:
        raise ValueError(f"the COCO engine must be one of {list(ENGINES)}, got {engine!r}")


def coco_metrics(curves_AT: Curves, *, max_dets: int = MAX_DETS) -> dict[str, float]:
    """COCO's twelve numbers, in percent; NaN where there is nothing to find.

    Args:
        curves_AT: over (A, T, ...), by masks or by boxes.
        max_dets: detections that counted per image and class, for the name of the recall.
    """
    precisions_ATRK, recalls_ATK = curves_AT.precisions, curves_AT.recalls
    metrics = {
        "AP": mean_percent(precisions_ATRK[ALL_AREAS]),
        "AP50": mean_percent(precisions_ATRK[ALL_AREAS, AT_50]),
        "AP75": mean_percent(precisions_ATRK[ALL_AREAS, AT_75]),
    }
    small_to_large = [(a, name[0]) for a, name in enumerate(AREAS) if a != ALL_AREAS]
    metrics |= {f"AP{letter}": mean_percent(precisions_ATRK[a]) for a, letter in small_to_large}
    metrics |= {f"AR{n}": mean_percent(curves_AT.recalls_of_first[n]) for n in FEW_DETS}
    metrics[f"AR{max_dets}"] = mean_percent(recalls_ATK[ALL_AREAS])
    metrics |= {f"AR{letter}": mean_percent(recalls_ATK[a]) for a, letter in small_to_large}
    return metrics


def _own(
    truth: GroundTruth,
    detections: Detections,
    pairs: Pairs,
    areas_D: np.ndarray,
    max_dets: int,
) -> tuple[Matches, Curves]:
    matches = match(truth, detections, pairs, areas_D=areas_D, max_dets=max_dets)
    all_dets = curves(truth, detections, matches.statuses, matches.counts)
    few = {limit: recalls_of_first(truth, detections, matches, limit) for limit in FEW_DETS}
    return matches, dataclasses.replace(all_dets, recalls_of_first=few)


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
    predicted = []
    for d, place in enumerate(detections.places):
        box = detections.extents[d].tolist()
        predicted.append(
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
            _coco(images, categories, objects), _coco(images, categories, predicted), task
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
        *(np.moveaxis(coco_eval.eval[name][..., -1], -1, 0) for name in ("precision", "recall")),
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
