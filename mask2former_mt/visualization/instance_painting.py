"""Masks, outlines and labels painted over an image; their colours and words are the caller's."""

# N instances, H x W the picture's size in pixels.

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence

import cv2
import numpy as np

from mask2former_mt.visualization.colours import MASK_OPACITY
from mask2former_mt.visualization.crowd_painting import CROWD, paint_crowd
from mask2former_mt.visualization.label_painting import labels_area, paint_labels
from mask2former_mt.visualization.label_text import Look
from mask2former_mt.visualization.regions import Region, packed
from mask2former_mt.visualization.rgb_images import check_image, resized
from mask2former_mt.visualization.text_drawing import text_size_for

MIN_SIDE = 512  # pixels; a label of three lines beside a digit of 30 pixels needs about this
MAX_ENLARGED = 2048  # pixels of the longer side
_TINTED_PIXELS = 1 << 18  # at a time
ROOMY = 0.3  # share of the picture that labels should take up at most


@dataclasses.dataclass(frozen=True)
class SizeLimits:
    """How large the picture of an image becomes.

    Args:
        min_side: pixels; an image whose shorter side is less is enlarged to it; 0 never enlarges.
        max_side: pixels; an image whose longer side is more is reduced to it; 0 never reduces.
        grows: whether an image whose labels need more room is enlarged further, its longer side to
            at most 2048; not where min_side is 0. The frames of a video need one size.
    """

    min_side: int = MIN_SIDE
    max_side: int = 0
    grows: bool = True

    def picture_size(self, size: tuple[int, int], looks: Sequence[Look]) -> tuple[int, int]:
        """H, W of the picture for an image of H, W with instances of these looks."""
        short, long = sorted(size)
        factor = 1.0
        if self.min_side:
            # A strip of a few pixels would become too long for the memory.
            factor = max(1.0, min(self.min_side / short, 4 * self.min_side / long))
            enlarged = (round(size[0] * factor), round(size[1] * factor))
            labels = (look.label for look in looks[:CROWD])
            area = labels_area(labels, text_size_for(enlarged)) if self.grows else 0
            needed = math.sqrt(area / (ROOMY * size[0] * size[1]))
            factor = max(factor, min(needed, max(MAX_ENLARGED, 4 * self.min_side) / long))
        if self.max_side and long * factor > self.max_side:
            factor = self.max_side / long
        return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


DEFAULT_LIMITS = SizeLimits()


def paint_instances(
    image: np.ndarray,
    regions: Iterable[Region],
    looks: Sequence[Look],
    limits: SizeLimits,
    true_regions: Iterable[Region | None] = (),
    *,
    overwrite: bool = False,
) -> np.ndarray:
    """The image with every mask tinted, outlined and labelled; a crowd as `paint_crowd` does.

    Args:
        image: uint8 RGB (H, W, 3).
        regions: N masks in the image, taken one at a time.
        looks: N colours and labels.
        limits: of the picture's size.
        true_regions: N masks or None, each shown as a thin white outline; empty for none.
        overwrite: whether the image may be painted on, which saves a copy of a large one.

    Returns:
        uint8 RGB at the enlarged or reduced image's size.

    Raises:
        ValueError: the image is not uint8 RGB.
    """
    check_image(image)
    frame = image.shape[:2]
    picture = resized(image, limits.picture_size(frame, looks), overwrite=overwrite)
    paint = paint_crowd if len(looks) > CROWD else _paint_each
    paint_labels(picture, *paint(picture, regions, looks, frame, true_regions))
    return picture


def _paint_each(
    picture: np.ndarray,
    regions: Iterable[Region],
    looks: Sequence[Look],
    frame: tuple[int, int],
    true_regions: Iterable[Region | None],
) -> tuple[list[Region], Sequence[Look]]:
    """Paints mask by mask, the smallest last, and returns what to label; see `paint_crowd`."""
    size = picture.shape[:2]
    regions = [packed(region.resized(frame, size)) for region in regions]
    truths = [region and packed(region.resized(frame, size)) for region in true_regions]
    width = max(1, round(min(size) / 300))
    for i in sorted(range(len(regions)), key=lambda i: -regions[i].area):
        _tint(picture, regions[i], looks[i].colour)
        # The dark rim keeps the outline visible on a ground of its own colour.
        _outline(picture, regions[i], looks[i].colour, width, rim=max(1, width // 3))
        if truths and truths[i] is not None:
            _outline(picture, truths[i], (255, 255, 255), max(1, width // 2), rim=1)
    return regions, looks


def _tint(picture: np.ndarray, region: Region, colour: tuple[int, int, int]) -> None:
    window, mask = region.window(picture), region.mask
    shade = MASK_OPACITY * np.array(colour, np.float32)
    # Some rows at a time: the floats in between take many times the mask's memory.
    rows = max(1, _TINTED_PIXELS // max(1, mask.shape[1]))
    for top in range(0, len(mask), rows):
        part, inside = window[top : top + rows], mask[top : top + rows]
        tinted = (1 - MASK_OPACITY) * part[inside].astype(np.float32) + shade
        part[inside] = tinted.round().astype(np.uint8)


def _outline(
    picture: np.ndarray, region: Region, colour: tuple[int, int, int], width: int, *, rim: int
) -> None:
    if not region.area:
        return
    lines, _ = cv2.findContours(
        region.mask.view(np.uint8),
        cv2.RETR_LIST,
        cv2.CHAIN_APPROX_NONE,
        offset=(region.left, region.top),
    )
    cv2.drawContours(picture, lines, -1, (0, 0, 0), width + 2 * rim, cv2.LINE_AA)
    cv2.drawContours(picture, lines, -1, colour, width, cv2.LINE_AA)
