"""Instances drawn over their image: mask, outline, class and subcategories."""

# N instances, S subcategories, H x W the picture's size in pixels.

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from detectron2.structures import Instances

from mask2former_mt import structures
from mask2former_mt.structures import UNKNOWN, SubcategorySpec
from mask2former_mt.visualization.colours import class_colour
from mask2former_mt.visualization.label_painting import label_parts, short_label
from mask2former_mt.visualization.painting import MIN_SIDE, paint_instances
from mask2former_mt.visualization.segmentations import to_mask
from mask2former_mt.visualization.sheet import check_image


def draw_instances(
    image: np.ndarray,
    *,
    masks: np.ndarray,
    classes: Sequence[int],
    class_names: Sequence[str],
    spec: SubcategorySpec,
    scores: Sequence[float] | None = None,
    subcategories: np.ndarray | None = None,
    subcategory_scores: np.ndarray | None = None,
    notes: Sequence[str] | None = None,
    min_side: int = MIN_SIDE,
    max_side: int = 0,
) -> np.ndarray:
    """The image with every instance's mask, contour and label, in its class's colour.

    A label has the class and its score, then a line per subcategory: its value and score, a dash
    for none, a question mark for unknown. It stands where it hides least, with a line to its mask;
    where there is no room it is one line of class and values, or the class alone.

    Args:
        image: uint8 RGB (H, W, 3).
        masks: bool (N, H, W).
        classes: N ints in 0..K-1.
        class_names: the K classes' names.
        spec: the S subcategories.
        scores: N floats in [0, 1], or None for ground truth.
        subcategories: int (N, S), each in {-1, 0..K_s}; may be None where S or N is 0.
        subcategory_scores: float (N, S) in [0, 1], or None for ground truth.
        notes: N words after the class, such as "crowd", or None.
        min_side, max_side: as of `paint_instances`.

    Returns:
        uint8 RGB at the (enlarged or reduced) image's size.

    Raises:
        ValueError: image, masks or labels that do not fit together.
    """
    check_image(image)
    masks = np.asarray(masks)
    expected = (len(classes), *image.shape[:2])
    _check_shape("masks", masks, expected, "one per class, at the image's size")
    labels = _labels(
        classes, class_names, spec, scores, subcategories, subcategory_scores, notes or ()
    )
    colours = [class_colour(int(label)) for label in classes]
    masks = (mask.astype(bool, copy=False) for mask in masks)
    return paint_instances(image, masks, colours, labels, min_side=min_side, max_side=max_side)


def draw_predictions(
    image: np.ndarray,
    instances: Instances,
    *,
    class_names: Sequence[str],
    spec: SubcategorySpec,
    score_threshold: float,
    min_side: int = MIN_SIDE,
    max_side: int = 0,
) -> np.ndarray:
    """The image with the model's instances whose score is at least the threshold.

    Args:
        image: uint8 RGB (H, W, 3).
        instances: at the image's size, with the prediction fields of `structures`.
        score_threshold: in [0, 1].

    Raises:
        ValueError: as `draw_instances`.
    """
    instances = instances.to("cpu")
    kept = instances[instances.get(structures.SCORES) >= score_threshold]
    with_labels = len(spec) > 0
    return draw_instances(
        image,
        masks=kept.get(structures.PRED_MASKS).numpy(),
        classes=kept.get(structures.PRED_CLASSES).tolist(),
        class_names=class_names,
        spec=spec,
        scores=kept.get(structures.SCORES).tolist(),
        subcategories=kept.get(structures.PRED_SUBCATEGORIES).numpy() if with_labels else None,
        subcategory_scores=(
            kept.get(structures.SUBCATEGORY_SCORES).float().numpy() if with_labels else None
        ),
        min_side=min_side,
        max_side=max_side,
    )


def draw_results(
    image: np.ndarray,
    results: Sequence[Mapping],
    *,
    class_names: Sequence[str],
    category_ids: Sequence[int],
    spec: SubcategorySpec,
    min_side: int = MIN_SIDE,
    max_side: int = 0,
    grows: bool = True,
) -> np.ndarray:
    """The image with one image's entries of a results JSON; the same as of the instances.

    Args:
        image: uint8 RGB (H, W, 3).
        results: each with `category_id`, `segmentation`, `score` and, unless S = 0,
            `subcategories` `{name: {"value": name or None for none, "score": float}}`.
        category_ids: the K classes' ids in the dataset.
        min_side, max_side, grows: as of `paint_instances`.

    Raises:
        ValueError: as `draw_instances`, or a category or value that is not listed.
    """
    check_image(image)
    classes = [class_of(result["category_id"], category_ids) for result in results]
    labels = _labels(
        classes,
        class_names,
        spec,
        [result["score"] for result in results],
        np.array([result_values(result, spec) for result in results]),
        np.array([[result["subcategories"][s.name]["score"] for s in spec] for result in results]),
        (),
    )
    return _paint_segmentations(image, results, classes, labels, min_side, max_side, grows)


def draw_ground_truth(
    image: np.ndarray,
    annotations: Sequence[Mapping],
    *,
    class_names: Sequence[str],
    spec: SubcategorySpec,
    min_side: int = MIN_SIDE,
    max_side: int = 0,
) -> np.ndarray:
    """The image with the annotations of one dataset dict.

    Args:
        image: uint8 RGB (H, W, 3).
        annotations: each with `segmentation` (polygons or RLE), `category_id` in 0..K-1 and
            `subcategories`, S ints in {-1, 0..K_s}, without which all are unknown.

    Raises:
        ValueError: as `draw_instances`, or a segmentation that is neither polygons nor RLE.
    """
    check_image(image)
    classes = [annotation["category_id"] for annotation in annotations]
    values = np.array([annotated_values(annotation, spec) for annotation in annotations])
    notes = ["crowd" if annotation.get("iscrowd") else "" for annotation in annotations]
    labels = _labels(classes, class_names, spec, None, values, None, notes)
    return _paint_segmentations(image, annotations, classes, labels, min_side, max_side)


def result_values(result: Mapping, spec: SubcategorySpec) -> list[int]:
    """The S predicted values of an entry of a results JSON, each in 0..K_s."""
    return [s.value_index(result["subcategories"][s.name]["value"]) for s in spec]


def annotated_values(annotation: Mapping, spec: SubcategorySpec) -> list[int]:
    """The S annotated values, each in {-1, 0..K_s}; all unknown where nothing is annotated."""
    return list(annotation.get("subcategories", [UNKNOWN] * len(spec)))


def label_versions(
    class_name: str,
    spec: SubcategorySpec,
    values: Sequence[int],
    score: float | None = None,
    subcategory_scores: Sequence[float] | None = None,
) -> list[list[str]]:
    """A label in full, in one line, and the class alone."""
    parts = label_parts(
        class_name, spec, values, score=score, subcategory_scores=subcategory_scores
    )
    return [parts, [short_label(parts, spec, values)], parts[:1]] if len(spec) else [parts]


def class_name_of(class_names: Sequence[str], index: int) -> str:
    """The name of class `index`.

    Raises:
        ValueError: there is none.
    """
    if not 0 <= index < len(class_names):
        raise ValueError(
            f"class {index} has no name: class_names has {len(class_names)} entries; "
            "give the names of the dataset that the model was trained on"
        )
    return class_names[index]


def class_of(category_id: int, category_ids: Sequence[int]) -> int:
    """The class in 0..K-1 of a category id.

    Raises:
        ValueError: it is none of the ids.
    """
    if category_id not in category_ids:
        raise ValueError(f"category_id must be one of {list(category_ids)}, got {category_id!r}")
    return list(category_ids).index(category_id)


def _paint_segmentations(
    image: np.ndarray,
    entries: Sequence[Mapping],
    classes: Sequence[int],
    labels: list[list[list[str]]],
    min_side: int,
    max_side: int,
    grows: bool = True,
) -> np.ndarray:
    masks: Iterable[np.ndarray] = (
        to_mask(entry["segmentation"], image.shape[:2]) for entry in entries
    )
    colours = [class_colour(index) for index in classes]
    return paint_instances(
        image, masks, colours, labels, min_side=min_side, max_side=max_side, grows=grows
    )


def _labels(
    classes: Sequence[int],
    class_names: Sequence[str],
    spec: SubcategorySpec,
    scores: Sequence[float] | None,
    subcategories: np.ndarray | None,
    subcategory_scores: np.ndarray | None,
    notes: Sequence[str],
) -> list[list[list[str]]]:
    """The versions of each of N labels, after checking that what they are made of fits."""
    columns = (len(classes), len(spec))
    if columns[0] * columns[1] == 0:
        subcategories, subcategory_scores = np.zeros(columns, dtype=np.int64), None
    _check_shape("subcategories", subcategories, columns, "one column per subcategory of the spec")
    if subcategory_scores is not None:
        _check_shape("subcategory_scores", subcategory_scores, columns, "as subcategories")
    for name, given in (("scores", scores), ("notes", notes or None)):
        if given is not None and len(given) != len(classes):
            raise ValueError(
                f"{name} must have {len(classes)} entries, one per class, got {len(given)}"
            )
    return [
        label_versions(
            f"{class_name_of(class_names, int(classes[i]))} {notes[i] if notes else ''}".rstrip(),
            spec,
            subcategories[i],
            None if scores is None else scores[i],
            None if subcategory_scores is None else subcategory_scores[i],
        )
        for i in range(len(classes))
    ]


def _check_shape(name: str, array: np.ndarray | None, expected: tuple, reason: str) -> None:
    got = None if array is None else np.shape(array)
    if got != expected:
        raise ValueError(f"{name} must be {expected}, got {got}: {reason}")
