"""Transforms that detectron2 lacks, and one way to apply any of them to masks and label maps."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np
from detectron2.data import transforms as T

# Mid grey, what detectron2's FixedSizeCrop pads with too.
PAD_VALUE = 128
# What it writes into the padding of segmentations.
VOID = 255
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


class SaturationTransform(T.Transform):
    """Moves a picture away from its own grey, or towards it.

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
    same = (T.HFlipTransform, T.VFlipTransform, T.BlendTransform, T.NoOpTransform)
    if isinstance(transform, (*same, SaturationTransform)):
        return size
    return transform.apply_segmentation(np.zeros(size, np.uint8)).shape[:2]


def source_pixels(transforms: T.Transform, size: tuple[int, int]) -> np.ndarray:
    """Where each pixel of a transformed segmentation comes from.

    Args:
        transforms: what was applied, usually a sample's TransformList.
        size: (H, W) before the transforms.

    Returns:
        int32, of the size after the transforms: the number y * W + x of the source pixel, nearest
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


def apply_to_label_map(
    transforms: T.Transform, label_map: np.ndarray, void: int = VOID
) -> np.ndarray:
    """Moves a label map as the picture was moved; nothing is blended.

    Args:
        transforms: a sample's `transforms`.
        label_map: (H, W) of any integer type, at the picture's size before the transforms.
        void: what padding becomes; where the map is void, it stays so.

    Returns:
        The same type, at the size after the transforms.

    Raises:
        ValueError: not (H, W), or a void value that the type does not hold.
    """
    if label_map.ndim != 2:
        raise ValueError(f"a label map must be (H, W), got {label_map.shape}")
    if label_map.dtype == bool or not np.issubdtype(label_map.dtype, np.integer):
        raise ValueError(
            f"a label map must be of an integer type, got {label_map.dtype}; "
            "bool masks go through apply_to_masks"
        )
    limits = np.iinfo(label_map.dtype)
    if not limits.min <= void <= limits.max:
        raise ValueError(f"void must be a value of {label_map.dtype}, got {void}")
    sources = source_pixels(transforms, label_map.shape)
    moved = np.empty((1, *sources.shape), dtype=label_map.dtype)
    return gather([label_map], sources, void, moved)[0]


def apply_to_masks(transforms: T.Transform, masks_NHW: np.ndarray) -> np.ndarray:
    """Moves bool (N, H, W) masks as the picture was moved; padding is False.

    Raises:
        ValueError: not bool (N, H, W).
    """
    if masks_NHW.ndim != 3 or masks_NHW.dtype != bool:
        raise ValueError(
            f"masks must be bool (N, H, W), got {masks_NHW.dtype} {masks_NHW.shape}; "
            "label maps go through apply_to_label_map"
        )
    sources = source_pixels(transforms, masks_NHW.shape[1:])
    moved_NHW = np.empty((len(masks_NHW), *sources.shape), dtype=bool)
    return gather(masks_NHW, sources, False, moved_NHW)


def gather(
    maps: Iterable[np.ndarray], sources: np.ndarray, fill: int | bool, out: np.ndarray
) -> np.ndarray:
    """Reads maps at the pixels of `source_pixels`.

    Args:
        maps: N times (H, W), one after another, so that they need not all be there at once.
        sources: int32 (H', W').
        fill: the value where there is no source.
        out: (N, H', W') of the maps' type, written to and returned.
    """
    # An element more than the map has holds the fill.
    numbers = sources
    for position, source in enumerate(maps):
        flat = np.append(source.reshape(-1), source.dtype.type(fill))
        if position == 0:
            numbers = np.where(sources < 0, source.size, sources)
        # Every number is in range; "clip" only saves NumPy the look.
        np.take(flat, numbers, out=out[position], mode="clip")
    return out
