"""From annotations to masks in the frame of an augmented picture.

Outlines are moved point by point and rasterised once, at the final size: detectron2's transforms
keep picture and points in one continuous frame, so an outline stays exact at any scale, where a
resized mask is up to half a pixel of the smaller grid off. Bitmaps are read at the nearest pixel.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from detectron2.data import transforms as T

from mask2former_mt.data.rasterize import SegmentationError, polygon_points, rasterize
from mask2former_mt.data.transforms import size_after, source_pixels

# N instances, P points of a polygon, H and W of the final frame. Points and boxes are xy in pixels
# of their frame, (0, 0) its top left corner, pixel centres at .5.

# Coordinates that are resized pick up rounding errors far below this, in pixels.
_EPSILON = 1e-6


@dataclasses.dataclass(frozen=True)
class Layer:
    """Annotated objects that came into a picture by the same way.

    Args:
        annotations: detectron2's, none of them a crowd.
        transforms: from the picture that they were annotated in to the final frame.
        source_size: (H, W) of that picture.
        file_name: of that picture, for messages.
    """

    annotations: Sequence[Mapping]
    transforms: T.TransformList
    source_size: tuple[int, int]
    file_name: str

    @property
    def is_mirrored(self) -> bool:
        """Whether the way mirrors the objects, so that no turning makes them what they were.

        Left and right flips do, and so do upside-down ones; two of either kind are a turn, or
        nothing.
        """
        return _determinant(self.transforms) < 0

    def then(self, transforms: Sequence[T.Transform]) -> Layer:
        """The same objects after further transforms."""
        return dataclasses.replace(
            self, transforms=T.TransformList([*self.transforms.transforms, *transforms])
        )


@dataclasses.dataclass(frozen=True)
class LayerMasks:
    """What is left of a layer's objects in the final frame, before anything covers them.

    Args:
        kept: positions in the layer's annotations of the N objects that reach into the frame.
        masks: bool (N, H, W); a mask may be empty.
        areas: float (N,), the pixels that each whole object would have at this scale; None where
            they were not asked for.
    """

    kept: list[int]
    masks: np.ndarray
    areas: np.ndarray | None


def draw_layer(layer: Layer, size: tuple[int, int], *, measure: bool = False) -> LayerMasks:
    """Draws a layer's objects.

    Args:
        layer: the objects and the way they came.
        size: (H, W) of the final frame.
        measure: whether to find the areas of the whole objects.

    Raises:
        ValueError: a segmentation that is damaged; names file and annotation.
    """
    outlines, bitmaps = [], []
    for index, annotation in enumerate(layer.annotations):
        is_outline = isinstance(annotation.get("segmentation"), (list, tuple))
        (outlines if is_outline else bitmaps).append(index)
    if not bitmaps:
        return _draw_outlines(layer, outlines, size, measure)
    drawn = _draw_bitmaps(layer, bitmaps, size, measure)
    if not outlines:
        return drawn
    others = _draw_outlines(layer, outlines, size, measure)
    kept = [*drawn.kept, *others.kept]
    order = np.argsort(kept)
    return LayerMasks(
        sorted(kept),
        np.concatenate((drawn.masks, others.masks))[order],
        np.concatenate((drawn.areas, others.areas))[order] if measure else None,
    )


def _draw_outlines(
    layer: Layer, indices: list[int], size: tuple[int, int], measure: bool
) -> LayerMasks:
    height, width = size
    with _naming(layer, indices):
        segmentations = [layer.annotations[i]["segmentation"] for i in indices]
        moved = move_outlines(segmentations, layer.transforms, layer.source_size)
    x0, y0, x1, y1 = moved.boxes.T
    # What lies outside, or was clipped to a line at the picture's edge, has no pixel.
    reaches = (x1 > 0) & (y1 > 0) & (x0 < width) & (y0 < height) & (x1 > x0) & (y1 > y0)
    chosen = np.flatnonzero(reaches).tolist()
    polygons = [moved.polygons[i] for i in chosen]
    kept = [indices[i] for i in chosen]
    with _naming(layer, kept):
        masks = rasterize(polygons, size=size)
    cuts = [corners for corners in moved.clips if not covers_frame(corners, size)]
    for corners in cuts:
        masks &= rasterize([[corners]], size=size)
    if not measure:
        return LayerMasks(kept, masks, None)
    areas = np.array([np.count_nonzero(mask) for mask in masks], dtype=float)
    leaves = (x0 < 0) | (y0 < 0) | (x1 > width) | (y1 > height)
    for position, index in enumerate(chosen):
        if cuts or leaves[index]:
            areas[position] = _whole_area(polygons[position], moved.boxes[index])
    return LayerMasks(kept, masks, areas)


def _whole_area(polygons: list[np.ndarray], box: np.ndarray) -> int:
    """The pixels of an outline, drawn into a frame of its own on the same pixel grid."""
    corner = np.floor(box[:2])
    width, height = (int(v) for v in np.ceil(box[2:]) - corner)
    polygons = [points - corner for points in polygons]
    return np.count_nonzero(rasterize([polygons], size=(height, width)))


def _draw_bitmaps(
    layer: Layer, indices: list[int], size: tuple[int, int], measure: bool
) -> LayerMasks:
    # All masks of a picture take the same way, which is found once.
    sources_HW = source_pixels(layer.transforms, layer.source_size)
    assert sources_HW.shape == size, (sources_HW.shape, size)
    # A pixel without a source reads the element behind the last, which is False.
    sources_HW[sources_HW < 0] = math.prod(layer.source_size)
    masks = np.empty((len(indices), *size), dtype=bool)
    areas = np.zeros(len(indices))
    scale = _area_scale(layer.transforms) if measure else 0.0
    # One at a time: all masks of a large picture together may not fit into memory.
    for position, index in enumerate(indices):
        with _naming(layer, [index]):
            segmentation = layer.annotations[index].get("segmentation")
            (mask,) = rasterize([segmentation], size=layer.source_size)
        flat = np.append(mask.reshape(-1), False)
        # Every number is in range; "clip" only saves NumPy the look.
        np.take(flat, sources_HW, out=masks[position], mode="clip")
        if measure:
            # Where nothing was cut off, what is left is all, whatever rounding made of its area.
            is_cut = _leaves(layer, mask)
            areas[position] = np.count_nonzero(mask if is_cut else masks[position])
            areas[position] *= scale if is_cut else 1
    return LayerMasks(indices, masks, areas if measure else None)


def _leaves(layer: Layer, mask: np.ndarray) -> bool:
    """Whether a part of a mask of the annotated picture was cut off on the way."""
    corners = box_corners(mask)
    if not len(corners):
        return False
    return bool(move_outlines([[corners]], layer.transforms, layer.source_size).clips)


def box_corners(mask_HW: np.ndarray) -> np.ndarray:
    """Corners (4, 2) of a mask's box; (0, 2) for an empty mask."""
    columns, rows = np.flatnonzero(mask_HW.any(axis=0)), np.flatnonzero(mask_HW.any(axis=1))
    if not columns.size:
        return np.zeros((0, 2), dtype=int)
    x0, y0, x1, y1 = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])


def _area_scale(transforms: T.TransformList) -> float:
    """The factor by which the transforms, which keep straight lines straight, change areas."""
    return math.fabs(_determinant(transforms))


def _determinant(transforms: T.TransformList) -> float:
    """By what the transforms multiply signed areas: below 0 they mirror."""
    origin, right, down = transforms.apply_coords(np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))
    (a, b), (c, d) = right - origin, down - origin
    return float(a * d - b * c)


@contextlib.contextmanager
def _naming(layer: Layer, indices: Sequence[int]) -> Iterator[None]:
    """Adds file and annotation to the error about one of the segmentations at `indices`."""
    try:
        yield
    except SegmentationError as error:
        annotation_id = layer.annotations[indices[error.index]].get("id")
        raise ValueError(
            f"{layer.file_name}: annotation {annotation_id}: {error.reason}"
        ) from error


@dataclasses.dataclass(frozen=True)
class MovedOutlines:
    """Outlines in the final frame.

    Args:
        polygons: for each of N instances its parts, float64 (P, 2).
        boxes: float64 (N, 4), the parts' extent, xyxy; may reach beyond the frame.
        clips: corners (4, 2), in the final frame, of each frame on the way that cut off a part of
            an outline. Parts outside of one of them are no longer in the picture, though later
            padding or turning may have brought their place into the frame again.
    """

    polygons: list[list[np.ndarray]]
    boxes: np.ndarray
    clips: list[np.ndarray]


def move_outlines(
    segmentations: Sequence[Sequence], transforms: T.TransformList, size: tuple[int, int]
) -> MovedOutlines:
    """Moves the outlines of N instances through transforms.

    Args:
        segmentations: per instance its parts, each [x1, y1, x2, y2, ...] or (P, 2). What lies
            beyond the picture is first moved to its edge.
        transforms: from the annotated picture to the final frame.
        size: (H, W) of the annotated picture.

    Raises:
        SegmentationError: an instance without parts, or with one that is not at least three points
            of finite numbers.
    """
    parts = []
    for index, segmentation in enumerate(segmentations):
        try:
            if not segmentation:
                raise ValueError("the list of polygons is empty; draw the outline")
            parts += [polygon_points(polygon) for polygon in segmentation]
        except ValueError as error:
            raise SegmentationError(index, error) from error
    if not parts:
        return MovedOutlines([], np.zeros((0, 4)), [])
    # All points at once: the transforms are many and the outlines small.
    points = np.concatenate(parts)
    points = np.clip(points, 0.0, (float(size[1]), float(size[0])))
    clips: list[np.ndarray] = []
    for transform in transforms.transforms:
        points = transform.apply_coords(points)
        clips = [transform.apply_coords(corners) for corners in clips]
        size = size_after(transform, size)
        if _leave(points, size):
            clips.append(_corners(size))
    starts = np.cumsum([0, *map(len, parts)])
    first_parts = np.cumsum([0, *map(len, segmentations)])
    low = np.minimum.reduceat(points, starts[first_parts[:-1]])
    high = np.maximum.reduceat(points, starts[first_parts[:-1]])
    split = np.split(points, starts[1:-1])
    polygons = [split[first:last] for first, last in itertools.pairwise(first_parts)]
    return MovedOutlines(polygons, np.concatenate((low, high), axis=1), clips)


def covers_frame(corners: np.ndarray, size: tuple[int, int]) -> bool:
    """Whether a turned, mirrored or stretched rectangle (4, 2) covers the whole frame (H, W)."""
    edges = np.roll(corners, -1, axis=0) - corners
    to_frame = _corners(size)[np.newaxis] - corners[:, np.newaxis]
    # On the same side of every edge: positive in the order of the corners, or mirrored, negative.
    sides = edges[:, :1] * to_frame[..., 1] - edges[:, 1:] * to_frame[..., 0]
    limit = _EPSILON * max(size)
    return bool((sides >= -limit).all() or (sides <= limit).all())


def _corners(size: tuple[int, int]) -> np.ndarray:
    height, width = size
    return np.array([(0, 0), (width, 0), (width, height), (0, height)], dtype=np.float64)


def _leave(points: np.ndarray, size: tuple[int, int]) -> bool:
    (x0, y0), (x1, y1) = points.min(axis=0), points.max(axis=0)
    height, width = size
    return bool(x0 < -_EPSILON or y0 < -_EPSILON or x1 > width + _EPSILON or y1 > height + _EPSILON)
