"""Instances drawn over their image: mask, outline, class and subcategories."""

# N instances, H x W the image's size in pixels.

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from mask2former_mt.visualization.colours import class_colour
from mask2former_mt.visualization.entry_masks import entry_regions
from mask2former_mt.visualization.instance_painting import (
    DEFAULT_LIMITS,
    Look,
    SizeLimits,
    paint_instances,
)
from mask2former_mt.visualization.label_text import Label, LabelNames
from mask2former_mt.visualization.regions import Region, region_of
from mask2former_mt.visualization.sheet import contact_sheet


def draw_instances(
    image: np.ndarray,
    masks: Sequence[np.ndarray],
    labels: Sequence[Label],
    names: LabelNames,
    limits: SizeLimits = DEFAULT_LIMITS,
) -> np.ndarray:
    """The image with every instance's mask, outline and label, in the colour of its class.

    A label has the class and its score, then a line per subcategory: its value and score, a dash
    for none, a question mark for unknown. It stands where it hides least, with a line to its mask;
    without enough room it is one line of class and values, or the class alone. Of more than
    `crowd_painting.CROWD` instances the most important ones are labelled.

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
    if len(masks) != len(labels):
        raise ValueError(f"each mask needs a label: got {len(masks)} masks, {len(labels)} labels")
    regions = _regions_of(masks, image.shape[:2])
    return paint_instances(image, regions, _looks(labels, names), limits)


def draw_results(
    image: np.ndarray,
    results: Sequence[Mapping],
    names: LabelNames,
    limits: SizeLimits = DEFAULT_LIMITS,
    *,
    overwrite: bool = False,
) -> np.ndarray:
    """The image with its entries of a results JSON; image, limits and errors as `draw_instances`.

    Args:
        results: each with `category_id`, `segmentation`, `score` and, unless S = 0,
            `subcategories` `{name: {"value": name or None for none, "score": float}}`.
        names: with the category ids; all that the results have must be listed.
        overwrite: whether the image may be painted on, which saves a copy of a large one.
    """
    regions = entry_regions(results, image.shape[:2])
    looks = _looks_of_results(results, names)
    return paint_instances(image, regions, looks, limits, overwrite=overwrite)


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
    regions = entry_regions(annotations, image.shape[:2])
    return paint_instances(image, regions, _looks_of_annotations(annotations, names), limits)


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
    sides = (
        (annotations, _looks_of_annotations(annotations, names)),
        (results, _looks_of_results(results, names)),
    )
    frame = image.shape[:2]
    sizes = [limits.picture_size(frame, looks) for _, looks in sides]
    if sizes[0] != sizes[1]:
        # One side is enlarged for its labels: the other must be as large.
        limits = dataclasses.replace(limits, min_side=max(map(min, sizes)))
    pictures = [
        paint_instances(image, entry_regions(entries, frame), looks, limits)
        for entries, looks in sides
    ]
    return contact_sheet(pictures, 2, titles=("ground truth", "prediction"))


def _looks_of_results(results: Sequence[Mapping], names: LabelNames) -> list[Look]:
    return _looks([Label.of_result(result, names) for result in results], names)


def _looks_of_annotations(annotations: Sequence[Mapping], names: LabelNames) -> list[Look]:
    return _looks([Label.of_annotation(annotation, names) for annotation in annotations], names)


def _looks(labels: Sequence[Label], names: LabelNames) -> list[Look]:
    return [
        Look(class_colour(label.class_index), label.versions(names), label.score)
        for label in labels
    ]


def _regions_of(masks: Sequence[np.ndarray], size: tuple[int, int]) -> Iterator[Region]:
    for mask in masks:
        if mask.shape != size:
            raise ValueError(f"a mask must be at the image's size {size}, got {mask.shape}")
        yield region_of(mask)
