"""What predictions are written to: names of overlays, pictures, and the COCO-style JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import pycocotools.mask as mask_util

from mask2former_mt.files import write_whole
from mask2former_mt.predict.media import is_video

RESULTS_NAME = "predictions.json"
MAX_STEM = 200  # bytes; with the additions that an unfinished file's name has, less than 255


def overlay_names(files: Sequence[Path], before: Mapping[str, str] | None = None) -> list[str]:
    """A name `<stem>.png`, or of a video `<stem>.mp4`, for each file.

    No two have the same stem, not even where letter case does not count.

    Args:
        files: pictures and videos.
        before: names given earlier by absolute path; these files keep theirs, and no other takes
            it.
    """
    before = before or {}
    paths = [os.path.abspath(file) for file in files]
    new = [_shortened(f) for f, path in zip(files, paths, strict=True) if path not in before]
    seen = {Path(name).stem.casefold() for name in before.values()}
    # No number may make a name that another file has from its stem.
    taken = seen | {stem.casefold() for stem in new}
    names = []
    for file, path in zip(files, paths, strict=True):
        if path in before:
            names.append(before[path])
            continue
        stem = name = _shortened(file)
        if stem.casefold() in seen:
            count = 2
            while (name := f"{stem}_{count}").casefold() in taken:
                count += 1
        seen.add(stem.casefold())
        taken.add(name.casefold())
        names.append(name + (".mp4" if is_video(file) else ".png"))
    return names


def _shortened(file: Path) -> str:
    stem = file.stem
    while len(os.fsencode(stem)) > MAX_STEM:
        stem = stem[:-1]
    return stem


def check_output(
    files: Collection[Path], output_dir: str | os.PathLike, sheet: str | os.PathLike | None = None
) -> None:
    """Refuses to write where something else would be lost.

    Raises:
        ValueError: the output folder holds an input or is a file, or the sheet is an input.
    """
    output_dir = Path(output_dir)
    if output_dir.exists() and not output_dir.is_dir():
        raise ValueError(f"output {output_dir} must be a folder, got a file")
    folder = output_dir.resolve()
    sheet = None if sheet is None else Path(sheet).resolve()
    for file in files:
        file = file.resolve()
        if file.parent == folder:
            raise ValueError(
                f"output folder {output_dir} holds the input {file}, which an overlay could "
                "replace; choose another folder"
            )
        if file == sheet:
            raise ValueError(f"the contact sheet {sheet} would replace an input; rename it")


def write_picture(path: str | os.PathLike, picture: np.ndarray) -> None:
    """Writes uint8 RGB (H, W, 3) as PNG, whole or not at all; makes the folder where missing."""
    encoded, data = cv2.imencode(".png", np.ascontiguousarray(picture[:, :, ::-1]))
    assert encoded
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole({path: data.tobytes()})


def write_results(path: Path, lines: Iterable[tuple[int | str, Mapping]], header: Mapping) -> int:
    """Writes the COCO-style JSON of all predictions, one line in memory at a time.

    Args:
        path: of the JSON, replaced when the new one is whole.
        lines: image id and line of `PredictionLines`, each.
        header: further keys, such as categories.

    Returns:
        How many instances it holds.
    """
    images, count = [], 0
    partial = path.with_name(f".{path.name}.part")
    try:
        with partial.open("w", encoding="ascii") as stream:
            stream.write('{"annotations": [')
            for image_id, line in lines:
                place = {key: line[key] for key in ("file_name", "frame") if key in line}
                size = {key: line[key] for key in ("height", "width")}
                images.append({"id": image_id, **place, **size})
                for annotation in line["annotations"]:
                    stream.write(", " if count else "")
                    count += 1
                    area = float(mask_util.area(annotation["segmentation"]))
                    entry = {"image_id": image_id, **annotation}
                    entry.update(id=count, area=area, iscrowd=0)
                    stream.write(json.dumps(entry, allow_nan=False))
            stream.write("]")
            for key, value in {"images": images, **header}.items():
                stream.write(f", {json.dumps(key)}: {json.dumps(value)}")
            stream.write("}")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return count
