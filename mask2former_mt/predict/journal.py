"""The files that predictions are recorded in.

predictions.jsonl has a line per picture as soon as it is predicted, so that a killed run goes on
where it was; settings.json says how they were made; predictions.json is written from them at the
end.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pycocotools.mask as mask_util

from mask2former_mt.files import replacing
from mask2former_mt.predict.batches import stamp_of
from mask2former_mt.predict.videos import is_video
from mask2former_mt.visualization import LabelNames

LINES_NAME = "predictions.jsonl"
SETTINGS_NAME = "settings.json"
RESULTS_NAME = "predictions.json"
_KEYS = {"file_name", "height", "width", "picture", "bytes", "modified", "annotations"}


class Journal:
    """The files predictions.jsonl and settings.json of an output folder.

    A line is `{"file_name", "frame" (only of a video, from 0), "height", "width", "picture" (the
    overlay's name), "bytes", "modified" (of the file, in nanoseconds), "annotations"}`, the last as
    in the results JSON but without `image_id`. A later line of the same picture replaces an earlier
    one. A last line that is cut short, as a killed run leaves it, is removed.

    Args:
        folder: output folder; it exists.
        settings: JSON values that decide what is predicted and drawn.
        overwrite: whether to begin anew, whatever the folder holds.

    Raises:
        ValueError: other settings than those in the folder, or a damaged line.
    """

    def __init__(self, folder: Path, settings: Mapping, *, overwrite: bool = False) -> None:
        self.file = folder / LINES_NAME
        if overwrite:
            # Before the settings: lines without settings are refused, not taken for new ones.
            self.file.unlink(missing_ok=True)
        if self.file.exists():
            _check_settings(folder, settings)
        else:
            with replacing(folder / SETTINGS_NAME) as stream:
                stream.write(json.dumps(settings, indent=1).encode("ascii"))
        # By absolute path and frame: where the line begins, the file's stamp, the overlay's name.
        self._index: dict[tuple[str, int | None], tuple[int, tuple[int, int], str]] = {}
        self._read_index()
        self._stream = self.file.open("ab")

    def close(self) -> None:
        self._stream.close()

    @property
    def overlay_names(self) -> dict[str, str]:
        """The overlay's name by the absolute path of each file in the lines, current or not."""
        return {path: overlay for (path, _), (_, _, overlay) in self._index.items()}

    def is_current(self, file: Path, frame: int | None = None) -> bool:
        """Whether a picture or frame has a line that was made of the file as it is now."""
        entry = self._index.get((os.path.abspath(file), frame))
        return entry is not None and entry[1] == stamp_of(file)

    def frames_of(self, file: Path) -> Iterator[int | None]:
        """The first frames of a video that have current lines; None for a picture that has one."""
        frame = 0 if is_video(file) else None
        while self.is_current(file, frame):
            yield frame
            if frame is None:
                return
            frame += 1

    def read(self, file: Path, frame: int | None = None) -> dict:
        """Reads the line of a picture or frame that has one."""
        offset, _, _ = self._index[os.path.abspath(file), frame]
        with self.file.open("rb") as stream:
            stream.seek(offset)
            # The file may have been called by another relative path when the line was written.
            return {**json.loads(stream.readline()), "file_name": file.as_posix()}

    def append(self, line: Mapping) -> None:
        """Writes a line to its end and flushes it, so that no death of the program loses it."""
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
                if isinstance(line, dict) and set(line) >= _KEYS:
                    self._add(line, offset)
                elif offset + len(text) < end:
                    raise ValueError(
                        f"{self.file} line {number} is damaged; remove the line, or predict all "
                        "anew with --overwrite"
                    )
                else:
                    os.truncate(self.file, offset)
                offset += len(text)


def _check_settings(folder: Path, settings: Mapping) -> None:
    remedy = "choose another folder, or predict all anew with --overwrite"
    try:
        before = json.loads((folder / SETTINGS_NAME).read_bytes())
    except (OSError, ValueError) as error:
        raise ValueError(
            f"output {folder} holds {LINES_NAME} without a {SETTINGS_NAME} that can be read "
            f"({error}); {remedy}"
        ) from error
    now = json.loads(json.dumps(settings))
    before = before if isinstance(before, dict) else {}
    for key in sorted({*before, *now}):
        was, is_ = before.get(key), now.get(key)
        if was != is_:
            raise ValueError(
                f"output {folder} holds predictions made otherwise: {key} was {was!r} and is now "
                f"{is_!r}; {remedy}"
            )


def write_results(path: Path, lines: Iterable[tuple[int | str, Mapping]], names: LabelNames) -> int:
    """Writes the COCO-style JSON of all predictions, with one line in memory at a time.

    Args:
        path: the JSON to write.
        lines: an image id and its line of the `Journal`, for each picture and frame.
        names: of the model's classes and values, with category ids.

    Returns:
        The number of instances written.
    """
    images, count = [], 0
    with replacing(path) as stream:
        stream.write(b'{"annotations": [')
        for image_id, line in lines:
            keys = ("file_name", "frame", "height", "width")
            images.append({"id": image_id, **{key: line[key] for key in keys if key in line}})
            for annotation in line["annotations"]:
                count += 1
                area = float(mask_util.area(annotation["segmentation"]))
                entry = {"image_id": image_id, **annotation}
                entry.update(id=count, area=area, iscrowd=0)
                stream.write(b", " if count > 1 else b"")
                stream.write(json.dumps(entry, allow_nan=False).encode("ascii"))
        categories = zip(names.category_ids, names.classes, strict=True)
        rest = {
            "images": images,
            "categories": [{"id": id_, "name": name} for id_, name in categories],
            "subcategories": names.spec.to_json(),
        }
        stream.write(b"], " + json.dumps(rest).encode("ascii")[1:])
    return count
