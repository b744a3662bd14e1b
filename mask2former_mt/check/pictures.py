"""Reads one picture as training will: what is wrong with its file, and its colours."""

from __future__ import annotations

import math
import os
from typing import NamedTuple

import cv2
import numpy as np
from PIL import ExifTags, Image

from mask2former_mt.check.findings import ERROR, WARNING
from mask2former_mt.check.shape_rules import Problem

# JPEG is decoded at half size where that leaves so many pixels: it takes a quarter of the time,
# reads the file to its end all the same, and moves no mean.
_MIN_REDUCED_SIDE = 120
_ORIENTATIONS = {
    2: "mirrored",
    3: "turned by 180 degrees",
    4: "upside down and mirrored",
    5: "turned by 90 degrees and mirrored",
    6: "turned by 90 degrees",
    7: "turned by 90 degrees and mirrored",
    8: "turned by 90 degrees",
}
_TURNED_BY_A_QUARTER = (5, 6, 7, 8)
# What Pillow raises for damage, in one format or another.
_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    ArithmeticError,
    IndexError,
    KeyError,
    TypeError,
    AttributeError,
    RuntimeError,
    MemoryError,
    Image.DecompressionBombError,
)


class Picture(NamedTuple):
    """What is known of a picture's file.

    Args:
        size: (H, W) in pixels, upright; None if it cannot be read.
        num_bytes: of the file; -1 if there is none.
        mean, mean_square: of all pixels for red, green and blue, float64 (3,); None if its pixels
            cannot be read.
    """

    size: tuple[int, int] | None
    num_bytes: int
    mean: np.ndarray | None
    mean_square: np.ndarray | None


def scan_image(path: str, height: float, width: float) -> tuple[list[Problem], Picture]:
    """Checks one file and decodes it.

    Args:
        path: of the file, which need not exist.
        height, width: pixels that the JSON says; infinite where it says nothing usable.
    """
    if not os.path.isfile(path):
        message = (
            "the file does not exist; check the YAML's 'images' folder and the JSON's 'file_name'"
        )
        return [Problem(ERROR, "missing-image", message)], Picture(None, -1, None, None)
    try:
        num_bytes = os.path.getsize(path)
        image = Image.open(path)
    except _DAMAGE as error:
        message = f"the file cannot be read as an image: {error}; put the picture back"
        return [Problem(ERROR, "unreadable-image", message)], Picture(None, 0, None, None)
    with image:
        problems: list[Problem] = []
        size = None
        try:
            size = _scan_header(image, height, width, problems)
            mean, mean_square = _read_colours(image)
        except _DAMAGE as error:
            message = f"the picture cannot be decoded to its end: {error}; put the whole file back"
            problems.append(Problem(ERROR, "truncated-image", message))
            return problems, Picture(size, num_bytes, None, None)
    return problems, Picture(size, num_bytes, mean, mean_square)


def _scan_header(
    image: Image.Image, height: float, width: float, problems: list[Problem]
) -> tuple[int, int]:
    """Returns the size (H, W), upright."""
    # PNG may have its EXIF data at the end: then all of it is read here.
    orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    stored = (image.height, image.width)
    size = stored[::-1] if orientation in _TURNED_BY_A_QUARTER else stored
    is_rotated = orientation in _ORIENTATIONS
    if math.isfinite(height) and (height, width) != size:
        message = (
            f"the JSON says {width}x{height} (width x height), the file is {size[1]}x{size[0]}"
        )
        if is_rotated and (height, width) == stored:
            message += " once it is turned upright as its EXIF data say"
        message += "; correct the JSON, or put back the picture that was annotated"
        problems.append(Problem(ERROR, "size-mismatch", message))
    if is_rotated:
        message = (
            f"the file is stored {_ORIENTATIONS[orientation]} (EXIF orientation {orientation}) and "
            "turned upright on reading: make sure that it was annotated upright, then save it "
            "upright without the EXIF entry"
        )
        problems.append(Problem(WARNING, "exif-rotation", message))
    return size


def _read_colours(image: Image.Image) -> tuple[np.ndarray, np.ndarray]:
    if image.format == "JPEG" and min(image.size) >= 2 * _MIN_REDUCED_SIDE:
        image.draft("RGB", (image.width // 2, image.height // 2))
    pixels_HWC = np.asarray(image.convert("RGB"))
    mean, deviation = cv2.meanStdDev(pixels_HWC)
    return mean[:, 0], mean[:, 0] ** 2 + deviation[:, 0] ** 2
