"""Pictures as arrays: the check that one is uint8 RGB, and resizing."""

from __future__ import annotations

import cv2
import numpy as np


def check_image(image: np.ndarray) -> None:
    """Checks that an array is a picture.

    Raises:
        ValueError: not uint8 RGB (H, W, 3), or without pixels.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
        raise ValueError(
            f"a picture must be uint8 RGB (H, W, 3), got {image.dtype} {image.shape}; "
            "read it with detectron2's read_image(path, 'RGB')"
        )


def resized(image: np.ndarray, size: tuple[int, int], *, overwrite: bool = False) -> np.ndarray:
    """A contiguous copy of a picture (H, W, 3) at another size H, W, or at its own.

    With `overwrite` it is the picture itself where the size stays and it is contiguous.
    """
    if image.shape[:2] == size:
        return np.ascontiguousarray(image) if overwrite else np.array(image, order="C")
    shrinks = size[0] < image.shape[0] or size[1] < image.shape[1]
    return cv2.resize(
        np.ascontiguousarray(image),
        (size[1], size[0]),
        interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC,
    )
