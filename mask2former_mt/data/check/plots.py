"""Charts of a split's numbers, as SVG."""

from __future__ import annotations

import io
import logging
import math
from collections.abc import Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mask2former_mt.data.check.findings import printable
from mask2former_mt.data.check.statistics import SplitStatistics

_MAX_BARS = 60
_MAX_NAME = 28  # characters
_COLOUR = "#3567a8"
_WIDTH = 7.0  # inches
_BAR = 0.22
_BINS = 40

# A browser has fonts for letters that matplotlib's own has not, and the text stays text.
_STYLE = {"svg.fonttype": "none", "font.size": 9, "svg.hashsalt": "mask2former_mt"}


def draw_charts(statistics: SplitStatistics) -> list[tuple[str, bytes]]:
    """Draws what there is to draw.

    Returns:
        Titles and SVG files.
    """
    # Letters that are missing in the font that only the layout is made with.
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    with rc_context(_STYLE):
        charts = []
        if statistics.num_instances:
            charts.append(
                ("Instances per class", _bars(statistics.class_names, statistics.class_counts))
            )
        for subcategory, counts in zip(statistics.spec, statistics.value_counts, strict=True):
            if not counts.any():
                continue
            names = (*subcategory.values, "(none)", "(unknown)")
            title = f"Instances per value of {subcategory.name}"
            charts.append((title, _bars(names, counts.sum(axis=0))))
            title = f"Class by {subcategory.name}: share of each class's instances"
            charts.append((title, _heat(statistics.class_names, names, counts)))
        if len(statistics.sides):
            title = "Object size: square root of the area, in pixels of the picture"
            charts.append((title, _sizes(np.frombuffer(statistics.sides, np.float32))))
        if len(statistics.per_image):
            counts = np.frombuffer(statistics.per_image, statistics.per_image.typecode)
            charts.append(("Instances per picture", _counts(counts)))
        return charts


def _bars(names: Sequence[str], counts: np.ndarray) -> bytes:
    order = np.arange(len(names))
    if len(names) > _MAX_BARS:
        # The most and the fewest: both are what one looks for.
        by_count = np.argsort(-counts, kind="stable")
        order = np.concatenate((by_count[: _MAX_BARS // 2], by_count[-_MAX_BARS // 2 :]))
    figure = Figure(figsize=(_WIDTH, 0.6 + _BAR * len(order)), layout="constrained")
    axes = figure.add_subplot()
    positions = np.arange(len(order))
    bars = axes.barh(positions, counts[order], color=_COLOUR)
    axes.bar_label(bars, padding=2, fontsize=8)
    _name_ticks(axes, positions, [names[i] for i in order], vertical=False)
    axes.invert_yaxis()
    axes.margins(x=0.12, y=0.01)
    axes.spines[["top", "right"]].set_visible(False)
    if len(names) > _MAX_BARS:
        axes.set_xlabel(f"the {_MAX_BARS // 2} most and the {_MAX_BARS // 2} least frequent")
    return _svg(figure)


def _heat(class_names: Sequence[str], names: Sequence[str], counts: np.ndarray) -> bytes:
    rows = np.argsort(-counts.sum(axis=1), kind="stable")[:_MAX_BARS]
    rows = np.sort(rows)
    columns = np.arange(counts.shape[1])
    if len(columns) > _MAX_BARS:
        columns = np.sort(np.argsort(-counts.sum(axis=0), kind="stable")[:_MAX_BARS])
    shown = counts[np.ix_(rows, columns)]
    shares = shown / np.maximum(counts[rows].sum(axis=1, keepdims=True), 1)
    height = 1.6 + _BAR * len(rows)
    figure = Figure(figsize=(max(_WIDTH, 2.5 + 0.34 * len(columns)), height), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    _name_ticks(axes, np.arange(len(rows)), [class_names[i] for i in rows], vertical=False)
    _name_ticks(axes, np.arange(len(columns)), [names[i] for i in columns], vertical=True)
    if shown.size <= 600:
        for (row, column), count in np.ndenumerate(shown):
            colour = "white" if shares[row, column] > 0.6 else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=colour, fontsize=7)
    return _svg(figure)


def _sizes(sides: np.ndarray) -> bytes:
    figure, axes = _histogram("instances")
    low, high = max(float(sides.min()), 0.5), max(float(sides.max()), 1.0)
    edges = np.geomspace(low, max(high, low * 1.1) * 1.001, _BINS + 1)
    axes.hist(np.maximum(sides, low), bins=edges, color=_COLOUR)
    axes.set_xscale("log")
    ticks = [2.0**i for i in range(math.floor(math.log2(low)), math.ceil(math.log2(high)) + 1)]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    return _svg(figure)


def _counts(counts: np.ndarray) -> bytes:
    figure, axes = _histogram("pictures")
    step = max(1, math.ceil((int(counts.max()) + 1) / _BINS))
    edges = np.arange(0, int(counts.max()) + 1 + step, step) - 0.5
    axes.hist(counts, bins=edges, color=_COLOUR, rwidth=0.9)
    axes.xaxis.get_major_locator().set_params(integer=True)
    return _svg(figure)


def _histogram(ylabel: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(_WIDTH, 2.6), layout="constrained")
    axes = figure.add_subplot()
    axes.set_ylabel(ylabel)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _name_ticks(axes: Axes, positions: np.ndarray, names: Sequence[str], *, vertical: bool) -> None:
    texts = [printable(name).replace("\n", " ") for name in names]
    texts = [text if len(text) <= _MAX_NAME else f"{text[: _MAX_NAME - 3]}..." for text in texts]
    if vertical:
        axes.set_xticks(positions, texts, rotation=60, ha="right", rotation_mode="anchor")
    else:
        axes.set_yticks(positions, texts)
    for label in axes.get_xticklabels() if vertical else axes.get_yticklabels():
        label.set_parse_math(False)  # a name may hold a dollar sign


def _svg(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    # Without a date, so that the same numbers give the same file.
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()
