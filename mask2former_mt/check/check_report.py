"""The report of a dataset check: lines for the console, JSON for programs, a page for people."""

from __future__ import annotations

import dataclasses
import json

import numpy as np

from mask2former_mt.check.check import CheckResult
from mask2former_mt.check.check_charts import draw_charts
from mask2former_mt.check.statistics import SplitStatistics
from mask2former_mt.dataset.problems import KINDS
from mask2former_mt.visualization.pages import printable, render

_MAX_ROWS = 200  # problems of one kind on the page; all of them are in the JSON
_MAX_NAMES = 20  # classes or values in a line of the console


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
    lines.append(", ".join(_count_texts(result).values()))
    return printable("\n".join(lines))


def report_json(result: CheckResult, augmented: dict | None = None) -> bytes:
    """Everything that was found and counted.

    Args:
        augmented: what was found in augmented samples, if some were drawn.

    Returns:
        JSON: `dataset`, `counts` by severity, `findings`, each `{"severity", "kind", "file",
        "image_id", "annotation_id", "message"}`, `statistics` by split, `suggestions` and, where
        it is given, `augmented`.
    """
    findings = [
        problem.to_json()
        for kinds in result.by_severity_and_kind.values()
        for problems in kinds.values()
        for problem in problems
    ]
    content = {
        "dataset": str(result.dataset),
        "counts": result.counts,
        "findings": findings,
        "statistics": {name: s.to_json() for name, s in result.statistics.items()},
        "suggestions": [dataclasses.asdict(suggestion) for suggestion in result.suggestions],
        **({} if augmented is None else {"augmented": augmented}),
    }
    return json.dumps(content, indent=1, allow_nan=False).encode("ascii") + b"\n"


def report_html(result: CheckResult) -> bytes:
    """The page; it holds all of its pictures."""
    splits = [
        {"name": name, "facts": _facts(s.to_json()), "charts": draw_charts(s)}
        for name, s in result.statistics.items()
    ]
    suggestions = [
        ("\n".join(f"{key}: {json.dumps(value)}" for key, value in s.settings.items()), s.rule)
        for s in result.suggestions
    ]
    return render(
        "dataset_check.html",
        title=f"Dataset check: {result.dataset.name}",
        dataset=result.dataset,
        counts=_count_texts(result),
        findings=result.by_severity_and_kind,
        kind_meanings=KINDS,
        max_rows=_MAX_ROWS,
        faults=result.faults,
        suggestions=suggestions,
        splits=splits,
        samples=result.samples,
    )


def _count_texts(result: CheckResult) -> dict[str, str]:
    """How many problems of each severity there are, as "2 errors"."""
    return {s: f"{n} {s}{'' if n == 1 else 's'}" for s, n in result.counts.items()}


def _numbers(statistics: SplitStatistics) -> list[str]:
    """The lines of a split."""
    per_image, sides = np.asarray(statistics.per_image), np.asarray(statistics.sides)
    lines = [
        f"{statistics.num_images} images ({statistics.num_decoded} decoded, "
        f"{statistics.per_image.count(0)} without instances), {statistics.num_instances} "
        f"instances, {statistics.num_crowds} crowds"
    ]
    if statistics.num_instances == 0:
        return lines
    lines.append(
        f"instances per image: mean {per_image.mean():.1f}, most {per_image.max()}; side (square "
        f"root of the area): 5 % below {np.percentile(sides, 5):.1f} px, median "
        f"{np.median(sides):.1f} px, largest {sides.max():.1f} px"
    )
    lines.append("classes: " + _named_counts(statistics.class_names, statistics.class_counts))
    for subcategory, counts in zip(statistics.spec, statistics.value_counts, strict=True):
        totals = counts.sum(axis=0)
        none, unknown = totals[-2:] / max(totals.sum(), 1)
        lines.append(
            f"{subcategory.name}: {_named_counts(subcategory.values, totals)}; none {none:.1%}, "
            f"unknown {unknown:.1%}"
        )
    return lines


def _named_counts(names: tuple[str, ...], counts: np.ndarray) -> str:
    texts = [f"{name} {count}" for name, count in zip(names, counts.tolist(), strict=False)]
    more = f" and {len(texts) - _MAX_NAMES} more" if len(texts) > _MAX_NAMES else ""
    return ", ".join(texts[:_MAX_NAMES]) + more


def _facts(numbers: dict) -> list[tuple[str, object]]:
    """Names and values for a table: of a split's numbers those that no chart shows."""
    rows = []
    for key, value in numbers.items():
        if key in ("instances_per_class", "subcategories"):
            continue
        if isinstance(value, dict):
            value = ", ".join(f"{name} {number:.4g}" for name, number in value.items())
        rows.append((key.replace("_", " "), value))
    for subcategory in numbers["subcategories"]:
        for what in ("none", "unknown"):
            share = subcategory[f"share_{what}"]
            if share is not None:
                rows.append((f"{subcategory['name']}: share of {what}", f"{share:.1%}"))
    return rows
