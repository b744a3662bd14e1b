"""Draws annotated objects into the frame of an augmented picture.

Outlines are moved point by point and rasterised once, at the final size: detectron2's transforms
keep picture and points in one continuous frame, so an outline stays exact at any scale, where a
resized mask is up to half a pixel of the smaller grid off.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from detectron2.data import transforms as T

from mask2former_mt.data.outlines import covers_frame, move_outlines
from mask2former_mt.data.rasterize import SegmentationError, rasterize
from mask2former_mt.data.transforms import gather, source_pixels

# N instances, H and W of the final frame. Points and boxes are xy in pixels of their frame, (0, 0)
# its top left corner, pixel centres at .5.


@dataclasses.dataclass(frozen=True)
class Layer:
    """Objects that came into the picture by the same way.

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

    def then(self, transforms: Sequence[T.Transform]) -> Layer:
        """The same objects after further transforms."""
        return dataclasses.replace(
            self, transforms=T.TransformList([*self.transforms.transforms, *transforms])
        )

    def only(self, indices: Sequence[int]) -> Layer:
        """Some of the objects."""
        return dataclasses.replace(self, annotations=[self.annotations[i] for i in indices])


@dataclasses.dataclass(frozen=True)
class Drawn:
    """What is left of a layer's objects in the final frame, before anything covers them.

    Args:
        kept: positions in the layer's annotations of the N objects that reach into the frame.
        masks: bool (N, H, W); a mask may be empty.
        areas: float (N,), the pixels that each whole object would have at this scale; None where
            nobody asked.
    """

    kept: list[int]
    masks: np.ndarray
    areas: np.ndarray | None


def draw_layer(
    layer: Layer, size: tuple[int, int], *, backend: str | None = None, measure: bool = False
) -> Drawn:
    """Draws a layer's objects.

    Args:
        layer: the objects and the way they came.
        size: (H, W) of the final frame.
        backend: of `rasterize`.
        measure: whether to find the areas of the whole objects.

    Raises:
        ValueError: a segmentation that is damaged; names file and annotation.
    """
    outlines, bitmaps = [], []
    for index, annotation in enumerate(layer.annotations):
        is_outline = isinstance(annotation.get("segmentation"), (list, tuple))
        (outlines if is_outline else bitmaps).append(index)
    parts = []
    if outlines or not bitmaps:
        parts.append(_draw_outlines(layer, outlines, size, backend, measure))
    if bitmaps:
        parts.append(_draw_bitmaps(layer, bitmaps, size, backend, measure))
    if len(parts) == 1:
        return parts[0]
    kept = [index for part in parts for index in part.kept]
    order = np.argsort(kept)
    return Drawn(
        sorted(kept),
        np.concatenate([part.masks for part in parts])[order],
        np.concatenate([part.areas for part in parts])[order] if measure else None,
    )


def _draw_outlines(
    layer: Layer, indices: list[int], size: tuple[int, int], backend: str | None, measure: bool
) -> Drawn:
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
        masks = rasterize(polygons, size=size, backend=backend)
    cuts = [corners for corners in moved.clips if not covers_frame(corners, size)]
    for corners in cuts:
        masks &= rasterize([[corners]], size=size, backend=backend)
    if not measure:
        return Drawn(kept, masks, None)
    areas = np.array([np.count_nonzero(mask) for mask in masks], dtype=float)
    leaves = (x0 < 0) | (y0 < 0) | (x1 > width) | (y1 > height)
    for position, index in enumerate(chosen):
        if cuts or leaves[index]:
            areas[position] = _whole_area(polygons[position], moved.boxes[index], backend)
    return Drawn(kept, masks, areas)


def _whole_area(polygons: list[np.ndarray], box: np.ndarray, backend: str | None) -> int:
    """The pixels of an outline, drawn into a frame of its own on the same pixel grid."""
    corner = np.floor(box[:2])
    width, height = (int(v) for v in np.ceil(box[2:]) - corner)
    polygons = [points - corner for points in polygons]
    return np.count_nonzero(rasterize([polygons], size=(height, width), backend=backend))


def _draw_bitmaps(
    layer: Layer, indices: list[int], size: tuple[int, int], backend: str | None, measure: bool
) -> Drawn:
    # All masks of a picture take the same way, which is found once.
    sources = source_pixels(layer.transforms, layer.source_size)
    assert sources.shape == size, (sources.shape, size)
    masks = np.empty((len(indices), *size), dtype=bool)
    areas = np.zeros(len(indices))
    scale = _area_scale(layer.transforms) if measure else 0.0

    def whole_masks() -> Iterator[np.ndarray]:
        # One at a time: all masks of a large picture together may not fit into memory.
        for position, index in enumerate(indices):
            with _naming(layer, [index]):
                segmentation = layer.annotations[index].get("segmentation")
                (mask,) = rasterize([segmentation], size=layer.source_size, backend=backend)
            if measure and _leaves(layer, mask):
                areas[position] = scale * np.count_nonzero(mask)
            yield mask

    gather(whole_masks(), sources, False, masks)
    if not measure:
        return Drawn(indices, masks, None)
    left = [np.count_nonzero(mask) for mask in masks]
    # Where nothing was cut off, what is left is all of it, whatever rounding made of its area.
    return Drawn(indices, masks, np.where(areas > 0, areas, left))


def _leaves(layer: Layer, mask: np.ndarray) -> bool:
    """Whether a part of a mask of the annotated picture was cut off on the way."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    if not columns.size:
        return False
    x0, y0, x1, y1 = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    corners = [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]
    return bool(move_outlines([[corners]], layer.transforms, layer.source_size).clips)


def _area_scale(transforms: T.TransformList) -> float:
    """By how much the transforms, which keep straight lines straight, change areas."""
    origin, right, down = transforms.apply_coords(np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))
    (a, b), (c, d) = right - origin, down - origin
    return math.fabs(a * d - b * c)


@contextlib.contextmanager
def _naming(layer: Layer, indices: Sequence[int]) -> Iterator[None]:
    """Says which file and annotation a damaged segmentation is of; `indices` of the listed ones."""
    try:
        yield
    except SegmentationError as error:
        raise named_error(layer, indices[error.index], error.reason) from error


def named_error(layer: Layer, index: int, message: str) -> ValueError:
    """An error about one annotation, by file and id."""
    annotation_id = layer.annotations[index].get("id")
    return ValueError(f"{layer.file_name}: annotation {annotation_id}: {message}")
