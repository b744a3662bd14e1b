"""Settings that follow from a dataset's numbers, each with the rule that it follows from."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from mask2former_mt.check.annotation_rules import MASK_STRIDE
from mask2former_mt.check.statistics import SplitStatistics

# Small objects should cover this many cells of the mask grid in each direction.
_CELLS = 4
_SMALL_PERCENTILE = 5
# Pictures are enlarged or reduced by at most this factor: more adds nothing to them, or loses the
# details that labels depend on.
_MAX_SCALE = 2.0
_SIZE_MULTIPLE = 32  # the backbone's coarsest stride
_BUSY_PERCENTILE = 99
_QUERY_MULTIPLE = 10


@dataclasses.dataclass(frozen=True)
class Suggestion:
    """Config keys and their values, ready for a YAML.

    Args:
        settings: by key.
        rule: how the values follow from the numbers.
    """

    settings: dict[str, object]
    rule: str


def suggest(statistics: SplitStatistics) -> list[Suggestion]:
    """What to write into a config; a setting is left out where the numbers tell nothing of it.

    Args:
        statistics: of the training split.
    """
    found = [_colours(statistics), _queries(statistics), _input_size(statistics)]
    return [suggestion for suggestion in found if suggestion is not None]


def _colours(statistics: SplitStatistics) -> Suggestion | None:
    if statistics.colours is None:
        return None
    mean, deviation = ([round(v, 1) for v in values.tolist()] for values in statistics.colours)
    return Suggestion(
        {"INPUT.FORMAT": "RGB", "MODEL.PIXEL_MEAN": mean, "MODEL.PIXEL_STD": deviation},
        f"mean and standard deviation of the pixels of {statistics.num_decoded} pictures, each "
        "counting the same, in the order of INPUT.FORMAT RGB; reverse both lists for BGR. For "
        "a backbone trained on other pictures, keep the numbers that it was trained with",
    )


def _queries(statistics: SplitStatistics) -> Suggestion | None:
    if statistics.num_instances == 0:
        return None
    counts = np.frombuffer(statistics.per_image, dtype=statistics.per_image.typecode)
    busy, most = float(np.percentile(counts, _BUSY_PERCENTILE)), int(counts.max())
    queries = _up_to(max(2 * busy, most), _QUERY_MULTIPLE)
    return Suggestion(
        {"MODEL.MASK_FORMER.NUM_OBJECT_QUERIES": queries},
        f"twice the objects of a busy picture ({_BUSY_PERCENTILE} % have at most {busy:g}), but no "
        f"fewer than the busiest has ({most}), rounded up to tens",
    )


def _input_size(statistics: SplitStatistics) -> Suggestion | None:
    if not len(statistics.relative_sides):
        return None
    relative = np.frombuffer(statistics.relative_sides, dtype=np.float32)
    short = float(np.median(np.frombuffer(statistics.short_sides, dtype=np.float32)))
    small = float(np.percentile(relative, _SMALL_PERCENTILE))
    wanted = _CELLS * MASK_STRIDE / small if small > 0 else math.inf
    size = _up_to(min(max(wanted, short / _MAX_SCALE), short * _MAX_SCALE), _SIZE_MULTIPLE)
    return Suggestion(
        {"INPUT.MIN_SIZE_TRAIN": [size], "INPUT.MIN_SIZE_TEST": size},
        f"the short side at which {100 - _SMALL_PERCENTILE} % of the objects are at least "
        f"{_CELLS} cells of {MASK_STRIDE} pixels wide (square root of the area), but between half "
        f"and twice the pictures' own, {short:g}; rounded up to a multiple of {_SIZE_MULTIPLE}",
    )


def _up_to(value: float, multiple: int) -> int:
    # The rounding error of a percentile must not add a whole multiple.
    return max(multiple, math.ceil(value / multiple - 1e-6) * multiple)
