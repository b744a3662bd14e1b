"""Where each pixel of an augmented picture comes from, by the way that the image took.

A picture of coordinates goes through `apply_image` of each transform, so that every pixel of the
sample knows which place of the annotated picture it shows. Masks come another way, by points or by
nearest pixels; an annotation that is looked up here tells whether both ways lead to the same place.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from detectron2.data import transforms as T

from mask2former_mt.data.copy_paste import PasteTransform
from mask2former_mt.data.rasterize import rasterize
from mask2former_mt.data.transforms import SaturationTransform

# H and W of the final frame, P points; xy in pixels, (0, 0) top left, centres at .5.

# These change colours and no places.
PHOTOMETRIC = (T.BlendTransform, T.ColorTransform, T.NoOpTransform, SaturationTransform)
# Annotations are drawn with so many pixels along one of their picture's.
_FINE = 4
# What marks a pixel that shows a place of the picture: no colour is negative.
_SHOWN = -1.0
# Points to follow of an object, at most about so many.
_MAX_POINTS = 20_000


@dataclasses.dataclass(frozen=True)
class Way:
    """How objects came into a sample.

    Args:
        annotations: detectron2's, in the frame of the picture they were annotated in.
        transforms: from that picture to the final frame, what was pasted over it included.
        source_size: (H, W) of that picture.
    """

    annotations: Sequence[Mapping]
    transforms: Sequence[T.Transform]
    source_size: tuple[int, int]


def ways_of(
    annotations: Sequence[Mapping], transforms: T.TransformList, source_size: tuple[int, int]
) -> list[Way]:
    """The ways of a picture's own objects and of those that were pasted, as `layers_of` has them.

    Args:
        annotations: the picture's own, none of them a crowd.
        transforms: the sample's.
        source_size: (H, W) of the picture.
    """
    steps = transforms.transforms
    ways = [Way(annotations, steps, source_size)]
    for index, step in enumerate(steps):
        if isinstance(step, PasteTransform):
            before = step.layer.transforms.transforms
            ways.append(
                Way(step.layer.annotations, [*before, *steps[index + 1 :]], step.layer.source_size)
            )
    return ways


class Ground:
    """The picture that a way starts from, seen from the final frame.

    Args:
        way: of its objects.
    """

    def __init__(self, way: Way) -> None:
        self.way = way
        picture = coordinate_image(way.transforms, way.source_size)
        self.shown_HW = picture[..., 2] == _SHOWN
        # Outside of every object where no place is shown.
        self.x_HW, self.y_HW = (np.where(self.shown_HW, picture[..., i], -1e6) for i in (0, 1))
        # Pixels that show a place, and whose neighbours all do or all do not.
        kernel = np.ones((2 * _blending(way.transforms) + 1,) * 2, np.uint8)
        shown = self.shown_HW.astype(np.uint8)
        self.surely_shown_HW = cv2.erode(shown, kernel) > 0
        self.surely_void_HW = cv2.dilate(shown, kernel) == 0

    def look_up(self, annotation: Mapping) -> tuple[np.ndarray, np.ndarray]:
        """Bool (H, W), twice: the pixels surely inside and surely outside of an annotation."""
        reach = _rounding(self.way.transforms, is_outline=_is_outline(annotation))
        fine, line, (left, top) = _draw(annotation, self.way.source_size, math.ceil(reach) + 1)
        kernel = np.ones((2 * math.ceil(reach * _FINE) + 1,) * 2, np.uint8)
        # 0 outside, 1 along the outline, 2 inside.
        surely = cv2.dilate(fine, kernel) + cv2.erode(fine, kernel)
        surely[cv2.dilate(line, kernel) > 0] = 1
        right, bottom = left + fine.shape[1] / _FINE, top + fine.shape[0] / _FINE
        x_HW, y_HW = self.x_HW, self.y_HW
        near = np.flatnonzero((x_HW >= left) & (x_HW < right) & (y_HW >= top) & (y_HW < bottom))
        column = ((x_HW.flat[near] - left) * _FINE).astype(np.int32)
        row = ((y_HW.flat[near] - top) * _FINE).astype(np.int32)
        inside = np.zeros(x_HW.shape, dtype=bool)
        outside = np.ones(x_HW.shape, dtype=bool)
        found = surely[row, column]
        inside.flat[near], outside.flat[near] = found == 2, found == 0
        inside &= self.surely_shown_HW
        outside &= self.surely_shown_HW
        return inside, outside | self.surely_void_HW

    def expected_area(self, annotation: Mapping, compared_HW: np.ndarray) -> float:
        """The annotation's area times the scale, squared; of it the part that can be seen."""
        fine, _, corner = _draw(annotation, self.way.source_size, 0)
        places = np.stack((self.x_HW[self.shown_HW], self.y_HW[self.shown_HW]))
        if not places.size or not fine.any():
            return 0.0
        # What cannot be seen for sure is left out first, so that the rest gets more points.
        low = np.floor((places.min(axis=1) - 1 - corner) * _FINE).astype(int).clip(0)
        high = np.ceil((places.max(axis=1) + 1 - corner) * _FINE).astype(int).clip(0)
        y, x = np.nonzero(fine[low[1] : high[1], low[0] : high[0]])
        step = max(1, x.size // _MAX_POINTS)
        points = (np.stack((x[::step], y[::step]), axis=1) + low + 0.5) / _FINE + corner
        moved, scales = _follow(self.way.transforms, points)
        height, width = self.shown_HW.shape
        column, row = np.floor(moved).astype(np.int64).T
        seen = (column >= 0) & (row >= 0) & (column < width) & (row < height)
        seen[seen] = (self.surely_shown_HW & compared_HW)[row[seen], column[seen]]
        share = np.count_nonzero(seen) / max(len(seen), 1)
        return float(share * x.size / _FINE**2 * scales[-1].prod())


def coordinate_image(transforms: Sequence[T.Transform], source_size: tuple[int, int]) -> np.ndarray:
    """The xy of its own pixels, moved as an image is.

    Returns:
        float32 (H, W, 3): x, y of the place that each pixel shows; third -1 where it shows one.
    """
    height, width = source_size
    picture = np.full((height, width, 3), _SHOWN, dtype=np.float32)
    picture[..., 0] = np.arange(width) + 0.5
    picture[..., 1] = np.arange(height)[:, np.newaxis] + 0.5
    for transform in transforms:
        if not isinstance(transform, PHOTOMETRIC):
            picture = transform.apply_image(picture)
    return picture


def _follow(
    transforms: Sequence[T.Transform], points_P2: np.ndarray
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Moves points; also the smaller and larger scale, float (2,), before and after each step."""
    # The map is affine: three points more tell it.
    points = np.concatenate(([(0.0, 0.0), (1.0, 0.0), (0.0, 1.0)], points_P2))
    scales = [np.ones(2)]
    for transform in transforms:
        points = transform.apply_coords(points)
        axes = points[1:3] - points[0]
        scales.append(np.linalg.svd(axes, compute_uv=False)[::-1])
    return points[3:], scales


def _resamples(transform: T.Transform) -> bool:
    exact = (T.HFlipTransform, T.VFlipTransform, T.CropTransform, T.PadTransform, PasteTransform)
    if isinstance(transform, T.ResizeTransform):
        return (transform.h, transform.w) != (transform.new_h, transform.new_w)
    return not isinstance(transform, (*PHOTOMETRIC, *exact))


def _rounding(transforms: Sequence[T.Transform], *, is_outline: bool) -> float:
    """How far, in pixels of the source, a mask may miss a place by rounding, along either axis."""
    _, scales = _follow(transforms, np.zeros((0, 2)))
    if is_outline:
        # Drawn twice, in either frame, each time to a quarter pixel.
        return 0.25 + 0.25 / scales[-1][0]
    # Half a pixel each time that the nearest one is taken.
    resampled = [s[0] for t, s in zip(transforms, scales, strict=False) if _resamples(t)]
    return sum(0.5 / scale for scale in resampled)


def _blending(transforms: Sequence[T.Transform]) -> int:
    """How far, in pixels of the final frame, padding may have been blended into the picture."""
    _, scales = _follow(transforms, np.zeros((0, 2)))
    growth = max(scales[-1][1] / s[0] for s in scales)
    return math.ceil(growth) + 1


def _is_outline(annotation: Mapping) -> bool:
    return isinstance(annotation["segmentation"], (list, tuple))


def _draw(
    annotation: Mapping, source_size: tuple[int, int], margin: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An annotation in its own picture, _FINE times as fine.

    Returns:
        uint8, 1 inside; uint8, 1 along the lines of an outline, which may be too thin to have an
        inside; xy of their corner.
    """
    height, width = source_size
    segmentation = annotation["segmentation"]
    if not _is_outline(annotation):
        (mask,) = rasterize([segmentation], size=source_size)
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if not rows.size:
            return np.zeros((1, 1), np.uint8), np.zeros((1, 1), np.uint8), np.zeros(2)
        y, x = rows[0], columns[0]
        fine = mask[y : rows[-1] + 1, x : columns[-1] + 1].astype(np.uint8)
        fine = fine.repeat(_FINE, axis=0).repeat(_FINE, axis=1)
        fine = np.pad(fine, margin * _FINE)
        return fine, np.zeros_like(fine), np.array([x - margin, y - margin])
    # What lies beyond the picture is moved to its edge, as in training.
    polygons = [
        np.clip(np.asarray(p, dtype=np.float64).reshape(-1, 2), 0, (width, height))
        for p in segmentation
    ]
    points = np.concatenate(polygons)
    corner = np.floor(points.min(axis=0)).astype(int) - margin
    extent = np.ceil(points.max(axis=0)).astype(int) + margin - corner
    size = (max(int(extent[1]), 1), max(int(extent[0]), 1))
    (mask,) = rasterize(
        [[p - corner for p in polygons]],
        size=(size[0] * _FINE, size[1] * _FINE),
        source_size=size,
    )
    line = np.zeros(mask.shape, np.uint8)
    # OpenCV's pixels have their centres at whole numbers.
    corners = [np.rint((p - corner) * _FINE - 0.5).astype(np.int32) for p in polygons]
    cv2.polylines(line, corners, isClosed=True, color=1)
    return mask.astype(np.uint8), line, corner
