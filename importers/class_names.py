"""Tidies names; makes classes one that are then called the same, and tells of those alike."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from mask2former_mt.importers.source import Report, Source

from mask2former_mt.dataset.json_values import as_id
from mask2former_mt.label_lists import alike_names


def tidy_name(name: str) -> str:
    """A name without blanks around it, with single ones within, in Unicode's form NFC."""
    return unicodedata.normalize("NFC", " ".join(name.split()))


def tidy_classes(source: Source, report: Report) -> None:
    """Tidies the names of the classes, and makes those one that are then called the same.

    A name that the source itself lists twice stays so, for the reader to refuse.
    """
    first: dict[str, dict] = {}
    one_id: dict[int, int] = {}
    kept = []
    for category in source.categories:
        number, name = as_id(category["id"]), category["name"]
        if number is None or not isinstance(name, str) or not tidy_name(name):
            kept.append(category)
            continue
        tidy = tidy_name(name)
        if tidy != name:
            report.note(f"class {name!r} is called {tidy!r}")
        same = first.setdefault(tidy, category)
        if same["name"] == name:
            kept.append({**category, "name": tidy})
        else:
            one_id[number] = as_id(same["id"])
    source.categories = kept
    for split in source.splits if one_id else ():
        for item in split.objects:
            number = as_id(item.entry.get("category_id"))
            if number in one_id:
                item.entry["category_id"] = one_id[number]


def note_alike(what: str, names: Iterable[str], report: Report) -> None:
    """Names the groups of names that look like slips."""
    for group in alike_names(names):
        report.note(
            f"{what} {', '.join(map(repr, group))} differ only by blanks, case or Unicode form; "
            "if they are one, rename them in the source"
        )
