"""Reads one picture as training will: what is wrong with its file, and its colours."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from mask2former_mt.dataset.images import DAMAGE, orientation_of, size_of
from mask2former_mt.dataset.problems import ERROR, WARNING, Problem

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


class Picture(NamedTuple):
    """What is known of a picture's file.

    Args:
        size: (H, W) in pixels, upright; None if it cannot be read.
        num_bytes: of the file; -1 if there is none, 0 if it is no picture.
        mean, mean_square: of all pixels for red, green and blue, float64 (3,); None if its pixels
            cannot be read.
    """

    size: tuple[int, int] | None = None
    num_bytes: int = -1
    mean: np.ndarray | None = None
    mean_square: np.ndarray | None = None


def scan_picture(record: Mapping) -> tuple[list[Problem], Picture]:
    """Decodes the file of a dataset dict, which is a picture by its header, to its end."""
    path, image_id = record["file_name"], record["image_id"]
    problems = []
    size, num_bytes = None, 0
    try:
        num_bytes = os.path.getsize(path)
        with Image.open(path) as image:
            size = size_of(image, path)
            orientation = orientation_of(image, path)
            if orientation in _ORIENTATIONS:
                message = (
                    f"the file is stored {_ORIENTATIONS[orientation]} (EXIF orientation "
                    f"{orientation}) and turned upright on reading"
                )
                remedy = (
                    "make sure that it was annotated upright, then save it upright without the "
                    "EXIF entry"
                )
                problems.append(Problem(WARNING, "exif-rotation", path, message, remedy, image_id))
            mean, mean_square = _read_colours(image)
    except DAMAGE as error:
        message = f"the picture cannot be decoded to its end: {error}"
        remedy = "put the whole file back"
        problems.append(Problem(ERROR, "truncated-image", path, message, remedy, image_id))
        return problems, Picture(size, num_bytes)
    return problems, Picture(size, num_bytes, mean, mean_square)


def _read_colours(image: Image.Image) -> tuple[np.ndarray, np.ndarray]:
    if image.format == "JPEG" and min(image.size) >= 2 * _MIN_REDUCED_SIDE:
        image.draft("RGB", (image.width // 2, image.height // 2))
    pixels_HWC = np.asarray(image.convert("RGB"))
    mean, deviation = cv2.meanStdDev(pixels_HWC)
    return mean[:, 0], mean[:, 0] ** 2 + deviation[:, 0] ** 2
