"""Reads the shapes of CVAT's XML: outlines and run lengths.

Source: docs.cvat.ai, "XML annotation format".
"""

from __future__ import annotations

import math
from xml.etree.ElementTree import Element

import numpy as np
from mask2former_mt.importers.outlines import ellipse, polygon

from mask2former_mt.dataset.problems import shown

MASK = "mask"
_OUTLINES = ("polygon", "ellipse")


def outline_of(shape: Element, height: int, width: int) -> list[float]:
    """The polygon of a shape that has one, in pixels.

    Raises:
        ValueError: a shape without an outline, or a damaged one.
    """
    if shape.tag not in _OUTLINES:
        raise ValueError(f"a {shape.tag[:40]} has no outline; draw a polygon or a mask")
    if shape.tag == "ellipse":
        cx, cy, rx, ry, degrees = (
            finite_number(shape.get(key, default), key)
            for key, default in (("cx", ""), ("cy", ""), ("rx", ""), ("ry", ""), ("rotation", "0"))
        )
        return ellipse((cx, cy), (rx, ry), height, width, degrees)
    pairs = [pair.split(",") for pair in shape.get("points", "").split(";")]
    if not all(len(pair) == 2 for pair in pairs):
        raise ValueError(f"'points' must be x,y;x,y;..., got {shown(shape.get('points'))}")
    return polygon([[finite_number(value, "points") for value in pair] for pair in pairs])


def mask_of(shape: Element, height: int, width: int) -> np.ndarray:
    """The mask of a brush, bool (height, width) as the picture.

    Raises:
        ValueError: damaged run lengths, or a mask that leaves the picture.
    """
    left, top, mask_width, mask_height = (
        whole_number(shape, key) for key in ("left", "top", "width", "height")
    )
    if left + mask_width > width or top + mask_height > height:
        raise ValueError(
            f"a mask must lie inside the picture of {width}x{height}, got {mask_width}x"
            f"{mask_height} at ({left}, {top}); it may belong to another picture"
        )
    texts = shape.get("rle", "").split(",")
    if not all(text.strip().isdecimal() and len(text) < 12 for text in texts):
        raise ValueError(f"'rle' must be run lengths, got {shown(shape.get('rle'))}")
    counts = np.array([int(text) for text in texts])
    if counts.sum() != mask_width * mask_height:
        raise ValueError(
            f"'rle' must add up to width * height = {mask_width * mask_height}, got "
            f"{counts.sum()}; it may be cut short, export it again"
        )
    mask = np.zeros((height, width), dtype=bool)
    crop = np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(mask_height, mask_width)
    mask[top : top + mask_height, left : left + mask_width] = crop
    return mask


def whole_number(element: Element, key: str) -> int:
    """An attribute that must be a whole number of pixels.

    Raises:
        ValueError: anything else.
    """
    text = element.get(key, "")
    if not text.isdecimal() or len(text) > 9:
        raise ValueError(f"{key!r} must be a whole number of pixels, got {shown(text)}")
    return int(text)


def finite_number(text: str, key: str) -> float:
    """The number that a text is.

    Raises:
        ValueError: anything else; names the key.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{key!r} must be a number, got {shown(text)}")
    return value
