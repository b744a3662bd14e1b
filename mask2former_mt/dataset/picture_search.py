"""Finds pictures by names that are not quite theirs."""

from __future__ import annotations

import collections
import functools
import os
import unicodedata
from collections.abc import Collection, Sequence
from pathlib import Path, PurePosixPath


class PictureSearch:
    """The files below a folder, which is looked through once, when a name is first looked for.

    A name may have folders that are not there, or Windows' separators; its characters may be
    composed otherwise (NFC, NFD) or of the other case.

    Args:
        folder: of all pictures.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find(self, name: str, taken: Collection[str] = ()) -> str | None:
        """The one picture that a name can mean, if there is one; see `candidates`."""
        found = self.candidates(name, taken)
        return found[0] if len(found) == 1 else None

    def candidates(self, name: str, taken: Collection[str] = ()) -> list[str]:
        """Paths below the folder, with /, of the files that a name may mean.

        Args:
            name: as somebody wrote it.
            taken: normalised paths, with the folder, of files that other names are.

        Returns:
            Of the files that are called so, those that have most of the name's folders, too.
        """
        parts = _parts(name)
        shared = {
            path: _num_shared(parts, _parts(path))
            for path in self._by_name.get(parts[-1], ())
            if os.path.normpath(os.path.join(self.folder, path)) not in taken
        }
        most = max(shared.values(), default=0)
        return [path for path, number in shared.items() if number == most]

    @functools.cached_property
    def _by_name(self) -> dict[str, list[str]]:
        paths = collections.defaultdict(list)
        for folder, _, names in os.walk(self.folder):
            below = os.path.relpath(folder, self.folder)
            for name in names:
                path = Path(os.path.normpath(os.path.join(below, name))).as_posix()
                paths[_folded(name)].append(path)
        return dict(paths)


def _parts(name: str) -> tuple[str, ...]:
    """Folders and file of a name, all in one form."""
    parts = PurePosixPath(_folded(name.replace("\\", "/"))).parts
    return parts or ("",)


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _num_shared(parts: Sequence[str], others: Sequence[str]) -> int:
    """How many of two names' last parts are the same."""
    number = 0
    for part, other in zip(reversed(parts), reversed(others), strict=False):
        if part != other:
            break
        number += 1
    return number
