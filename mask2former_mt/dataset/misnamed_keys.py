"""Keys of a COCO JSON that nothing reads, but that look like one that is read where it is there."""

from __future__ import annotations

import difflib
import functools
from collections import Counter
from collections.abc import Mapping

# By the list that an entry stands in, and "" for the file itself: the keys that may be missing, so
# that nothing else tells of another spelling; and the others.
_OPTIONAL = {
    "": ("subcategories",),
    "annotations": ("area", "bbox", "iscrowd", "subcategories"),
    "subcategories": ("applies_to", "flip", "none"),
}
_NEEDED = {
    "": ("images", "annotations", "categories"),
    "annotations": ("id", "image_id", "category_id", "segmentation"),
    "subcategories": ("name", "values"),
}
_READ = {listed: {*_OPTIONAL[listed], *_NEEDED[listed]} for listed in _OPTIONAL}
# Share of letters that two spellings have in common; "apply_to" and "applies_to" have 12 of 16.
_ALIKE = 0.75


class MisnamedKeys:
    """Counts such keys while a file is read."""

    def __init__(self) -> None:
        # By list, key and the key that may be meant.
        self._counts: Counter[tuple[str, str, str]] = Counter()

    def look_at(self, entry: Mapping, listed: str) -> None:
        """Counts the keys of an entry of a list."""
        read = _READ[listed]
        if read.issuperset(entry):  # as nearly always
            return
        for key in entry.keys() - read:
            meant = _meant(key, listed)
            if meant is not None and meant not in entry:
                self._counts[listed, key, meant] += 1

    def messages(self) -> list[str]:
        """One for each key."""
        return [
            f"nothing reads the key {key!r}, which {count} entries of {listed!r} have, but "
            f"{meant!r} is read"
            if listed
            else f"nothing reads the key {key!r}, but {meant!r} is read"
            for (listed, key, meant), count in sorted(self._counts.items())
        ]


@functools.lru_cache(maxsize=1024)
def _meant(key: str, listed: str) -> str | None:
    """The optional key that one which is not read may stand for; None if it is like none."""
    by_letters = {_letters(name): name for name in _OPTIONAL[listed]}
    alike = difflib.get_close_matches(_letters(key), by_letters, n=1, cutoff=_ALIKE)
    return by_letters[alike[0]] if alike else None


def _letters(key: str) -> str:
    return "".join(letter for letter in key.casefold() if letter.isalnum())
