"""Instances drawn over their image: mask, outline, class and subcategories."""

# N instances, S subcategories, H x W the picture's size in pixels.

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
import pycocotools.mask as mask_util
from detectron2.structures import Instances

from mask2former_mt import structures
from mask2former_mt.structures import UNKNOWN, SubcategorySpec
from mask2former_mt.visualization.colours import class_colour
from mask2former_mt.visualization.labels import label_parts, paint_labels
from mask2former_mt.visualization.sheet import check_image

MIN_SIDE = 512  # pixels; a label of three lines beside a digit of 30 pixels needs about this
MASK_OPACITY = 0.2  # low, so that a colour that is itself a label can still be told


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
) -> np.ndarray:
    """The image with every instance's mask, contour and label, in its class's colour.

    A label has the class and its score, then a line per subcategory: its value and score, a dash
    for none, a question mark for unknown. It stands where it hides least, with a line to its mask.

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
        min_side: pixels; an image whose shorter side is less is enlarged to it first; 0 never.

    Returns:
        uint8 RGB at the (enlarged) image's size.

    Raises:
        ValueError: image, masks or labels that do not fit together.
    """
    check_image(image)
    masks = np.asarray(masks)
    num_instances = len(classes)
    _check_shape(
        "masks", masks, (num_instances, *image.shape[:2]), "one per class, at the image's size"
    )
    if subcategories is None and num_instances * len(spec) == 0:
        subcategories = np.zeros((num_instances, len(spec)), dtype=np.int64)
    columns = (num_instances, len(spec))
    _check_shape("subcategories", subcategories, columns, "one column per subcategory of the spec")
    if subcategory_scores is not None:
        _check_shape("subcategory_scores", subcategory_scores, columns, "as subcategories")
    for name, given in (("scores", scores), ("notes", notes)):
        if given is not None and len(given) != num_instances:
            raise ValueError(
                f"{name} must have {num_instances} entries, one per class, got {len(given)}"
            )

    picture, masks = _enlarge(image, masks.astype(bool), min_side)
    colours = [class_colour(int(label)) for label in classes]
    labels = [
        label_parts(
            _class_name(class_names, int(classes[i])) + (f" {notes[i]}" if notes else "").rstrip(),
            spec,
            subcategories[i],
            score=None if scores is None else scores[i],
            subcategory_scores=None if subcategory_scores is None else subcategory_scores[i],
        )
        for i in range(num_instances)
    ]
    _paint_masks(picture, masks, colours)
    paint_labels(picture, masks, colours, labels)
    return picture


def draw_predictions(
    image: np.ndarray,
    instances: Instances,
    *,
    class_names: Sequence[str],
    spec: SubcategorySpec,
    score_threshold: float,
    min_side: int = MIN_SIDE,
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
    )


def draw_ground_truth(
    image: np.ndarray,
    annotations: Sequence[Mapping],
    *,
    class_names: Sequence[str],
    spec: SubcategorySpec,
    min_side: int = MIN_SIDE,
) -> np.ndarray:
    """The image with the annotations of one dataset dict.

    Args:
        image: uint8 RGB (H, W, 3).
        annotations: each with `segmentation` (polygons or RLE), `category_id` in 0..K-1 and
            `subcategories`, S ints in {-1, 0..K_s}, without which all are unknown.

    Raises:
        ValueError: as `draw_instances`, or a segmentation that is neither polygons nor RLE.
    """
    size = image.shape[:2]
    masks = [_decode(annotation["segmentation"], size) for annotation in annotations]
    unknown = [UNKNOWN] * len(spec)
    labels = [annotation.get("subcategories", unknown) for annotation in annotations]
    return draw_instances(
        image,
        masks=np.stack(masks) if masks else np.zeros((0, *size), dtype=bool),
        classes=[annotation["category_id"] for annotation in annotations],
        class_names=class_names,
        spec=spec,
        subcategories=np.array(labels, dtype=np.int64) if labels else None,
        notes=["crowd" if annotation.get("iscrowd") else "" for annotation in annotations],
        min_side=min_side,
    )


def _check_shape(name: str, array: np.ndarray | None, expected: tuple, reason: str) -> None:
    got = None if array is None else np.shape(array)
    if got != expected:
        raise ValueError(f"{name} must be {expected}, got {got}: {reason}")


def _class_name(class_names: Sequence[str], index: int) -> str:
    if not 0 <= index < len(class_names):
        raise ValueError(
            f"class {index} has no name: class_names has {len(class_names)} entries; "
            "give the names of the dataset that the model was trained on"
        )
    return class_names[index]


def _decode(segmentation: object, size: tuple[int, int]) -> np.ndarray:
    """The bool mask (H, W) of COCO polygons or RLE, compressed or not."""
    if isinstance(segmentation, list):
        if not segmentation:
            return np.zeros(size, dtype=bool)
        rle = mask_util.merge(mask_util.frPyObjects(segmentation, *size))
    elif isinstance(segmentation, Mapping) and {"size", "counts"} <= set(segmentation):
        rle = segmentation
        if isinstance(rle["counts"], list):
            rle = mask_util.frPyObjects(rle, *rle["size"])
        if tuple(rle["size"]) != tuple(size):
            raise ValueError(
                f"a segmentation must be at the image's size (H, W) {tuple(size)}, "
                f"got an RLE of {tuple(rle['size'])}"
            )
    else:
        raise ValueError(
            "a segmentation must be a list of polygons or an RLE with size and counts, "
            f"got {type(segmentation).__name__}"
        )
    return mask_util.decode(rle).astype(bool)


def _enlarge(
    image: np.ndarray, masks: np.ndarray, min_side: int
) -> tuple[np.ndarray, list[np.ndarray]]:
    """A copy of the image and its masks with the shorter side at least `min_side`."""
    short, long = sorted(image.shape[:2])
    # A strip of a few pixels would become too long for the memory.
    factor = min(min_side / short, 4 * min_side / long)
    if factor <= 1:
        return image.copy(), list(masks)
    size = (max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor)))
    smooth = [
        cv2.resize(mask.astype(np.uint8) * 255, size, interpolation=cv2.INTER_LINEAR) > 127
        for mask in masks
    ]
    return cv2.resize(np.ascontiguousarray(image), size, interpolation=cv2.INTER_CUBIC), smooth


def _paint_masks(picture: np.ndarray, masks: list[np.ndarray], colours: list[tuple]) -> None:
    """Tints and outlines the masks in place, the largest first."""
    width = max(1, round(min(picture.shape[:2]) / 300))
    for i in sorted(range(len(masks)), key=lambda i: -int(masks[i].sum())):
        inside = picture[masks[i]].astype(np.float32)
        tinted = (1 - MASK_OPACITY) * inside + MASK_OPACITY * np.array(colours[i], np.float32)
        picture[masks[i]] = tinted.round().astype(np.uint8)
        outlines, _ = cv2.findContours(
            masks[i].astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE
        )
        # The dark rim keeps the outline visible on a ground of its own colour.
        cv2.drawContours(picture, outlines, -1, (0, 0, 0), width + 2, cv2.LINE_AA)
        cv2.drawContours(picture, outlines, -1, colours[i], width, cv2.LINE_AA)
