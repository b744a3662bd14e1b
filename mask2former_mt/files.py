"""Writes files whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


def write_whole(contents: Mapping[Path, bytes]) -> None:
    """Writes files beside their places first: whoever interrupts it leaves no half of one.

    Args:
        contents: by path; the folders exist.
    """
    parts = {path: path.with_name(f".{path.name}.{os.getpid()}.part") for path in contents}
    try:
        for path, content in contents.items():
            parts[path].write_bytes(content)
        for path, part in parts.items():
            os.replace(part, path)
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)


def refuse_inputs(outputs: list[Path], inputs: list[Path]) -> None:
    """Checks that nothing that is read would be written over, by another name of it either.

    Raises:
        ValueError: names the output that is an input.
    """
    for output in outputs:
        for path in inputs:
            if os.path.realpath(output) == os.path.realpath(path) or (
                output.exists() and path.exists() and os.path.samefile(output, path)
            ):
                raise ValueError(f"{output} is the input {path}; write to another place")
