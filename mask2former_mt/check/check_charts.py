"""Charts of a split's numbers, as SVG."""

from __future__ import annotations

import math

import numpy as np

from mask2former_mt.check.statistics import SplitStatistics
from mask2former_mt.visualization.chart_tools import COLOUR, bars, chart_style, heat, new_axes, svg

_BINS = 40


def draw_charts(statistics: SplitStatistics) -> list[tuple[str, bytes]]:
    """Draws the charts that the split has numbers for.

    Returns:
        Titles and SVG files.
    """
    class_names = statistics.class_names
    charts = []
    with chart_style():
        if statistics.num_instances:
            charts.append(("Instances per class", bars(class_names, statistics.class_counts)))
        for column, subcategory in enumerate(statistics.spec):
            counts, applies_K = statistics.value_counts[column], statistics.applies[:, column]
            if not counts.any():
                continue
            name, values = subcategory.name, (*subcategory.values, "(none)", "(unknown)")
            charts.append((f"Instances per value of {name}", bars(values, counts.sum(axis=0))))
            title = f"Class by {name}: share of each class's instances"
            having_it = [class_names[k] for k in np.flatnonzero(applies_K)]
            charts.append((title, heat(having_it, values, counts[applies_K])))
        if len(statistics.sides):
            title = "Object size: square root of the area, in pixels of the picture"
            charts.append((title, _sizes(np.frombuffer(statistics.sides, np.float32))))
        if len(statistics.per_image):
            counts = np.frombuffer(statistics.per_image, statistics.per_image.typecode)
            charts.append(("Instances per picture", _counts(counts)))
    return charts


def _sizes(sides: np.ndarray) -> bytes:
    """A histogram of sizes in pixels over a logarithmic axis."""
    figure, axes = new_axes()
    axes.set_ylabel("instances")
    low, high = max(float(sides.min()), 0.5), max(float(sides.max()), 1.0)
    edges = np.geomspace(low, max(high, low * 1.1) * 1.001, _BINS + 1)
    axes.hist(np.maximum(sides, low), bins=edges, color=COLOUR)
    axes.set_xscale("log")
    ticks = [2.0**i for i in range(math.floor(math.log2(low)), math.ceil(math.log2(high)) + 1)]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    return svg(figure)


def _counts(counts: np.ndarray) -> bytes:
    """A histogram of whole numbers."""
    figure, axes = new_axes()
    axes.set_ylabel("pictures")
    step = max(1, math.ceil((int(counts.max()) + 1) / _BINS))
    edges = np.arange(0, int(counts.max()) + 1 + step, step) - 0.5
    axes.hist(counts, bins=edges, color=COLOUR, rwidth=0.9)
    axes.xaxis.get_major_locator().set_params(integer=True)
    return svg(figure)
