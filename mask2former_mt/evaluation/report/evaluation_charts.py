"""The charts of an evaluation's report, as SVG files."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes

from mask2former_mt.evaluation.calibration import NUM_BINS, Bins
from mask2former_mt.evaluation.errors import KINDS
from mask2former_mt.evaluation.joint import Evaluation
from mask2former_mt.evaluation.matching import ALL_AREAS, AT_50, AT_75
from mask2former_mt.evaluation.overlaps import IOU_THRESHOLDS
from mask2former_mt.evaluation.precision_recall import RECALLS, UNDEFINED
from mask2former_mt.evaluation.score_threshold import ScoreCurve
from mask2former_mt.visualization.chart_tools import COLOUR, WIDTH, name_ticks, new_axes, short, svg

# T IoU thresholds, R recalls, K classes, A area ranges

# Colours that colour-blind people can tell apart; the lines differ too.
_SEGM, _JOINT, _OTHER = COLOUR, "#c2591a", "#5b6675"
_MAX_NAMED = 10  # classes with a colour of their own
_HEIGHT = 3.2  # inches


def precision_recall(evaluation: Evaluation) -> bytes:
    """Precision by recall, mean over the classes, at IoU .5 and .75, with and without labels."""
    figure, axes = new_axes(WIDTH, _HEIGHT)
    sides = (
        ("segm", evaluation.segm.precisions[ALL_AREAS], _SEGM),
        ("joint (all labels right)", evaluation.joint.precisions, _JOINT),
    )
    for name, precisions_TRK, colour in sides:
        for t, dashes in ((AT_50, "-"), (AT_75, "--")):
            line_R = _class_mean(precisions_TRK[t])
            label = f"{name}, IoU {IOU_THRESHOLDS[t]:.2f}"
            axes.plot(RECALLS, line_R, dashes, color=colour, label=label)
    _unit_square(axes, "recall", "precision")
    axes.legend(loc="lower left", fontsize=8)
    return svg(figure)


def precision_recall_by_class(evaluation: Evaluation) -> bytes:
    """Precision by recall of each class at IoU .5; all but the ten largest classes in grey."""
    truth = evaluation.truth
    precisions_RK = evaluation.segm.precisions[ALL_AREAS, AT_50]
    objects_K = evaluation.num_to_find
    figure, axes = new_axes(WIDTH, _HEIGHT + 0.4)
    largest_first = [k for k in np.argsort(-objects_K, kind="stable") if objects_K[k]]
    for k in largest_first[_MAX_NAMED:]:
        axes.plot(RECALLS, precisions_RK[:, k], color="#c9ced8", linewidth=0.7)
    for place, k in enumerate(largest_first[:_MAX_NAMED]):
        axes.plot(
            RECALLS,
            precisions_RK[:, k],
            "-" if place < 5 else "--",
            color=f"C{place}",
            linewidth=1.1,
            label=short(truth.class_names[k]),
        )
    _unit_square(axes, "recall", "precision")
    if largest_first:
        legend = axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8)
        for entry in legend.get_texts():
            entry.set_parse_math(False)
    return svg(figure)


def precision_by_score(curves: Mapping[str, ScoreCurve], chosen: float) -> bytes:
    """Precision, recall and F1 at IoU .5 by score threshold.

    Args:
        curves: keyed by what counts as right: the mask alone ("segm"), or the labels too ("joint").
        chosen: the threshold to mark; infinite or NaN marks none.
    """
    figure, axes = new_axes(WIDTH, _HEIGHT)
    for (name, curve), colour in zip(curves.items(), (_SEGM, _JOINT), strict=False):
        # One point per pixel: there may be a million scores.
        curve = curve.at(np.linspace(1, 0, 501))
        for what, values, dashes in (
            ("precision", curve.precisions, "-"),
            ("recall", curve.recalls, ":"),
            ("F1", curve.f1, "--"),
        ):
            axes.plot(curve.scores, values, dashes, color=colour, label=f"{what}, {name}")
    if np.isfinite(chosen):
        axes.axvline(chosen, color=_OTHER, linewidth=0.8)
        axes.annotate(f" {chosen:.2f}", (chosen, 1.0), color=_OTHER, fontsize=8, va="top")
    _unit_square(axes, "score threshold", "")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8)
    return svg(figure)


def precision_by_iou(evaluation: Evaluation) -> bytes:
    """AP at each IoU threshold, in percent."""
    figure, axes = new_axes(WIDTH, 2.8)
    sides = (
        ("segm", evaluation.segm.precisions[ALL_AREAS], _SEGM, "o-"),
        ("joint", evaluation.joint.precisions, _JOINT, "s-"),
        ("bbox", evaluation.bbox.precisions[ALL_AREAS], _OTHER, "^--"),
    )
    for name, precisions_TRK, colour, marks in sides:
        means_T = [100 * _class_mean(of_RK).mean() for of_RK in precisions_TRK]
        axes.plot(IOU_THRESHOLDS, means_T, marks, color=colour, label=name, markersize=4)
    axes.set(xlabel="IoU threshold", ylabel="AP, percent", ylim=(0, 100))
    axes.set_xticks(IOU_THRESHOLDS)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return svg(figure)


def calibration(bins: Bins) -> bytes:
    """The share that is right and the share of all, by score.

    Args:
        bins: with at least one score (`bins.defined`).
    """
    figure, axes = new_axes(3.4, 2.9)
    edges = np.linspace(0, 1, NUM_BINS + 1)
    axes.plot([0, 1], [0, 1], color=_OTHER, linewidth=0.8, linestyle="--")
    filled = bins.counts > 0
    axes.bar(edges[:-1][filled], bins.right[filled], 1 / NUM_BINS, align="edge", color="#a9c1e3")
    axes.plot(bins.scores[filled], bins.right[filled], "o", color=COLOUR, markersize=4)
    shares = bins.counts / bins.counts.sum()
    axes.step(edges, np.append(shares, shares[-1]), where="post", color=_JOINT, linewidth=1)
    _unit_square(axes, "score", "share that is right")
    axes.set_title("orange: how many there are", fontsize=8, color=_JOINT)
    return svg(figure)


def error_bars(gains: Mapping[str, float]) -> bytes:
    """The gain of AP^J at IoU .5, in percent, if one kind of error were repaired, by kind."""
    figure, axes = new_axes(WIDTH, 2.4)
    positions = np.arange(len(KINDS))
    drawn = axes.barh(positions, [gains[kind] for kind in KINDS], color=_JOINT)
    axes.bar_label(drawn, fmt="%.1f", padding=2, fontsize=8)
    name_ticks(axes, positions, KINDS, vertical=False)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlabel("joint AP50 to gain, percent")
    return svg(figure)


def _class_mean(of_RK: np.ndarray) -> np.ndarray:
    """The mean over the classes that have objects, float (R,); NaN if none has."""
    defined = (of_RK > UNDEFINED).any(axis=0)
    return of_RK[:, defined].mean(axis=1) if defined.any() else np.full(len(of_RK), np.nan)


def _unit_square(axes: Axes, xlabel: str, ylabel: str) -> None:
    axes.set(xlabel=xlabel, ylabel=ylabel, xlim=(0, 1), ylim=(0, 1.02))
    axes.grid(alpha=0.3)
