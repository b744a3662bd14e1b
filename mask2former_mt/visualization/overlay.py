"""Instances drawn over their image: mask, outline, class and subcategories."""

# N instances, H x W the image's size in pixels.

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pycocotools.mask as mask_util

from mask2former_mt.visualization.colours import class_colour
from mask2former_mt.visualization.instance_painting import (
    DEFAULT_LIMITS,
    SizeLimits,
    paint_instances,
)
from mask2former_mt.visualization.label_text import Label, LabelNames
from mask2former_mt.visualization.sheet import contact_sheet


def draw_instances(
    image: np.ndarray,
    masks: Iterable[np.ndarray],
    labels: Sequence[Label],
    names: LabelNames,
    limits: SizeLimits = DEFAULT_LIMITS,
) -> np.ndarray:
    """The image with every instance's mask, outline and label, in the colour of its class.

    A label has the class and its score, then a line per subcategory: its value and score, a dash
    for none, a question mark for unknown. It stands where it hides least, with a line to its mask;
    without enough room it is one line of class and values, or the class alone.

    Args:
        image: uint8 RGB (H, W, 3).
        masks: N bool (H, W).
        labels: N labels.
        names: of classes and subcategories.
        limits: of the picture's size.

    Returns:
        uint8 RGB at the enlarged or reduced image's size.

    Raises:
        ValueError: image, masks and labels do not fit together, or a label does not fit the names.
    """
    colours = [class_colour(label.class_index) for label in labels]
    texts = [label.versions(names) for label in labels]
    return paint_instances(image, masks, colours, texts, limits)


def draw_results(
    image: np.ndarray,
    results: Sequence[Mapping],
    names: LabelNames,
    limits: SizeLimits = DEFAULT_LIMITS,
) -> np.ndarray:
    """The image with its entries of a results JSON; image, limits and errors as `draw_instances`.

    Args:
        results: each with `category_id`, `segmentation`, `score` and, unless S = 0,
            `subcategories` `{name: {"value": name or None for none, "score": float}}`.
        names: with the category ids; all that the results have must be listed.
    """
    masks = (mask_of(result, image) for result in results)
    labels = [Label.of_result(result, names) for result in results]
    return draw_instances(image, masks, labels, names, limits)


def draw_ground_truth(
    image: np.ndarray,
    annotations: Sequence[Mapping],
    names: LabelNames,
    limits: SizeLimits = DEFAULT_LIMITS,
) -> np.ndarray:
    """The image with its annotations; image, names, limits and errors as `draw_instances`.

    Args:
        annotations: of a dataset dict, each with `segmentation` (polygons or RLE), `category_id` in
            0..K-1 and `subcategories`, S ints in {-1, 0..K_s}, without which all are unknown.
    """
    masks = (mask_of(annotation, image) for annotation in annotations)
    labels = [Label.of_annotation(annotation, names) for annotation in annotations]
    return draw_instances(image, masks, labels, names, limits)


def draw_pair(
    image: np.ndarray,
    results: Sequence[Mapping],
    annotations: Sequence[Mapping],
    names: LabelNames,
    limits: SizeLimits = DEFAULT_LIMITS,
) -> np.ndarray:
    """The image twice, as uint8 RGB: `draw_ground_truth` on the left, `draw_results` on the right.

    The limits are those of each of the two; both become equally large.
    """

    def draw(limits: SizeLimits) -> tuple[np.ndarray, np.ndarray]:
        truth = draw_ground_truth(image, annotations, names, limits)
        return truth, draw_results(image, results, names, limits)

    truth, prediction = draw(limits)
    if truth.shape != prediction.shape:
        # One side was enlarged for its labels: the other must be as large.
        min_side = max(min(truth.shape[:2]), min(prediction.shape[:2]))
        truth, prediction = draw(dataclasses.replace(limits, min_side=min_side))
    return contact_sheet([truth, prediction], 2, titles=("ground truth", "prediction"))


def mask_of(entry: Mapping, image: np.ndarray) -> np.ndarray:
    """The mask of a result or annotation, bool (H, W).

    Args:
        entry: its `segmentation` is a list of COCO polygons or an RLE, compressed or not.
        image: (H, W, 3).

    Raises:
        ValueError: neither polygons nor RLE, or an RLE of another size.
    """
    segmentation, size = entry["segmentation"], image.shape[:2]
    if isinstance(segmentation, list):
        if not segmentation:
            return np.zeros(size, dtype=bool)
        rle = mask_util.merge(mask_util.frPyObjects(segmentation, *size))
    elif not (isinstance(segmentation, Mapping) and {"size", "counts"} <= set(segmentation)):
        raise ValueError(
            "a segmentation must be a list of polygons or an RLE with size and counts, "
            f"got {type(segmentation).__name__}"
        )
    elif tuple(segmentation["size"]) != size:
        raise ValueError(
            f"a segmentation must be at the image's size (H, W) {size}, "
            f"got an RLE of {tuple(segmentation['size'])}"
        )
    elif isinstance(segmentation["counts"], list):
        rle = mask_util.frPyObjects(segmentation, *size)
    else:
        rle = segmentation
    return mask_util.decode(rle).astype(bool)
