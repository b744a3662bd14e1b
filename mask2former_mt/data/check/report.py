"""The report of a check: one JSON for programs, one HTML page for people, nothing beside them."""

from __future__ import annotations

import base64
import dataclasses
import html
import json
from collections.abc import Iterable

from mask2former_mt.data.check.check import CheckResult
from mask2former_mt.data.check.findings import (
    KINDS,
    SEVERITIES,
    Finding,
    count_texts,
    grouped,
    printable,
)
from mask2former_mt.data.check.panels import Panel
from mask2former_mt.data.check.plots import draw_charts

_MAX_ROWS = 200  # of one kind; all of them are in the JSON
_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 1100px; padding: 0 1em;
  color: #1c2330; background: #fff }
h1, h2, h3 { line-height: 1.2 } h2 { margin-top: 2em; border-bottom: 1px solid #ccd }
table { border-collapse: collapse; margin: .5em 0; width: 100% }
th, td { text-align: left; vertical-align: top; padding: .25em .6em; border-bottom: 1px solid #dde }
td { overflow-wrap: anywhere } td.n { white-space: nowrap }
summary { cursor: pointer; padding: .3em 0 } code { background: #eef1f6; padding: .1em .3em }
.error { color: #a11212 } .warning { color: #8a5a00 } .clean { color: #17692b }
.panels { display: flex; flex-wrap: wrap; gap: 1em } figure { margin: 0; max-width: 340px }
figure img { max-width: 100%; display: block }
figcaption { font-size: 13px; overflow-wrap: anywhere }
.charts img { max-width: 100%; display: block; margin-bottom: .8em }
pre { background: #eef1f6; padding: .6em; overflow-x: auto }
"""


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
    body = [f"<h1>Dataset check: {_text(result.dataset.name)}</h1>", _headline(result)]
    body += _findings(result.findings)
    body += _panels("What is wrong, drawn (outline red, box yellow)", result.faults)
    body += _suggestions(result)
    for name, statistics in result.statistics.items():
        body.append(f"<h2>Split {_text(name)}</h2>")
        body.append(_numbers(statistics.to_json()))
        body.append('<div class="charts">')
        for title, svg in draw_charts(statistics):
            body.append(f"<h3>{_text(title)}</h3>{_image(svg, 'image/svg+xml', title)}")
        body.append("</div>")
    body += _panels("Samples", result.samples)
    page = (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>Dataset check: {_text(result.dataset.name)}</title><style>{_STYLE}</style>"
        f"</head><body>{''.join(body)}</body></html>\n"
    )
    return page.encode("utf-8")


def _sorted(findings: Iterable[Finding]) -> list[Finding]:
    return [f for kinds in grouped(findings).values() for found in kinds.values() for f in found]


def _text(value: object) -> str:
    return html.escape(printable(str(value)))


def _headline(result: CheckResult) -> str:
    if not result.findings:
        return f'<p class="clean">No findings. {_text(result.dataset)}</p>'
    texts = [f'<b class="{s}">{text}</b>' for s, text in count_texts(result.findings).items()]
    return f"<p>{', '.join(texts)} in {_text(result.dataset)}</p>"


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
    cells = "".join(f'<td class="n">{_text(i)}</td>' for i in ids)
    return f"<tr><td>{_text(finding.file)}</td>{cells}<td>{_text(finding.message)}</td></tr>"


def _suggestions(result: CheckResult) -> list[str]:
    if not result.suggestions:
        return []
    body = ["<h2>Suggested settings</h2>"]
    for suggestion in result.suggestions:
        lines = "\n".join(f"{k}: {json.dumps(v)}" for k, v in suggestion.settings.items())
        body.append(f"<pre>{_text(lines)}</pre><p>{_text(suggestion.rule)}</p>")
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
    cells = "".join(f"<tr><th>{_text(k)}</th><td>{_text(v)}</td></tr>" for k, v in rows)
    return f"<table>{cells}</table>"


def _panels(title: str, panels: Iterable[Panel]) -> list[str]:
    figures = [
        f"<figure>{_image(panel.jpeg, 'image/jpeg', panel.caption)}"
        f"<figcaption>{_text(panel.caption)}</figcaption></figure>"
        for panel in panels
    ]
    if not figures:
        return []
    return [f"<h2>{_text(title)}</h2>", '<div class="panels">', *figures, "</div>"]


def _image(content: bytes, media_type: str, title: str) -> str:
    data = base64.b64encode(content).decode("ascii")
    return f'<img alt="{_text(title)}" src="data:{media_type};base64,{data}">'
