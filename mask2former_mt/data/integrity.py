"""Guards on training samples: a cheap one on each, a deep one on a few."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from detectron2.data import transforms as T
from detectron2.structures import Boxes, Instances

from mask2former_mt.check.alignment import Measures, measure
from mask2former_mt.check.ground import PHOTOMETRIC, ways_of
from mask2former_mt.data.copy_paste import PasteTransform
from mask2former_mt.data.transforms import size_after
from mask2former_mt.structures import (
    GT_CLASSES,
    GT_MASKS,
    GT_SUBCATEGORIES,
    UNKNOWN,
    SubcategorySpec,
)

# N instances, S subcategories, H and W of the image tensor. Boxes are xyxy in its pixels.

# The mean alignment IoU of a right pipeline is 1.000. One pixel's shift of an object of 50 pixels
# leaves 0.96, parameters drawn twice 0.4 to 0.7.
MIN_ALIGNMENT = 0.99
# An instance's pixels may differ from what its outline says by this share, ...
AREA_TOLERANCE = 0.05
# ... by this share of the pixels on both sides of its outline, which rounding decides, ...
OUTLINE_TOLERANCE = 0.5
# ... and by so many pixels, for objects that are hardly more than one.
PIXEL_TOLERANCE = 3.0
# Transforms after which a picture that filled its frame still does.
_FILLING = (
    *PHOTOMETRIC,
    PasteTransform,
    T.CropTransform,
    T.HFlipTransform,
    T.ResizeTransform,
    T.VFlipTransform,
)


class IntegrityError(ValueError):
    """A sample that breaks its contract: the pipeline is wrong, and so are other samples."""


def check_sample(sample: Mapping, *, spec: SubcategorySpec, num_classes: int | None = None) -> None:
    """Refuses a training sample that the model must not see; cheap enough for every one.

    It guarantees: types and shapes, as the mapper describes them; classes and labels in range; no
    empty mask; each box is its mask's extent exactly, and as many pixels lie in it as the mapper
    counted on the whole mask; no mask reaches into the padding. It takes on trust `areas`, which
    spares it to walk over all masks once more, and that a mask is where the picture shows the
    object: `deep_check` looks at both.

    Args:
        sample: of the mapper. Without `areas` all pixels are counted; without `transforms` the
            padding is not known.
        spec: the dataset's S subcategories.
        num_classes: K; None: classes are only known not to be negative.

    Raises:
        IntegrityError: says what was expected and what it is.
        ValueError: a class or a label out of range, as the annotations are wrong then.
    """
    try:
        instances = _check_form(sample, len(spec))
        _check_extents(sample, instances)
    except IntegrityError as error:
        raise IntegrityError(f"{_name(sample)}: {error}") from error
    _check_labels(sample, instances, spec, num_classes)


def _name(sample: Mapping) -> str:
    return f"{sample.get('file_name')} (draw {sample.get('draw')})"


def _check_form(sample: Mapping, num_subcategories: int) -> Instances:
    image, instances = sample.get("image"), sample.get("instances")
    is_image = isinstance(image, torch.Tensor) and image.dtype == torch.uint8
    if not is_image or image.ndim != 3 or len(image) != 3 or not image.numel():
        raise _unlike("image", "torch.uint8 (3, H, W)", image)
    if not isinstance(instances, Instances):
        raise _unlike("instances", "detectron2 Instances", instances)
    size = tuple(image.shape[1:])
    if instances.image_size != size:
        raise _unlike("instances.image_size", f"the image's {size}", instances.image_size)
    count = len(instances)
    fields = instances.get_fields()
    boxes = fields.get("gt_boxes")
    if not isinstance(boxes, Boxes):
        raise _unlike("gt_boxes", "detectron2 Boxes", boxes)
    for name, value, dtype, shape in (
        (GT_CLASSES, fields.get(GT_CLASSES), torch.int64, (count,)),
        (GT_MASKS, fields.get(GT_MASKS), torch.bool, (count, *size)),
        (GT_SUBCATEGORIES, fields.get(GT_SUBCATEGORIES), torch.int64, (count, num_subcategories)),
        ("gt_boxes", boxes.tensor, torch.float32, (count, 4)),
    ):
        if not isinstance(value, torch.Tensor) or value.dtype != dtype or value.shape != shape:
            raise _unlike(name, f"{dtype} {shape}", value)
    return instances


def _unlike(what: str, expected: str, got: object) -> IntegrityError:
    if isinstance(got, torch.Tensor):
        got = f"{got.dtype} {tuple(got.shape)}"
    elif not isinstance(got, tuple):
        got = type(got).__name__
    return IntegrityError(f"{what} must be {expected}, got {got}")


def _check_labels(
    sample: Mapping, instances: Instances, spec: SubcategorySpec, num_classes: int | None
) -> None:
    # For so few numbers Python's own functions are faster than NumPy's.
    classes = instances.get(GT_CLASSES).tolist()
    if not classes:
        return
    if min(classes) < 0 or (num_classes is not None and max(classes) >= num_classes):
        last = "K - 1" if num_classes is None else num_classes - 1
        raise ValueError(
            f"{_name(sample)}: classes must lie in [0, {last}], got {min(classes)} to "
            f"{max(classes)}; the annotations and MODEL.SEM_SEG_HEAD.NUM_CLASSES are of different "
            "datasets"
        )
    columns = zip(*instances.get(GT_SUBCATEGORIES).tolist(), strict=True)
    for subcategory, labels in zip(spec.subcategories, columns, strict=True):
        lowest, highest = min(labels), max(labels)
        if lowest < UNKNOWN or highest > subcategory.none_index:
            raise ValueError(
                f"{_name(sample)}: labels of {subcategory.name!r} must lie in [-1, "
                f"{subcategory.none_index}] (-1 unknown, {subcategory.none_index} none), got "
                f"{lowest} to {highest}; the annotations and the list of subcategories disagree"
            )


def _check_extents(sample: Mapping, instances: Instances) -> None:
    masks_NHW = instances.get(GT_MASKS).numpy()
    count, height, width = masks_NHW.shape
    if not count:
        return
    boxes_N4 = instances.get("gt_boxes").tensor.numpy()
    corners = boxes_N4.astype(np.int64)
    areas = sample.get("areas")
    areas = map(np.count_nonzero, masks_NHW) if areas is None else areas.tolist()
    if not (corners == boxes_N4).all():
        raise IntegrityError(f"gt_boxes must be whole pixels, got {boxes_N4.tolist()}")
    left, top, right, bottom = _picture_area(sample, (height, width))
    for index, (mask, box, area) in enumerate(zip(masks_NHW, corners.tolist(), areas, strict=True)):
        x0, y0, x1, y1 = box
        if area < 1:
            raise IntegrityError(
                f"instance {index}: the mask has no pixel; it must be dropped with all its labels"
            )
        is_box = 0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height
        inside = mask[y0:y1, x0:x1]
        # Each side runs along a pixel, so the box is not too large; all pixels are in it, so it is
        # not too small.
        if not (
            is_box
            and np.count_nonzero(inside) == area
            and np.count_nonzero(inside[0])
            and np.count_nonzero(inside[-1])
            and np.count_nonzero(inside[:, 0])
            and np.count_nonzero(inside[:, -1])
        ):
            raise IntegrityError(
                f"instance {index}: the box must be the mask's extent, xyxy {_extent(mask)} with "
                f"{area} pixels inside, got {box} with {np.count_nonzero(inside)}"
            )
        if x0 < left or y0 < top or x1 > right or y1 > bottom:
            raise IntegrityError(
                f"instance {index}: no mask may reach into the padding, that is beyond xyxy "
                f"[{left}, {top}, {right}, {bottom}], got a box of {box}"
            )


def _extent(mask: np.ndarray) -> list[int] | None:
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    if not columns.size:
        return None
    return [int(v) for v in (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)]


def _picture_area(sample: Mapping, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """What of the final frame the picture reaches into at most; the rest is padding."""
    transforms = sample.get("transforms")
    if not isinstance(transforms, T.TransformList):
        return 0, 0, size[1], size[0]
    steps = transforms.transforms
    size = (sample["height"], sample["width"])
    first = 0
    # Until something may pad, the picture fills its frame.
    while first < len(steps) and isinstance(steps[first], _FILLING):
        size = size_after(steps[first], size)
        first += 1
    x0, y0, x1, y1 = 0.0, 0.0, float(size[1]), float(size[0])
    for step in steps[first:]:
        if isinstance(step, PHOTOMETRIC):
            continue
        moved = step.apply_coords(np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)]))
        size = size_after(step, size)
        xs, ys = moved.T.tolist()
        x0, x1 = max(min(xs), 0.0), min(max(xs), size[1])
        y0, y1 = max(min(ys), 0.0), min(max(ys), size[0])
        if isinstance(step, PasteTransform):
            # Pasted objects lie anywhere.
            x0, y0, x1, y1 = 0.0, 0.0, float(size[1]), float(size[0])
    # Sampling may round a pixel to either side of an edge that is not on the grid.
    return math.floor(x0), math.floor(y0), math.ceil(x1), math.ceil(y1)


def deep_check(
    sample: Mapping,
    annotations: Sequence[Mapping],
    origins: Sequence[tuple[int, int]],
    *,
    exclusive: bool = False,
) -> Measures:
    """Refuses a sample whose image and masks were not moved alike; costs tens of milliseconds.

    Args:
        sample: of the mapper, with its `transforms`.
        annotations: the record's own, without crowds.
        origins: for each instance its layer (0: the picture's own objects, then what was pasted, in
            that order) and its position among that layer's annotations.
        exclusive: whether INPUT.MASK_OVERLAP leaves a pixel to one instance only.

    Returns:
        What was measured.

    Raises:
        IntegrityError: a mean alignment IoU below `MIN_ALIGNMENT`, soft pixels, a wrong area.
    """
    ways = ways_of(annotations, sample["transforms"], (sample["height"], sample["width"]))
    masks_NHW = sample["instances"].get(GT_MASKS).numpy()
    found = measure(masks_NHW, ways, origins, exclusive=exclusive)
    remedy = "image and masks must go through the same transforms, with the same parameters"
    if found.soft_fraction > 0:
        raise IntegrityError(
            f"{_name(sample)}: masks must be 0 or 1, got other values in a fraction of "
            f"{found.soft_fraction:.4f} of the pixels; masks are moved by nearest sampling"
        )
    if found.alignment < MIN_ALIGNMENT:
        raise IntegrityError(
            f"{_name(sample)}: mean alignment IoU of image and masks must be 1.000, got "
            f"{found.alignment:.3f}; {remedy}"
        )
    allowed = (
        AREA_TOLERANCE * found.expected_areas + OUTLINE_TOLERANCE * found.outlines + PIXEL_TOLERANCE
    )
    for index in np.flatnonzero(np.abs(found.areas - found.expected_areas) > allowed).tolist():
        raise IntegrityError(
            f"{_name(sample)}: instance {index} must have about "
            f"{found.expected_areas[index]:.0f} pixels, its area times the scale squared, got "
            f"{found.areas[index]:.0f}; {remedy}"
        )
    return found
