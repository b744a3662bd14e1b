"""Masks, outlines and labels painted over an image; their colours and words are the caller's."""

# N instances, H x W the picture's size in pixels.

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence

import cv2
import numpy as np

from mask2former_mt.visualization.label_painting import (
    LabelVersions,
    labels_area,
    paint_labels,
)
from mask2former_mt.visualization.regions import Region, region_of
from mask2former_mt.visualization.rgb_images import check_image, resized
from mask2former_mt.visualization.text_drawing import text_size_for

MIN_SIDE = 512  # pixels; a label of three lines beside a digit of 30 pixels needs about this
MAX_ENLARGED = 2048  # pixels of the longer side
MASK_OPACITY = 0.2  # low, so that a colour that is itself a label can still be told
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

    def picture_size(
        self, size: tuple[int, int], labels: Sequence[LabelVersions]
    ) -> tuple[int, int]:
        """H, W of the picture for an image of H, W with these labels."""
        short, long = sorted(size)
        factor = 1.0
        if self.min_side:
            # A strip of a few pixels would become too long for the memory.
            factor = max(1.0, min(self.min_side / short, 4 * self.min_side / long))
            enlarged = (round(size[0] * factor), round(size[1] * factor))
            area = labels_area(labels, text_size_for(enlarged)) if self.grows else 0
            needed = math.sqrt(area / (ROOMY * size[0] * size[1]))
            factor = max(factor, min(needed, max(MAX_ENLARGED, 4 * self.min_side) / long))
        if self.max_side and long * factor > self.max_side:
            factor = self.max_side / long
        return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


DEFAULT_LIMITS = SizeLimits()


def paint_instances(
    image: np.ndarray,
    masks: Iterable[np.ndarray],
    colours: Sequence[tuple[int, int, int]],
    labels: Sequence[LabelVersions],
    limits: SizeLimits,
    true_masks: Iterable[np.ndarray | None] = (),
) -> np.ndarray:
    """The image with every mask tinted, outlined and labelled.

    Args:
        image: uint8 RGB (H, W, 3).
        masks: N bool (H, W); taken one at a time, so that a generator keeps one in memory.
        colours: N RGB colours.
        labels: N labels in words.
        limits: of the picture's size.
        true_masks: N bool (H, W) or None, each shown as a thin white outline; empty for none.

    Returns:
        uint8 RGB at the enlarged or reduced image's size.

    Raises:
        ValueError: the image is not uint8 RGB, or the masks fit neither it nor the labels.
    """
    check_image(image)
    size = limits.picture_size(image.shape[:2], labels)
    picture = resized(image, size)
    regions = [_region(mask, image, size) for mask in masks]
    if len(regions) != len(labels):
        raise ValueError(f"each mask needs a label: got {len(regions)} masks, {len(labels)} labels")
    truths = [None if mask is None else _region(mask, image, size) for mask in true_masks]
    width = max(1, round(min(size) / 300))
    for i in sorted(range(len(regions)), key=lambda i: -regions[i].area):
        window, mask = regions[i].window(picture), regions[i].mask
        inside = window[mask].astype(np.float32)
        tinted = (1 - MASK_OPACITY) * inside + MASK_OPACITY * np.array(colours[i], np.float32)
        window[mask] = tinted.round().astype(np.uint8)
        # The dark rim keeps the outline visible on a ground of its own colour.
        _outline(picture, regions[i], colours[i], width, rim=max(1, width // 3))
        if truths and truths[i] is not None:
            _outline(picture, truths[i], (255, 255, 255), max(1, width // 2), rim=1)
    paint_labels(picture, regions, colours, labels)
    return picture


def _region(mask: np.ndarray, image: np.ndarray, size: tuple[int, int]) -> Region:
    if mask.shape != image.shape[:2]:
        raise ValueError(f"a mask must be at the image's size {image.shape[:2]}, got {mask.shape}")
    return region_of(mask, size)


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
