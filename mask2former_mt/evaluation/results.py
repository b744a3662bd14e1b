"""Results JSON: COCO results whose every entry also carries the predicted subcategories."""

from __future__ import annotations

import math
from collections.abc import Sequence

from detectron2.structures import Instances
from pycocotools import mask as mask_utils

from mask2former_mt.ops.encode_masks import encode_masks
from mask2former_mt.structures import (
    PRED_CLASSES,
    PRED_MASKS,
    PRED_SUBCATEGORIES,
    SCORES,
    SUBCATEGORY_SCORES,
    SubcategorySpec,
)

# N instances, H x W of the original image, S subcategories


def instances_to_results(
    instances: Instances,
    image_id: int | str,
    *,
    spec: SubcategorySpec,
    category_ids: Sequence[int],
) -> list[dict]:
    """Turns the predictions of one image into entries of the results JSON.

    Args:
        instances: `pred_masks` bool (N, H, W) at the original size, `scores` (N,), `pred_classes`
            int64 (N,), and unless S = 0 `pred_subcategories` int64 (N, S) and
            `subcategory_scores` float (N, S); on any device.
        image_id: the image's id in the dataset JSON.
        spec: the S subcategories, in the order of the columns.
        category_ids: the dataset's category id of each contiguous class.

    Returns:
        N dicts with `image_id`, `category_id`, `segmentation` (RLE, str counts), `bbox` (the
        mask's extent, xywh in pixels), `score` and `subcategories`
        `{name: {"value": name or None for none, "score": probability}}`.

    Raises:
        ValueError: a field that is missing or of another shape, a class or value out of range, or
            a score that is not finite.
    """
    fields = [PRED_MASKS, SCORES, PRED_CLASSES]
    if len(spec):
        fields += [PRED_SUBCATEGORIES, SUBCATEGORY_SCORES]
    for field in fields:
        if not instances.has(field):
            raise ValueError(
                f"image {image_id!r}: the predictions have no field {field!r}; with subcategories "
                f"{list(spec.names)} they need {fields}, as MultiTaskMaskFormer gives them"
            )
    num_instances, (height, width) = len(instances), instances.image_size
    masks_NHW = instances.get(PRED_MASKS)
    if tuple(masks_NHW.shape) != (num_instances, height, width):
        raise ValueError(
            f"image {image_id!r}: {PRED_MASKS} must be ({num_instances}, {height}, {width}), "
            f"got {tuple(masks_NHW.shape)}; resize the masks to the original image"
        )
    scores = instances.get(SCORES).tolist()
    classes = instances.get(PRED_CLASSES).tolist()
    values_NS: list[list[int]] = [[] for _ in range(num_instances)]
    value_scores_NS: list[list[float]] = [[] for _ in range(num_instances)]
    if len(spec):
        for field in (PRED_SUBCATEGORIES, SUBCATEGORY_SCORES):
            if tuple(instances.get(field).shape) != (num_instances, len(spec)):
                raise ValueError(
                    f"image {image_id!r}: {field} must be ({num_instances}, {len(spec)}), one "
                    f"column for each of {list(spec.names)}, got "
                    f"{tuple(instances.get(field).shape)}"
                )
        values_NS = instances.get(PRED_SUBCATEGORIES).tolist()
        value_scores_NS = instances.get(SUBCATEGORY_SCORES).tolist()

    rles = encode_masks(masks_NHW)
    # From the encoded masks and not from pred_boxes, so that box and mask can never disagree.
    boxes = mask_utils.toBbox(rles).tolist() if rles else []
    results = []
    for i in range(num_instances):
        where = f"image {image_id!r}, instance {i}"
        if not 0 <= classes[i] < len(category_ids):
            raise ValueError(
                f"{where}: {PRED_CLASSES} must be in [0, {len(category_ids) - 1}], "
                f"got {classes[i]}; the model and the dataset differ in their classes"
            )
        if not all(math.isfinite(score) for score in (scores[i], *value_scores_NS[i])):
            raise ValueError(
                f"{where}: scores must be finite, got {scores[i]} and {value_scores_NS[i]}; "
                "the weights may hold NaN, check that training did not diverge"
            )
        results.append(
            {
                "image_id": image_id,
                "category_id": category_ids[classes[i]],
                "segmentation": rles[i],
                "bbox": boxes[i],
                "score": scores[i],
                "subcategories": {
                    s.name: {"value": s.value_name(value), "score": score}
                    for s, value, score in zip(spec, values_NS[i], value_scores_NS[i], strict=True)
                },
            }
        )
    return results
