"""Finds pictures that are there twice: in two splits, or twice in one."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from mask2former_mt.dataset.problems import ERROR, WARNING, Problem

_CHUNK_BYTES = 1 << 20


class Listing:
    """The files of one split: what comparing them needs.

    Args:
        split: its name.
        image_root: folder that the names are relative to.
    """

    def __init__(self, split: str, image_root: Path) -> None:
        self.split = split
        self.image_root = image_root
        self.names: list[str] = []
        self.image_ids: list[int] = []
        self.num_bytes = array("q")

    def add(self, path: str, image_id: int, num_bytes: int) -> None:
        """Adds a file that exists."""
        self.names.append(os.path.relpath(path, self.image_root))
        self.image_ids.append(image_id)
        self.num_bytes.append(num_bytes)


@dataclasses.dataclass(frozen=True)
class _File:
    split: str
    path: str
    image_id: int


def find_copies(
    listings: Sequence[Listing],
    digest_all: Callable[[list[str]], Iterable[str | None]] | None,
) -> list[Problem]:
    """Compares all files of all splits.

    Only files of equal size are read. That a picture was saved again, at another quality or size,
    is not seen.

    Args:
        listings: one per split; of two copies the one in the later split is reported.
        digest_all: maps `digest_of` over paths; None: only the paths are compared.
    """
    if digest_all is None:
        files, digests = list(_all_files(listings)), {}
    else:
        files = _same_size(listings)
        paths = list(dict.fromkeys(file.path for file in files))
        digests = dict(zip(paths, digest_all(paths), strict=True))
    groups: dict[str, list[_File]] = {}
    for file in files:
        # One that cannot be read is like no other.
        groups.setdefault(digests.get(file.path) or file.path, []).append(file)
    return [problem for group in groups.values() for problem in _copies_of(group)]


def digest_of(path: str) -> str | None:
    """A hash of the file's content; None if it cannot be read."""
    digest = hashlib.blake2b(digest_size=20)
    try:
        with open(path, "rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
    except OSError:
        return None
    return digest.hexdigest()


def _same_size(listings: Sequence[Listing]) -> list[_File]:
    sizes = np.concatenate(
        [np.frombuffer(listing.num_bytes, dtype=np.int64) for listing in listings if listing.names]
        or [np.zeros(0, dtype=np.int64)]
    )
    _, positions, counts = np.unique(sizes, return_inverse=True, return_counts=True)
    # Empty files are all alike; that they are no pictures is told elsewhere.
    is_shared = (counts[positions] > 1) & (sizes > 0)
    return [file for file, keep in zip(_all_files(listings), is_shared, strict=True) if keep]


def _all_files(listings: Sequence[Listing]) -> Iterator[_File]:
    for listing in listings:
        for name, image_id in zip(listing.names, listing.image_ids, strict=True):
            path = os.path.normpath(os.path.join(listing.image_root, name))
            yield _File(listing.split, path, image_id)


def _copies_of(group: list[_File]) -> Iterator[Problem]:
    firsts: dict[str, _File] = {}
    for file in group:
        other = next((first for split, first in firsts.items() if split != file.split), None)
        if other is not None:
            message = (
                f"the same file content is in split {other.split!r} as {other.path}: a score on "
                "one of them says nothing"
            )
            remedy = f"remove it from {file.split!r} or {other.split!r}"
            yield Problem(ERROR, "leakage", file.path, message, remedy, file.image_id)
        first = firsts.setdefault(file.split, file)
        if first is file:
            continue
        if first.path == file.path:
            message = f"the file is listed twice, first as image {first.image_id}"
        else:
            message = (
                f"the same file content is in split {file.split!r} as {first.path}, image "
                f"{first.image_id}, too"
            )
        remedy = "list it once, with the annotations of both"
        yield Problem(WARNING, "duplicate-image", file.path, message, remedy, file.image_id)
