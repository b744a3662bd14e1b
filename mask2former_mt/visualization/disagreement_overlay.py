"""The picture of what predictions and annotations of one image disagree on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mask2former_mt.structures import UNKNOWN
from mask2former_mt.visualization.entry_masks import entry_regions
from mask2former_mt.visualization.instance_painting import (
    DEFAULT_LIMITS,
    SizeLimits,
    paint_instances,
)
from mask2former_mt.visualization.label_text import Label, LabelNames, Look, value_text
from mask2former_mt.visualization.sheet import with_legend

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
    names: LabelNames,
    limits: SizeLimits = DEFAULT_LIMITS,
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
        names: with the category ids.
        limits: of the picture's size without the legend.

    Returns:
        uint8 RGB; the legend stands below the (enlarged or reduced) image.
    """
    kinds = [kind for kind, _, _ in disagreements]
    pairs = [
        (None if r is None else results[r], None if a is None else annotations[a])
        for _, r, a in disagreements
    ]
    truths = [annotation if result else None for result, annotation in pairs]
    outlines = entry_regions([truth for truth in truths if truth], image.shape[:2])
    picture = paint_instances(
        image,
        entry_regions([result or annotation for result, annotation in pairs], image.shape[:2]),
        [
            Look(KIND_COLOURS[kind], _label_versions(*pair, names), pair[0] and pair[0]["score"])
            for kind, pair in zip(kinds, pairs, strict=True)
        ],
        limits,
        (next(outlines) if truth else None for truth in truths),
    )
    legend = [(colour, f"{kind} {kinds.count(kind)}") for kind, colour in KIND_COLOURS.items()]
    legend.append((None, f"agrees, not shown {num_agreeing}"))
    if any(truths):
        legend.append(((255, 255, 255), "as annotated"))
    return with_legend(picture, legend)


def _label_versions(
    result: Mapping | None, annotation: Mapping | None, names: LabelNames
) -> list[list[str]]:
    """The label's versions: what was predicted, and behind it what is right where it differs."""
    true = None if annotation is None else Label.of_annotation(annotation, names)
    if result is None:
        return [[f"missed {head}", *lines] for head, *lines in true.versions(names)]
    predicted = Label.of_result(result, names)
    lines = predicted.lines(names)
    if true is None:
        return [[f"spurious {lines[0]}", *lines[1:]], [f"spurious {lines[0]}"]]
    if predicted.class_index != true.class_index:
        lines[0] += f", is {names.class_name(true.class_index)}"
    wrong = []
    for line, i in enumerate(predicted.columns(names), start=1):
        judged = i in true.columns(names) and true.values[i] != UNKNOWN
        if judged and true.values[i] != predicted.values[i]:
            subcategory = names.spec.subcategories[i]
            lines[line] += f", is {value_text(subcategory, true.values[i])}"
            wrong.append(lines[line])
    return [lines, [lines[0], *wrong], lines[:1]]
