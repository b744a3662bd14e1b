"""Pictures in rows: two side by side, and contact sheets."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from mask2former_mt.visualization.text import (
    cut,
    line_height,
    put_text,
    text_size_for,
    text_width,
)

TITLE_SIZE = 18  # pixels
BACKGROUND = (32, 32, 32)


def side_by_side(
    left: np.ndarray, right: np.ndarray, titles: Sequence[str] = ("", ""), *, gap: int = 8
) -> np.ndarray:
    """Two pictures in a row, each below its title.

    Args:
        left, right: uint8 RGB; the lower one is filled up below.
        titles: two texts; where both are empty no room is made for them.
        gap: pixels between the pictures.

    Raises:
        ValueError: a picture that is not uint8 RGB, or not two titles.
    """
    if len(titles) != 2:
        raise ValueError(f"titles must be two texts, got {list(titles)}")
    return contact_sheet([left, right], 2, titles=titles if any(titles) else None, gap=gap)


def contact_sheet(
    images: Sequence[np.ndarray],
    columns: int,
    *,
    titles: Sequence[str] | None = None,
    cell_width: int | None = None,
    gap: int = 8,
) -> np.ndarray:
    """The pictures in rows of `columns`, each at the top left of its cell.

    Args:
        images: at least one uint8 RGB array; sizes may differ.
        columns: at least 1.
        titles: one text above each picture, cut to the cell's width.
        cell_width: pixels; each picture is scaled to this width. None keeps the sizes.
        gap: pixels around the cells.

    Returns:
        uint8 RGB; a row is as high as its highest picture, all columns are as wide as the widest.

    Raises:
        ValueError: no images, columns below 1, another number of titles, not uint8 RGB.
    """
    if len(images) == 0 or columns < 1:
        raise ValueError(
            f"a contact sheet needs at least one image and one column, "
            f"got {len(images)} images, {columns} columns"
        )
    if titles is not None and len(titles) != len(images):
        raise ValueError(f"titles must be one per image ({len(images)}), got {len(titles)}")
    for image in images:
        check_image(image)
    cells = list(images) if cell_width is None else [_to_width(x, cell_width) for x in images]
    columns = min(columns, len(cells))
    width = max(cell.shape[1] for cell in cells)
    title_height = 0 if titles is None else 2 * TITLE_SIZE
    rows = [range(i, min(i + columns, len(cells))) for i in range(0, len(cells), columns)]
    heights = [title_height + max(cells[i].shape[0] for i in row) for row in rows]
    size = (gap + sum(height + gap for height in heights), gap + columns * (width + gap), 3)
    sheet = np.full(size, BACKGROUND, dtype=np.uint8)
    y = gap
    for row, height in zip(rows, heights, strict=True):
        for column, i in enumerate(row):
            x = gap + column * (width + gap)
            cell = cells[i]
            if titles is not None:
                text = cut(titles[i], TITLE_SIZE, width)
                put_text(sheet, text, (x, y + int(1.4 * TITLE_SIZE)), (255,) * 3, TITLE_SIZE)
            top = y + title_height
            sheet[top : top + cell.shape[0], x : x + cell.shape[1]] = cell
        y += height + gap
    return sheet


def with_legend(
    picture: np.ndarray, entries: Sequence[tuple[tuple[int, int, int] | None, str]]
) -> np.ndarray:
    """The picture above lines of coloured squares, each with its text.

    Args:
        picture: uint8 RGB; one narrower than the legend's widest entry is filled up on the right.
        entries: RGB colour of the square, or None for no square, and the text.
    """
    size = text_size_for(picture.shape[:2])
    step, gap = line_height(size), size
    widths = [(colour is not None) * step + text_width(text, size) for colour, text in entries]
    width = max([picture.shape[1], *(w + 2 * gap for w in widths)])
    lines: list[list[int]] = [[]]
    for i in range(len(entries)):
        taken = sum(widths[j] + gap for j in lines[-1])
        if lines[-1] and gap + taken + widths[i] + gap > width:
            lines.append([])
        lines[-1].append(i)
    height = picture.shape[0]
    whole = np.full((height + gap + len(lines) * step, width, 3), BACKGROUND, dtype=np.uint8)
    whole[:height, : picture.shape[1]] = picture
    for row, line in enumerate(lines):
        x, baseline = gap, height + gap // 2 + row * step + size
        for i in line:
            colour, text = entries[i]
            start = x
            if colour is not None:
                whole[baseline - round(0.8 * size) : baseline, x : x + round(0.8 * size)] = colour
                start += step
            put_text(whole, text, (start, baseline), (255,) * 3, size)
            x += widths[i] + gap
    return whole


def check_image(image: np.ndarray) -> None:
    """Refuses what is not a uint8 RGB picture with at least one pixel."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
        raise ValueError(
            f"a picture must be uint8 RGB (H, W, 3), got {image.dtype} {image.shape}; "
            "read it with detectron2's read_image(path, 'RGB')"
        )


def _to_width(image: np.ndarray, width: int) -> np.ndarray:
    height = max(1, round(image.shape[0] * width / image.shape[1]))
    shrinks = width < image.shape[1]
    return cv2.resize(
        image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    )
