"""The report of a dataset check: a JSON file for programs, an HTML page for people."""

from __future__ import annotations

import dataclasses
import json

from mask2former_mt.check.check import CheckResult
from mask2former_mt.check.check_charts import draw_charts
from mask2former_mt.check.check_summary import count_texts
from mask2former_mt.dataset.problems import KINDS
from mask2former_mt.visualization.pages import render

_MAX_ROWS = 200  # problems of one kind on the page; all of them are in the JSON


def report_json(result: CheckResult) -> bytes:
    """Everything that was found and counted.

    Returns:
        JSON: `dataset`, `counts` by severity, `findings`, each `{"severity", "kind", "file",
        "image_id", "annotation_id", "message"}`, `statistics` by split, `suggestions`.
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
        counts=count_texts(result),
        findings=result.by_severity_and_kind,
        kind_meanings=KINDS,
        max_rows=_MAX_ROWS,
        faults=result.faults,
        suggestions=suggestions,
        splits=splits,
        samples=result.samples,
    )


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
