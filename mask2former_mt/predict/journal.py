"""What is predicted so far, a line of JSON per picture: a killed run goes on where it was."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from mask2former_mt.files import write_whole

LINES_NAME = "predictions.jsonl"
SETTINGS_NAME = "settings.json"
_KEYS = {"file_name", "height", "width", "picture", "bytes", "modified", "annotations"}


class PredictionLines:
    """The file predictions.jsonl of an output folder, and settings.json that says how it was made.

    A line is `{"file_name", "frame" (of a video, from 0), "height", "width", "picture" (the
    overlay's name), "bytes", "modified" (of the file; nanoseconds), "annotations"}`, the latter as
    in the results JSON without the image's id. A later line of the same picture replaces an earlier
    one. A last line that is cut, as a killed run leaves it, is removed.

    Args:
        folder: exists.
        settings: JSON values; what decides what is predicted and drawn.
        overwrite: whether to begin anew, whatever is there.

    Raises:
        ValueError: other settings than those in the folder, or a damaged line.
    """

    def __init__(self, folder: Path, settings: Mapping, *, overwrite: bool = False) -> None:
        self.file = folder / LINES_NAME
        settings_file = folder / SETTINGS_NAME
        if overwrite:
            # The lines first: without settings they would be refused, not taken for new ones.
            self.file.unlink(missing_ok=True)
        if self.file.exists():
            _check_settings(folder, settings_file, settings)
        else:
            settings_file.parent.mkdir(parents=True, exist_ok=True)
            write_whole({settings_file: json.dumps(settings, indent=1).encode("ascii")})
        # Where each picture's line begins, its file's stamp, and its overlay's name.
        self._index: dict[tuple[str, int | None], tuple[int, tuple[int, int], str]] = {}
        self._read_index()
        self._stream = self.file.open("ab")

    def close(self) -> None:
        self._stream.close()

    @property
    def pictures(self) -> dict[str, str]:
        """The overlay's name of each absolute path in the lines, up to date or not."""
        return {path: picture for (path, _), (_, _, picture) in self._index.items()}

    def is_current(self, file: Path, frame: int | None = None) -> bool:
        """Whether the picture has a line, made of the file as it is now."""
        entry = self._index.get((os.path.abspath(file), frame))
        return entry is not None and entry[1] == stamp_of(file)

    def read(self, file: Path, frame: int | None = None) -> dict:
        """The picture's line; it has one."""
        offset, _, _ = self._index[os.path.abspath(file), frame]
        with self.file.open("rb") as stream:
            stream.seek(offset)
            return json.loads(stream.readline())

    def append(self, line: Mapping) -> None:
        """Writes a line to its end and hands it to the system: the program's death loses none."""
        offset = self._stream.tell()
        self._stream.write(json.dumps(line, allow_nan=False).encode("ascii") + b"\n")
        self._stream.flush()
        self._add(line, offset)

    def _add(self, line: Mapping, offset: int) -> None:
        key = (os.path.abspath(line["file_name"]), line.get("frame"))
        self._index[key] = (offset, (line["bytes"], line["modified"]), line["picture"])

    def _read_index(self) -> None:
        if not self.file.exists():
            return
        offset, end = 0, self.file.stat().st_size
        with self.file.open("rb") as stream:
            for number, text in enumerate(stream, start=1):
                try:
                    line = json.loads(text) if text.endswith(b"\n") else None
                except ValueError:
                    line = None
                if not isinstance(line, dict) or not set(line) >= _KEYS:
                    if offset + len(text) < end:
                        raise ValueError(
                            f"{self.file} line {number} is damaged; remove the line, or predict "
                            "all anew with --overwrite"
                        )
                    os.truncate(self.file, offset)
                    return
                self._add(line, offset)
                offset += len(text)


def stamp_of(file: Path) -> tuple[int, int]:
    """Size in bytes and time of the last change in nanoseconds."""
    status = file.stat()
    return status.st_size, status.st_mtime_ns


def _check_settings(folder: Path, settings_file: Path, settings: Mapping) -> None:
    remedy = "choose another folder, or predict all anew with --overwrite"
    try:
        before = json.loads(settings_file.read_bytes())
    except (OSError, ValueError) as error:
        raise ValueError(
            f"output {folder} holds {LINES_NAME} without a {SETTINGS_NAME} that can be read "
            f"({error}); {remedy}"
        ) from error
    now = json.loads(json.dumps(settings))
    if not isinstance(before, dict):
        before = {}
    for key in sorted({*before, *now}):
        if before.get(key) != now.get(key):
            raise ValueError(
                f"output {folder} holds predictions made otherwise: {key} was "
                f"{before.get(key)!r} and is now {now.get(key)!r}; {remedy}"
            )
