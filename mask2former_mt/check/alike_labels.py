"""Finds names of classes, subcategories and values that look like slips of each other."""

from __future__ import annotations

from collections.abc import Sequence

from mask2former_mt.dataset.problems import WARNING, Problem
from mask2former_mt.dataset.split import Split


def find_alike_labels(splits: Sequence[Split]) -> list[Problem]:
    """Names that differ only by blanks, case or Unicode form; what several splits list, once.

    Args:
        splits: those with usable classes.
    """
    messages: dict[str, str] = {}
    for split in splits:
        for what, group in split.header.labels.alike():
            names = ", ".join(map(repr, group))
            message = f"{what} {names} differ only by blanks, case or Unicode form"
            messages.setdefault(message, str(split.files.label_file))
    remedy = "if they are one, give its objects one name and list it once"
    return [
        Problem(WARNING, "names-alike", file, message, remedy) for message, file in messages.items()
    ]
