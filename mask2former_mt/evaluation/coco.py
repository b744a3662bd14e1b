"""COCO's numbers: by our own matching, or by pycocotools as the reference."""

from __future__ import annotations

import contextlib
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
    Matching,
    match,
)
from mask2former_mt.evaluation.overlaps import IOU_THRESHOLDS, Pairs, box_pairs, read_detections
from mask2former_mt.evaluation.precision_recall import (
    FEW_DETS,
    Curves,
    curves_by_area,
    mean_percent,
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
        matching, segm = _pycocotools("segm", truth, detections, pairs, results, max_dets)
        _, bbox = _pycocotools("bbox", truth, detections, pairs, results, max_dets)
        return matching, segm, bbox
    matching = match(truth, detections, pairs, areas_D=detections.areas, max_dets=max_dets)
    by_box = match(
        truth,
        detections,
        box_pairs(truth, detections, max_dets=max_dets),
        areas_D=detections.extents[:, 2:].prod(axis=1),
        max_dets=max_dets,
    )
    return matching, curves_by_area(matching), curves_by_area(by_box)


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
    sizes = {name[0]: a for a, name in enumerate(AREAS) if a != ALL_AREAS}
    values = {
        "AP": precisions_ATRK[ALL_AREAS],
        "AP50": precisions_ATRK[ALL_AREAS, AT_50],
        "AP75": precisions_ATRK[ALL_AREAS, AT_75],
        **{f"AP{letter}": precisions_ATRK[a] for letter, a in sizes.items()},
        **{f"AR{limit}": curves_AT.recalls_of_first[limit] for limit in FEW_DETS},
        f"AR{max_dets}": recalls_ATK[ALL_AREAS],
        **{f"AR{letter}": recalls_ATK[a] for letter, a in sizes.items()},
    }
    return {name: mean_percent(part) for name, part in values.items()}


def _pycocotools(
    task: str,
    truth: GroundTruth,
    detections: Detections,
    pairs: Pairs,
    results: Sequence[Mapping],
    max_dets: int,
) -> tuple[Matching, Curves]:
    """COCOeval itself, on copies whose ids are our indices + 1; 0 means "no match" there."""
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
        coco_eval = COCOeval(_coco(truth, objects), _coco(truth, predicted), task)
        limits = sorted({limit for limit in FEW_DETS if limit < max_dets} | {max_dets})
        coco_eval.params.maxDets = limits
        coco_eval.evaluate()
        coco_eval.accumulate()
    few = {
        limit: coco_eval.eval["recall"][..., ALL_AREAS, min(place, len(limits) - 1)]
        for place, limit in enumerate(FEW_DETS)
    }
    precisions, recalls = (
        np.moveaxis(coco_eval.eval[name][..., -1], -1, 0) for name in ("precision", "recall")
    )
    matches = _matches(coco_eval, len(detections), len(truth))
    return Matching(truth, detections, pairs, max_dets, *matches), Curves(precisions, recalls, few)


def _matches(
    coco_eval: COCOeval, num_detections: int, num_objects: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`objects`, `area_statuses` and `area_counts` of a `Matching`."""
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
    return objects_ATD[ALL_AREAS], statuses_ATD, counts_AG


def _coco(truth: GroundTruth, annotations: list[dict]) -> COCO:
    coco = COCO()
    coco.dataset = {
        "images": [
            {"id": i + 1, "height": height, "width": width}
            for i, (height, width) in enumerate(truth.sizes.tolist())
        ],
        "categories": [{"id": k + 1, "name": name} for k, name in enumerate(truth.class_names)],
        "annotations": annotations,
    }
    coco.createIndex()
    return coco
