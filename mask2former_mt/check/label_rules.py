"""Labels that cannot be learned from a split: never seen, or always the same."""

from __future__ import annotations

from collections.abc import Mapping

from mask2former_mt.check.findings import WARNING, Finding
from mask2former_mt.check.statistics import SplitStatistics
from mask2former_mt.structures import Subcategory


def training_split(names: list[str]) -> str:
    """The split that a network learns from: "train", or else the first."""
    return "train" if "train" in names else names[0]


def scan_labels(
    statistics: Mapping[str, SplitStatistics], files: Mapping[str, str]
) -> list[Finding]:
    """Looks for what the training split does not teach.

    Args:
        statistics: of every split with usable classes, by name; may be empty.
        files: each split's annotation file.
    """
    if not statistics:
        return []
    split = training_split(list(statistics))
    counted = statistics[split]
    others = [other for name, other in statistics.items() if name != split]
    if counted.num_instances == 0:
        # Then nothing is seen, which need not be said of every class.
        message = f"no class of split {split!r} has an object: nothing can be learned from it"
        return [Finding(WARNING, "class-never-seen", files[split], None, None, message)]
    messages = _unseen_classes(split, counted, others)
    for index, subcategory in enumerate(counted.spec):
        messages += _unseen_values(split, counted, others, index, subcategory)
    return [Finding(WARNING, kind, files[split], None, None, text) for kind, text in messages]


def _unseen_classes(
    split: str, counted: SplitStatistics, others: list[SplitStatistics]
) -> list[tuple[str, str]]:
    messages = []
    for index, name in enumerate(counted.class_names):
        if counted.class_counts[index]:
            continue
        elsewhere = sum(
            int(other.class_counts[index])
            for other in others
            if other.class_names == counted.class_names
        )
        text = f"class {name!r} has no object in split {split!r}{_elsewhere(elsewhere)}"
        messages.append(("class-never-seen", text))
    return messages


def _unseen_values(
    split: str,
    counted: SplitStatistics,
    others: list[SplitStatistics],
    index: int,
    subcategory: Subcategory,
) -> list[tuple[str, str]]:
    counts = counted.value_counts[index].sum(axis=0)
    elsewhere = sum(
        other.value_counts[index].sum(axis=0) for other in others if other.spec == counted.spec
    )
    known = counts[:-1]
    if not known.any():
        text = (
            f"no object of split {split!r} has a label of subcategory {subcategory.name!r}; "
            "annotate it, or take it off the list"
        )
        return [("value-never-seen", text)]
    messages = []
    for value, name in enumerate(subcategory.values):
        if counts[value] == 0:
            found = int(elsewhere[value]) if others and not isinstance(elsewhere, int) else 0
            text = (
                f"value {name!r} of subcategory {subcategory.name!r} has no object in split "
                f"{split!r}{_elsewhere(found)}"
            )
            messages.append(("value-never-seen", text))
    if (known > 0).sum() == 1:
        only = subcategory.value_name(int(known.argmax()))
        text = (
            f"all {int(known.sum())} labels of subcategory {subcategory.name!r} in split {split!r} "
            f"are {'none' if only is None else repr(only)}: there is nothing to tell apart; "
            "annotate the other values, or take the subcategory off the list"
        )
        messages.append(("label-never-varies", text))
    return messages


def _elsewhere(count: int) -> str:
    if count:
        return f", but {count} in the others: it is asked for and never taught; add pictures of it"
    return "; add pictures of it, or take it off the list"
