"""Reads pictures, and what their headers say of them, upright as their EXIF data say."""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np
from detectron2.data import detection_utils
from PIL import ExifTags, Image

# These EXIF orientations turn a picture by a quarter.
QUARTER_TURNS = (5, 6, 7, 8)
# Pillow reports damage as OSError in most formats, and as the others in some.
DAMAGE = (
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
_PNG_SIGNATURE_BYTES = 8
_PNG_CHUNK_EXTRA_BYTES = 12  # length, type and checksum
# Where a PNG can say how it is turned: a chunk of its own, or texts under these names.
_PNG_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_PNG_NAMES = (b"XML:com.adobe.xmp", b"Raw profile type exif", b"exif", b"xmp")


def read_image(file_name: str | os.PathLike, image_format: str) -> np.ndarray:
    """Reads an image as uint8 (H, W, 3), turned upright.

    Args:
        file_name: path of the image.
        image_format: order of the channels, "RGB" or "BGR".

    Raises:
        FileNotFoundError: no such file.
        ValueError: not an image, or a damaged one.
    """
    try:
        return detection_utils.read_image(os.fspath(file_name), format=image_format)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"image {file_name} does not exist") from error
    except DAMAGE as error:
        raise ValueError(
            f"image {file_name} cannot be read: {error}; it may be cut short or no image at all"
        ) from error


def check_image_size(record: Mapping, height: int, width: int) -> None:
    """Refuses a decoded picture of another size than its dataset dict says.

    Raises:
        ValueError: names the file and both sizes.
    """
    expected = (record.get("height", height), record.get("width", width))
    if expected != (height, width):
        raise ValueError(
            f"image {record['file_name']} must be {expected[1]}x{expected[0]} (width x "
            f"height) as the JSON says, got {width}x{height} (turned upright as its EXIF data "
            "say); correct the JSON, or put back the picture that was annotated"
        )


def upright_size(path: str | os.PathLike) -> tuple[int, int]:
    """(height, width) that a picture will have when it is read.

    Only the header is read: a picture cut short is found when it is decoded.

    Raises:
        FileNotFoundError: no such file.
        ValueError: what the decoder says of a file that is no picture.
    """
    try:
        with Image.open(path) as image:
            return size_of(image, path)
    except FileNotFoundError:
        raise
    except DAMAGE as error:
        raise ValueError(f"the file cannot be read as an image: {error}") from error


def size_of(image: Image.Image, path: str | os.PathLike) -> tuple[int, int]:
    """(height, width) of an opened picture, upright."""
    stored = (image.height, image.width)
    return stored[::-1] if orientation_of(image, path) in QUARTER_TURNS else stored


def is_turned(path: str | os.PathLike) -> bool:
    """Whether a picture is turned by a quarter when it is read, as its EXIF data say."""
    with Image.open(path) as image:
        return orientation_of(image, path) in QUARTER_TURNS


def orientation_of(image: Image.Image, path: str | os.PathLike) -> object:
    """The EXIF orientation of an opened picture; 1, upright, where it has none."""
    # Pillow decodes a PNG that has no EXIF data, to look for it behind the pixels: 6 ms for
    # 640x480. Nearly none has any, which its list of chunks shows in a hundredth of the time.
    if image.format == "PNG" and not _png_may_say(path):
        return 1
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    # As when the picture is read: with damaged EXIF data it stays as it is.
    except Exception:
        return 1


def _png_may_say(path: str | os.PathLike) -> bool:
    """Whether a PNG has chunks that could hold an orientation."""
    with open(path, "rb") as file:
        offset = _PNG_SIGNATURE_BYTES
        while True:
            file.seek(offset)
            header = file.read(8)
            kind = header[4:]
            if len(header) < 8 or kind == b"IEND":
                return False
            if kind == b"eXIf":
                return True
            if kind in _PNG_TEXTS and file.read(32).partition(b"\0")[0] in _PNG_NAMES:
                return True
            offset += int.from_bytes(header[:4], "big") + _PNG_CHUNK_EXTRA_BYTES
