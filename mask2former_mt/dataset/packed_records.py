"""Dataset dicts in little memory."""

from __future__ import annotations

import pickle
from array import array
from collections.abc import Iterable, Sequence


class PackedRecords(Sequence):
    """Dataset dicts, each pickled: a tenth of the memory, and nothing that a forked worker's
    reference counts would copy page by page.

    Args:
        records: are packed one after another.
    """

    def __init__(self, records: Iterable[dict]) -> None:
        self._ends = array("q")
        packed = bytearray()
        for record in records:
            packed += pickle.dumps(record, protocol=pickle.HIGHEST_PROTOCOL)
            self._ends.append(len(packed))
        self._packed = bytes(packed)

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index: int) -> dict:
        index = range(len(self))[index]
        start = self._ends[index - 1] if index else 0
        return pickle.loads(memoryview(self._packed)[start : self._ends[index]])
