"""Where predictions and ground truth of one image disagree, and a picture of only that."""

# D predictions, G annotations, S subcategories.

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import pycocotools.mask as mask_util

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
from mask2former_mt.visualization.segmentations import to_mask, to_rle
from mask2former_mt.visualization.sheet import check_image, with_legend

MIN_IOU = 0.5
WRONG_CLASS = "wrong class"
WRONG_SUBCATEGORY = "wrong subcategory"
MISSED = "missed"
SPURIOUS = "spurious"
AGREES = "agrees, not shown"
KIND_COLOURS = {
    WRONG_CLASS: (240, 80, 220),
    WRONG_SUBCATEGORY: (255, 165, 0),
    MISSED: (255, 70, 60),
    SPURIOUS: (60, 140, 255),
}


@dataclasses.dataclass(frozen=True)
class Disagreement:
    """A prediction, an annotation or a pair of them that is not as it should be.

    Args:
        kind: one of the four above.
        prediction: index in 0..D-1; None where it is missed.
        annotation: index in 0..G-1; None where it is spurious.
    """

    kind: str
    prediction: int | None
    annotation: int | None


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Everything that disagrees in one image, and how many pairs agree."""

    disagreements: list[Disagreement]
    num_agreeing: int


def compare_labels(
    ious: np.ndarray,
    *,
    scores: Sequence[float],
    predicted_classes: Sequence[int],
    annotated_classes: Sequence[int],
    predicted: np.ndarray,
    annotated: np.ndarray,
    crowd: Sequence[bool],
) -> Comparison:
    """Matches predictions with annotations at IoU >= 0.5 and says what is wrong.

    The best score chooses first, among annotations of its own class; what is left on both sides is
    matched without regard to the class. A second prediction of the same object is spurious. One
    inside a crowd of its class counts for nothing.

    Args:
        ious: float (D, G); of a crowd the share of the prediction inside it.
        scores: D floats.
        predicted_classes, annotated_classes: D and G ints.
        predicted, annotated: int (D, S) and (G, S); unknown agrees with everything.
        crowd: G.
    """
    partner: dict[int, int] = {}
    order = sorted(range(len(scores)), key=lambda d: -scores[d])
    for own_class in (True, False):
        for d in order:
            free = [
                g
                for g in range(len(annotated_classes))
                if d not in partner
                and g not in partner.values()
                and not crowd[g]
                and ious[d, g] >= MIN_IOU
                and (not own_class or predicted_classes[d] == annotated_classes[g])
            ]
            if free:
                partner[d] = max(free, key=lambda g: ious[d, g])
    found, num_agreeing = [], 0
    for d in order:
        if d not in partner:
            in_crowd = any(
                crowd[g] and ious[d, g] >= MIN_IOU and annotated_classes[g] == predicted_classes[d]
                for g in range(len(annotated_classes))
            )
            if not in_crowd:
                found.append(Disagreement(SPURIOUS, d, None))
            continue
        g = partner[d]
        if predicted_classes[d] != annotated_classes[g]:
            found.append(Disagreement(WRONG_CLASS, d, g))
        elif any(_differs(p, a) for p, a in zip(predicted[d], annotated[g], strict=True)):
            found.append(Disagreement(WRONG_SUBCATEGORY, d, g))
        else:
            num_agreeing += 1
    matched = set(partner.values())
    found += [
        Disagreement(MISSED, None, g)
        for g in range(len(annotated_classes))
        if g not in matched and not crowd[g]
    ]
    return Comparison(found, num_agreeing)


def compare_results(
    results: Sequence[Mapping],
    annotations: Sequence[Mapping],
    size: tuple[int, int],
    *,
    category_ids: Sequence[int],
    spec: SubcategorySpec,
) -> Comparison:
    """`compare_labels` for entries of a results JSON and the annotations of a dataset dict.

    Args:
        results: as of `draw_results`.
        annotations: as of `draw_ground_truth`.
        size: H, W of the image.
    """
    crowd = [bool(annotation.get("iscrowd")) for annotation in annotations]
    ious = np.zeros((len(results), len(annotations)))
    if ious.size:
        ours = [to_rle(result["segmentation"], size) for result in results]
        theirs = [to_rle(annotation["segmentation"], size) for annotation in annotations]
        ious = mask_util.iou(ours, theirs, crowd)
    return compare_labels(
        ious,
        scores=[result["score"] for result in results],
        predicted_classes=[class_of(result["category_id"], category_ids) for result in results],
        annotated_classes=[annotation["category_id"] for annotation in annotations],
        predicted=np.array([result_values(result, spec) for result in results], dtype=np.int64),
        annotated=np.array([annotated_values(a, spec) for a in annotations], dtype=np.int64),
        crowd=crowd,
    )


def draw_disagreements(
    image: np.ndarray,
    results: Sequence[Mapping],
    annotations: Sequence[Mapping],
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
        results, annotations: as of `compare_results`.

    Returns:
        uint8 RGB; the legend stands below the (enlarged or reduced) image.
    """
    check_image(image)
    size = image.shape[:2]
    comparison = compare_results(results, annotations, size, category_ids=category_ids, spec=spec)
    found = comparison.disagreements
    labels = [
        _label(
            d,
            None if d.prediction is None else results[d.prediction],
            None if d.annotation is None else annotations[d.annotation],
            class_names,
            category_ids,
            spec,
        )
        for d in found
    ]
    shown = [
        annotations[d.annotation] if d.prediction is None else results[d.prediction] for d in found
    ]
    truths = [
        None if None in (d.prediction, d.annotation) else annotations[d.annotation] for d in found
    ]
    picture = paint_instances(
        image,
        (to_mask(entry["segmentation"], size) for entry in shown),
        [KIND_COLOURS[d.kind] for d in found],
        labels,
        min_side=min_side,
        max_side=max_side,
        true_masks=(
            None if truth is None else to_mask(truth["segmentation"], size) for truth in truths
        ),
    )
    counts = {kind: sum(d.kind == kind for d in found) for kind in KIND_COLOURS}
    legend = [(KIND_COLOURS[kind], f"{kind} {count}") for kind, count in counts.items()]
    legend.append((None, f"{AGREES} {comparison.num_agreeing}"))
    if any(truths):
        legend.append(((255, 255, 255), "as annotated"))
    return with_legend(picture, legend)


def _differs(predicted: int, annotated: int) -> bool:
    return annotated not in (UNKNOWN, predicted)


def _label(
    disagreement: Disagreement,
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
    if disagreement.kind == WRONG_CLASS:
        parts[0] += f", is {class_name_of(class_names, annotation['category_id'])}"
    right = annotated_values(annotation, spec)
    wrong = [i for i in range(len(spec)) if _differs(values[i], right[i])]
    for i in wrong:
        parts[1 + i] += f", is {value_text(spec, i, right[i])}"
    return [parts, [parts[0], *(parts[1 + i] for i in wrong)], parts[:1]]
