"""The report of a check: one JSON for programs, one HTML page for people, nothing beside them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable

from mask2former_mt.check.check import CheckResult
from mask2former_mt.check.check_charts import draw_charts
from mask2former_mt.check.findings import (
    KINDS,
    SEVERITIES,
    Finding,
    count_texts,
    grouped,
)
from mask2former_mt.visualization.pages import charts, facts, page, panels, text

_MAX_ROWS = 200  # of one kind; all of them are in the JSON


def report_json(result: CheckResult) -> bytes:
    """Everything that was found and counted.

    Returns:
        JSON: `dataset`, `counts` by severity, `findings`, each `{"severity", "kind", "file",
        "image_id", "annotation_id", "message"}`, `statistics` by split, `suggestions`.
    """
    content = {
        "dataset": str(result.dataset),
        "counts": {s: sum(f.severity == s for f in result.findings) for s in SEVERITIES},
        "findings": [dataclasses.asdict(finding) for finding in _sorted(result.findings)],
        "statistics": {name: s.to_json() for name, s in result.statistics.items()},
        "suggestions": [dataclasses.asdict(suggestion) for suggestion in result.suggestions],
    }
    return json.dumps(content, indent=1, allow_nan=False).encode("ascii") + b"\n"


def report_html(result: CheckResult) -> bytes:
    """The page; all pictures are in it, and it asks no other place for anything."""
    body = [f"<h1>Dataset check: {text(result.dataset.name)}</h1>", _headline(result)]
    body += _findings(result.findings)
    body += panels("What is wrong, drawn (outline red, box yellow)", result.faults)
    body += _suggestions(result)
    for name, statistics in result.statistics.items():
        body.append(f"<h2>Split {text(name)}</h2>")
        body.append(_numbers(statistics.to_json()))
        body += charts(draw_charts(statistics))
    body += panels("Samples", result.samples)
    return page(f"Dataset check: {result.dataset.name}", body)


def _sorted(findings: Iterable[Finding]) -> list[Finding]:
    return [f for kinds in grouped(findings).values() for found in kinds.values() for f in found]


def _headline(result: CheckResult) -> str:
    if not result.findings:
        return f'<p class="clean">No findings. {text(result.dataset)}</p>'
    texts = [f'<b class="{s}">{words}</b>' for s, words in count_texts(result.findings).items()]
    return f"<p>{', '.join(texts)} in {text(result.dataset)}</p>"


def _findings(findings: Iterable[Finding]) -> list[str]:
    body = []
    for severity, kinds in grouped(findings).items():
        body.append(f'<h2 class="{severity}">{severity.capitalize()}s</h2>')
        for kind, found in kinds.items():
            rows = "".join(_row(finding) for finding in found[:_MAX_ROWS])
            more = len(found) - _MAX_ROWS
            note = f"<p>... and {more} more in report.json</p>" if more > 0 else ""
            is_open = " open" if len(found) <= 5 else ""
            body.append(
                f"<details{is_open}><summary><b>{kind}</b>: {KINDS[kind]} ({len(found)})</summary>"
                "<table><tr><th>file</th><th>image</th><th>annotation</th><th>message</th></tr>"
                f"{rows}</table>{note}</details>"
            )
    return body


def _row(finding: Finding) -> str:
    ids = ("" if i is None else i for i in (finding.image_id, finding.annotation_id))
    cells = "".join(f'<td class="n">{text(i)}</td>' for i in ids)
    return f"<tr><td>{text(finding.file)}</td>{cells}<td>{text(finding.message)}</td></tr>"


def _suggestions(result: CheckResult) -> list[str]:
    if not result.suggestions:
        return []
    body = ["<h2>Suggested settings</h2>"]
    for suggestion in result.suggestions:
        lines = "\n".join(f"{k}: {json.dumps(v)}" for k, v in suggestion.settings.items())
        body.append(f"<pre>{text(lines)}</pre><p>{text(suggestion.rule)}</p>")
    return body


def _numbers(numbers: dict) -> str:
    rows = []
    for key, value in numbers.items():
        if key in ("instances_per_class", "subcategories"):
            continue  # the charts show them
        if isinstance(value, dict):
            value = ", ".join(f"{name} {number:.4g}" for name, number in value.items())
        rows.append((key.replace("_", " "), value))
    for subcategory in numbers["subcategories"]:
        for what in ("none", "unknown"):
            share = subcategory[f"share_{what}"]
            if share is not None:
                rows.append((f"{subcategory['name']}: share of {what}", f"{share:.1%}"))
    return facts(rows)
