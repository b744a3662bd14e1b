"""What an instance is labelled as, the words of its label, and how it looks in a picture."""

# K classes, S subcategories, K_s values of one.

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence

from mask2former_mt.structures import UNKNOWN, Subcategory, SubcategorySpec

# One label as lists of lines, the fullest version first.
LabelVersions = Sequence[Sequence[str]]


@dataclasses.dataclass(frozen=True)
class Look:
    """What an instance is shown with."""

    colour: tuple[int, int, int]  # RGB
    label: LabelVersions
    score: float | None = None  # in [0, 1]; ground truth has none


@dataclasses.dataclass(frozen=True)
class LabelNames:
    """The names of a dataset's K classes and S subcategories."""

    classes: Sequence[str]
    spec: SubcategorySpec
    category_ids: Sequence[int] = ()  # of the K classes; only results JSON needs them

    @functools.cached_property
    def class_of_category(self) -> dict[int, int]:
        """The class of each category id."""
        return {category_id: index for index, category_id in enumerate(self.category_ids)}

    def class_name(self, index: int) -> str:
        """The name of class `index`; ValueError where that is not in 0..K-1."""
        if not 0 <= index < len(self.classes):
            raise ValueError(
                f"class {index} has no name: there are {len(self.classes)} class names; "
                "give the names of the dataset that the model was trained on"
            )
        return self.classes[index]


@dataclasses.dataclass(frozen=True)
class Label:
    """What one instance is labelled as; ground truth has no scores."""

    class_index: int  # in 0..K-1
    values: Sequence[int] = ()  # S in {-1, 0..K_s}: unknown, or index of a value; K_s is none
    score: float | None = None  # in [0, 1]
    value_scores: Sequence[float] | None = None  # S in [0, 1]
    note: str = ""  # a word after the class, such as "crowd"

    @classmethod
    def of_result(cls, result: Mapping, names: LabelNames) -> Label:
        """The label of an entry of a results JSON.

        Raises:
            ValueError: a category id or a value that the dataset does not list.
        """
        class_index = names.class_of_category.get(result["category_id"])
        if class_index is None:
            raise ValueError(
                f"category_id must be one of {list(names.category_ids)}, "
                f"got {result['category_id']!r}"
            )
        labels = [result["subcategories"][s.name] for s in names.spec]
        return cls(
            class_index,
            [s.value_index(label["value"]) for s, label in zip(names.spec, labels, strict=True)],
            result["score"],
            [label["score"] for label in labels],
        )

    @classmethod
    def of_annotation(cls, annotation: Mapping, names: LabelNames) -> Label:
        """The label of an annotation of a dataset dict; without subcategories all are unknown."""
        return cls(
            annotation["category_id"],
            annotation.get("subcategories", [UNKNOWN] * len(names.spec)),
            note="crowd" if annotation.get("iscrowd") else "",
        )

    def lines(self, names: LabelNames) -> list[str]:
        """The label in full, such as ["7 .98", "ink red .99", "size –"].

        Raises:
            ValueError: a class, a value or a number of values that does not fit the names.
        """
        spec = names.spec
        for what, entries in (("values", self.values), ("value_scores", self.value_scores)):
            if entries is not None and len(entries) != len(spec):
                raise ValueError(
                    f"{what} must have {len(spec)} entries, one per subcategory, got {len(entries)}"
                )
        head = f"{names.class_name(self.class_index)} {self.note}".rstrip()
        lines = [head + score_text(self.score)]
        value_scores = [None] * len(spec) if self.value_scores is None else self.value_scores
        for i in self.columns(names):
            s = spec.subcategories[i]
            value = value_text(s, self.values[i])
            lines.append(f"{s.name} {value}{score_text(value_scores[i])}")
        return lines

    def columns(self, names: LabelNames) -> list[int]:
        """The subcategories that the class has, a line each, as indices in 0..S-1."""
        class_name = names.class_name(self.class_index)
        return [i for i, s in enumerate(names.spec) if s.applies(class_name)]

    def versions(self, names: LabelNames) -> list[list[str]]:
        """The label in full, in one line such as "7 .98 red –", and the class alone."""
        lines = self.lines(names)
        values = [
            value_text(names.spec.subcategories[i], self.values[i]) for i in self.columns(names)
        ]
        return [lines, [" ".join([lines[0], *values])], lines[:1]] if values else [lines]


def value_text(subcategory: Subcategory, value: int) -> str:
    """A value's name; a dash for none, a question mark for unknown."""
    return "?" if value == UNKNOWN else subcategory.value_name(int(value)) or "–"


def score_text(score: float | None) -> str:
    """A blank and the score with two digits, such as " .98"; nothing without a score.

    Raises:
        ValueError: NaN or infinite.
    """
    if score is None:
        return ""
    if not math.isfinite(score):
        raise ValueError(f"a score must be a finite number, got {score}")
    # Rounded down, so that 0.999 does not read as certain; not by a float32's last bit, though.
    return " " + f"{math.floor(100 * float(score) + 1e-4) / 100:.2f}".removeprefix("0")
