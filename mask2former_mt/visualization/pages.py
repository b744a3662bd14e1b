"""Pages of HTML that hold their pictures, and ask no other place for anything."""

from __future__ import annotations

import base64
import html
import math
import unicodedata
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import cv2
import numpy as np

_QUALITY = 85
_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 1100px; padding: 0 1em;
  color: #1c2330; background: #fff }
h1, h2, h3 { line-height: 1.2 } h2 { margin-top: 2em; border-bottom: 1px solid #ccd }
table { border-collapse: collapse; margin: .5em 0; width: 100% }
th, td { text-align: left; vertical-align: top; padding: .25em .6em; border-bottom: 1px solid #dde }
td { overflow-wrap: anywhere } td.n { white-space: nowrap }
td.r, th.r { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums }
table.narrow { width: auto } .scroll { overflow-x: auto }
summary { cursor: pointer; padding: .3em 0 } code { background: #eef1f6; padding: .1em .3em }
.error { color: #a11212 } .warning { color: #8a5a00 } .clean { color: #17692b }
.panels { display: flex; flex-wrap: wrap; gap: 1em } .panels figure { max-width: 340px }
figure { margin: 0 } .wide figure { max-width: 100%; margin-bottom: 1.2em }
figure img { max-width: 100%; display: block }
figcaption { font-size: 13px; overflow-wrap: anywhere }
.charts { display: flex; flex-wrap: wrap; gap: 0 2em } .charts > div { max-width: 100% }
.charts img { max-width: 100%; display: block; margin-bottom: .8em }
pre { background: #eef1f6; padding: .6em; overflow-x: auto }
"""


class Panel(NamedTuple):
    """A picture with a line below it.

    Args:
        jpeg: the file's content.
        caption: one line.
    """

    jpeg: bytes
    caption: str


def page(title: str, body: Iterable[str]) -> bytes:
    """The whole page.

    Args:
        title: plain text.
        body: HTML.
    """
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{text(title)}</title><style>{_STYLE}</style>"
        f"</head><body>{''.join(body)}</body></html>\n"
    ).encode()


def text(value: object) -> str:
    """A value as HTML that shows it as it is."""
    return html.escape(printable(str(value)))


def printable(plain: str) -> str:
    """The text without what a terminal or a browser would not show as it is."""
    return "".join(
        c if c == "\n" or unicodedata.category(c)[0] != "C" else c.encode("unicode-escape").decode()
        for c in plain
    )


def image(content: bytes, media_type: str, title: str) -> str:
    """An `img` that holds its file."""
    data = base64.b64encode(content).decode("ascii")
    return f'<img alt="{text(title)}" src="data:{media_type};base64,{data}">'


def charts(titled: Iterable[tuple[str, bytes]]) -> list[str]:
    """SVG files below their titles."""
    return [
        '<div class="charts">',
        *(
            f"<div><h3>{text(title)}</h3>{image(svg, 'image/svg+xml', title)}</div>"
            for title, svg in titled
        ),
        "</div>",
    ]


def panels(title: str, found: Iterable[Panel], *, wide: bool = False) -> list[str]:
    """Pictures with their captions below a heading; nothing where there are none.

    Args:
        wide: one in a row at its own size, else as many small ones as there is room for.
    """
    figures = [
        f"<figure>{image(panel.jpeg, 'image/jpeg', panel.caption)}"
        f"<figcaption>{text(panel.caption)}</figcaption></figure>"
        for panel in found
    ]
    if not figures:
        return []
    kind = "wide" if wide else "panels"
    return [f"<h2>{text(title)}</h2>", f'<div class="{kind}">', *figures, "</div>"]


def facts(rows: Iterable[tuple[str, object]]) -> str:
    """A table of names and what is known of each."""
    cells = "".join(f"<tr><th>{text(name)}</th><td>{text(value)}</td></tr>" for name, value in rows)
    return f"<table>{cells}</table>"


def numbers(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table whose first column has names and the others figures.

    Args:
        header: of all columns.
        rows: a float is shown with two decimals, NaN (undefined) as a dash.
    """
    head = "".join(
        f"<th{' class=r' if column else ''}>{text(name)}</th>" for column, name in enumerate(header)
    )
    body = "".join(
        f"<tr><td>{text(first)}</td>"
        + "".join(f'<td class="r">{text(figure(value))}</td>' for value in others)
        + "</tr>"
        for first, *others in rows
    )
    return (
        f'<div class="scroll"><table class="narrow"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def figure(value: object) -> str:
    """A number as a table shows it."""
    if not isinstance(value, float):
        return str(value)
    return "-" if math.isnan(value) else f"{value:.2f}"


def encode_jpeg(picture: np.ndarray, max_side: int) -> bytes:
    """A picture as JPEG.

    Args:
        picture: uint8 RGB (H, W, 3).
        max_side: pixels; a longer one is reduced to it.
    """
    largest = max(picture.shape[:2])
    if largest > max_side:
        scale = max_side / largest
        size = [max(1, math.floor(side * scale)) for side in picture.shape[1::-1]]
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    done, content = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    assert done
    return content.tobytes()
