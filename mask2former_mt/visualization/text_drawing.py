"""Lines of text in pictures, measured, cut and drawn in OpenCV's built-in Unicode font."""

from __future__ import annotations

import bisect
import functools
import unicodedata

import cv2
import numpy as np

WEIGHT = 450  # of the strokes: 400 is regular, 700 is bold


@functools.lru_cache(maxsize=1)
def font() -> cv2.FontFace:
    """The font.

    Raises:
        ImportError: OpenCV is older than 5.
    """
    if not hasattr(cv2, "FontFace"):
        raise ImportError(
            f"pictures need OpenCV 5 for its built-in Unicode font, got {cv2.__version__}; "
            "install opencv-python-headless>=5"
        )
    return cv2.FontFace("sans")


def text_size_for(size: tuple[int, int]) -> int:
    """The text size in pixels for a picture of H, W: 14 for 512, in proportion above 1540."""
    return max(10 + min(*size, 512) // 128, round(max(size) / 110))


def line_height(size: int) -> int:
    """Pixels from one line's baseline to the next, for text of `size` pixels."""
    return round(1.3 * size)


def text_width(text: str, size: int) -> int:
    """The width in pixels of one line."""
    if not text:
        return 0
    return cv2.getTextSize((0, 0), _drawable(text), (0, 0), font(), size, WEIGHT)[2]


def cut(text: str, size: int, width: int) -> str:
    """The text; where it is wider than `width` pixels, its beginning and an ellipsis."""
    if text_width(text, size) <= width:
        return text
    lengths = range(1, len(text))
    fits = bisect.bisect_right(lengths, width, key=lambda n: text_width(text[:n] + "…", size))
    return text[:fits] + "…"


def put_text(
    picture: np.ndarray, text: str, origin: tuple[int, int], colour: tuple, size: int
) -> None:
    """Writes one line into the picture; `origin` is xy of the left end of its baseline."""
    cv2.putText(picture, _drawable(text), origin, colour, font(), size, WEIGHT)


@functools.lru_cache(maxsize=4096)
def _drawable(text: str) -> str:
    # A combining accent would be drawn beside its letter, wider than measured; a line break would
    # leave the label; half a surrogate pair has no UTF-8 form.
    text = unicodedata.normalize("NFC", text)
    shown = {"Cs": "\N{REPLACEMENT CHARACTER}", "Cc": " "}  # by category
    text = "".join(shown.get(unicodedata.category(letter), letter) for letter in text)
    # The font's blank is so narrow that words run together at 14 pixels.
    return text.replace(" ", "  ")
