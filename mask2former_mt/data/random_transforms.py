"""Augmentations that detectron2 lacks, or has in a form that does not serve here."""

from __future__ import annotations

import numpy as np
from detectron2.data import transforms as T

from mask2former_mt.data.transforms import (
    PAD_VALUE,
    VOID,
    RotationTransform,
    SaturationTransform,
)

# detectron2's augmentations draw from NumPy's global generator, and so these: the mapper seeds it
# for each sample.
# ruff: noqa: NPY002


class ResizeScale(T.ResizeScale):
    """detectron2's, which may resize a long or small picture to nothing."""

    def get_transform(self, image: np.ndarray) -> T.Transform:
        return _at_least_one_pixel(super().get_transform(image))


class ResizeShortestEdge(T.ResizeShortestEdge):
    """detectron2's, which may resize a long picture to nothing."""

    def get_transform(self, image: np.ndarray) -> T.Transform:
        return _at_least_one_pixel(super().get_transform(image))


def _at_least_one_pixel(transform: T.Transform) -> T.Transform:
    if not isinstance(transform, T.ResizeTransform) or min(transform.new_h, transform.new_w) > 0:
        return transform
    new_height, new_width = max(1, transform.new_h), max(1, transform.new_w)
    return T.ResizeTransform(transform.h, transform.w, new_height, new_width, transform.interp)


class PadToMultiple(T.Augmentation):
    """Pads on the right and at the bottom: the picture with grey, a segmentation with void.

    Args:
        multiple: pixels that both sides become a multiple of.
    """

    def __init__(self, multiple: int) -> None:
        super().__init__()
        self.multiple = multiple

    def get_transform(self, image: np.ndarray) -> T.Transform:
        height, width = image.shape[:2]
        right, bottom = -width % self.multiple, -height % self.multiple
        if not right and not bottom:
            return T.NoOpTransform()
        return T.PadTransform(0, 0, right, bottom, width, height, PAD_VALUE, VOID)


class RandomRotation(T.Augmentation):
    """Turns a picture about its centre; grey and void come in from the corners.

    Args:
        max_angle: degrees, in either direction.
        expand: whether the picture grows to hold all of it; otherwise its size stays.
    """

    def __init__(self, max_angle: float, *, expand: bool = False) -> None:
        super().__init__()
        self.max_angle = max_angle
        self.expand = expand

    def get_transform(self, image: np.ndarray) -> T.Transform:
        angle = np.random.uniform(-self.max_angle, self.max_angle)
        return RotationTransform(*image.shape[:2], angle, expand=self.expand)


class RandomSaturation(T.Augmentation):
    """Weighs a picture against its own grey.

    Args:
        low, high: the picture's weight lies between; 1 leaves it as it is.
        image_format: "RGB" or "BGR"; detectron2's takes every picture for RGB.
    """

    def __init__(self, low: float, high: float, image_format: str) -> None:
        super().__init__()
        self.low = low
        self.high = high
        self.image_format = image_format

    def get_transform(self, image: np.ndarray) -> T.Transform:
        return SaturationTransform(np.random.uniform(self.low, self.high), self.image_format)
