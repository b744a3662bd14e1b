"""Text in pictures: its width, cutting it and drawing it, in OpenCV's built-in Unicode font."""

from __future__ import annotations

import functools

import cv2
import numpy as np

WEIGHT = 450  # of the strokes; 400 is regular, 700 bold


@functools.lru_cache(maxsize=1)
def font() -> cv2.FontFace:
    if not hasattr(cv2, "FontFace"):
        raise ImportError(
            f"pictures need OpenCV 5 for its built-in Unicode font, got {cv2.__version__}; "
            "install opencv-python-headless>=5"
        )
    return cv2.FontFace("sans")


def line_height(size: int) -> int:
    """Pixels from one line's baseline to the next, for text of `size` pixels."""
    return round(1.3 * size)


def text_width(text: str, size: int) -> int:
    """The width in pixels of one line."""
    if not text:
        return 0
    return cv2.getTextSize((0, 0), _spaced(text), (0, 0), font(), size, WEIGHT)[2]


def cut(text: str, size: int, width: int) -> str:
    """The text, or its beginning and an ellipsis where it is wider than `width` pixels."""
    if text_width(text, size) <= width:
        return text
    while text and text_width(text + "…", size) > width:
        text = text[:-1]
    return text + "…"


def put_text(
    picture: np.ndarray, text: str, origin: tuple[int, int], colour: tuple, size: int
) -> None:
    """Writes one line in place, `origin` being the xy of its baseline's left end."""
    cv2.putText(picture, _spaced(text), origin, colour, font(), size, WEIGHT)


def _spaced(text: str) -> str:
    # The font's blank is so narrow that at 14 pixels words run together.
    return text.replace(" ", "  ")
