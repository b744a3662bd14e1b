"""Samples deeper than 8 bits, brought to 8 bits by a range; needs nothing but NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

# So many samples are scaled together, which bounds the float copies in between.
_CHUNK_SAMPLES = 1 << 18


class Depth(NamedTuple):
    """What samples deeper than 8 bits are.

    Args:
        name: in words, such as "16-bit integers".
        full_range: lowest and highest value of their type; None where that says nothing of what is
            black and what is white: pictures use a sliver of 32 bits, and floats have no range.
    """

    name: str
    full_range: tuple[float, float] | None = None

    @property
    def is_float(self) -> bool:
        return self == FLOAT


FLOAT = Depth("floats")


def chosen_range(depth: Depth, depth_range: Sequence[float]) -> tuple[float, float]:
    """The values that become 0 and 255.

    Args:
        depth: of the picture.
        depth_range: low and high of INPUT.DEPTH_RANGE; empty: the range of the type.

    Raises:
        ValueError: the type's range says nothing, and none is given.
    """
    if len(depth_range):
        return tuple(depth_range)
    if depth.full_range is None:
        raise ValueError(
            f"it holds {depth.name}, which do not say what is black and what is white; set "
            "INPUT.DEPTH_RANGE to [low, high] (tools/check_dataset.py suggests it), or save it "
            "with 8 or 16 bits"
        )
    return depth.full_range


def to_8_bits(samples: np.ndarray, low: float, high: float) -> np.ndarray:
    """Scales samples so that `low` becomes 0 and `high` 255, rounded; what lies outside is clipped.

    Args:
        samples: integers or floats of any shape; NaN becomes 0.
        low, high: low < high.

    Returns:
        uint8 of the same shape, contiguous.
    """
    scaled = np.empty(samples.shape, np.uint8)
    rows = max(1, _CHUNK_SAMPLES // max(1, samples[0].size if len(samples) else 1))
    for start in range(0, len(samples), rows):
        part = (samples[start : start + rows].astype(np.float64) - low) / (high - low) * 255
        part = np.clip(np.where(np.isnan(part), 0, part), 0, 255)
        scaled[start : start + rows] = np.rint(part)
    return scaled
