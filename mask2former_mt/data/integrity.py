"""A cheap guard on every training sample."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from detectron2.data import transforms as T
from detectron2.structures import Boxes, Instances

from mask2former_mt.data.copy_paste import PasteTransform
from mask2former_mt.data.transforms import PHOTOMETRIC, size_after
from mask2former_mt.structures import GT_CLASSES, GT_MASKS, GT_SUBCATEGORIES

# N instances, S subcategories, H and W of the image tensor. Boxes are xyxy in its pixels.

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


def check_sample(sample: Mapping, *, num_subcategories: int) -> None:
    """Refuses a training sample that the model must not see; cheap enough for every one.

    It guarantees types and shapes as the mapper describes them; that no mask is empty; that each
    box is its mask's extent exactly, with as many pixels in it as the mapper counted on the whole
    mask; that no mask reaches into the padding. It takes on trust the labels, which the dataset's
    reader has checked; `areas`, which spares it to walk over all masks once more; and that a mask
    lies where the picture shows the object, which `tools/check_dataset.py --config-file` measures.

    Args:
        sample: of the mapper.
        num_subcategories: S.

    Raises:
        IntegrityError: names the file, says what was expected and what it is.
    """
    try:
        _check_extents(sample, _check_form(sample, num_subcategories))
    except IntegrityError as error:
        name = f"{sample.get('file_name')} (draw {sample.get('draw')})"
        raise IntegrityError(f"{name}: {error}") from error


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


def _check_extents(sample: Mapping, instances: Instances) -> None:
    masks_NHW = instances.get(GT_MASKS).numpy()
    count, height, width = masks_NHW.shape
    if not count:
        return
    boxes_N4 = instances.get("gt_boxes").tensor.numpy()
    corners = boxes_N4.astype(np.int64)
    if not (corners == boxes_N4).all():
        raise IntegrityError(f"gt_boxes must be whole pixels, got {boxes_N4.tolist()}")
    left, top, right, bottom = _picture_area(sample)
    areas = sample["areas"].tolist()
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


def _extent(mask_HW: np.ndarray) -> list[int] | None:
    rows, columns = np.nonzero(mask_HW)
    if not rows.size:
        return None
    return [int(v) for v in (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)]


def _picture_area(sample: Mapping) -> tuple[int, int, int, int]:
    """The part of the final frame that the picture reaches at most; the rest is padding."""
    steps = sample["transforms"].transforms
    size = (sample["height"], sample["width"])
    first = 0
    # Until something may pad, the picture fills its frame.
    while first < len(steps) and isinstance(steps[first], _FILLING):
        size = size_after(steps[first], size)
        first += 1
    x0, y0, x1, y1 = 0, 0, size[1], size[0]
    for step in steps[first:]:
        if isinstance(step, PHOTOMETRIC):
            continue
        moved = step.apply_coords(np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], float))
        size = size_after(step, size)
        xs, ys = moved.T.tolist()
        # Sampling may round a pixel to either side of an edge that is not on the grid.
        x0, x1 = max(math.floor(min(xs)), 0), min(math.ceil(max(xs)), size[1])
        y0, y1 = max(math.floor(min(ys)), 0), min(math.ceil(max(ys)), size[0])
        if isinstance(step, PasteTransform):
            # Pasted objects lie anywhere.
            x0, y0, x1, y1 = 0, 0, size[1], size[0]
    return x0, y0, x1, y1
