"""The depth range that pictures use, and whether reading keeps it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from mask2former_mt.check.advice import Suggestion
from mask2former_mt.check.statistics import SplitStatistics
from mask2former_mt.dataset.bit_depth import chosen_range
from mask2former_mt.dataset.problems import ERROR, WARNING, Problem

# A smaller share of the range than this loses a bit and more of the 8 that are kept.
_MIN_USED = 0.5


def used_range(statistics: Sequence[SplitStatistics]) -> tuple[float, float] | None:
    """The values that become 0 and 255, so that no picture of these splits loses any.

    Integers from 0 on are given as many bits as the largest has, floats within [0, 1] that range,
    others what was measured, rounded outwards to two digits; None without a deep picture.
    """
    measured = [numbers for split in statistics for numbers in split.depths.values()]
    if not measured:
        return None
    low = min(numbers[1] for numbers in measured)
    high = max(numbers[2] for numbers in measured)
    are_floats = any(depth.is_float for split in statistics for depth in split.depths)
    if are_floats and low >= 0 and high <= 1:
        return 0.0, 1.0
    if not are_floats and low >= 0:
        return 0, 2 ** max(8, int(high).bit_length()) - 1
    step = 10.0 ** math.floor(math.log10(max(high - low, 1e-30)) - 1)
    if not are_floats:
        step = max(step, 1)
    low, high = math.floor(low / step) * step, math.ceil(high / step) * step
    return (low, high) if low < high else (low, low + step)


def scan_depths(
    statistics: Mapping[str, SplitStatistics],
    files: Mapping[str, str],
    depth_range: Sequence[float],
) -> Iterator[Problem]:
    """Finds splits whose pictures are refused, or lose bits, as they are read.

    Args:
        statistics: by split's name.
        files: the split's JSON by its name.
        depth_range: INPUT.DEPTH_RANGE.
    """
    suggested = used_range([*statistics.values()])
    remedy = f"set INPUT.DEPTH_RANGE to {_listed(suggested)}" if suggested else ""
    for name, split in statistics.items():
        for depth, (count, low, high) in split.depths.items():
            pictures = f"{count} pictures of {depth.name} hold samples from {low:g} to {high:g}"
            try:
                black, white = chosen_range(depth, depth_range)
            except ValueError:
                message = f"{pictures}, which training refuses without a depth range"
                problem = (ERROR, "needs-depth-range", files[name], message, remedy)
                yield Problem(*problem)
                continue
            used = (min(high, white) - max(low, black)) / (white - black)
            if used < _MIN_USED or low < black or high > white:
                levels = max(used, 0) * 255 + 1
                message = (
                    f"{pictures}, and are read as {black:g} to {white:g}: {levels:.0f} of 256 "
                    "levels are used"
                )
                if low < black or high > white:
                    message += ", and what lies outside is clipped"
                yield Problem(WARNING, "unused-depth", files[name], message, remedy)


def suggest_depth_range(statistics: Sequence[SplitStatistics]) -> list[Suggestion]:
    """INPUT.DEPTH_RANGE for the pictures of all splits; empty where none is deeper than 8 bits."""
    suggested = used_range(statistics)
    if suggested is None:
        return []
    rule = (
        "the values that become 0 and 255: integers from 0 on get the bits that the largest one "
        "has, floats from 0 to 1 that range, others what was measured in all splits"
    )
    return [Suggestion({"INPUT.DEPTH_RANGE": list(suggested)}, rule)]


def _listed(values: tuple[float, float]) -> str:
    return f"[{values[0]:g}, {values[1]:g}]"
