"""The one writer of files: each is there whole, or as it was before."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[IO[bytes]]:
    """A binary stream whose content becomes the file when the block ends, and is gone if it fails.

    Args:
        path: the file to write or replace; its folder is made where missing.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = _part_of(path)
    try:
        with part.open("wb") as stream:
            yield stream
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_whole(contents: Mapping[Path, bytes]) -> None:
    """Writes several files: all are complete beside their places before the first is replaced.

    Args:
        contents: by path; the folders exist.
    """
    parts = {path: _part_of(path) for path in contents}
    try:
        for path, content in contents.items():
            parts[path].write_bytes(content)
        for path, part in parts.items():
            part.replace(path)
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)


def write_json(path: str | os.PathLike, content: object, *, sort_keys: bool = False) -> Path:
    """Writes indented JSON; NaN and infinity, which JSON does not have, are a ValueError.

    Args:
        path: its folder is made where missing.

    Returns:
        The path.
    """
    text = json.dumps(content, indent=2, sort_keys=sort_keys, allow_nan=False)
    with replacing(path) as stream:
        stream.write(f"{text}\n".encode())
    return Path(path)


def refuse_inputs(outputs: Sequence[Path], inputs: Sequence[Path]) -> None:
    """Checks that no output would replace an input, under another name of it either.

    Raises:
        ValueError: names the output that is an input.
    """
    for output in outputs:
        for path in inputs:
            if os.path.realpath(output) == os.path.realpath(path) or (
                output.exists() and path.exists() and os.path.samefile(output, path)
            ):
                raise ValueError(f"{output} is the input {path}; write to another place")


def _part_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.part")
