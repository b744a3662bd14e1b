"""A colour for every class, always the same and as unlike the others as possible."""

from __future__ import annotations

import functools

import cv2
import numpy as np

NUM_COLOURS = 128  # more classes than these share colours
MASK_OPACITY = 0.2  # low, so that a colour that is itself a label can still be told


def class_colour(index: int) -> tuple[int, int, int]:
    """The RGB colour of class `index`, the same for any number of classes."""
    return _palette()[index % NUM_COLOURS]


@functools.lru_cache(maxsize=1)
def _palette() -> list[tuple[int, int, int]]:
    """Colours, each as far as possible in CIELAB from all before it."""
    levels = np.linspace(0, 255, 9).astype(np.uint8)
    rgb = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), -1).reshape(1, -1, 3)
    lab = cv2.cvtColor(rgb.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[0]
    chroma = np.linalg.norm(lab[:, 1:], axis=1)
    # Not near black, white or grey: photographs are full of those.
    fit = (lab[:, 0] > 40) & (lab[:, 0] < 88) & (chroma > 45)
    rgb, lab = rgb[0][fit], lab[fit]
    chosen = [int(np.argmin(np.linalg.norm(lab - (55, 70, 50), axis=1)))]  # begin with a red
    distance = np.full(len(lab), np.inf)
    while len(chosen) < NUM_COLOURS:
        distance = np.minimum(distance, np.linalg.norm(lab - lab[chosen[-1]], axis=1))
        chosen.append(int(np.argmax(distance)))
    return [tuple(int(channel) for channel in rgb[i]) for i in chosen]
