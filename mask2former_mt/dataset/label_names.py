"""Names of classes, subcategories and values: how they are tidied, and which look like slips."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable


def tidy_name(name: str) -> str:
    """A name without blanks around it, with single ones within, in Unicode's form NFC."""
    return unicodedata.normalize("NFC", " ".join(name.split()))


def alike_names(names: Iterable[str]) -> list[list[str]]:
    """The groups of different names that differ only by blanks, case or Unicode form."""
    groups: dict[str, dict[str, None]] = {}
    for name in names:
        folded = unicodedata.normalize("NFKC", "".join(name.split())).casefold()
        groups.setdefault(folded, {})[name] = None
    return [list(group) for group in groups.values() if len(group) > 1]
