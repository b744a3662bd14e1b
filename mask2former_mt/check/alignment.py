"""Measures whether image and masks of an augmented sample were moved alike."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from mask2former_mt.check.ground import Ground, Way

# N instances, H and W of the final frame.


@dataclasses.dataclass(frozen=True)
class Measures:
    """What `measure` found.

    Args:
        ious: float (N,), alignment IoU; NaN where there was nothing to compare.
        soft_fraction: of all mask pixels, those neither 0 nor 1; in [0, 1].
        areas: int (N,), pixels of the masks that were compared.
        expected_areas: float (N,), what the annotations' areas times the squared scale come to.
        outlines: int (N,), pixels on either side of the masks' outlines.
    """

    ious: np.ndarray
    soft_fraction: float
    areas: np.ndarray
    expected_areas: np.ndarray
    outlines: np.ndarray

    @property
    def alignment(self) -> float:
        """The mean alignment IoU; 1 where there was nothing to compare."""
        known = self.ious[~np.isnan(self.ious)]
        return float(known.mean()) if len(known) else 1.0


def measure(
    masks_NHW: np.ndarray,
    ways: Sequence[Way],
    origins: Sequence[tuple[int, int]],
    *,
    exclusive: bool = False,
) -> Measures:
    """Compares masks with their annotations, looked up where the image shows them.

    For instance i, M is its annotation drawn in the picture that it was annotated in, A its mask in
    the sample, and p(o) the place in that picture that pixel o of the sample shows. Its alignment
    IoU is |A and E| / |A or E| with E(o) = M(p(o)), E(o) = 0 where o shows no place. Left out are
    the o where rounding decides: whose p(o) is so near to M's outline that the mask may miss it, by
    a quarter pixel of either frame for an outline, by half a pixel for each resampling of a bitmap;
    and those beside padding and beside what was pasted. So a right pipeline comes to 1.

    Args:
        masks_NHW: the sample's; bool or, if the pipeline is broken, soft.
        ways: of `ways_of`.
        origins: N pairs, the way and the position in its annotations that an instance is of.
        exclusive: whether a pixel belongs to one instance only. What two annotations claim is then
            left out.
    """
    size = masks_NHW.shape[1:]
    if masks_NHW.dtype == bool:
        # A bool made of other bytes counts as soft as well.
        soft = np.count_nonzero(masks_NHW.view(np.uint8) > 1)
    else:
        soft = np.count_nonzero((masks_NHW != 0) & (masks_NHW != 1))
        masks_NHW = masks_NHW > 0.5
    ground = [Ground(way) for way in ways]
    compared = _compared(ways, ground, size, exclusive=exclusive)
    rows = [
        _measure_one(mask, ground[way], ways[way].annotations[position], compared[way])
        for mask, (way, position) in zip(masks_NHW, origins, strict=True)
    ]
    columns = np.array(rows, dtype=np.float64).reshape(len(rows), 4).T
    return Measures(columns[0], soft / max(masks_NHW.size, 1), *columns[1:])


def _compared(
    ways: Sequence[Way], ground: Sequence[Ground], size: tuple[int, int], *, exclusive: bool
) -> list[np.ndarray]:
    """For each way, bool (H, W): where no other object has a say in who owns a pixel."""
    claims = np.zeros(size, dtype=np.int32)
    free = np.ones(size, dtype=bool)
    compared = []
    for index in range(len(ways) - 1, -1, -1):
        # From the top down: those above have hidden what they surely cover, and along their
        # outlines rounding decides what is hidden.
        compared.append(free)
        if index or exclusive:
            for annotation in ways[index].annotations:
                inside, outside = ground[index].look_up(annotation)
                free = free & (inside | outside)
                claims += ~outside
    if exclusive:
        return [sure & (claims <= 1) for sure in reversed(compared)]
    return compared[::-1]


def _measure_one(
    mask_HW: np.ndarray, ground: Ground, annotation: Mapping, compared: np.ndarray
) -> tuple[float, int, float, int]:
    """IoU, area, expected area, outline."""
    inside, outside = ground.look_up(annotation)
    common = np.count_nonzero(mask_HW & inside & compared)
    union = np.count_nonzero((inside | (mask_HW & outside)) & compared)
    bytes_HW, kernel = mask_HW.astype(np.uint8), np.ones((3, 3), np.uint8)
    outline = cv2.dilate(bytes_HW, kernel) - cv2.erode(bytes_HW, kernel)
    area = np.count_nonzero(mask_HW & ground.surely_shown_HW & compared)
    return (
        common / union if union else math.nan,
        area,
        ground.expected_area(annotation, compared),
        np.count_nonzero(outline),
    )
