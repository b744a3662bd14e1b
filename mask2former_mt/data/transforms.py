"""Augmentations and transforms that detectron2 lacks, or has in a form that does not serve here."""

from __future__ import annotations

import cv2
import numpy as np
from detectron2.data import transforms as T

# detectron2's augmentations draw from NumPy's global generator, and so do these: the mapper seeds
# it for each sample.
# ruff: noqa: NPY002

# Mid grey, which detectron2's FixedSizeCrop pads with too.
PAD_VALUE = 128
# What it writes into the padding of segmentations.
VOID = 255
_BLENDED_PIXELS = 1 << 18  # at a time
# The weights of red, green and blue in a picture's grey, as detectron2 has them.
_GREY_RGB = (0.299, 0.587, 0.114)


class RotationTransform(T.RotationTransform):
    """detectron2's, with grey around the turned picture and void around a turned segmentation."""

    def apply_image(self, img: np.ndarray, interp: int | None = None) -> np.ndarray:
        return self._warp(img, self.interp if interp is None else interp, PAD_VALUE)

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        return self._warp(segmentation, cv2.INTER_NEAREST, VOID)

    def _warp(self, picture: np.ndarray, interp: int, border: int) -> np.ndarray:
        assert picture.shape[:2] == (self.h, self.w), (picture.shape, self.h, self.w)
        return cv2.warpAffine(
            # OpenCV takes no negative strides, which flips leave.
            np.ascontiguousarray(picture),
            self.rm_image,
            (int(self.bound_w), int(self.bound_h)),
            flags=interp,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=(border,) * 4,
        )


class BlendTransform(T.BlendTransform):
    """detectron2's, some rows at a time: its floats take many times a large picture's memory."""

    def apply_image(self, img: np.ndarray, interp: int | None = None) -> np.ndarray:
        blended = np.empty_like(img)
        rows = max(1, _BLENDED_PIXELS // max(1, img.shape[1]))
        for top in range(0, len(img), rows):
            blended[top : top + rows] = super().apply_image(img[top : top + rows], interp)
        return blended


def _in_strips(blend: T.BlendTransform) -> BlendTransform:
    return BlendTransform(blend.src_image, blend.src_weight, blend.dst_weight)


class RandomBrightness(T.RandomBrightness):
    """detectron2's, with our transform."""

    def get_transform(self, image: np.ndarray) -> BlendTransform:
        return _in_strips(super().get_transform(image))


class RandomContrast(T.RandomContrast):
    """detectron2's, with our transform."""

    def get_transform(self, image: np.ndarray) -> BlendTransform:
        return _in_strips(super().get_transform(image))


class SaturationTransform(T.Transform):
    """Moves a picture's colours away from its own grey, or towards it.

    detectron2's keeps the grey picture, which would then travel with every sample.

    Args:
        weight: 0 is grey, 1 the picture as it is, more than 1 more colourful.
        image_format: "RGB" or "BGR".
    """

    def __init__(self, weight: float, image_format: str) -> None:
        super().__init__()
        self.weight = weight
        self.image_format = image_format

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        grey = np.array(_GREY_RGB if self.image_format == "RGB" else _GREY_RGB[::-1])
        # Each channel: weight * itself + (1 - weight) * grey; OpenCV rounds and clips.
        matrix = self.weight * np.eye(3) + (1 - self.weight) * grey
        return cv2.transform(np.ascontiguousarray(img), matrix)

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        return coords

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        return segmentation

    def inverse(self) -> T.Transform:
        return T.NoOpTransform()


# Transforms that change colours and no places.
PHOTOMETRIC = (T.BlendTransform, T.ColorTransform, T.NoOpTransform, SaturationTransform)


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
    """Blends a picture with its own grey.

    Args:
        low, high: range of the picture's weight; 1 leaves it as it is.
        image_format: "RGB" or "BGR"; detectron2's takes every picture for RGB.
    """

    def __init__(self, low: float, high: float, image_format: str) -> None:
        super().__init__()
        self.low = low
        self.high = high
        self.image_format = image_format

    def get_transform(self, image: np.ndarray) -> T.Transform:
        return SaturationTransform(np.random.uniform(self.low, self.high), self.image_format)


def size_after(transform: T.Transform, size: tuple[int, int]) -> tuple[int, int]:
    """The size (H, W) of what a transform makes of a picture of `size` (H, W)."""
    height, width = size
    if isinstance(transform, T.CropTransform):
        bottom, right = transform.y0 + transform.h, transform.x0 + transform.w
        # As slices do: a crop that reaches beyond the picture gives less than it says.
        return int(min(bottom, height) - transform.y0), int(min(right, width) - transform.x0)
    if isinstance(transform, T.PadTransform):
        return (
            int(height + transform.y0 + transform.y1),
            int(width + transform.x0 + transform.x1),
        )
    if isinstance(transform, T.ResizeTransform):
        return transform.new_h, transform.new_w
    if isinstance(transform, T.RotationTransform):
        return int(transform.bound_h), int(transform.bound_w)
    if isinstance(transform, (T.HFlipTransform, T.VFlipTransform, *PHOTOMETRIC)):
        return size
    return transform.apply_segmentation(np.zeros(size, np.uint8)).shape[:2]


def source_pixels(transforms: T.Transform, size: tuple[int, int]) -> np.ndarray:
    """The pixel of the original segmentation that each pixel of a transformed one comes from.

    Args:
        transforms: what was applied, usually a sample's TransformList.
        size: (H, W) before the transforms.

    Returns:
        int32, of the size after the transforms: the number y * W + x of the source pixel nearest
        to the pixel's centre; -1 for padding and for what something else was pasted over.
    """
    height, width = size
    number = np.arange(height * width, dtype="<u4").reshape(height, width)
    # Four bytes per pixel go through the transforms as one uint8 picture: for other types
    # detectron2 resizes with torch's "nearest", which takes each pixel's corner for its centre and
    # so shifts the result by half a pixel. 24 bits of the number, then 7 more above one bit that is
    # the opposite of the lowest: padding, whose four bytes are equal, has these two bits alike.
    code = (number & 0xFFFFFF) | (~number & 1) << 24 | (number >> 24) << 25
    picture = code.view(np.uint8).reshape(height, width, 4)
    moved = np.ascontiguousarray(transforms.apply_segmentation(picture)).view("<u4")[..., 0]
    sources = ((moved & 0xFFFFFF) | (moved >> 25) << 24).astype(np.int32)
    sources[((moved >> 24) ^ moved) & 1 == 0] = -1
    return sources
