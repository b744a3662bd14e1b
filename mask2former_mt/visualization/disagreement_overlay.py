"""The picture of what predictions and annotations of one image disagree on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mask2former_mt.structures import UNKNOWN, SubcategorySpec
from mask2former_mt.visualization.label_painting import label_parts, value_text
from mask2former_mt.visualization.overlay import (
    annotated_values,
    class_name_of,
    class_of,
    label_versions,
    result_values,
)
from mask2former_mt.visualization.painting import MIN_SIDE, paint_instances
from mask2former_mt.visualization.segmentations import to_mask
from mask2former_mt.visualization.sheet import check_image, with_legend

# The kinds of `evaluation.disagreements`.
KIND_COLOURS = {
    "wrong class": (240, 80, 220),
    "wrong subcategory": (255, 165, 0),
    "missed": (255, 70, 60),
    "spurious": (60, 140, 255),
}


def draw_disagreements(
    image: np.ndarray,
    results: Sequence[Mapping],
    annotations: Sequence[Mapping],
    disagreements: Sequence[tuple[str, int | None, int | None]],
    num_agreeing: int,
    *,
    class_names: Sequence[str],
    category_ids: Sequence[int],
    spec: SubcategorySpec,
    min_side: int = MIN_SIDE,
    max_side: int = 0,
) -> np.ndarray:
    """The image with only what is wrong, and a legend of the kinds and their numbers.

    A label says what was predicted and, where it differs, what is right; a thin white line is the
    annotated outline.

    Args:
        image: uint8 RGB (H, W, 3).
        results: entries of a results JSON, as `draw_results` takes them.
        annotations: annotations of a dataset dict, as `draw_ground_truth` takes them.
        disagreements: of `evaluation.disagreements`: a kind, the index of the result (None for a
            missed object) and the index of the annotation (None for a spurious prediction).
        num_agreeing: number of pairs that agree, which are not drawn.
        class_names: K names.
        category_ids: the dataset's category id of each of the K classes.
        spec: the S subcategories.
        min_side: pixels; as of `paint_instances`.
        max_side: pixels; as of `paint_instances`.

    Returns:
        uint8 RGB; the legend stands below the (enlarged or reduced) image.
    """
    check_image(image)
    size = image.shape[:2]
    kinds = [kind for kind, _, _ in disagreements]
    pairs = [
        (None if r is None else results[r], None if a is None else annotations[a])
        for _, r, a in disagreements
    ]
    truths = [annotation if result is not None else None for result, annotation in pairs]
    picture = paint_instances(
        image,
        (to_mask((result or annotation)["segmentation"], size) for result, annotation in pairs),
        [KIND_COLOURS[kind] for kind in kinds],
        [_label(*pair, class_names, category_ids, spec) for pair in pairs],
        min_side=min_side,
        max_side=max_side,
        true_masks=(
            None if truth is None else to_mask(truth["segmentation"], size) for truth in truths
        ),
    )
    legend = [(colour, f"{kind} {kinds.count(kind)}") for kind, colour in KIND_COLOURS.items()]
    legend.append((None, f"agrees, not shown {num_agreeing}"))
    if any(truths):
        legend.append(((255, 255, 255), "as annotated"))
    return with_legend(picture, legend)


def _label(
    result: Mapping | None,
    annotation: Mapping | None,
    class_names: Sequence[str],
    category_ids: Sequence[int],
    spec: SubcategorySpec,
) -> list[list[str]]:
    """The label's versions: what was predicted, and behind it what is right where it differs."""
    if result is None:
        name = class_name_of(class_names, annotation["category_id"])
        return label_versions(f"missed {name}", spec, annotated_values(annotation, spec))
    index = class_of(result["category_id"], category_ids)
    values = result_values(result, spec)
    parts = label_parts(
        class_name_of(class_names, index),
        spec,
        values,
        score=result["score"],
        subcategory_scores=[result["subcategories"][s.name]["score"] for s in spec],
    )
    if annotation is None:
        return [[f"spurious {parts[0]}", *parts[1:]], [f"spurious {parts[0]}"]]
    if index != annotation["category_id"]:
        parts[0] += f", is {class_name_of(class_names, annotation['category_id'])}"
    annotated = annotated_values(annotation, spec)
    wrong = [i for i in range(len(spec)) if annotated[i] not in (UNKNOWN, values[i])]
    for i in wrong:
        parts[1 + i] += f", is {value_text(spec, i, annotated[i])}"
    return [parts, [parts[0], *(parts[1 + i] for i in wrong)], parts[:1]]
