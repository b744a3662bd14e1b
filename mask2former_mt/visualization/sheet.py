"""Pictures in rows under titles, and a picture above its legend."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mask2former_mt.visualization.rgb_images import check_image, resized
from mask2former_mt.visualization.text_drawing import (
    cut,
    line_height,
    put_text,
    text_size_for,
    text_width,
)

TITLE_SIZE = 18  # pixels
GAP = 8  # pixels around the cells of a sheet
BACKGROUND = (32, 32, 32)


def contact_sheet(
    images: Sequence[np.ndarray],
    columns: int,
    *,
    titles: Sequence[str] | None = None,
    cell_width: int | None = None,
) -> np.ndarray:
    """The pictures in rows of `columns`, each at the top left of its cell.

    Args:
        images: at least one uint8 RGB array; sizes may differ.
        columns: number of columns, at least 1.
        titles: one text above each picture, cut to the cell's width; None for no titles.
        cell_width: pixels to which the width of each picture is scaled; None keeps the sizes.

    Returns:
        uint8 RGB; a row is as high as its highest picture, all columns are as wide as the widest.

    Raises:
        ValueError: no images, no columns, another number of titles, or not uint8 RGB.
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
    if cell_width is not None:
        heights = [max(1, round(x.shape[0] * cell_width / x.shape[1])) for x in images]
        images = [resized(x, (h, cell_width)) for x, h in zip(images, heights, strict=True)]
    columns = min(columns, len(images))
    width = max(image.shape[1] for image in images)
    title_height = 0 if titles is None else 2 * TITLE_SIZE
    rows = [images[i : i + columns] for i in range(0, len(images), columns)]
    heights = [title_height + max(image.shape[0] for image in row) for row in rows]
    size = (GAP + sum(height + GAP for height in heights), GAP + columns * (width + GAP), 3)
    sheet = np.full(size, BACKGROUND, dtype=np.uint8)
    tops = np.cumsum([GAP, *(height + GAP for height in heights)]).tolist()
    for i, image in enumerate(images):
        x, y = GAP + i % columns * (width + GAP), tops[i // columns]
        if titles is not None:
            text = cut(titles[i], TITLE_SIZE, width)
            put_text(sheet, text, (x, y + int(1.4 * TITLE_SIZE)), (255,) * 3, TITLE_SIZE)
        y += title_height
        sheet[y : y + image.shape[0], x : x + image.shape[1]] = image
    return sheet


def with_legend(
    picture: np.ndarray, entries: Sequence[tuple[tuple[int, int, int] | None, str]]
) -> np.ndarray:
    """The picture above a legend of coloured squares with texts.

    Args:
        picture: uint8 RGB; one narrower than the legend's widest entry is filled up on the right.
        entries: RGB colour of a square, or None for no square, and its text.
    """
    size = text_size_for(picture.shape[:2])
    step, gap = line_height(size), size
    widths = [(colour is not None) * step + text_width(text, size) for colour, text in entries]
    width = max([picture.shape[1], *(w + 2 * gap for w in widths)])
    places, row, x = [], 0, gap
    for entry_width in widths:
        if x > gap and x + entry_width + gap > width:
            row, x = row + 1, gap
        places.append((row, x))
        x += entry_width + gap
    height, square = picture.shape[0], round(0.8 * size)
    whole = np.full((height + gap + (row + 1) * step, width, 3), BACKGROUND, dtype=np.uint8)
    whole[:height, : picture.shape[1]] = picture
    for (colour, text), (row, x) in zip(entries, places, strict=True):
        baseline = height + gap // 2 + row * step + size
        if colour is not None:
            whole[baseline - square : baseline, x : x + square] = colour
            x += step
        put_text(whole, text, (x, baseline), (255,) * 3, size)
    return whole
