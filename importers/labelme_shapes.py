"""Turns LabelMe's shapes into polygons and run lengths.

Source: github.com/wkentaro/labelme, labelme/_label_file.py and labelme/utils/shape.py: what each
`shape_type` draws. X-AnyLabeling, which writes the same files, has rectangles of four points and
`rotation` for an oriented one.
"""

from __future__ import annotations

import base64
import binascii
import io
import math

import numpy as np
from mask2former_mt.importers.outlines import Points, check_points, ellipse
from PIL import Image

from mask2former_mt.dataset.annotation import MAX_OUTSIDE_PX

# The shapes with an outline, and the numbers of points that each may have; None: 3 or more.
_NUM_POINTS = {
    "polygon": None,
    "rectangle": (2, 4),
    "circle": (2,),
    "oriented_rectangle": (4,),
    "rotation": (4,),
}
POLYGONS = tuple(_NUM_POINTS)
MASK = "mask"
# Drawn with a pen of no width: they have no area.
WITHOUT_AREA = ("point", "points", "line", "linestrip")


def read_points(shape: dict) -> Points:
    """The shape's points, xy in pixels.

    Raises:
        ValueError: no list of pairs of finite numbers.
    """
    return check_points(shape.get("points"))


def polygon_of(shape_type: str, points: Points, height: int, width: int) -> list[float]:
    """The outline [x1, y1, x2, y2, ...] of a shape other than a mask.

    Args:
        shape_type: one of `POLYGONS`.
        points: as `read_points` gives them.
        height, width: of the picture; circles are cut off at its edge, as LabelMe draws them.

    Raises:
        ValueError: not the number of points that this type has.
    """
    numbers = _NUM_POINTS[shape_type]
    if len(points) not in numbers if numbers else len(points) < 3:
        expected = " or ".join(map(str, numbers)) if numbers else "at least 3"
        raise ValueError(
            f"a {shape_type} must have {expected} points, got {len(points)}; draw it again"
        )
    if shape_type == "circle":
        radius = math.dist(*points)
        return ellipse(tuple(points[0]), (radius, radius), height, width)
    if shape_type == "rectangle" and len(points) == 2:
        (x0, y0), (x1, y1) = points
        points = [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]
    return [float(value) for point in points for value in point]


def mask_of(shape: dict, points: Points, height: int, width: int) -> np.ndarray:
    """The mask of a shape of type mask, bool (height, width).

    Args:
        shape: `mask` is a PNG in base64, of the pixels from the first to the second point,
            both included.
        points: as `read_points` gives them.
        height, width: of the picture.

    Raises:
        ValueError: no PNG, one of another size than the points say, or outside of the picture.
    """
    if len(points) != 2:
        raise ValueError(f"a mask must have 2 points, got {len(points)}; draw it again")
    (x0, y0), (x1, y1) = ([int(value) for value in point] for point in points)
    if (
        min(x0, y0) < -MAX_OUTSIDE_PX
        or x1 >= width + MAX_OUTSIDE_PX
        or y1 >= height + MAX_OUTSIDE_PX
    ):
        raise ValueError(
            f"a mask must lie inside the picture of {width}x{height}, got x from {x0} to {x1}, y "
            f"from {y0} to {y1}; it may belong to another picture"
        )
    try:
        data = base64.b64decode(shape.get("mask"), validate=True)
        with Image.open(io.BytesIO(data)) as image:
            if image.size != (x1 - x0 + 1, y1 - y0 + 1):
                raise ValueError(
                    f"'mask' must be {x1 - x0 + 1}x{y1 - y0 + 1} (width x height) as its points "
                    f"say, got {image.size[0]}x{image.size[1]}; draw it again"
                )
            crop = np.asarray(image.convert("L")) != 0
    except (TypeError, binascii.Error, OSError, SyntaxError, EOFError) as error:
        raise ValueError(
            f"'mask' must be a PNG in base64, got {str(shape.get('mask'))[:40]!r}: {error}"
        ) from error
    except Image.DecompressionBombError as error:
        raise ValueError(f"'mask' is too large: {error}") from error
    mask = np.zeros((height, width), dtype=bool)
    top, left = max(y0, 0), max(x0, 0)
    inside = crop[top - y0 : height - y0, left - x0 : width - x0]
    mask[top : top + inside.shape[0], left : left + inside.shape[1]] = inside
    return mask
