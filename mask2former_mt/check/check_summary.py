"""What a check found and counted, as lines of text."""

from __future__ import annotations

import json

import numpy as np

from mask2former_mt.check.check import CheckResult
from mask2former_mt.check.statistics import SplitStatistics
from mask2former_mt.dataset.problems import KINDS
from mask2former_mt.visualization.pages import printable

_MAX_NAMES = 20


def problems_text(result: CheckResult, *, show: int) -> str:
    """The problems, worst first, at most `show` of each kind in words."""
    lines = []
    for severity, kinds in result.by_severity_and_kind.items():
        lines.append(f"{severity.upper()}S ({sum(map(len, kinds.values()))})")
        for kind, problems in kinds.items():
            lines.append(f"  {kind}: {KINDS[kind]} ({len(problems)})")
            lines += [f"    {problem.place}: {problem.text}" for problem in problems[:show]]
            if len(problems) > show:
                lines.append(f"    ... and {len(problems) - show} more")
    return printable("\n".join(lines))


def summary_text(result: CheckResult) -> str:
    """The numbers of each split, the suggested settings, and how many problems there are."""
    lines = []
    for name, statistics in result.statistics.items():
        lines += [f"Split {name}", *(f"  {line}" for line in _numbers(statistics))]
    for suggestion in result.suggestions:
        settings = [f"{key} {json.dumps(value)}" for key, value in suggestion.settings.items()]
        lines += ["Suggested: " + ", ".join(settings), f"  {suggestion.rule}"]
    lines.append(", ".join(count_texts(result).values()))
    return printable("\n".join(lines))


def count_texts(result: CheckResult) -> dict[str, str]:
    """How many problems of each severity there are, as "2 errors"."""
    return {s: f"{n} {s}{'' if n == 1 else 's'}" for s, n in result.counts.items()}


def _numbers(statistics: SplitStatistics) -> list[str]:
    per_image = np.frombuffer(statistics.per_image, dtype=statistics.per_image.typecode)
    lines = [
        f"{statistics.num_images} images ({statistics.num_decoded} decoded, "
        f"{int((per_image == 0).sum())} without instances), {statistics.num_instances} instances, "
        f"{statistics.num_crowds} crowds"
    ]
    if statistics.num_instances == 0:
        return lines
    sides = np.frombuffer(statistics.sides, dtype=np.float32)
    lines.append(
        f"instances per image: mean {per_image.mean():.1f}, most {per_image.max()}; side (square "
        f"root of the area): 5 % below {np.percentile(sides, 5):.1f} px, median "
        f"{np.median(sides):.1f} px, largest {sides.max():.1f} px"
    )
    lines.append("classes: " + _counts(statistics.class_names, statistics.class_counts))
    for subcategory, counts in zip(statistics.spec, statistics.value_counts, strict=True):
        totals = counts.sum(axis=0)
        none, unknown = totals[-2:] / totals.sum()
        lines.append(
            f"{subcategory.name}: {_counts(subcategory.values, totals)}; none {none:.1%}, "
            f"unknown {unknown:.1%}"
        )
    return lines


def _counts(names: tuple[str, ...], counts: np.ndarray) -> str:
    texts = [f"{name} {count}" for name, count in zip(names, counts.tolist(), strict=False)]
    more = f" and {len(texts) - _MAX_NAMES} more" if len(texts) > _MAX_NAMES else ""
    return ", ".join(texts[:_MAX_NAMES]) + more
