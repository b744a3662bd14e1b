"""Reads pictures of any depth as 8 bits, upright as their EXIF data say; and their headers."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from PIL import ExifTags, Image

from mask2former_mt.dataset.bit_depth import FLOAT, Depth, chosen_range, to_8_bits
from mask2former_mt.dataset.picture_formats import unread_reason

# H x W of the upright picture.

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
# What brings a stored picture upright, by EXIF orientation.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Pixels that are converted together: the copies in between stay small.
_STRIP_PIXELS = 1 << 18
_UINT16 = Depth("16-bit integers", (0, 2**16 - 1))
_INT32 = Depth("32-bit integers")
# Modes whose samples Pillow itself reduces to 8 bits where the file has more.
_REDUCED_MODES = ("RGB", "RGBA", "RGBX", "LA")
_BITS_PER_SAMPLE, _SAMPLE_FORMAT = 258, 339  # tags of a TIFF
_PNG_SIGNATURE_BYTES = 8
_PNG_CHUNK_EXTRA_BYTES = 12  # length, type and checksum
# Where a PNG can say how it is turned: a chunk of its own, or texts under these names.
_PNG_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_PNG_NAMES = (b"XML:com.adobe.xmp", b"Raw profile type exif", b"exif", b"xmp")


class PictureHeader(NamedTuple):
    """What a picture's header says.

    Args:
        size: (H, W) in pixels, upright.
        depth: of its samples; None for 8 bits or fewer.
        has_more_frames: whether it is an animation or has several pages; the first is read.
    """

    size: tuple[int, int]
    depth: Depth | None = None
    has_more_frames: bool = False


def read_image(
    file_name: str | os.PathLike, image_format: str, depth_range: Sequence[float] = ()
) -> np.ndarray:
    """Reads a picture as uint8 (H, W, 3), turned upright; of several frames the first.

    Reading takes at most 8 bytes a pixel, the result 3; samples of 16 bits and more take 12.

    Args:
        file_name: path of the picture.
        image_format: order of the channels, "RGB" or "BGR".
        depth_range: the values [low, high] that become 0 and 255 where samples have more than 8
            bits, see INPUT.DEPTH_RANGE; empty: the lowest and the highest of their type.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a picture, a damaged one, or one whose samples need a depth range.
    """
    try:
        with Image.open(file_name) as image:
            depth = depth_of(image)
            if depth is None:
                pixels = _read_8_bits(image, file_name)
            else:
                samples = read_samples(image, file_name)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"image {file_name} does not exist") from error
    except Image.UnidentifiedImageError as error:
        raise ValueError(f"image {file_name} cannot be read: {unread_reason(file_name)}") from error
    except DAMAGE as error:
        raise ValueError(
            f"image {file_name} cannot be read: {error}; it may be cut short or no image at all"
        ) from error
    if depth is not None:
        try:
            low, high = chosen_range(depth, depth_range)
        except ValueError as error:
            raise ValueError(f"image {file_name} cannot be read: {error}") from error
        pixels = to_8_bits(samples, low, high)
        if pixels.ndim == 2:
            pixels = np.repeat(pixels[:, :, np.newaxis], 3, axis=2)
    return pixels[:, :, ::-1] if image_format == "BGR" else pixels


def _read_8_bits(image: Image.Image, path: str | os.PathLike) -> np.ndarray:
    """uint8 RGB (H, W, 3) of an opened picture."""
    turn = _UPRIGHT.get(_turn_left_to_do(image, path))
    if turn is not None:
        image = image.transpose(turn)
    width, height = image.size
    pixels_HW3 = np.empty((height, width, 3), np.uint8)
    rows = max(1, _STRIP_PIXELS // width)
    for top in range(0, height, rows):
        strip = image.crop((0, top, width, min(top + rows, height)))
        pixels_HW3[top : top + rows] = strip if strip.mode == "RGB" else strip.convert("RGB")
    return pixels_HW3


def depth_of(image: Image.Image) -> Depth | None:
    """The depth of an opened picture's samples; None for 8 bits or fewer."""
    if image.mode == "F":
        return FLOAT
    if image.mode.startswith("I"):
        # Pillow has 16 bits of PGM, and in older versions of PNG, as 32-bit integers.
        is_short = image.mode != "I" or image.format in ("PPM", "PNG")
        bits = _tiff_bits(image)
        if is_short:
            return Depth(f"{bits}-bit integers", (0, 2**bits - 1)) if 8 < bits < 16 else _UINT16
        return Depth("signed 16-bit integers") if bits == 16 else _INT32
    if image.mode in _REDUCED_MODES and _has_reduced(image):
        return _UINT16
    return None


def _tiff_bits(image: Image.Image) -> int:
    """Bits of a TIFF's samples; 0 of other formats."""
    tags = getattr(image, "tag_v2", {})
    return max(tags.get(_BITS_PER_SAMPLE, (1,))) if image.format == "TIFF" else 0


def _has_reduced(image: Image.Image) -> bool:
    """Whether Pillow keeps the upper 8 of 16 bits of this colour picture."""
    if image.format == "TIFF":
        return _tiff_bits(image) > 8
    if image.format == "JPEG2000":
        return _jpeg_2000_bits(image) > 8
    arguments = image.tile[0][3] if image.tile else ""
    if image.format == "PNG":
        return "16" in str(arguments)
    return image.format == "PPM" and isinstance(arguments, tuple) and arguments[-1] > 255


def _jpeg_2000_bits(image: Image.Image) -> int:
    """Bits of a JPEG 2000's first component, from its SIZ marker."""
    place = image.fp.tell()
    image.fp.seek(0)
    head = image.fp.read(4096)
    image.fp.seek(place)
    start = head.find(b"\xff\x4f\xff\x51")
    # Marker, length, capabilities, eight lengths of 4 bytes and the number of components.
    depth = head[start + 42 : start + 43]
    return (depth[0] & 0x7F) + 1 if start >= 0 and depth else 8


def read_samples(image: Image.Image, path: str | os.PathLike) -> np.ndarray:
    """The samples of a picture with a depth, as they are stored, upright.

    Args:
        image: opened, deeper than 8 bits.
        path: where it is from.

    Returns:
        uint16, int32, uint32 or float32; (H, W), or RGB (H, W, 3).
    """
    orientation = _turn_left_to_do(image, path)
    image.load()
    if image.mode in _REDUCED_MODES:
        shape, image = image.size[::-1], None  # its pixels need not stay in memory
        samples = cv2.imread(os.fspath(path), cv2.IMREAD_UNCHANGED)
        if samples is None or samples.shape[:2] != shape:
            raise ValueError("its 16 bits a sample cannot be read by the installed OpenCV")
        samples = samples if samples.ndim == 2 else samples[:, :, 2::-1]
    else:
        samples = np.asarray(image)
        tags = getattr(image, "tag_v2", {})
        if (
            image.mode == "I"
            and tags.get(_BITS_PER_SAMPLE) == (32,)
            and tags.get(_SAMPLE_FORMAT) == (1,)
        ):
            samples = samples.view(np.uint32)
    return _turned_upright(samples, orientation)


def _turned_upright(samples: np.ndarray, orientation: object) -> np.ndarray:
    if orientation in QUARTER_TURNS:
        samples = samples.swapaxes(0, 1)
    down = orientation in (3, 4, 7, 8)
    right = orientation in (2, 3, 6, 7)
    return samples[:: -1 if down else 1, :: -1 if right else 1]


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


def read_picture_header(path: str | os.PathLike) -> PictureHeader:
    """What a picture will be when it is read.

    Only the header is read: a picture cut short is found when it is decoded.

    Raises:
        FileNotFoundError: no such file.
        ValueError: why a file is not read, and what to do.
    """
    try:
        with Image.open(path) as image:
            return PictureHeader(size_of(image, path), depth_of(image), has_more_frames(image))
    except FileNotFoundError:
        raise
    except Image.UnidentifiedImageError as error:
        raise ValueError(unread_reason(path)) from error
    except DAMAGE as error:
        raise ValueError(
            f"the file cannot be read as an image: {error}; put the whole picture back"
        ) from error


def has_more_frames(image: Image.Image) -> bool:
    """Whether an opened picture is an animation or has several pages.

    The second picture in a phone's JPEG (MPO) is a preview of the first, or its depth.
    """
    return image.format != "MPO" and getattr(image, "is_animated", False)


def size_of(image: Image.Image, path: str | os.PathLike) -> tuple[int, int]:
    """(height, width) of an opened picture, upright."""
    stored = (image.height, image.width)
    return stored[::-1] if _turn_left_to_do(image, path) in QUARTER_TURNS else stored


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


def _turn_left_to_do(image: Image.Image, path: str | os.PathLike) -> object:
    """The EXIF orientation, 1 where the decoder itself brings the picture upright."""
    return 1 if image.format == "TIFF" else orientation_of(image, path)


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
