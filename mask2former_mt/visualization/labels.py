"""Labels of instances: their words, and a place for each where it hides least."""

# H x W the picture's size in pixels. Boxes are x0, y0, x1, y1, the end not included.

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import cv2
import numpy as np

from mask2former_mt.structures import UNKNOWN, SubcategorySpec
from mask2former_mt.visualization.text import cut, line_height, put_text, text_width

PANEL_OPACITY = 0.75
MIN_TEXT_SIZE = 8  # pixels
PADDING = 3  # pixels between a label's text and its rim
POINTER_DEPTH = 8  # pixels that a label's line reaches into the mask


def label_parts(
    class_name: str,
    spec: SubcategorySpec,
    values: Sequence[int],
    *,
    score: float | None = None,
    subcategory_scores: Sequence[float] | None = None,
) -> list[str]:
    """A label's lines, such as ["7 .98", "ink red .99", "size –"].

    Args:
        values: S ints in {-1, 0..K_s}.
        score: in [0, 1].
        subcategory_scores: S floats in [0, 1].

    Raises:
        ValueError: a value outside its subcategory's range.
    """
    parts = [class_name + _score_text(score)]
    for i, subcategory in enumerate(spec):
        index = int(values[i])
        name = "?" if index == UNKNOWN else subcategory.value_name(index) or "–"
        value_score = None if subcategory_scores is None else subcategory_scores[i]
        parts.append(f"{subcategory.name} {name}{_score_text(value_score)}")
    return parts


def paint_labels(
    picture: np.ndarray,
    masks: Sequence[np.ndarray],
    colours: Sequence[tuple[int, int, int]],
    labels: Sequence[Sequence[str]],
) -> None:
    """Writes each label in place where it hides least, with a line to its mask.

    Args:
        picture: uint8 RGB (H, W, 3), changed.
        masks: N bool arrays (H, W); an empty one gets no label, as it has no place.
        colours: N RGB colours.
        labels: N lists of lines, as `label_parts` gives them.
    """
    # The small ones first: they have the fewest places near them.
    areas = [int(mask.sum()) for mask in masks]
    shown = sorted((i for i, area in enumerate(areas) if area > 0), key=areas.__getitem__)
    height, width = picture.shape[:2]
    text_size = 10 + min(height, width) // 128 - (2 if len(shown) > 12 else 0)
    blocks = {i: _layout(labels[i], text_size, width, height) for i in shown}
    shown = [i for i in shown if blocks[i] is not None]
    if not shown:
        return
    # What hiding a pixel costs: its share of its mask, so that a small mask is not hidden whole,
    # and its share of a label, so that a label prefers the ground to a large mask.
    label_area = float(np.mean([blocks[i].width * blocks[i].height for i in shown]))
    weight = np.zeros((height, width), dtype=np.float32)
    for i in shown:
        weight[masks[i]] += 1 / areas[i] + 1 / label_area
    weight = cv2.integral(weight, sdepth=cv2.CV_64F)

    places = np.zeros((0, 4), dtype=np.int64)
    for i in shown:
        columns, rows = np.flatnonzero(masks[i].any(axis=0)), np.flatnonzero(masks[i].any(axis=1))
        box = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
        place = _place((blocks[i].width, blocks[i].height), box, weight, places)
        places = np.concatenate([places, place[None]])
    for i, place in zip(shown, places, strict=True):
        _paint_pointer(picture, place, masks[i], colours[i])
    for i, place in zip(shown, places, strict=True):
        _paint_block(picture, place, blocks[i], colours[i])


@dataclasses.dataclass(frozen=True)
class _Block:
    """A label set in lines: text size, width and height are in pixels."""

    lines: list[str]
    text_size: int
    width: int
    height: int


def _layout(parts: Sequence[str], size: int, width: int, height: int) -> _Block | None:
    """The label set in lines that fit a picture of this size; None where not even one does."""
    # A label of many subcategories is set two, three, ... to a line until it is low enough.
    for per_line in range(1, len(parts) + 1):
        rest = [" | ".join(parts[i : i + per_line]) for i in range(1, len(parts), per_line)]
        lines = [parts[0], *rest]
        if len(lines) * line_height(size) <= max(height // 3, 4 * line_height(size)):
            break
    room = width - 2 * PADDING
    while size > MIN_TEXT_SIZE and (
        max(text_width(line, size) for line in lines) > room
        or len(lines) * line_height(size) + 2 > height
    ):
        size -= 1
    lines = [cut(line, size, room) for line in lines[: (height - 2) // line_height(size)]]
    widths = [text_width(line, size) for line in lines]
    if not lines or max(widths) > room:
        return None
    return _Block(lines, size, max(widths) + 2 * PADDING, len(lines) * line_height(size) + 2)


def _place(
    block: tuple[int, int], box: tuple[int, int, int, int], weight: np.ndarray, taken: np.ndarray
) -> np.ndarray:
    """The rectangle in the picture for a label: clear of labels, then of masks, then close.

    Args:
        block: the label's width and height, at most the picture's.
        box: the extent of the label's mask.
        weight: (H+1, W+1), the integral image of what hiding a pixel costs.
        taken: (M, 4), the rectangles of the labels placed so far.
    """
    w, h = block
    x0, y0, x1, y1 = box
    height, width = weight.shape[0] - 1, weight.shape[1] - 1
    gap = 3
    beside_x = [x0, (x0 + x1 - w) // 2, x1 - w]
    beside_y = [y0, (y0 + y1 - h) // 2, y1 - h]
    spots = [(x, y) for x in beside_x for y in (y0 - h - gap, y1 + gap)]
    spots += [(x, y) for x in (x0 - w - gap, x1 + gap) for y in beside_y]
    step = max(4, min(height, width) // 32)
    spots += [(x, y) for x in range(0, width - w + 1, step) for y in range(0, height - h + 1, step)]
    x, y = np.array(spots).T
    x, y = np.clip(x, 0, width - w), np.clip(y, 0, height - h)
    right, bottom = x + w, y + h

    across = np.minimum(right[:, None], taken[:, 2]) - np.maximum(x[:, None], taken[:, 0])
    down = np.minimum(bottom[:, None], taken[:, 3]) - np.maximum(y[:, None], taken[:, 1])
    on_labels = (across.clip(0) * down.clip(0)).sum(axis=1) / (w * h)
    on_masks = weight[bottom, right] - weight[y, right] - weight[bottom, x] + weight[y, x]
    off_x = np.maximum(0, np.maximum(x0 - right, x - x1))
    off_y = np.maximum(0, np.maximum(y0 - bottom, y - y1))
    distance = np.hypot(off_x, off_y) / min(height, width)
    # To hide a label is worse than any distance; to hide a mask is worth a detour.
    cost = 40 * on_labels + 2 * on_masks + 8 * distance
    best = int(np.argmin(cost))
    return np.array([x[best], y[best], right[best], bottom[best]])


def _paint_pointer(
    picture: np.ndarray, place: np.ndarray, mask: np.ndarray, colour: tuple[int, int, int]
) -> None:
    """A line from the label's rim towards the mask's centre, to just inside the mask."""
    ys, xs = np.nonzero(mask)
    nearest = np.argmin((ys - ys.mean()) ** 2 + (xs - xs.mean()) ** 2)
    centre = np.array([xs[nearest], ys[nearest]])
    start = np.clip(centre, place[:2], place[2:] - 1)
    # The line's pixels from the label on, the last one being the mask's own.
    steps = max(1, int(np.abs(centre - start).max()))
    line = np.rint(np.linspace(start, centre, steps + 1)).astype(np.int64)
    inside = mask[line[:, 1], line[:, 0]]
    first = int(np.argmax(inside))
    leaves = np.flatnonzero(~inside[first:])
    depth = (int(leaves[0]) if len(leaves) else len(line) - first) - 1
    start, end = (tuple(map(int, p)) for p in (start, line[first + min(depth, POINTER_DEPTH)]))
    for shade, thickness in (((0, 0, 0), 3), (colour, 1)):
        cv2.line(picture, start, end, shade, thickness, cv2.LINE_AA)
        cv2.circle(picture, end, thickness + 1, shade, -1, cv2.LINE_AA)


def _paint_block(
    picture: np.ndarray, place: np.ndarray, block: _Block, colour: tuple[int, int, int]
) -> None:
    x0, y0, x1, y1 = (int(v) for v in place)
    panel = picture[y0:y1, x0:x1]
    panel[:] = (panel * (1 - PANEL_OPACITY)).astype(np.uint8)
    step = line_height(block.text_size)
    panel[: step + 1] = colour
    luma = float(np.dot(colour, (0.299, 0.587, 0.114)))
    head = (0, 0, 0) if luma > 120 else (255, 255, 255)
    for row, line in enumerate(block.lines):
        baseline = y0 + row * step + int(0.95 * block.text_size) + 1
        colour_of_row = head if row == 0 else (255, 255, 255)
        put_text(picture, line, (x0 + PADDING, baseline), colour_of_row, block.text_size)


def _score_text(score: float | None) -> str:
    if score is None:
        return ""
    if not math.isfinite(score):
        raise ValueError(f"a score must be a finite number, got {score}")
    # Rounded down, so that 0.999 does not read as certain; not by a float32's last bit, though.
    return " " + f"{math.floor(100 * float(score) + 1e-4) / 100:.2f}".removeprefix("0")
