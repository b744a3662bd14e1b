"""HTML pages from the templates beside this file; a page holds its pictures and fetches nothing."""

from __future__ import annotations

import base64
import math
import pathlib
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import jinja2
import numpy as np
from markupsafe import Markup

from mask2former_mt.visualization.rgb_images import resized


class Panel(NamedTuple):
    """A picture with a line below it."""

    jpeg: bytes  # content of the file
    caption: str


class Table(NamedTuple):
    """Names in the first column, figures in the others; shown by `figure`."""

    header: Sequence[str]
    rows: Sequence[Sequence[object]]  # as long as the header each


def render(template: str, **values: object) -> bytes:
    """Fills a template.

    Args:
        template: name of a file in `templates/`.
        values: everything that the template names; a missing one is an error.

    Returns:
        The HTML file.
    """
    return _ENVIRONMENT.get_template(template).render(values).encode()


def printable(text: str) -> str:
    """The text with escapes for all characters that a terminal or a browser would not show."""
    return "".join(
        c if c == "\n" or unicodedata.category(c)[0] != "C" else c.encode("unicode-escape").decode()
        for c in text
    )


def figure(value: object) -> str:
    """A float with two decimals, NaN as a dash, anything else as it is."""
    if not isinstance(value, float):
        return str(value)
    return "-" if math.isnan(value) else f"{value:.2f}"


def encode_jpeg(picture: np.ndarray, max_side: int) -> bytes:
    """A picture as JPEG.

    Args:
        picture: uint8 RGB (H, W, 3).
        max_side: pixels; a picture whose longer side is more is reduced to it.
    """
    scale = max_side / max(picture.shape[:2])
    if scale < 1:
        height, width = (max(1, math.floor(side * scale)) for side in picture.shape[:2])
        picture = resized(picture, (height, width))
    success, content = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])
    assert success
    return content.tobytes()


def _data_uri(content: bytes, media_type: str) -> Markup:
    return Markup(f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}")


_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FileSystemLoader(pathlib.Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    # Names come from files of anyone: no control character of theirs gets into a page.
    finalize=lambda value: value if isinstance(value, Markup) else printable(str(value)),
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
_ENVIRONMENT.filters.update(figure=figure, data_uri=_data_uri)
