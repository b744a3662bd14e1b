"""COCO's segmentations as run-length encodings and masks."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pycocotools.mask as mask_util


def to_rle(segmentation: object, size: tuple[int, int]) -> Mapping:
    """The compressed RLE of COCO polygons or an RLE, compressed or not.

    Args:
        segmentation: as a COCO annotation has it; an empty list of polygons is an empty mask.
        size: H, W of the image.

    Raises:
        ValueError: neither polygons nor RLE, or an RLE of another size.
    """
    if isinstance(segmentation, list):
        if not segmentation:
            return mask_util.encode(np.zeros(size, dtype=np.uint8, order="F"))
        return mask_util.merge(mask_util.frPyObjects(segmentation, *size))
    if not (isinstance(segmentation, Mapping) and {"size", "counts"} <= set(segmentation)):
        raise ValueError(
            "a segmentation must be a list of polygons or an RLE with size and counts, "
            f"got {type(segmentation).__name__}"
        )
    if tuple(segmentation["size"]) != tuple(size):
        raise ValueError(
            f"a segmentation must be at the image's size (H, W) {tuple(size)}, "
            f"got an RLE of {tuple(segmentation['size'])}"
        )
    if isinstance(segmentation["counts"], list):
        return mask_util.frPyObjects(segmentation, *size)
    return segmentation


def to_mask(segmentation: object, size: tuple[int, int]) -> np.ndarray:
    """The bool mask (H, W); as `to_rle`."""
    return mask_util.decode(to_rle(segmentation, size)).astype(bool)
