"""What a mapper hands to a model, checked before it reaches a loss."""

from __future__ import annotations

import torch
from detectron2.structures import BitMasks, Instances

from mask2former_mt import structures
from mask2former_mt.structures import SubcategorySpec, numbered


def checked_masks(instances: Instances, image_size: tuple[int, int]) -> torch.Tensor:
    """The masks of a mapper's instances, (N, H, W), refused unless of the image's size."""
    masks = instances.get(structures.GT_MASKS)
    if isinstance(masks, BitMasks):
        masks = masks.tensor
    if not isinstance(masks, torch.Tensor):
        raise ValueError(
            f"gt_masks must be a bool tensor (N, H, W), got {type(masks).__name__}; set "
            "INPUT.MASK_FORMAT='bitmask' where the mapper is detectron2's"
        )
    if tuple(masks.shape[1:]) != image_size:
        raise ValueError(
            f"gt_masks must be (N, {image_size[0]}, {image_size[1]}) as the image is, got "
            f"{tuple(masks.shape)}"
        )
    return masks


def checked_labels(
    instances: Instances, index: int, *, num_classes: int, spec: SubcategorySpec
) -> tuple[torch.Tensor, torch.Tensor]:
    """Classes, int64 (N,), and subcategories, int64 (N, S), before they index anything.

    Without subcategories, as of a plain COCO mapper, all are unknown. So are those that an object's
    class does not have: none by definition costs nothing in matching and teaches nothing. The
    values are looked at on the CPU only: for a tensor on a GPU it would wait for the device.

    Args:
        instances: of image `index` of the batch.
        spec: of `SubcategorySpec.from_counts`.

    Raises:
        ValueError: labels that no head has an output for.
    """
    classes = instances.get(structures.GT_CLASSES)
    if instances.has(structures.GT_SUBCATEGORIES):
        subcategories = instances.get(structures.GT_SUBCATEGORIES)
    else:
        subcategories = classes.new_full((len(classes), len(spec)), structures.UNKNOWN)
    for name, labels, shape in (
        (structures.GT_CLASSES, classes, (len(instances),)),
        (structures.GT_SUBCATEGORIES, subcategories, (len(instances), len(spec))),
    ):
        if tuple(labels.shape) != shape or labels.dtype != torch.int64:
            raise ValueError(
                f"{name} of image {index} of the batch must be torch.int64 {shape}, got "
                f"{labels.dtype} {tuple(labels.shape)}"
            )
    ranges = [(structures.GT_CLASSES, classes, 0, num_classes - 1)]
    ranges += [
        (f"{structures.GT_SUBCATEGORIES} {s.name!r}", column, structures.UNKNOWN, s.none_index)
        for s, column in zip(spec, subcategories.unbind(1), strict=True)
    ]
    for name, labels, lowest, highest in ranges:
        if labels.is_cuda or len(labels) == 0:
            continue
        low, high = int(labels.min()), int(labels.max())
        if low < lowest or high > highest:
            raise ValueError(
                f"{name} of image {index} of the batch must be in [{lowest}, {highest}], got "
                f"{low if low < lowest else high}"
            )
    if spec.is_limited:
        applies_KS = torch.tensor(spec.applicable(numbered(num_classes)), device=classes.device)
        subcategories = subcategories.masked_fill(~applies_KS[classes], structures.UNKNOWN)
    return classes, subcategories
