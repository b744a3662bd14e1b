"""Reads results JSON entry by entry, whatever its size."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import IO

# Characters read at a time; doubled while an entry is longer.
_CHUNK = 2**20
# Where the text ends in the middle of an entry, the parser stops so close to the end or less, or
# inside a string.
_NEAR_END = 32
_REMEDY = "it may be cut short, or no predictions; predict again"


def read_predictions(path: str | os.PathLike) -> Iterator[dict]:
    """Reads the entries of a file of predictions, one at a time.

    Args:
        path: a JSON list of entries, as the evaluation writes it; entries one after the other, such
            as one in each line; or an object with a list `annotations`, as `tools/predict.py`
            writes it, which is held in memory.

    Yields:
        The entries; they are checked by those who read them.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not JSON, cut short, or something else than entries; with the place.
    """
    path = os.fspath(path)
    if not os.path.isfile(path):
        raise FileNotFoundError(f"predictions {path} do not exist or are no file")
    with open(path, encoding="utf-8-sig") as file:
        try:
            yield from _entries(_Text(path, file))
        except UnicodeDecodeError as error:
            raise ValueError(f"{path} is no text: {error}; {_REMEDY}") from error


def _entries(text: _Text) -> Iterator[dict]:
    first = text.next_character()
    if first == "[":
        text.skip()
        yield from _list(text)
        if text.next_character():
            raise text.error("nothing after the list")
        return
    if first != "{":
        raise text.error("a list or an object")
    entry = text.object()
    if "annotations" in entry and "image_id" not in entry:
        if not isinstance(entry["annotations"], list):
            raise ValueError(f"{text.path}: 'annotations' must be a list of entries; {_REMEDY}")
        yield from entry["annotations"]
        return
    yield entry
    while text.next_character():
        yield text.object()


def _list(text: _Text) -> Iterator[dict]:
    if text.next_character() == "]":
        text.skip()
        return
    while True:
        yield text.object()
        separator = text.next_character()
        if separator not in (",", "]"):
            raise text.error("',' or ']'")
        text.skip()
        if separator == "]":
            return


class _Text:
    """A file of which only a part is in memory."""

    def __init__(self, path: str, file: IO[str]) -> None:
        self.path = path
        self._file = file
        self._decoder = json.JSONDecoder()
        self._buffer, self._at, self._before = "", 0, 0

    def next_character(self) -> str:
        """The next one that is no white space, which is not taken; empty at the end."""
        while True:
            while self._at < len(self._buffer):
                character = self._buffer[self._at]
                if not character.isspace():
                    return character
                self._at += 1
            if not self._fill(_CHUNK):
                return ""

    def skip(self) -> None:
        self._at += 1

    def object(self) -> dict:
        """The next entry."""
        if self.next_character() != "{":
            raise self.error("an object, the next entry")
        size = _CHUNK
        while True:
            try:
                value, self._at = self._decoder.raw_decode(self._buffer, self._at)
                return value
            except json.JSONDecodeError as error:
                is_cut = error.pos >= len(self._buffer) - _NEAR_END or "Untermi" in error.msg
                if not is_cut or not self._fill(size):
                    place = self._before + error.pos
                    message = f"{self.path}: character {place}: {error.msg}; {_REMEDY}"
                    raise ValueError(message) from error
                size *= 2

    def error(self, expected: str) -> ValueError:
        got = self._buffer[self._at : self._at + 40] or "the end of the file"
        place = self._before + self._at
        return ValueError(
            f"{self.path}: character {place}: expected {expected}, got {got!r}; {_REMEDY}"
        )

    def _fill(self, size: int) -> bool:
        more = self._file.read(size)
        self._before += self._at
        self._buffer, self._at = self._buffer[self._at :] + more, 0
        return bool(more)
