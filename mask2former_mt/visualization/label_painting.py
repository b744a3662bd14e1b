"""Labels of instances set in lines, and painted where they hide least."""

# N instances, H x W the picture's size in pixels.

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import cv2
import numpy as np

from mask2former_mt.visualization.label_placing import LabelPlaces
from mask2former_mt.visualization.label_text import LabelVersions, Look
from mask2former_mt.visualization.regions import Region
from mask2former_mt.visualization.text_drawing import (
    cut,
    line_height,
    put_text,
    text_size_for,
    text_width,
)

PANEL_OPACITY = 0.75
MIN_TEXT_SIZE = 8  # pixels
PADDING = 3  # pixels between a label's text and its rim
POINTER_DEPTH = 8  # pixels that a label's line reaches into the mask
CROWDED = 0.4  # share of the picture that labels of the usual size may take up


def labels_area(labels: Iterable[LabelVersions], text_size: int) -> int:
    """The area in pixels of all labels in their fullest versions."""
    return sum(
        max(text_width(line, text_size) + 2 * PADDING for line in versions[0])
        * (len(versions[0]) * line_height(text_size) + 2)
        for versions in labels
    )


def paint_labels(picture: np.ndarray, regions: Sequence[Region], looks: Sequence[Look]) -> None:
    """Paints each label where it hides least, with a line to its mask.

    Args:
        picture: uint8 RGB (H, W, 3), changed in place.
        regions: N masks; an empty one gets no label.
        looks: N colours and labels; a label's shorter version is taken where a fuller one would
            hide another label or be far away.
    """
    # The labels of small masks first: they have the fewest places near them.
    shown = sorted(
        (i for i, region in enumerate(regions) if region.area), key=lambda i: regions[i].area
    )
    height, width = picture.shape[:2]
    size = text_size_for((height, width))
    if labels_area((looks[i].label for i in shown), size) > CROWDED * height * width:
        size = max(MIN_TEXT_SIZE, round(0.8 * size))
    blocks = {}
    for i in shown:
        versions = [_lay_out(lines, size, width, height) for lines in looks[i].label]
        if any(versions):
            blocks[i] = [block for block in versions if block is not None]
    if not blocks:
        return
    area = float(np.mean([versions[0].width * versions[0].height for versions in blocks.values()]))
    places = LabelPlaces((height, width), [regions[i] for i in shown], area)
    chosen = []
    for i, versions in blocks.items():
        version, place = places.choose(regions[i], [(b.width, b.height) for b in versions])
        chosen.append((i, versions[version], place))
    for i, _, place in chosen:
        paint_pointer(picture, place, regions[i], looks[i].colour, size)
    for i, block, place in chosen:
        paint_block(picture, place, block, looks[i].colour)


@dataclasses.dataclass(frozen=True)
class _Block:
    """A label set in lines; text size, width and height in pixels."""

    lines: list[str]
    text_size: int
    width: int
    height: int


def _lay_out(parts: Sequence[str], size: int, width: int, height: int) -> _Block | None:
    """The label set in lines that fit the picture; None where not even one line does."""
    # Many subcategories are set two, three, ... to a line until the label is low enough.
    for per_line in range(1, len(parts) + 1):
        rest = [" | ".join(parts[i : i + per_line]) for i in range(1, len(parts), per_line)]
        lines = [parts[0], *rest]
        if len(lines) * line_height(size) <= max(height // 3, 4 * line_height(size)):
            break
    # A label is at most half as wide as the picture: longer lines are set smaller, then cut.
    room = max(width // 2, min(width, 12 * size)) - 2 * PADDING
    while size > MIN_TEXT_SIZE and (
        max(text_width(line, size) for line in lines) > room
        or len(lines) * line_height(size) + 2 > height
    ):
        size -= 1
    lines = [cut(line, size, room) for line in lines[: max(0, height - 2) // line_height(size)]]
    widths = [text_width(line, size) for line in lines]
    if not lines or max(widths) > room:
        return None
    return _Block(lines, size, max(widths) + 2 * PADDING, len(lines) * line_height(size) + 2)


def paint_pointer(
    picture: np.ndarray,
    place: np.ndarray,
    region: Region,
    colour: tuple[int, int, int],
    text_size: int,
) -> None:
    """Paints a line from the label to just inside the mask's largest part."""
    part = region.main_part
    centre = np.array(part.heart)
    start = np.clip(centre, place[:2], place[2:] - 1)
    # The line's pixels; the last one lies in the mask.
    steps = max(1, int(np.abs(centre - start).max()))
    line = np.rint(np.linspace(start, centre, steps + 1)).astype(np.int64)
    inside = part.contains(line[:, 0], line[:, 1])
    first = int(np.argmax(inside))
    leaves = np.flatnonzero(~inside[first:])
    depth = (int(leaves[0]) if len(leaves) else len(line) - first) - 1
    scale = max(1, round(text_size / 16))
    depth = min(depth, scale * POINTER_DEPTH)
    start, end = (tuple(map(int, p)) for p in (start, line[first + depth]))
    for shade, thickness in (((0, 0, 0), scale + 2), (colour, scale)):
        cv2.line(picture, start, end, shade, thickness, cv2.LINE_AA)
        cv2.circle(picture, end, thickness + 1, shade, -1, cv2.LINE_AA)


def paint_block(
    picture: np.ndarray, place: np.ndarray, block: _Block, colour: tuple[int, int, int]
) -> None:
    """Paints one label into its box (x0, y0, x1, y1): a dark panel with a coloured head."""
    x0, y0, x1, y1 = (int(v) for v in place)
    panel = picture[y0:y1, x0:x1]
    panel[:] = (panel * (1 - PANEL_OPACITY)).astype(np.uint8)
    step = line_height(block.text_size)
    panel[: step + 1] = colour
    # Written into the panel, so that a letter larger than its measure cannot leave it.
    luma = float(np.dot(colour, (0.299, 0.587, 0.114)))
    head = (0, 0, 0) if luma > 120 else (255, 255, 255)
    for row, line in enumerate(block.lines):
        baseline = row * step + int(0.95 * block.text_size) + 1
        colour_of_row = head if row == 0 else (255, 255, 255)
        put_text(panel, line, (PADDING, baseline), colour_of_row, block.text_size)
