"""Charts with matplotlib, as SVG: the same numbers give the same file."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mask2former_mt.visualization.pages import printable

COLOUR = "#3567a8"
WIDTH = 7.0  # inches
MAX_BARS = 60
_MAX_NAME = 28  # characters
_BAR = 0.22  # inches from one bar to the next
_MAX_CELLS = 600  # a larger table shows no numbers

# Text stays text: a browser has fonts for letters that matplotlib's own font lacks.
_STYLE = {"svg.fonttype": "none", "font.size": 9, "svg.hashsalt": "mask2former_mt"}


@contextlib.contextmanager
def chart_style() -> Iterator[None]:
    """Gives the charts drawn within the context a common look."""
    # No warnings of letters that matplotlib's font lacks: only the layout is made with it.
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    with rc_context(_STYLE):
        yield


def new_axes(width: float = WIDTH, height: float = 2.6) -> tuple[Figure, Axes]:
    """A figure and its axes; width and height in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def bars(names: Sequence[str], counts: np.ndarray) -> bytes:
    """A bar for each name; of more than 60 names the 30 most and the 30 least frequent.

    Args:
        names: N texts.
        counts: int (N,).

    Returns:
        The SVG file.
    """
    order = np.arange(len(names))
    if len(names) > MAX_BARS:
        by_count = np.argsort(-counts, kind="stable")
        order = np.concatenate((by_count[: MAX_BARS // 2], by_count[-MAX_BARS // 2 :]))
    figure, axes = new_axes(WIDTH, 0.6 + _BAR * len(order))
    positions = np.arange(len(order))
    drawn = axes.barh(positions, counts[order], color=COLOUR)
    axes.bar_label(drawn, padding=2, fontsize=8)
    name_ticks(axes, positions, [names[i] for i in order], vertical=False)
    axes.invert_yaxis()
    axes.margins(x=0.12, y=0.01)
    if len(names) > MAX_BARS:
        axes.set_xlabel(f"the {MAX_BARS // 2} most and the {MAX_BARS // 2} least frequent")
    return svg(figure)


def heat(
    row_names: Sequence[str],
    column_names: Sequence[str],
    counts: np.ndarray,
    *,
    labels: tuple[str, str] = ("", ""),
) -> bytes:
    """Counts as a table, each cell coloured by its share of its row.

    Args:
        row_names: M texts; only the 60 most frequent rows are shown.
        column_names: N texts; only the 60 most frequent columns are shown.
        counts: int (M, N).
        labels: titles of the columns and of the rows.

    Returns:
        The SVG file.
    """
    rows, columns = (
        np.sort(np.argsort(-counts.sum(axis=axis), kind="stable")[:MAX_BARS]) for axis in (1, 0)
    )
    shown = counts[np.ix_(rows, columns)]
    shares = shown / np.maximum(counts[rows].sum(axis=1, keepdims=True), 1)
    figure, axes = new_axes(max(WIDTH, 2.5 + 0.34 * len(columns)), 1.6 + _BAR * len(rows))
    axes.spines[:].set_visible(True)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    name_ticks(axes, np.arange(len(rows)), [row_names[i] for i in rows], vertical=False)
    name_ticks(axes, np.arange(len(columns)), [column_names[i] for i in columns], vertical=True)
    axes.set(xlabel=labels[0], ylabel=labels[1])
    if shown.size <= _MAX_CELLS:
        for (row, column), count in np.ndenumerate(shown):
            colour = "white" if shares[row, column] > 0.6 else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=colour, fontsize=7)
    return svg(figure)


def name_ticks(axes: Axes, positions: np.ndarray, names: Sequence[str], *, vertical: bool) -> None:
    """Writes names along an axis.

    Args:
        positions: float (N,), in the axis's unit.
        names: N texts.
        vertical: whether they are written upwards along the lower edge, else along the left one.
    """
    # A name may hold a dollar sign, which is no formula.
    style = {"labels": [short(name) for name in names], "parse_math": False}
    if vertical:
        axes.set_xticks(positions, rotation=60, ha="right", rotation_mode="anchor", **style)
    else:
        axes.set_yticks(positions, **style)


def short(name: str) -> str:
    """The name in one line, cut to the room that a chart has for it."""
    plain = printable(name).replace("\n", " ")
    return plain if len(plain) <= _MAX_NAME else f"{plain[: _MAX_NAME - 3]}..."


def svg(figure: Figure) -> bytes:
    """The figure as an SVG file."""
    buffer = io.BytesIO()
    # Without a date, so that the same numbers give the same file.
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()
