"""Reads pictures, upright and in the channel order asked for, and says what is wrong with one."""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np
from detectron2.data import detection_utils
from PIL import Image


def read_image(file_name: str | os.PathLike, image_format: str) -> np.ndarray:
    """Reads an image as uint8 (H, W, 3), turned upright as its EXIF data say.

    Args:
        file_name: of the image.
        image_format: "RGB" or "BGR", the channels' order.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not an image, or a damaged one.
    """
    try:
        return detection_utils.read_image(os.fspath(file_name), format=image_format)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"image {file_name} does not exist") from error
    # Pillow reports damage as OSError in most formats, as the others in some.
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise ValueError(
            f"image {file_name} cannot be read: {error}; it may be cut short or no image at all"
        ) from error


def check_image_size(dataset_dict: Mapping, height: int, width: int) -> None:
    """Refuses a picture of another size than its dataset dict says.

    Raises:
        ValueError: names the file and both sizes.
    """
    expected = (dataset_dict.get("height", height), dataset_dict.get("width", width))
    if expected != (height, width):
        raise ValueError(
            f"image {dataset_dict['file_name']} must be {expected[1]}x{expected[0]} (width x "
            f"height) as the JSON says, got {width}x{height} (turned upright as its EXIF data "
            "say); correct the JSON, or put back the picture that was annotated"
        )
