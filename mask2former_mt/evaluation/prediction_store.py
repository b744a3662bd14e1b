"""Predictions on disk as they come, gathered from all processes, and written as results JSON."""

from __future__ import annotations

import os
import pathlib
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import IO

import msgspec
from detectron2.utils import comm

from mask2former_mt.files import replacing

# Bytes that a process sends at a time; the first one holds as many of each.
_CHUNK_BYTES = 2**24


class PredictionStore:
    """The predictions of this process, in a file that is deleted when it ends.

    Args:
        folder: where the file is; None for the system's temporary folder.
    """

    def __init__(self, folder: pathlib.Path | None = None) -> None:
        self._folder = folder
        self._file: IO[bytes] | None = None
        # First byte and number of bytes of each image.
        self._places: dict[int | str, tuple[int, int]] = {}
        self._num_bytes = 0

    def __contains__(self, image_id: int | str) -> bool:
        return image_id in self._places

    def add(self, image_id: int | str, results: Sequence[Mapping]) -> None:
        """Writes the entries of an image that has none yet."""
        assert image_id not in self._places
        text = msgspec.json.encode(results)[1:-1]
        self._places[image_id] = (self._num_bytes, len(text))
        self._append(text)

    def text_of(self, image_id: int | str) -> bytes:
        """The entries of an image as JSON, with commas between them and no brackets."""
        return self._read(*self._places[image_id])

    def entries(self, image_ids: Iterable[int | str]) -> Iterator[dict]:
        """The entries of the stored ones among these images, in this order."""
        for image_id in image_ids:
            if image_id in self._places:
                yield from msgspec.json.decode(b"[%b]" % self.text_of(image_id))

    def gather(self) -> PredictionStore | None:
        """Brings the predictions of all processes together; every process has to call it.

        Returns:
            In the first process one with all images; None in the others.

        Raises:
            ValueError: an image that two processes have predicted.
        """
        if comm.get_world_size() == 1:
            return self
        all_places = comm.gather(self._places)
        num_bytes = comm.all_gather(self._num_bytes)
        is_main = comm.is_main_process()
        merged, twice = PredictionStore(self._folder), set()
        # A piece at a time, so that no process holds the whole; the folder need not be shared.
        for rank, size in enumerate(num_bytes):
            if is_main:
                twice |= merged._places.keys() & all_places[rank].keys()
                merged._places |= {
                    image_id: (merged._num_bytes + start, length)
                    for image_id, (start, length) in all_places[rank].items()
                }
            for start in range(0, size, _CHUNK_BYTES):
                piece = b""
                if comm.get_rank() == rank:
                    piece = self._read(start, min(_CHUNK_BYTES, size - start))
                pieces = comm.gather(piece)
                if is_main:
                    merged._append(pieces[rank])
        # Not before: the other processes would wait for this one.
        if twice:
            raise ValueError(f"image {min(twice, key=str)!r} was predicted by two processes")
        return merged if is_main else None

    def _append(self, data: bytes) -> None:
        if self._file is None:
            if self._folder is not None:
                self._folder.mkdir(parents=True, exist_ok=True)
            # It has no name on disk, so that nothing is left of a run that is killed.
            self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115
        self._file.seek(0, os.SEEK_END)
        self._file.write(data)
        self._num_bytes += len(data)

    def _read(self, start: int, length: int) -> bytes:
        if not length:
            return b""
        self._file.seek(start)
        return self._file.read(length)


def write_predictions(
    store: PredictionStore, image_ids: Iterable[int | str], path: pathlib.Path
) -> None:
    """Writes results JSON, a line per image, whole or not at all.

    Args:
        store: of all processes.
        image_ids: their order in the file.
        path: its folder is made where missing.
    """
    with replacing(path) as file:
        separator = b"["
        for image_id in image_ids:
            if image_id in store and (text := store.text_of(image_id)):
                file.write(b"%b\n%b" % (separator, text))
                separator = b","
        file.write(b"[]\n" if separator == b"[" else b"\n]\n")
