"""Reads the shapes of VIA's JSON.

Source: robots.ox.ac.uk/~vgg/software/via, via-2.x.y: `_via_draw_*`; an ellipse's `theta` is in
radians, clockwise.
"""

from __future__ import annotations

import math

from mask2former_mt.importers.json_fields import field, number
from mask2former_mt.importers.outlines import check_points, ellipse, polygon


def outline_of(shape: dict, height: int, width: int) -> list[float]:
    """The polygon of a shape that has one, in pixels.

    Raises:
        ValueError: a shape without an outline, or a damaged one.
    """
    kind = field(shape, "name", str)
    if kind in ("polygon", "polyline"):
        xs, ys = (field(shape, f"all_points_{axis}", list) for axis in "xy")
        if len(xs) != len(ys):
            raise ValueError(f"it must have as many x as y, got {len(xs)} and {len(ys)}")
        points = check_points([[x, y] for x, y in zip(xs, ys, strict=True)])
        if kind == "polygon" or points[0] == points[-1]:
            return polygon(points)
    if kind == "circle":
        radius = number(shape, "r")
        return ellipse((number(shape, "cx"), number(shape, "cy")), (radius, radius), height, width)
    if kind == "ellipse":
        centre, radii = (
            tuple(number(shape, key) for key in keys) for keys in (("cx", "cy"), ("rx", "ry"))
        )
        return ellipse(centre, radii, height, width, math.degrees(number(shape, "theta", 0.0)))
    raise ValueError(f"a {kind[:40]} has no outline; draw a polygon")
