"""What a dataset check found: one line per problem, counted, sorted and shown."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from mask2former_mt.visualization.pages import printable

ERROR, WARNING = "error", "warning"
SEVERITIES = (ERROR, WARNING)
# The exit code of the worst severity; 0 without any.
_EXIT_CODES = {ERROR: 2, WARNING: 1}
_MAX_SHOWN = 80  # characters of a value in a message

# Every kind of finding and what it means, in the order in which they are shown.
KINDS = {
    "bad-dataset-file": "the dataset YAML cannot be used",
    "bad-annotation-file": "an annotation file is no COCO JSON",
    "bad-categories": "classes or subcategories are not listed properly",
    "splits-differ": "the splits list different classes or subcategories",
    "bad-image-entry": "entries of 'images' without a usable id, name or size",
    "duplicate-image-id": "image ids used twice",
    "missing-image": "image files that do not exist",
    "unreadable-image": "files that are no image, or one that nothing here can read",
    "truncated-image": "pictures that are cut short or damaged",
    "size-mismatch": "pictures of another size than the JSON says",
    "exif-rotation": "pictures that are stored turned or mirrored",
    "leakage": "pictures that are in two splits",
    "duplicate-image": "pictures that are in one split twice",
    "bad-annotation": "annotations that training refuses",
    "duplicate-annotation-id": "annotation ids used twice",
    "duplicate-annotation": "objects annotated twice",
    "unknown-image": "annotations of images that are not listed",
    "unknown-category": "classes that are not listed",
    "unknown-subcategory": "subcategories that are not listed",
    "unknown-value": "values that are not listed",
    "bad-polygon": "outlines that are not lists of numbers",
    "too-few-points": "outlines with fewer than 3 points",
    "out-of-bounds": "outlines or boxes that leave the picture",
    "self-intersecting": "outlines that cross themselves",
    "bad-rle": "run lengths that are damaged",
    "rle-size-mismatch": "run lengths for another picture size",
    "zero-area": "objects, or parts of them, without area",
    "bad-box": "boxes that are not [x, y, width, height]",
    "box-unlike-mask": "boxes that do not fit their outline",
    "area-unlike-mask": "areas that do not fit their outline",
    "smaller-than-stride": "objects smaller than one cell of the network's mask grid",
    "class-never-seen": "classes without an object",
    "value-never-seen": "values that no object has",
    "label-never-varies": "subcategories in which all objects are alike",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """One problem.

    Args:
        severity: "error", training would refuse it or learn something false; or "warning".
        kind: one of `KINDS`.
        file: the picture, or the file that the problem is in.
        image_id, annotation_id: the JSON's; None where none is meant or usable.
        message: what is wrong, and what to do about it.
    """

    severity: str
    kind: str
    file: str
    image_id: int | None
    annotation_id: int | None
    message: str

    def __post_init__(self) -> None:
        assert self.severity in SEVERITIES, self.severity
        assert self.kind in KINDS, self.kind

    @property
    def place(self) -> str:
        """The file, and which image and annotation of it."""
        parts = [self.file]
        if self.image_id is not None:
            parts.append(f"image {self.image_id}")
        if self.annotation_id is not None:
            parts.append(f"annotation {self.annotation_id}")
        return ", ".join(parts)


def exit_code(findings: Iterable[Finding]) -> int:
    """0 without findings, 1 with warnings only, 2 with errors."""
    return max((_EXIT_CODES[finding.severity] for finding in findings), default=0)


def grouped(findings: Iterable[Finding]) -> dict[str, dict[str, list[Finding]]]:
    """The findings by severity, worst first, and by kind, as `KINDS` orders them."""
    groups: dict[str, dict[str, list[Finding]]] = {severity: {} for severity in SEVERITIES}
    for finding in findings:
        groups[finding.severity].setdefault(finding.kind, []).append(finding)
    order = list(KINDS)
    return {
        severity: dict(sorted(kinds.items(), key=lambda item: order.index(item[0])))
        for severity, kinds in groups.items()
        if kinds
    }


def count_texts(findings: Iterable[Finding]) -> dict[str, str]:
    """How many findings of each severity, as "2 errors"."""
    counts = dict.fromkeys(SEVERITIES, 0)
    for finding in findings:
        counts[finding.severity] += 1
    return {s: f"{count} {s}{'' if count == 1 else 's'}" for s, count in counts.items()}


def findings_text(findings: Iterable[Finding], *, show: int) -> str:
    """The findings as lines of text, at most `show` of each kind in words."""
    lines = []
    for severity, kinds in grouped(findings).items():
        lines.append(f"{severity.upper()}S ({sum(map(len, kinds.values()))})")
        for kind, found in kinds.items():
            lines.append(f"  {kind}: {KINDS[kind]} ({len(found)})")
            lines += [f"    {f.place}: {f.message}" for f in found[:show]]
            if len(found) > show:
                lines.append(f"    ... and {len(found) - show} more")
    return printable("\n".join(lines))


def shown(value: object) -> str:
    """A JSON value as a message shows it: its beginning."""
    try:
        text = repr(value)
    except RecursionError:
        return "a deeply nested value"
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."
