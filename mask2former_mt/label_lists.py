"""Lists of labels, and how one meets another: by the names, never by the numbers."""

from __future__ import annotations

import dataclasses
import unicodedata
from collections.abc import Iterable, Iterator, Sequence

from mask2former_mt.structures import UNKNOWN, Subcategory, SubcategorySpec

# K classes, S subcategories, K_s values of one

# Names of a list that a message shows.
_SHOWN = 20


@dataclasses.dataclass(frozen=True)
class Labels:
    """What the indices of classes and values stand for, in a dataset or in a model.

    Args:
        class_names: of the K classes.
        spec: the S subcategories.
        category_ids: the ids that the dataset's JSON has for the K classes, None for stuff; they
            identify nothing.

    Raises:
        ValueError: another number of ids than of classes.
    """

    class_names: tuple[str, ...]
    spec: SubcategorySpec
    category_ids: tuple[int | None, ...]

    def __post_init__(self) -> None:
        if len(self.class_names) != len(self.category_ids):
            raise ValueError(
                "as many category ids as classes are needed, got "
                f"{shown_names(self.category_ids)} for {shown_names(self.class_names)}"
            )

    @classmethod
    def from_record(cls, record: object) -> Labels:
        """Reads what `to_record` gives.

        Raises:
            ValueError: something else.
        """
        try:
            spec = SubcategorySpec.from_json(record["subcategories"])
            class_names, category_ids = record["thing_classes"], record["category_ids"]
            are_texts = all(isinstance(name, str) for name in class_names)
            if isinstance(class_names, str) or not are_texts:
                raise TypeError("a list of texts is needed")
            if len(set(class_names)) < len(class_names):
                raise TypeError("a class is listed twice")
            return cls(tuple(class_names), spec, tuple(category_ids))
        except (KeyError, TypeError) as error:
            raise ValueError(
                "a record of labels must have 'thing_classes', different texts, 'category_ids' and "
                f"'subcategories', got {str(record)[:200]}"
            ) from error

    def to_record(self) -> dict:
        """`thing_classes`, `category_ids`, and `subcategories` as in the dataset JSON."""
        return {
            "thing_classes": list(self.class_names),
            "category_ids": list(self.category_ids),
            "subcategories": self.spec.to_json(),
        }

    @property
    def lists(self) -> dict[str, tuple[str, ...]]:
        """All names in their order: under "classes", and the values under "values of 'style'"."""
        return {
            "classes": self.class_names,
            "subcategories": self.spec.names,
            **{f"values of {s.name!r}": s.values for s in self.spec},
        }

    def alike(self) -> Iterator[tuple[str, list[str]]]:
        """Which list has names that look like slips of each other, and these; see `alike_names`."""
        lists = [("classes", self.class_names), ("subcategories", self.spec.names)]
        lists += [(f"values of subcategory {s.name!r}", s.values) for s in self.spec]
        for what, names in lists:
            for group in alike_names(names):
                yield what, group

    def with_values_of(self, model: Labels) -> Labels:
        """These lists, but each subcategory with all values that the model may predict for it."""
        values = {s.name: s.values for s in model.spec}
        subcategories = (dataclasses.replace(s, values=values[s.name]) for s in self.spec)
        return dataclasses.replace(self, spec=SubcategorySpec(tuple(subcategories)))


@dataclasses.dataclass(frozen=True)
class LabelMap:
    """Where the labels of one list are in another one.

    Args:
        classes: the other list's index of each class.
        columns: for each of the other list's subcategories, its column here and the other list's
            index of each value, of none and, at the end, of unknown, so that -1 finds it; None
            where it is not listed here.
    """

    classes: tuple[int, ...]
    columns: tuple[tuple[int, tuple[int, ...]] | None, ...]

    def values(self, labels: Sequence[int]) -> list[int]:
        """The other list's labels of an object; unknown where its subcategory is not listed here.

        Args:
            labels: one of {-1, 0..K_s} per subcategory of this list.
        """
        return [
            UNKNOWN if column is None else column[1][labels[column[0]]] for column in self.columns
        ]


def map_by_name(source: Labels, target: Labels, *, source_name: str, target_name: str) -> LabelMap:
    """Finds every label of `source` in `target`, whatever the order.

    Args:
        source: may list less than `target`.
        source_name, target_name: whose lists they are, for the message.

    Raises:
        ValueError: `source` lists what `target` does not; with both lists.
    """
    target_lists = target.lists
    for what, names in source.lists.items():
        unlisted = [name for name in names if name not in target_lists[what]]
        if unlisted:
            raise ValueError(
                f"{source_name} lists {what} that {target_name} does not: {shown_names(unlisted)}; "
                f"{source_name} lists {shown_names(names)}, {target_name} "
                f"{shown_names(target_lists[what])}; "
                "labels are known by their names: use the same ones"
            )
    columns = []
    for ours in target.spec:
        if ours.name not in source.spec.names:
            columns.append(None)
            continue
        column = source.spec.names.index(ours.name)
        theirs = source.spec.subcategories[column]
        values = (*map(ours.values.index, theirs.values), ours.none_index, UNKNOWN)
        columns.append((column, values))
    return LabelMap(tuple(map(target.class_names.index, source.class_names)), tuple(columns))


def union(lists: Iterable[Labels]) -> Labels:
    """All labels of several lists, in the order of their first appearance.

    The ids are the first list's where it has all classes; else they count from 1. A subcategory
    applies to each class that it applies to in a list of that class.

    Raises:
        ValueError: a subcategory applies to a class in one list, and not in another that has the
            class; or it exchanges values with different ones.
    """
    lists = list(lists)
    first, *others = lists
    class_names = dict.fromkeys(first.class_names)
    subcategories = {s.name: s for s in first.spec}
    for other in others:
        class_names |= dict.fromkeys(other.class_names)
        for s in other.spec:
            known = subcategories.get(s.name)
            subcategories[s.name] = s if known is None else _merged(known, s)
    for name, s in subcategories.items() if others else ():
        subcategories[name] = dataclasses.replace(s, applies_to=_classes_with(name, lists))
    category_ids = first.category_ids
    if len(class_names) > len(first.class_names):
        category_ids = tuple(range(1, len(class_names) + 1))
    return Labels(tuple(class_names), SubcategorySpec(tuple(subcategories.values())), category_ids)


def _merged(first: Subcategory, second: Subcategory) -> Subcategory:
    """The same subcategory as two datasets list it: whatever one of them allows is allowed."""
    return Subcategory(
        first.name,
        values=tuple(dict.fromkeys(first.values + second.values)),
        has_none=first.has_none or second.has_none,
        flip=tuple(dict.fromkeys(first.flip + second.flip)),
    )


def _classes_with(name: str, lists: Iterable[Labels]) -> tuple[str, ...] | None:
    """The classes whose objects have a subcategory, as the lists that have both say; None: all."""
    said: dict[str, bool] = {}
    is_limited = False
    for labels in lists:
        if name not in labels.spec.names:
            continue
        s = labels.spec.subcategories[labels.spec.names.index(name)]
        is_limited |= s.applies_to is not None
        for class_name in labels.class_names:
            if said.setdefault(class_name, s.applies(class_name)) != s.applies(class_name):
                raise ValueError(
                    f"subcategory {name!r} applies to class {class_name!r} in one dataset, and "
                    "not in another; write the same 'applies_to' into both"
                )
    return tuple(c for c, applies in said.items() if applies) if is_limited else None


def differences(source: Labels, target: Labels) -> str:
    """In words, how `source` differs from `target`, which lists at least as much; "" if it doesn't.

    Such as "other order of classes; no values of 'style' ['cartoon']".
    """
    found = []
    for what, names in target.lists.items():
        theirs = source.lists.get(what)
        if theirs is None:
            continue  # the whole subcategory is missing, which is said already
        missing = [name for name in names if name not in theirs]
        if missing:
            found.append(f"no {what} {shown_names(missing)}")
        if list(theirs) != [name for name in names if name in theirs]:
            found.append(f"another order of {what}")
    return "; ".join(found)


def alike_names(names: Iterable[str]) -> list[list[str]]:
    """The groups of different names that differ only by blanks, case or Unicode form."""
    groups: dict[str, dict[str, None]] = {}
    for name in names:
        folded = unicodedata.normalize("NFKC", "".join(name.split())).casefold()
        groups.setdefault(folded, {})[name] = None
    return [list(group) for group in groups.values() if len(group) > 1]


def shown_names(names: Sequence) -> str:
    """The list as a message shows it, cut where it is long."""
    names = list(names)
    if len(names) <= _SHOWN:
        return str(names)
    return f"{str(names[:_SHOWN])[:-1]}, ... ({len(names)} in all)]"
