"""Outlines and run lengths of what annotation tools draw."""

from __future__ import annotations

import math

import numpy as np
import pycocotools.mask as mask_util

from mask2former_mt.dataset.problems import shown

# The polygon of an ellipse stays this near to it.
_MAX_SAGITTA_PX = 0.1
_DECIMALS = 3  # a thousandth of a pixel

Points = list[list[float]]


def check_points(points: object, unit: str = "pixels") -> Points:
    """A list of pairs of finite numbers, xy, as it is.

    Raises:
        ValueError: anything else.
    """
    try:
        is_sound = bool(points) and all(
            len(point) == 2 and all(not isinstance(v, bool) and math.isfinite(v) for v in point)
            for point in points
        )
    except (TypeError, OverflowError):
        is_sound = False
    if not is_sound or not isinstance(points, list):
        raise ValueError(f"'points' must be a list of [x, y] in {unit}, got {shown(points)}")
    return points


def polygon(points: Points) -> list[float]:
    """The polygon [x1, y1, x2, y2, ...] through points.

    Raises:
        ValueError: fewer than 3 points.
    """
    if len(points) < 3:
        raise ValueError(f"a polygon must have at least 3 points, got {len(points)}; draw it again")
    return [round(float(value), _DECIMALS) for point in points for value in point]


def ellipse(
    centre: tuple[float, float],
    radii: tuple[float, float],
    height: int,
    width: int,
    degrees: float = 0.0,
) -> list[float]:
    """The polygon of an ellipse, in pixels, cut off at the picture's edge.

    Args:
        centre: xy.
        radii: along x and y.
        height, width: of the picture.
        degrees: by which it is turned, clockwise.

    Raises:
        ValueError: a radius that is not positive, or is far larger than the picture.
    """
    radius = max(radii)
    if not 0 < min(radii) <= radius < 4 * (height + width):
        raise ValueError(
            "an ellipse's radii must be positive and not far larger than the picture, got "
            f"{radii[0]:g} and {radii[1]:g}; draw it again"
        )
    # A chord of angle a stays r * (1 - cos(a / 2)) inside the circle.
    sagitta = min(_MAX_SAGITTA_PX / radius, 0.1)
    num_points = math.ceil(math.pi / math.acos(1 - sagitta))
    angles = np.arange(num_points) * (2 * math.pi / num_points)
    xs, ys = radii[0] * np.cos(angles), radii[1] * np.sin(angles)
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    turned = np.stack([centre[0] + xs * cos - ys * sin, centre[1] + xs * sin + ys * cos], axis=1)
    return np.clip(turned, 0, (width, height)).round(_DECIMALS).reshape(-1).tolist()


def encode_mask(mask: np.ndarray) -> dict:
    """COCO's compressed RLE of a bool mask (height, width)."""
    return _as_text(mask_util.encode(np.asfortranarray(mask, dtype=np.uint8)))


def segmentation_of(
    polygons: list[list[float]], masks: list[np.ndarray], height: int, width: int
) -> list | dict:
    """One object's polygons, or COCO's compressed RLE if it has masks too."""
    if not masks:
        return polygons
    rles = [encode_mask(mask) for mask in masks]
    if polygons:
        rles += mask_util.frPyObjects(polygons, height, width)
    return _as_text(mask_util.merge(rles))


def _as_text(rle: dict) -> dict:
    return {"size": list(rle["size"]), "counts": rle["counts"].decode("ascii")}
