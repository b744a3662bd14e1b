"""What is wrong with a dataset, a value for each fault; what to do about it is the caller's."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

ERROR, WARNING = "error", "warning"
SEVERITIES = (ERROR, WARNING)
# The remedy of what needs no guess.
REPAIR = "tools/check_dataset.py --write-clean writes a repaired copy"
# Every kind of problem and what it means, in the order in which a check shows them.
KINDS = {
    "bad-dataset-file": "the dataset YAML cannot be used",
    "bad-annotation-file": "an annotation file is no COCO JSON",
    "bad-categories": "classes or subcategories are not listed properly",
    "splits-differ": "a split lists labels that the training split does not",
    "bad-image-entry": "entries of 'images' without a usable id, name or size",
    "duplicate-image-id": "image ids used twice",
    "picture-name": "pictures found under another name than the JSON's",
    "missing-image": "image files that do not exist",
    "unreadable-image": "files that are no image, or one that nothing here can read",
    "truncated-image": "pictures that are cut short or damaged",
    "size-mismatch": "pictures of another size than the JSON says",
    "exif-rotation": "pictures that are stored turned or mirrored",
    "several-frames": "animations and files of several pages",
    "needs-depth-range": "pictures whose samples do not say what is black and what is white",
    "unused-depth": "pictures that use a part of the range of their type",
    "constant-image": "pictures of one colour",
    "saturated-image": "pictures that are mostly black and white",
    "transparent-image": "pictures that are transparent in parts",
    "leakage": "pictures that are in two splits",
    "duplicate-image": "pictures that are in one split twice",
    "missing-map": "pictures without a map of their classes or segments",
    "bad-map": "maps that cannot be read, or hold colours where numbers are meant",
    "map-size": "maps of another size than their picture",
    "map-value": "maps with numbers that are no class",
    "bad-segment": "entries of 'segments_info' without a usable id",
    "segment-without-pixels": "segments that are listed, and have no pixel in the map",
    "unlisted-segment": "segments of a map that are not listed",
    "bad-annotation": "annotations that training refuses",
    "id-as-text": "ids that are written as text",
    "misnamed-key": "keys that nothing reads, written nearly like one that is read",
    "crowd": "crowds, which are not learned",
    "bad-crowd-mark": "crowd marks other than 0 and 1",
    "duplicate-annotation-id": "annotation ids used twice",
    "duplicate-annotation": "objects annotated twice",
    "unknown-image": "annotations of images that are not listed",
    "unknown-category": "classes that are not listed",
    "unknown-subcategory": "subcategories that are not listed",
    "unknown-value": "values that are not listed",
    "value-of-other-class": "values on objects of classes that do not have the subcategory",
    "bad-polygon": "outlines that are not lists of numbers",
    "too-few-points": "outlines with fewer than 3 points",
    "out-of-bounds": "outlines or boxes that leave the picture",
    "self-intersecting": "outlines that cross themselves",
    "hole-filled": "outlines inside other outlines of the same object",
    "bad-rle": "run lengths that are damaged",
    "rle-size-mismatch": "run lengths for another picture size",
    "zero-area": "objects, or parts of them, without area",
    "bad-box": "boxes that are not [x, y, width, height]",
    "box-unlike-mask": "boxes that do not fit their outline",
    "area-unlike-mask": "areas that do not fit their outline",
    "smaller-than-stride": "objects smaller than one cell of the network's mask grid",
    "misaligned": "training samples whose image and masks were not moved alike",
    "names-alike": "names that differ only by blanks, case or Unicode form",
    "root-category": "categories that are no class but stand above all classes",
    "class-never-seen": "classes without an object",
    "value-never-seen": "values that no object has",
    "class-never-judged": "classes that another split than the training's lacks",
    "value-never-judged": "values that another split than the training's lacks",
    "label-never-varies": "subcategories in which all objects are alike",
    "side-without-flip": "sides that a flip would turn into each other",
    "side-upside-down": "sides that are exchanged by flips upside down, too",
}
_MAX_PROBLEMS_SHOWN = 10
_MAX_FILES_SHOWN = 3
_MAX_CHARACTERS = 80  # of a JSON value in a message


@dataclasses.dataclass(frozen=True, slots=True)
class Problem:
    """One fault.

    Args:
        severity: ERROR, training refuses it or would learn something false; or WARNING.
        kind: one of `KINDS`.
        file: the picture, or the JSON or YAML that the fault is in.
        message: what is wrong: what was expected, and what was found.
        remedy: what to do about it; empty where the message says it.
        image_id, annotation_id: the JSON's; None where none is meant or usable.
        index: position in the JSON's list `images` or `annotations`, for who repairs the file.
    """

    severity: str
    kind: str
    file: str
    message: str
    remedy: str = ""
    image_id: int | None = None
    annotation_id: int | None = None
    index: int | None = None

    def __post_init__(self) -> None:
        assert self.severity in SEVERITIES, self.severity
        assert self.kind in KINDS, self.kind

    @property
    def text(self) -> str:
        """Message and remedy."""
        return f"{self.message}; {self.remedy}" if self.remedy else self.message

    @property
    def place(self) -> str:
        """The file, and which image and annotation of it."""
        parts = [self.file]
        if self.image_id is not None:
            parts.append(f"image {self.image_id}")
        if self.annotation_id is not None:
            parts.append(f"annotation {self.annotation_id}")
        return ", ".join(parts)

    def to_json(self) -> dict:
        """As a check's report.json lists it."""
        return {
            "severity": self.severity,
            "kind": self.kind,
            "file": self.file,
            "image_id": self.image_id,
            "annotation_id": self.annotation_id,
            "message": self.text,
        }


class Fault(NamedTuple):
    """A problem without its place; see `Problem`."""

    kind: str
    message: str
    remedy: str = ""
    severity: str = ERROR

    def at(self, file: str, **place: int | None) -> Problem:
        """The problem in a file, with `image_id`, `annotation_id` and `index` as far as known."""
        return Problem(**self._asdict(), file=file, **place)


def shown(value: object) -> str:
    """The beginning of a JSON value, as a message shows it."""
    try:
        text = repr(value)
    except RecursionError:
        return "a deeply nested value"
    return text if len(text) <= _MAX_CHARACTERS else f"{text[:_MAX_CHARACTERS]}..."


def refuse(
    problems: Iterable[Problem], json_file: Path, image_root: Path, num_images: int = 0
) -> None:
    """Refuses a split that has an error, with up to ten of them in words.

    Args:
        problems: of the split; warnings are left out.
        json_file, image_root: of the split.
        num_images: in the split; stands beside the number of missing files.

    Raises:
        ValueError: names the JSON, then a line for each error: image, annotation, what was expected
            and found, and the remedy. Missing image files are one line.
    """
    errors = [problem for problem in problems if problem.severity == ERROR]
    missing = [error for error in errors if error.kind == "missing-image"]
    lines = [_missing_text(missing, num_images, image_root)] if missing else []
    lines += [_line(error, image_root) for error in errors if error.kind != "missing-image"]
    if not lines:
        return
    headline = f"{json_file}: {len(lines)} {'problem' if len(lines) == 1 else 'problems'}"
    more = len(lines) - _MAX_PROBLEMS_SHOWN
    lines = lines[:_MAX_PROBLEMS_SHOWN] + ([f"... and {more} more"] if more > 0 else [])
    raise ValueError("\n  ".join([headline, *lines]))


def warnings_text(problems: Iterable[Problem], json_file: Path, image_root: Path) -> str:
    """What is told of a split that can be used: a line for each kind of warning; else empty.

    Args:
        problems: of the split; errors are left out.
        json_file, image_root: of the split.
    """
    by_kind: dict[str, list[Problem]] = {}
    for problem in problems:
        if problem.severity == WARNING:
            by_kind.setdefault(problem.kind, []).append(problem)
    lines = []
    for kind, meaning in KINDS.items():
        if kind in by_kind:
            first, *more = by_kind[kind]
            number = f"{1 + len(more)} x {meaning}; the first: " if more else ""
            lines.append(f"{number}{_line(first, image_root)}")
    return "\n  ".join([f"{json_file} is used, but:", *lines]) if lines else ""


def _line(problem: Problem, image_root: Path) -> str:
    places = []
    if problem.annotation_id is not None:
        places.append(f"annotation {problem.annotation_id}")
    if problem.image_id is not None:
        name = os.path.relpath(problem.file, image_root)
        places.append(f"image {problem.image_id} ({name})")
    return f"{' of '.join(places)}: {problem.text}" if places else problem.text


def _missing_text(missing: list[Problem], num_images: int, image_root: Path) -> str:
    names = [os.path.relpath(problem.file, image_root) for problem in missing]
    more = len(names) - _MAX_FILES_SHOWN
    return (
        f"{len(names)} of {num_images} image files are missing from {image_root}: "
        f"{', '.join(names[:_MAX_FILES_SHOWN])}{f' and {more} more' if more > 0 else ''}; "
        f"{missing[0].remedy}"
    )
