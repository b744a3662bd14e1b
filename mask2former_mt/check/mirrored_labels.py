"""Labels that a mirrored picture makes wrong: sides that nobody said are exchanged."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from mask2former_mt.check.advice import training_split
from mask2former_mt.data.side_names import unflipped_sides
from mask2former_mt.dataset.problems import WARNING, Problem
from mask2former_mt.dataset.split import Split


def scan_sides(splits: Sequence[Split], flips: Collection[str] | None) -> list[Problem]:
    """Finds names of the training split that look like sides, while training flips pictures.

    Args:
        splits: those with usable classes.
        flips: of `augment.flips_of`, what training does; None: not known, and then a horizontal
            flip is assumed, as published configs have it.
    """
    names = [split.files.name for split in splits]
    if not names or not (flips is None or flips):
        return []
    split = splits[names.index(training_split(names))]
    file, spec = str(split.files.label_file), split.header.spec
    assumed = "" if flips is not None else "; unless a config says otherwise, training flips"
    problems = [
        Problem(WARNING, "side-without-flip", file, message + assumed, remedy)
        for message, remedy in unflipped_sides(split.header.class_names, spec)
    ]
    if "vertical" in (flips or ()):
        problems += [
            Problem(
                WARNING,
                "side-upside-down",
                file,
                f"subcategory {subcategory.name!r} has a 'flip', and training flips pictures "
                "upside down: that exchanges its values, too",
                "right for sides of a thing (a left shoe upside down in a mirror is a right one); "
                "if they tell where something points in the picture, flip horizontally only",
            )
            for subcategory in spec
            if subcategory.flip
        ]
    return problems
