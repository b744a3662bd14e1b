"""Checked copies of ground truth and results that COCOeval can match without surprises."""

from __future__ import annotations

import contextlib
import io
import math
import numbers
from collections.abc import Mapping, Sequence

import numpy as np
from pycocotools import mask as mask_utils
from pycocotools.coco import COCO

from mask2former_mt.structures import UNKNOWN, SubcategorySpec

REQUIRED_KEYS = ("image_id", "category_id", "segmentation", "score")


def index_ground_truth(coco_gt: COCO, spec: SubcategorySpec) -> tuple[COCO, np.ndarray]:
    """Checks the ground truth and copies it with annotation ids 1, 2, ...

    COCOeval writes the matched annotation's id into an array where 0 means "no match", so a
    dataset that counts its annotations from 0 would have one that can never be found.

    Args:
        coco_gt: ground truth; not changed.
        spec: the S subcategories; an annotation may miss some (unknown).

    Returns:
        The copy, and int64 (annotations, S) labels in {-1, 0..K_s} in the order of its ids.

    Raises:
        ValueError: names the first image or annotation that cannot be evaluated.
    """
    for image in coco_gt.imgs.values():
        if "height" not in image or "width" not in image:
            raise ValueError(f"image {image['id']!r} of the ground truth needs height and width")
    annotations, labels = [], []
    for entry in coco_gt.dataset.get("annotations", []):
        image = coco_gt.imgs.get(entry["image_id"])
        if image is None or entry["category_id"] not in coco_gt.cats:
            continue  # as in COCOeval: a file may list a part of its images only
        try:
            _check_mask(entry.get("segmentation"), image)
            if not isinstance(entry.get("subcategories", {}), Mapping):
                raise ValueError("subcategories must be {name: value or null}")
            labels.append(spec.labels_of(entry.get("subcategories", {})))
        except ValueError as error:
            raise ValueError(f"annotation {entry['id']!r}: {error}") from error
        annotation = {"iscrowd": 0, **entry, "id": len(annotations) + 1}
        if "area" not in annotation:
            annotation["area"] = float(mask_utils.area(coco_gt.annToRLE(entry)))
        annotations.append(annotation)
    labels = np.array(labels, dtype=np.int64).reshape(len(annotations), len(spec))
    return _coco(coco_gt, annotations), labels


def index_results(
    coco_gt: COCO, results: Sequence[Mapping], spec: SubcategorySpec
) -> tuple[COCO, np.ndarray]:
    """Checks results against their dataset and reads them as COCO's `loadRes` would.

    Two things differ from `loadRes`: there may be none, and a result's bbox is left out, because
    `loadRes` would take the area from it instead of from the mask.

    Args:
        coco_gt: the ground truth; not changed.
        results: entries as `results.instances_to_results` makes them; not changed.
        spec: the S subcategories, each of which every result must predict.

    Returns:
        The detections with ids 1, 2, ..., and int64 (detections, S) values in 0..K_s in that order.

    Raises:
        ValueError: names the first entry that does not fit.
    """
    labels = np.zeros((len(results), len(spec)), dtype=np.int64)
    for i, result in enumerate(results):
        try:
            _check_result(result, coco_gt)
            labels[i] = _predicted_values(result, spec)
        except ValueError as error:
            raise ValueError(f"results[{i}]: {error}") from error
    # One at a time: pycocotools 2.0.11 overflows on lists of 256 masks and more.
    areas = [mask_utils.area(result["segmentation"]) for result in results]
    annotations = [
        {
            "id": i + 1,
            "image_id": result["image_id"],
            "category_id": result["category_id"],
            "segmentation": dict(result["segmentation"]),
            "score": float(result["score"]),
            "area": float(areas[i]),
            "iscrowd": 0,
        }
        for i, result in enumerate(results)
    ]
    return _coco(coco_gt, annotations), labels


def _check_mask(segmentation: Mapping | list | None, image: Mapping) -> None:
    if not segmentation:
        raise ValueError("no segmentation; segm AP needs a mask of every object")
    size = [image["height"], image["width"]]
    # COCOeval would find no overlap with a mask of another size, and say nothing.
    if isinstance(segmentation, Mapping) and list(segmentation.get("size", ())) != size:
        raise ValueError(
            f"the mask's size must be {size} (height, width) like its image's, "
            f"got {segmentation.get('size')}"
        )


def _check_result(result: Mapping, coco_gt: COCO) -> None:
    for key in REQUIRED_KEYS:
        if key not in result:
            raise ValueError(f"no {key!r}; a result needs {list(REQUIRED_KEYS)}")
    image_id, category_id, score = result["image_id"], result["category_id"], result["score"]
    if image_id not in coco_gt.imgs:
        raise ValueError(
            f"image_id {image_id!r} is not one of the {len(coco_gt.imgs)} images of the ground "
            "truth; are these the predictions for another dataset or split?"
        )
    if category_id not in coco_gt.cats:
        raise ValueError(
            f"category_id {category_id!r} is not in the ground truth, which lists "
            f"{sorted(coco_gt.cats)}; write dataset ids, not contiguous classes"
        )
    if not isinstance(score, numbers.Real) or not math.isfinite(score):
        raise ValueError(f"image {image_id!r}: score must be a finite number, got {score!r}")
    rle = result["segmentation"]
    if not isinstance(rle, Mapping) or not isinstance(rle.get("counts"), (str, bytes)):
        raise ValueError(
            f"image {image_id!r}: segmentation must be a compressed RLE "
            '{"size": [height, width], "counts": string}; encode it with pycocotools.mask.encode'
        )
    size = [coco_gt.imgs[image_id]["height"], coco_gt.imgs[image_id]["width"]]
    if list(rle.get("size", ())) != size:
        raise ValueError(
            f"image {image_id!r}: the mask's size must be {size} (height, width), "
            f"got {rle.get('size')}; resize the masks to the original image"
        )


def _predicted_values(result: Mapping, spec: SubcategorySpec) -> list[int]:
    predicted = result.get("subcategories", {})
    if not isinstance(predicted, Mapping) or not all(
        isinstance(entry, Mapping) and "value" in entry for entry in predicted.values()
    ):
        raise ValueError(
            'subcategories must be {name: {"value": value or null, "score": number}}, '
            f"got {predicted!r}"
        )
    values = spec.labels_of({name: entry["value"] for name, entry in predicted.items()})
    for s, value in zip(spec, values, strict=True):
        if value == UNKNOWN:
            raise ValueError(
                f"no value of subcategory {s.name!r}; every result must predict one of "
                f"{list(s.values)} or null (none) for it"
            )
    return values


def _coco(like: COCO, annotations: list[dict]) -> COCO:
    coco = COCO()
    coco.dataset = {
        "images": list(like.imgs.values()),
        "categories": list(like.cats.values()),
        "annotations": annotations,
    }
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco
