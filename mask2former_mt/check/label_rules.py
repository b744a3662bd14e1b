"""Labels that cannot be learned from a split: never seen, or always the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from mask2former_mt.check.statistics import SplitStatistics
from mask2former_mt.dataset.problems import WARNING, Problem
from mask2former_mt.structures import Subcategory


def training_split(names: list[str]) -> str:
    """The split that a network learns from: "train", or else the first."""
    return "train" if "train" in names else names[0]


def scan_labels(
    statistics: Mapping[str, SplitStatistics], files: Mapping[str, str]
) -> list[Problem]:
    """Looks for what the training split does not teach.

    Args:
        statistics: of every split with usable classes, by name; may be empty.
        files: each split's annotation file.
    """
    if not statistics:
        return []
    split = training_split(list(statistics))
    others = [other for name, other in statistics.items() if name != split]
    return [
        Problem(WARNING, kind, files[split], message, remedy)
        for kind, message, remedy in _find_untaught(split, statistics[split], others)
    ]


def _find_untaught(
    split: str, counted: SplitStatistics, others: list[SplitStatistics]
) -> Iterator[tuple[str, str, str]]:
    """Kinds, messages and remedies."""
    if counted.num_instances == 0:
        # Then nothing is seen, which need not be said of every class.
        message = f"no class of split {split!r} has an object: nothing can be learned from it"
        yield "class-never-seen", message, "add annotations"
        return
    for index, name in enumerate(counted.class_names):
        if counted.class_counts[index] == 0:
            elsewhere = sum(
                int(other.class_counts[index])
                for other in others
                if other.class_names == counted.class_names
            )
            message = f"class {name!r} has no object in split {split!r}"
            yield "class-never-seen", *_unseen(message, elsewhere)
    for index, subcategory in enumerate(counted.spec):
        elsewhere = [
            other.value_counts[index].sum(axis=0) for other in others if other.spec == counted.spec
        ]
        counts = counted.value_counts[index].sum(axis=0)
        yield from _find_untaught_values(split, subcategory, counts, sum(elsewhere, 0 * counts))


def _find_untaught_values(
    split: str, subcategory: Subcategory, counts: np.ndarray, elsewhere: np.ndarray
) -> Iterator[tuple[str, str, str]]:
    """Kinds, messages and remedies.

    Args:
        split: its name.
        subcategory: with K_s values.
        counts, elsewhere: int64 (K_s + 2,), objects with each value, with none and unknown, in this
            split and in the others.
    """
    known = counts[:-1]
    if not known.any():
        message = f"no object of split {split!r} has a label of subcategory {subcategory.name!r}"
        yield "value-never-seen", message, "annotate it, or take it off the list"
        return
    for value, name in enumerate(subcategory.values):
        if counts[value] == 0:
            message = (
                f"value {name!r} of subcategory {subcategory.name!r} has no object in split "
                f"{split!r}"
            )
            yield "value-never-seen", *_unseen(message, int(elsewhere[value]))
    if (known > 0).sum() == 1:
        only = subcategory.value_name(int(known.argmax()))
        message = (
            f"all {int(known.sum())} labels of subcategory {subcategory.name!r} in split {split!r} "
            f"are {'none' if only is None else repr(only)}: there is nothing to tell apart"
        )
        remedy = "annotate the other values, or take the subcategory off the list"
        yield "label-never-varies", message, remedy


def _unseen(message: str, elsewhere: int) -> tuple[str, str]:
    """Message and remedy."""
    if elsewhere:
        message += f", but {elsewhere} in the others: it is asked for and never taught"
        return message, "add pictures of it"
    return message, "add pictures of it, or take it off the list"
