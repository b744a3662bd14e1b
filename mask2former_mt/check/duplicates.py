"""Finds pictures that are there twice: in two splits, or twice in one."""

from __future__ import annotations

import collections
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from mask2former_mt.dataset.problems import ERROR, WARNING, Problem

_CHUNK_BYTES = 1 << 20


class ListedFile(NamedTuple):
    """A file that a split lists, and that exists.

    Args:
        split: the split's name.
        path: normalised, so that equal files have equal paths.
        image_id: the JSON's.
        num_bytes: of the file; 0 if it is no picture.
    """

    split: str
    path: str
    image_id: int
    num_bytes: int


def find_copies(
    files: Sequence[ListedFile],
    digest_all: Callable[[list[str]], Iterable[str | None]] | None,
) -> list[Problem]:
    """Compares the files of all splits.

    Only files of equal size are read. That a picture was saved again, at another quality or size,
    is not seen.

    Args:
        files: split by split; of two copies the one in the later split is reported.
        digest_all: maps `digest_of` over paths; None: only the paths are compared.
    """
    digests = {}
    if digest_all is not None:
        num_alike = collections.Counter(file.num_bytes for file in files)
        # Empty files are all alike; that they are no pictures is told elsewhere.
        files = [file for file in files if file.num_bytes and num_alike[file.num_bytes] > 1]
        paths = list(dict.fromkeys(file.path for file in files))
        digests = dict(zip(paths, digest_all(paths), strict=True))
    groups = collections.defaultdict(list)
    for file in files:
        # One that cannot be read is like no other.
        groups[digests.get(file.path) or file.path].append(file)
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


def _copies_of(group: list[ListedFile]) -> Iterator[Problem]:
    firsts: dict[str, ListedFile] = {}
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
