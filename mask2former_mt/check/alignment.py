"""Whether image and masks of a training sample were moved alike.

A picture whose pixels hold their own coordinates goes through `apply_image` of each transform, so
that every pixel of the sample knows which place of the annotated picture it shows. Masks come
another way, by points or by nearest pixels. An annotation that is looked up at those places tells
whether both ways lead to the same place.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from detectron2.data import transforms as T

from mask2former_mt.data.copy_paste import PasteTransform
from mask2former_mt.data.layer_masks import Layer, box_corners
from mask2former_mt.data.mapper import MultiTaskInstanceMapper
from mask2former_mt.data.rasterize import rasterize
from mask2former_mt.data.transforms import PHOTOMETRIC
from mask2former_mt.structures import GT_MASKS

# N instances, P pixels that are compared, E edges of a polygon, H and W of the final frame.
# Points are xy in pixels, (0, 0) top left, pixel centres at .5.

# The mean alignment IoU of a right pipeline is 1.000. One pixel's shift of an object of 50 pixels
# leaves 0.96, parameters drawn twice 0.4 to 0.7.
MIN_ALIGNMENT = 0.99
# Of an instance's pixels that were compared, this share and this many may be wrong.
AREA_TOLERANCE, PIXEL_TOLERANCE = 0.05, 3
# An object is compared at about this many pixels at most, which lie on a grid.
_MAX_PIXELS = 20_000
# Pixels around an object that are compared too, so that its surroundings are known to be free.
_MARGIN = 3
# Pixels by which the corners of an outline are rounded when it is drawn.
_OUTLINE_ROUNDING = 0.35
# Pixels from a place to the middle of its pixel at most.
_HALF_DIAGONAL = 0.71
# Pixels by which a resampling may miss a place: OpenCV computes in fractions of 1/32.
_RESAMPLING_ERROR = 0.05
# Marks a pixel that shows a place of the picture: no colour is negative.
_SHOWN = -1.0
# Points times edges that are compared at once, which bounds the memory.
_MAX_PAIRS = 200_000


@dataclasses.dataclass(frozen=True)
class Alignment:
    """What `measure_alignment` found.

    Args:
        ious: float (N,), NaN where there was nothing to compare.
        soft_pixels: pixels of all masks that are neither 0 nor 1.
        areas, expected_areas: float (N,), pixels among those compared that are in the mask, and
            that show the annotation.
    """

    ious: np.ndarray
    soft_pixels: int
    areas: np.ndarray
    expected_areas: np.ndarray

    @property
    def mean(self) -> float:
        """The mean alignment IoU; 1 where there was nothing to compare."""
        known = self.ious[~np.isnan(self.ious)]
        return float(known.mean()) if len(known) else 1.0

    @property
    def fault(self) -> str | None:
        """What is wrong, in a sentence; None: nothing."""
        remedy = "image and masks must go through the same transforms, with the same parameters"
        if self.soft_pixels:
            return (
                f"masks must be 0 or 1, got other values in {self.soft_pixels} pixels; masks are "
                "moved by nearest sampling"
            )
        if self.mean < MIN_ALIGNMENT:
            return (
                "mean alignment IoU of image and masks must be 1.000, got "
                f"{self.mean:.3f}; {remedy}"
            )
        difference = np.abs(self.areas - self.expected_areas)
        wrong = difference > AREA_TOLERANCE * self.expected_areas + PIXEL_TOLERANCE
        for index in np.flatnonzero(wrong).tolist():
            return (
                f"instance {index} must have about {self.expected_areas[index]:.0f} of the pixels "
                f"compared, where the picture shows its annotation, got {self.areas[index]:.0f}; "
                f"{remedy}"
            )
        return None


@dataclasses.dataclass(frozen=True)
class SeenLayer(Layer):
    """A layer whose transforms are those of its pixels: they hold what was pasted on top later.

    Args:
        pasted_after: number of its transforms before it was pasted; 0: it was not pasted.
    """

    pasted_after: int = 0


def seen_layers(
    annotations: Sequence[Mapping],
    transforms: T.TransformList,
    source_size: tuple[int, int],
    file_name: str,
) -> list[SeenLayer]:
    """A picture's own objects and those pasted over them, as `layers_of` lists them."""
    steps = transforms.transforms
    layers = [SeenLayer(annotations, transforms, source_size, file_name)]
    for index, step in enumerate(steps):
        if isinstance(step, PasteTransform):
            whole = step.layer.then(steps[index + 1 :])
            fields = (whole.annotations, whole.transforms, whole.source_size, whole.file_name)
            layers.append(SeenLayer(*fields, len(step.layer.transforms.transforms)))
    return layers


def measure_sample(mapper: MultiTaskInstanceMapper, record: Mapping, sample: Mapping) -> Alignment:
    """The alignment of a sample that a mapper made of a record."""
    size = (sample["height"], sample["width"])
    annotations = mapper.annotations_of(record, size)
    layers = seen_layers(annotations, sample["transforms"], size, sample["file_name"])
    return measure_alignment(
        sample["instances"].get(GT_MASKS).numpy(),
        layers,
        sample["origins"],
        exclusive=mapper.targets.mask_overlap != "keep",
    )


def measure_alignment(
    masks_NHW: np.ndarray,
    layers: Sequence[SeenLayer],
    origins: Sequence[tuple[int, int]],
    *,
    exclusive: bool = False,
) -> Alignment:
    """Compares masks with their annotations, looked up where the image shows them.

    For instance i, M is its annotation drawn in the picture that it was annotated in, A its mask in
    the sample, and p(o) the place in that picture that pixel o of the sample shows. Its alignment
    IoU is |A and E| / |A or E| with E(o) = M(p(o)), E(o) = 0 where o shows no place. Left out are
    the pixels where rounding decides: near M's outline, beside padding and beside what was pasted.
    So a right pipeline comes to 1.

    Args:
        masks_NHW: the sample's; bool or, if the pipeline is broken, soft.
        layers: of `seen_layers`.
        origins: N pairs, an instance's layer and its position in that layer's annotations.
        exclusive: whether a pixel belongs to one instance only. What two annotations claim is then
            left out.
    """
    grids = [
        _grid(mask, layers[number], layers[number].annotations[position])
        for mask, (number, position) in zip(masks_NHW, origins, strict=True)
    ]
    pixels = np.concatenate([np.zeros((2, 0), int), *(grid for grid, _ in grids)], axis=1)
    sights = [_Sight(layer, masks_NHW.shape[1:], *pixels) for layer in layers]
    measured = np.full((3, len(masks_NHW)), np.nan)
    start = 0
    for index, (mask_HW, (grid, step), (number, position)) in enumerate(
        zip(masks_NHW, grids, origins, strict=True)
    ):
        part = slice(start, start + grid.shape[1])
        start = part.stop
        inside, outside = sights[number].look_up(position, part)
        compared = inside | outside
        for other, sight in enumerate(sights):
            for i in range(len(sight.layer.annotations)):
                if exclusive and (other, i) != (number, position):
                    compared &= sight.look_up(i, part)[1]
                elif other > number:
                    # Along the outline of what lies above, rounding decides what is hidden.
                    compared &= np.logical_or(*sight.look_up(i, part))
        mask_P = (mask_HW[tuple(grid)] > 0.5) & compared
        expected_P = inside & compared
        union = np.count_nonzero(mask_P | expected_P)
        if union:
            measured[0, index] = np.count_nonzero(mask_P & expected_P) / union
        measured[1:, index] = np.count_nonzero(mask_P), np.count_nonzero(expected_P)
        measured[1:, index] *= step**2
    soft = int(sum(_count_soft(mask) for mask in masks_NHW))
    return Alignment(measured[0], soft, *measured[1:])


def _count_soft(mask_HW: np.ndarray) -> int:
    # A bool made of other bytes counts as soft as well.
    values = mask_HW.view(np.uint8) if mask_HW.dtype == bool else mask_HW
    return np.count_nonzero((values != 0) & (values != 1))


def _grid(mask_HW: np.ndarray, layer: Layer, annotation: Mapping) -> tuple[np.ndarray, int]:
    """The pixels at which an instance is compared: where its mask is, and where it should be.

    Returns:
        Rows and columns (2, P), and the pixels from one to the next.
    """
    segmentation = annotation["segmentation"]
    if _is_outline(segmentation):
        corners = np.concatenate(_polygons(segmentation, layer.source_size))
    else:
        corners = box_corners(rasterize([segmentation], size=layer.source_size)[0])
    moved = layer.transforms.apply_coords(corners.astype(np.float64))
    reached = np.concatenate([moved, box_corners(mask_HW > 0.5)])
    low = np.floor(reached.min(axis=0)).astype(int) - _MARGIN
    high = np.ceil(reached.max(axis=0)).astype(int) + _MARGIN
    size = mask_HW.shape[::-1]
    (x0, y0), (x1, y1) = np.clip(low, 0, size), np.clip(high, 0, size)
    step = max(1, math.ceil(math.sqrt((x1 - x0) * (y1 - y0) / _MAX_PIXELS)))
    return np.mgrid[y0:y1:step, x0:x1:step].reshape(2, -1), step


class _Sight:
    """The picture that a layer's objects were annotated in, seen from pixels of the final frame.

    Args:
        size: (H, W) of the final frame.
        rows_P, columns_P: the pixels.
    """

    def __init__(
        self, layer: SeenLayer, size: tuple[int, int], rows_P: np.ndarray, columns_P: np.ndarray
    ) -> None:
        self.layer = layer
        height, width = layer.source_size
        x = np.arange(width, dtype=np.float32) + 0.5
        y = np.arange(height, dtype=np.float32)[:, np.newaxis] + 0.5
        # One after another: three such pictures of 12 megapixels would be 150 MB.
        self.places_P2 = np.stack(
            [self._moved(axis)[rows_P, columns_P].astype(np.float64) for axis in (x, y)], axis=1
        )
        shown_HW = (self._moved(np.float32(_SHOWN)) < _SHOWN + 1e-5).astype(np.uint8)
        assert shown_HW.shape == size, (shown_HW.shape, size)
        maps = _linear_maps(layer.transforms.transforms)
        resampled = [_resamples(step) for step in layer.transforms.transforms]
        # Pixels that show a place, and whose neighbours all do or all do not: each resampling
        # blends padding into the picture, by a pixel of its coarser side. As far from its border
        # an enlarged picture repeats what is there, while outlines go on.
        blended = sum(
            max(_largest_scale(maps[-1] @ np.linalg.inv(side)) for side in maps[index : index + 2])
            for index in np.flatnonzero(resampled)
        )
        kernel = np.ones((2 * math.ceil(max(blended, 1)) + 3,) * 2, np.uint8)
        beyond = {"borderType": cv2.BORDER_CONSTANT, "borderValue": 0} if blended else {}
        self.shown_P = cv2.erode(shown_HW, kernel, **beyond)[rows_P, columns_P] > 0
        self.void_P = cv2.dilate(shown_HW, kernel)[rows_P, columns_P] == 0
        # Distance in the annotated picture, along x and y, by which the place that a pixel shows
        # and the place that its mask was read at may differ. The first resampling reads the pixel
        # that holds the place; each further one starts from the middle of such a pixel.
        error_xy, nearest_xy = np.zeros(2), np.zeros(2)
        pasted_after = layer.pasted_after
        for index in np.flatnonzero(resampled):
            per_pixel = np.abs(np.linalg.inv(maps[index])).sum(axis=1)
            error_xy += _RESAMPLING_ERROR * per_pixel
            nearest_xy += 0.5 * per_pixel * any(resampled[:index])
        drawn = _OUTLINE_ROUNDING * _largest_scale(np.linalg.inv(maps[-1]))
        if pasted_after and any(resampled[pasted_after:]):
            # The pixels that it hides were decided in the frame that it was pasted in.
            to_source = np.linalg.inv(maps[pasted_after])
            nearest_xy += 0.5 * np.abs(to_source).sum(axis=1)
            drawn += (_OUTLINE_ROUNDING + _HALF_DIAGONAL) * _largest_scale(to_source)
        self._bitmap_reach_xy = error_xy + nearest_xy
        self._outline_reach = float(error_xy.max()) + drawn

    def look_up(self, position: int, part: slice) -> tuple[np.ndarray, np.ndarray]:
        """For the pixels at `part`: do they surely show an annotation, do they surely not."""
        segmentation = self.layer.annotations[position]["segmentation"]
        places_P2, size = self.places_P2[part], self.layer.source_size
        if _is_outline(segmentation):
            polygons = _polygons(segmentation, size)
            inside, outside = _look_up_outline(polygons, places_P2, self._outline_reach)
        else:
            (mask,) = rasterize([segmentation], size=size)
            inside, outside = _look_up_bitmap(mask, places_P2, self._bitmap_reach_xy)
        shown, void = self.shown_P[part], self.void_P[part]
        return inside & shown, (outside & shown) | void

    def _moved(self, values: np.ndarray) -> np.ndarray:
        picture = np.empty(self.layer.source_size, dtype=np.float32)
        picture[:] = values
        for step in self.layer.transforms.transforms:
            if isinstance(step, PasteTransform):
                # The pasted pixels have three channels; void marks their places as well.
                picture = step.apply_segmentation(picture)
            elif not isinstance(step, PHOTOMETRIC):
                picture = step.apply_image(picture)
        return picture


def _look_up_outline(
    polygons: Sequence[np.ndarray], places_P2: np.ndarray, reach: float
) -> tuple[np.ndarray, np.ndarray]:
    """Whether places lie inside, and outside, of an outline by more than `reach` pixels."""
    inside_P, near_P = np.zeros((2, len(places_P2)), dtype=bool)
    for points in polygons:
        low, high = points.min(axis=0) - reach, points.max(axis=0) + reach
        close = np.flatnonzero(((places_P2 >= low) & (places_P2 <= high)).all(axis=1))
        chunks = math.ceil(len(close) * len(points) / _MAX_PAIRS) or 1
        for chosen in np.array_split(close, chunks):
            crossings, distance = _compare_edges(points, places_P2[chosen])
            inside_P[chosen] |= crossings % 2 == 1
            near_P[chosen] |= distance < reach
    return inside_P & ~near_P, ~inside_P & ~near_P


def _compare_edges(points_E2: np.ndarray, places_P2: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each place the edges of a polygon to its left, and the distance to the nearest one."""
    ax, ay = points_E2.T
    dx, dy = (np.roll(points_E2, -1, axis=0) - points_E2).T
    x, y = places_P2[:, :1] - ax, places_P2[:, 1:] - ay
    with np.errstate(divide="ignore", invalid="ignore"):
        crosses = ((y < 0) != (y < dy)) & (y * (dx / dy) < x)
        share = np.nan_to_num(np.clip((x * dx + y * dy) / (dx * dx + dy * dy), 0, 1))
    distance = np.hypot(x - share * dx, y - share * dy).min(axis=1)
    return np.count_nonzero(crosses, axis=1), distance


def _look_up_bitmap(
    mask_HW: np.ndarray, places_P2: np.ndarray, reach_xy: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Whether all pixels of a bitmap within reach of a place are set, and whether none is."""
    # By sums over rectangles, whatever their size; beyond the picture there is nothing.
    sums = cv2.integral(mask_HW.view(np.uint8))
    low = np.floor(places_P2 - reach_xy).astype(np.int64)
    high = np.floor(places_P2 + reach_xy).astype(np.int64) + 1
    limit = mask_HW.shape[::-1]
    (x0, y0), (x1, y1) = np.clip(low, 0, limit).T, np.clip(high, 0, limit).T
    count = sums[y1, x1] - sums[y0, x1] - sums[y1, x0] + sums[y0, x0]
    return count == (high - low).prod(axis=1), count == 0


def _is_outline(segmentation: object) -> bool:
    return isinstance(segmentation, (list, tuple))


def _polygons(segmentation: Sequence, size: tuple[int, int]) -> list[np.ndarray]:
    """The parts of an outline, each (E, 2); what lies beyond the picture is moved to its edge."""
    limit = size[::-1]
    return [np.clip(np.asarray(p, np.float64).reshape(-1, 2), 0, limit) for p in segmentation]


def _linear_maps(transforms: Sequence[T.Transform]) -> list[np.ndarray]:
    """The matrices (2, 2) from the annotated picture to the frame before each step and the last."""
    points = np.array([(0.0, 0.0), (1.0, 0.0), (0.0, 1.0)])
    maps = [np.eye(2)]
    for transform in transforms:
        points = transform.apply_coords(points)
        maps.append((points[1:] - points[0]).T)
    return maps


def _largest_scale(matrix: np.ndarray) -> float:
    return float(np.linalg.norm(matrix, ord=2))


def _resamples(transform: T.Transform) -> bool:
    exact = (T.HFlipTransform, T.VFlipTransform, T.CropTransform, T.PadTransform, PasteTransform)
    if isinstance(transform, T.ResizeTransform):
        return (transform.h, transform.w) != (transform.new_h, transform.new_w)
    return not isinstance(transform, (*PHOTOMETRIC, *exact))
