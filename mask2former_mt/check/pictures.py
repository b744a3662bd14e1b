"""What is wrong with one picture's file, and the colours that reading makes of it.

The pixels are looked at as they are stored, beside what `read_image` makes of them: of pictures
deeper than 8 bits another decoder's samples, of the others their histogram.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence

import cv2
import numpy as np
from PIL import Image

from mask2former_mt.dataset.bit_depth import Depth
from mask2former_mt.dataset.images import (
    DAMAGE,
    depth_of,
    has_more_frames,
    orientation_of,
    read_image,
    size_of,
)
from mask2former_mt.dataset.problems import ERROR, WARNING, Problem

# JPEG is decoded at half size where that leaves so many pixels: it takes a quarter of the time,
# reads the file to its end all the same, and moves no mean.
_MIN_REDUCED_SIDE = 120
# More of the samples than this at 0 or 255: clipped, a mask in place of a picture, or a drawing.
_MAX_SATURATED = 0.5
_ORIENTATIONS = {
    2: "mirrored",
    3: "turned by 180 degrees",
    4: "upside down and mirrored",
    5: "turned by 90 degrees and mirrored",
    6: "turned by 90 degrees",
    7: "turned by 90 degrees and mirrored",
    8: "turned by 90 degrees",
}


@dataclasses.dataclass(frozen=True)
class Picture:
    """What is known of a picture's file.

    Args:
        size: (H, W) in pixels, upright; None if it cannot be read.
        num_bytes: of the file; -1 if there is none, 0 if it is no picture.
        mean, mean_square: of all pixels for red, green and blue, as they are read, float64 (3,);
            None if its pixels cannot be read.
        depth: of its samples; None for 8 bits or fewer.
        stored_range: lowest and highest sample as stored, of a picture with a depth.
    """

    size: tuple[int, int] | None = None
    num_bytes: int = -1
    mean: np.ndarray | None = None
    mean_square: np.ndarray | None = None
    depth: Depth | None = None
    stored_range: tuple[float, float] = (0.0, 0.0)


def scan_picture(
    record: Mapping, depth_range: Sequence[float] = ()
) -> tuple[list[Problem], Picture]:
    """Decodes the file of a dataset dict, which is a picture by its header, to its end.

    Args:
        record: the dataset dict.
        depth_range: as of `read_image`.
    """
    path, image_id = record["file_name"], record["image_id"]
    problems = []
    picture = Picture(num_bytes=0)
    try:
        picture = dataclasses.replace(picture, num_bytes=os.path.getsize(path))
        with Image.open(path) as image:
            depth = depth_of(image)
            picture = dataclasses.replace(picture, size=size_of(image, path), depth=depth)
            warnings = [*_header_warnings(image, path)]
            if depth is None:
                histogram_C256, low, high = _histogram_of(image)
                warnings += _transparency_warnings(image)
            else:
                low, high = _stored_range(image, path)
                picture = dataclasses.replace(picture, stored_range=(low, high))
                histogram_C256 = None
                if depth.full_range is not None or len(depth_range):
                    histogram_C256 = _histogram_of_read(path, depth_range)
    except DAMAGE as error:
        message = f"the picture cannot be decoded to its end: {error}"
        remedy = "put the whole file back"
        problems.append(Problem(ERROR, "truncated-image", path, message, remedy, image_id))
        return problems, dataclasses.replace(picture, mean=None)
    if histogram_C256 is not None:
        warnings += _value_warnings(histogram_C256, low, high)
        shares_C256 = histogram_C256 / histogram_C256.sum(axis=1, keepdims=True)
        values = np.arange(256.0)
        picture = dataclasses.replace(
            picture, mean=shares_C256 @ values, mean_square=shares_C256 @ values**2
        )
    problems += [Problem(WARNING, kind, path, *texts, image_id) for kind, *texts in warnings]
    return problems, picture


def _header_warnings(image: Image.Image, path: str) -> Iterator[tuple[str, str, str]]:
    """Kinds, messages and remedies."""
    orientation = orientation_of(image, path)
    if orientation in _ORIENTATIONS:
        message = (
            f"the file is stored {_ORIENTATIONS[orientation]} (EXIF orientation "
            f"{orientation}) and turned upright on reading"
        )
        remedy = (
            "make sure that it was annotated upright, then save it upright without the EXIF entry"
        )
        yield "exif-rotation", message, remedy
    if has_more_frames(image):
        message = "the file holds several frames or pages, of which the first is read"
        yield "several-frames", message, "save the others as pictures of their own"


def _histogram_of(image: Image.Image) -> tuple[np.ndarray, float, float]:
    """How often red, green and blue have each value, (3, 256); lowest and highest stored sample."""
    if image.format == "JPEG" and min(image.size) >= 2 * _MIN_REDUCED_SIDE:
        image.draft("RGB", (image.width // 2, image.height // 2))
    extrema = np.ravel(image.getextrema())
    colours = image if image.mode == "RGB" else image.convert("RGB")
    histogram_C256 = np.array(colours.histogram(), dtype=np.float64).reshape(3, 256)
    return histogram_C256, float(extrema.min()), float(extrema.max())


def _histogram_of_read(path: str, depth_range: Sequence[float]) -> np.ndarray:
    pixels_HW3 = read_image(path, "RGB", depth_range)
    return np.stack(
        [cv2.calcHist([pixels_HW3], [c], None, [256], [0, 256]).ravel() for c in range(3)]
    ).astype(np.float64)


def _stored_range(image: Image.Image, path: str) -> tuple[float, float]:
    """Lowest and highest sample as stored, NaN and infinity left out."""
    image.load()  # finds damage that OpenCV passes over
    samples = cv2.imread(path, cv2.IMREAD_UNCHANGED)
    if samples is None or samples.dtype == np.uint8:
        samples = np.asarray(image)
    elif samples.ndim == 3:
        samples = samples[:, :, :3]  # without transparency
    if samples.dtype.kind == "f":
        samples = samples[np.isfinite(samples)]
    return (float(samples.min()), float(samples.max())) if samples.size else (0.0, 0.0)


def _value_warnings(
    histogram_C256: np.ndarray, low: float, high: float
) -> Iterator[tuple[str, str, str]]:
    """The same of the values that are read, and of the lowest and highest stored sample."""
    remedy = "look at the picture; set INPUT.DEPTH_RANGE if it has more than 8 bits"
    if (np.count_nonzero(histogram_C256, axis=1) == 1).all():
        red, green, blue = histogram_C256.argmax(axis=1).tolist()
        message = f"all pixels have one colour once they are read, ({red}, {green}, {blue})"
        if low < high:
            message += f", though samples from {low:g} to {high:g} are stored"
        yield "constant-image", message, remedy
        return
    saturated = histogram_C256[:, [0, 255]].sum() / histogram_C256.sum()
    if saturated > _MAX_SATURATED:
        message = f"{saturated:.0%} of the samples are 0 or 255 once they are read"
        yield "saturated-image", message, remedy


def _transparency_warnings(image: Image.Image) -> Iterator[tuple[str, str, str]]:
    # The A of LAB is a colour.
    has_alpha = image.mode in ("LA", "PA", "RGBA")
    if not has_alpha and "transparency" not in image.info:
        return
    alpha = image if has_alpha else image.convert("RGBA")
    transparent = alpha.getchannel("A").histogram()[0] / (image.width * image.height)
    if transparent:
        message = (
            f"{transparent:.1%} of the pixels are fully transparent: what is read is the colour "
            "stored beneath, which nobody saw"
        )
        yield "transparent-image", message, "save it on the background that is meant"
