"""What the training split's numbers say: labels that it cannot teach, and settings that follow."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from mask2former_mt.check.annotation_rules import MASK_STRIDE
from mask2former_mt.check.statistics import SplitStatistics
from mask2former_mt.config import may_hold
from mask2former_mt.dataset.problems import WARNING, Problem
from mask2former_mt.dataset.split import Split
from mask2former_mt.structures import Subcategory

# Small objects should cover this many cells of the mask grid in each direction.
_CELLS = 4
_SMALL_PERCENTILE = 5
# Pictures are enlarged or reduced by at most this factor: more adds nothing to them, or loses the
# details that labels depend on.
_MAX_SCALE = 2.0
_SIZE_MULTIPLE = 32  # the backbone's coarsest stride
_BUSY_PERCENTILE = 99
_QUERY_MULTIPLE = 10


@dataclasses.dataclass(frozen=True)
class Suggestion:
    """Config keys and their values, ready for a YAML.

    Args:
        settings: by key.
        rule: how the values follow from the numbers.
    """

    settings: dict[str, object]
    rule: str


def training_split(names: Sequence[str]) -> str:
    """The split that a network learns from: "train", or else the first."""
    return "train" if "train" in names else names[0]


def scan_labels(
    splits: Sequence[Split], statistics: Mapping[str, SplitStatistics]
) -> list[Problem]:
    """Finds labels that the training split does not teach, or that another split never asks for.

    Args:
        splits: those with usable classes.
        statistics: by split's name.
    """
    if not splits:
        return []
    files = {split.files.name: str(split.files.label_file) for split in splits}
    name = training_split(list(files))
    others = {other: statistics[other] for other in files if other != name}
    (root_class,) = [split.root_class for split in splits if split.files.name == name]
    untaught = _find_untaught(name, statistics[name], [*others.values()], root_class)
    problems = [
        Problem(WARNING, kind, files[name], message, remedy) for kind, message, remedy in untaught
    ]
    for other, counted in others.items():
        problems += [
            Problem(WARNING, kind, files[other], message, remedy)
            for kind, message, remedy in _find_unjudged(statistics[name], counted, (name, other))
        ]
    return problems


def _objects_of_labels(counted: SplitStatistics) -> dict[tuple[str, str], int]:
    """How many objects have each label, by ("class-never-judged", "class 'cat'") and the like."""
    objects = {
        ("class-never-judged", f"class {name!r}"): int(count)
        for name, count in zip(counted.class_names, counted.class_counts, strict=True)
    }
    for subcategory, counts in zip(counted.spec, counted.value_counts, strict=True):
        for name, count in zip(subcategory.values, counts.sum(axis=0), strict=False):
            what = f"value {name!r} of subcategory {subcategory.name!r}"
            objects["value-never-judged", what] = int(count)
    return objects


def _find_unjudged(
    training: SplitStatistics, other: SplitStatistics, names: tuple[str, str]
) -> Iterator[tuple[str, str, str]]:
    """Kinds, messages and remedies: labels that are taught, and that another split lacks.

    Said of labels so frequent that at the training split's share the other would have two: one may
    be missing by chance.
    """
    asked, share = _objects_of_labels(other), other.num_instances / max(training.num_instances, 1)
    for (kind, what), count in _objects_of_labels(training).items():
        if count * share >= 2 and not asked.get((kind, what)):
            message = (
                f"{what} has {count} objects in split {names[0]!r} and none in split {names[1]!r}: "
                "no number there says whether it was learned"
            )
            yield kind, message, f"move some pictures of it to split {names[1]!r}"


def _find_untaught(
    split: str, counted: SplitStatistics, others: list[SplitStatistics], root_class: str | None
) -> Iterator[tuple[str, str, str]]:
    """Kinds, messages and remedies."""
    if counted.num_instances == 0:
        # Then nothing is seen, which need not be said of every class.
        message = f"no class of split {split!r} has an object: nothing can be learned from it"
        yield "class-never-seen", message, "add annotations"
        return
    elsewhere = Counter()
    for other in others:
        elsewhere.update({what: n for (_, what), n in _objects_of_labels(other).items()})
    for index, name in enumerate(counted.class_names):
        if counted.class_counts[index] == 0 and name != root_class:
            message = f"class {name!r} has no object in split {split!r}"
            yield "class-never-seen", *_unseen(message, elsewhere[f"class {name!r}"])
    for subcategory, counts in zip(counted.spec, counted.value_counts, strict=True):
        yield from _find_untaught_values(split, subcategory, counts.sum(axis=0), elsewhere)


def _find_untaught_values(
    split: str, subcategory: Subcategory, counts: np.ndarray, elsewhere: Mapping[str, int]
) -> Iterator[tuple[str, str, str]]:
    """The same of a subcategory: objects by value, none and unknown, and by name elsewhere."""
    known = counts[:-1]
    if not known.any():
        message = f"no object of split {split!r} has a label of subcategory {subcategory.name!r}"
        yield "value-never-seen", message, "annotate it, or take it off the list"
        return
    for value, name in enumerate(subcategory.values):
        if counts[value] == 0:
            what = f"value {name!r} of subcategory {subcategory.name!r}"
            message = f"{what} has no object in split {split!r}"
            yield "value-never-seen", *_unseen(message, elsewhere[what])
    if (known > 0).sum() == 1:
        only = subcategory.value_name(int(known.argmax()))
        message = (
            f"all {known.sum()} labels of subcategory {subcategory.name!r} in split {split!r} "
            f"are {'none' if only is None else repr(only)}: there is nothing to tell apart"
        )
        remedy = "annotate the other values, or take the subcategory off the list"
        yield "label-never-varies", message, remedy


def _unseen(message: str, elsewhere: int) -> tuple[str, str]:
    if elsewhere:
        message += f", but {elsewhere} in the others: it is asked for and never taught"
        return message, "add pictures of it"
    return message, "add pictures of it, or take it off the list"


def suggest(statistics: SplitStatistics) -> list[Suggestion]:
    """What to write into a config, and what a config may hold.

    A setting is left out where the numbers tell nothing of it, or where training would refuse it.

    Args:
        statistics: of the training split.
    """
    suggestions = []
    if statistics.colours is not None:
        suggestions.append(_colours(statistics))
    if statistics.num_instances:
        suggestions.append(_queries(np.asarray(statistics.per_image)))
    if len(statistics.relative_sides):
        suggestions.append(_input_size(statistics))
    return [s for s in suggestions if all(may_hold(*setting) for setting in s.settings.items())]


def _colours(statistics: SplitStatistics) -> Suggestion:
    mean, deviation = ([round(v, 1) for v in values.tolist()] for values in statistics.colours)
    # Where all pixels are alike, anything to divide by does.
    deviation = [value or 1.0 for value in deviation]
    return Suggestion(
        {"INPUT.FORMAT": "RGB", "MODEL.PIXEL_MEAN": mean, "MODEL.PIXEL_STD": deviation},
        f"mean and standard deviation of the pixels of {statistics.num_decoded} pictures, each "
        "counting the same, in the order of INPUT.FORMAT RGB; reverse both lists for BGR. For "
        "a backbone trained on other pictures, keep the numbers that it was trained with",
    )


def _queries(per_image: np.ndarray) -> Suggestion:
    busy, most = float(np.percentile(per_image, _BUSY_PERCENTILE)), int(per_image.max())
    queries = _up_to(max(2 * busy, most), _QUERY_MULTIPLE)
    return Suggestion(
        {"MODEL.MASK_FORMER.NUM_OBJECT_QUERIES": queries},
        f"twice the objects of a busy picture ({_BUSY_PERCENTILE} % have at most {busy:g}), but no "
        f"fewer than the busiest has ({most}), rounded up to tens",
    )


def _input_size(statistics: SplitStatistics) -> Suggestion:
    short = float(np.median(statistics.short_sides))
    small = float(np.percentile(statistics.relative_sides, _SMALL_PERCENTILE))
    wanted = _CELLS * MASK_STRIDE / small if small > 0 else math.inf
    size = _up_to(min(max(wanted, short / _MAX_SCALE), short * _MAX_SCALE), _SIZE_MULTIPLE)
    return Suggestion(
        {"INPUT.MIN_SIZE_TRAIN": [size], "INPUT.MIN_SIZE_TEST": size},
        f"the short side at which {100 - _SMALL_PERCENTILE} % of the objects are at least "
        f"{_CELLS} cells of {MASK_STRIDE} pixels wide (square root of the area), but between half "
        f"and twice the pictures' own, {short:g}; rounded up to a multiple of {_SIZE_MULTIPLE}",
    )


def _up_to(value: float, multiple: int) -> int:
    # The rounding error of a percentile must not add a whole multiple.
    return max(multiple, math.ceil(value / multiple - 1e-6) * multiple)
