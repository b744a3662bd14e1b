"""Reads pictures whose pixels are numbers: of classes, or of segments."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import numpy as np
from PIL import Image

from mask2former_mt.dataset.images import DAMAGE

# Modes of Pillow with one number a pixel. A palette only says how the numbers look.
NUMBER_MODES = ("1", "L", "P", "I", "I;16", "I;16B")
_COLOURS = ("RGB", "RGBA")


def read_class_map(path: str | os.PathLike) -> np.ndarray:
    """Reads a picture of class numbers.

    Returns:
        int32 (H, W), as it is stored.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a picture, a damaged one, or one of colours.
    """
    mode, pixels = _read(path)
    if mode not in NUMBER_MODES:
        raise ValueError(
            f"{path} must have one number a pixel, that of its class, got a picture of mode "
            f"{mode}; write the numbers of the classes, not their colours"
        )
    return pixels.astype(np.int32)


def read_segment_ids(path: str | os.PathLike) -> np.ndarray:
    """Reads a picture of segments as COCO's panoptic format stores it.

    Returns:
        int32 (H, W), R + 256 G + 65536 B of each pixel; 0 is void.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a picture, a damaged one, or one without colours.
    """
    mode, pixels = _read(path)
    if mode not in _COLOURS:
        raise ValueError(
            f"{path} must have red, green and blue, R + 256 G + 65536 B being the id of a "
            f"segment, got a picture of mode {mode}"
        )
    return ids_of_colours(pixels)


def ids_of_colours(pixels: np.ndarray) -> np.ndarray:
    """R + 256 G + 65536 B, int32 (H, W), of integers (H, W, 3 or more) in 0..255."""
    red, green, blue = np.moveaxis(pixels[..., :3].astype(np.int32), -1, 0)
    return red + 256 * green + 65536 * blue


def read_map_size(path: str | os.PathLike) -> tuple[int, int]:
    """(H, W) of a map, by its header.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a picture, or a damaged one.
    """
    with _naming(path), Image.open(path) as image:
        return image.height, image.width


def _read(path: str | os.PathLike) -> tuple[str, np.ndarray]:
    with _naming(path), Image.open(path) as image:
        return image.mode, np.asarray(image)


@contextlib.contextmanager
def _naming(path: str | os.PathLike) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path} does not exist") from error
    except DAMAGE as error:
        raise ValueError(f"{path} cannot be read: {error}; it may be cut short") from error
