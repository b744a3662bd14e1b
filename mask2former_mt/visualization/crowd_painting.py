"""More instances than a person could tell apart, painted at the cost of the picture's pixels."""

# N instances, H x W the picture's size in pixels.

from __future__ import annotations

from collections.abc import Iterable, Sequence

import cv2
import numpy as np

from mask2former_mt.visualization.colours import MASK_OPACITY
from mask2former_mt.visualization.label_text import Look
from mask2former_mt.visualization.regions import Region, region_of

CROWD = 150  # a picture of more instances is painted here, and so many of them are labelled
_LABEL_ROOM = 128 * 128  # pixels of the picture for each label
_GROUND = -1


def paint_crowd(
    picture: np.ndarray,
    regions: Iterable[Region],
    looks: Sequence[Look],
    frame: tuple[int, int],
    true_regions: Iterable[Region | None] = (),
) -> tuple[list[Region], list[Look]]:
    """Paints each pixel for the smallest mask on it, with a thin outline.

    Args:
        picture: uint8 RGB (H, W, 3), changed in place.
        regions: N masks, taken one at a time.
        looks: N colours and labels.
        frame: H, W of the picture that the masks belong to; they are resized with it.
        true_regions: masks of which only a thin white outline is shown.

    Returns:
        The visible parts and the looks of the most important instances, at most CROWD: the highest
        scores first, where there are none the largest masks.
    """
    owners, areas, boxes = _owners(regions, len(looks), frame)
    height, width = picture.shape[:2]
    owners = cv2.resize(owners, (width, height), interpolation=cv2.INTER_NEAREST)
    # The ground's colour, the last one, is painted nowhere.
    palette = np.array([*(look.colour for look in looks), (0, 0, 0)], dtype=np.uint8)
    coloured = palette[owners]
    tinted = cv2.addWeighted(picture, 1 - MASK_OPACITY, coloured, MASK_OPACITY, 0)
    np.copyto(picture, tinted, where=(owners != _GROUND)[..., None])
    np.copyto(picture, coloured, where=_rims(owners)[..., None])
    truths = [region for region in true_regions if region is not None]
    if truths:
        true_owners, _, _ = _owners(truths, len(truths), frame)
        true_owners = cv2.resize(true_owners, (width, height), interpolation=cv2.INTER_NEAREST)
        picture[_rims(true_owners)] = 255
    scores = [1.0 if look.score is None else look.score for look in looks]
    most_important = np.lexsort((-areas, -np.array(scores)))
    labelled = most_important[: min(CROWD, height * width // _LABEL_ROOM)].tolist()
    boxes = boxes * np.tile((width / frame[1], height / frame[0]), 2)
    return [_visible_part(owners, i, boxes[i]) for i in labelled], [looks[i] for i in labelled]


def _visible_part(owners: np.ndarray, i: int, box: np.ndarray) -> Region:
    """What is seen of a mask within a box x0, y0, x1, y1, which may end between pixels."""
    (left, top), (right, bottom) = np.floor(box[:2]).astype(int), np.ceil(box[2:]).astype(int)
    part = region_of(owners[top:bottom, left:right] == i)
    return Region(part.left + left, part.top + top, part.mask)


def _owners(
    regions: Iterable[Region], count: int, frame: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The smallest mask on each pixel, int32 (H, W) or -1, and all masks' areas and boxes."""
    owners = np.full(frame, _GROUND, dtype=np.int32)
    # The ground, at -1, gives way to every mask.
    areas, boxes = np.full(count + 1, np.inf), np.zeros((count, 4), dtype=np.int64)
    for i, region in enumerate(regions):
        areas[i], boxes[i] = region.area, region.box
        window = region.window(owners)
        window[region.mask & (areas[window] >= region.area)] = i
    return owners, areas[:-1], boxes


def _rims(owners: np.ndarray) -> np.ndarray:
    """The pixels of masks beside which another one or the ground is, bool (H, W)."""
    rims = np.zeros(owners.shape, dtype=bool)
    across, down = owners[:, 1:] != owners[:, :-1], owners[1:] != owners[:-1]
    for pixels, differs in (
        (rims[:, 1:], across),
        (rims[:, :-1], across),
        (rims[1:], down),
        (rims[:-1], down),
    ):
        pixels |= differs
    return rims & (owners != _GROUND)
