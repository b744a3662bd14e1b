"""What every reader hands over: pictures, objects with their raw attributes, and a report."""

from __future__ import annotations

import dataclasses
from pathlib import Path

_MAX_PROBLEMS_SHOWN = 10

# What a source says of an object under one attribute name: the texts it gives (`()`: looked at and
# none of them applies), or None (it cannot be told). No key at all: the source says nothing.
Texts = tuple[str, ...] | None


@dataclasses.dataclass(slots=True)
class SourceObject:
    """One object as its source has it.

    Args:
        origin: file and line or entry, for messages.
        category_id: one of `Source.categories`.
        segmentation: polygons [x1, y1, x2, y2, ...] in pixels, or an RLE; not checked yet.
        attributes: per attribute name what the source says.
        id: the source's own number; None: numbered in order.
        bbox: xywh in pixels as the source has it; None: the segmentation's extent.
        area: in pixels as the source has it; None: the segmentation's.
        iscrowd: 0 or 1 as the source has it; not checked yet.
    """

    origin: str
    category_id: int
    segmentation: object
    attributes: dict[str, Texts]
    id: int | None = None
    bbox: object = None
    area: object = None
    iscrowd: object = 0


@dataclasses.dataclass(slots=True)
class Picture:
    """One picture and its objects.

    Args:
        file_name: relative to the split's image folder, with forward slashes.
        height, width: pixels of the picture turned upright.
        id: the source's own number; None: numbered in order.
        extra: further keys of the JSON's entry.
    """

    file_name: str
    height: int
    width: int
    objects: list[SourceObject] = dataclasses.field(default_factory=list)
    id: int | None = None
    extra: dict = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Split:
    """The pictures of one split and the folder that their names start from."""

    name: str
    image_root: Path
    pictures: list[Picture]


@dataclasses.dataclass
class Source:
    """A whole dataset as its source has it.

    Args:
        categories: name by id, in the order to write.
        splits: with pictures in a fixed order.
        attributes: the texts that each attribute can have, in the order to write; every one can
            become a subcategory.
        files: whatever was read besides pictures; never written over.
        absent_is_unknown: the source itself marks what was not annotated, so that a missing
            attribute is never "none".
    """

    categories: dict[int, str]
    splits: list[Split]
    attributes: dict[str, list[str]]
    files: list[Path]
    absent_is_unknown: bool = False


@dataclasses.dataclass(frozen=True)
class ImportOptions:
    """What is to become of that which the JSON cannot hold as it is.

    Args:
        subcategories: attributes that become subcategories, in this order; None: all that can.
        max_values: attributes of more texts are left out.
        none_values: texts that mean "does not apply" and become none.
        absent: "unknown", "none", or "by-class" (none where no object of the class has it).
        several: an object with several texts of one attribute: "unknown", "first" or "refuse".
        unusable: an object without a sound mask: "refuse" or "skip".
        crowd: "keep", or "object" (single objects that the source marks as crowds).
        parts: PACO: whether objects' parts are imported as objects.
    """

    subcategories: tuple[str, ...] | None = None
    max_values: int = 50
    none_values: tuple[str, ...] = ()
    absent: str = "unknown"
    several: str = "unknown"
    unusable: str = "refuse"
    crowd: str = "keep"
    parts: bool = True


class Report:
    """Collects what is wrong and what was left out, so that a user sees more than the first of it.

    Args:
        skip_unusable: whether objects without a sound mask are left out instead of refused.
    """

    def __init__(self, *, skip_unusable: bool = False) -> None:
        self.skip_unusable = skip_unusable
        self._problems: list[str] = []
        self._num_problems = 0
        self._notes: dict[str, tuple[int, str | None]] = {}

    def refuse(self, message: str) -> None:
        """Adds what makes the import fail."""
        self._num_problems += 1
        if len(self._problems) < _MAX_PROBLEMS_SHOWN:
            self._problems.append(message)

    def note(self, text: str, origin: str | None = None) -> None:
        """Adds what the user should know; of the same text, the number and the first are shown."""
        count, first = self._notes.get(text, (0, origin))
        self._notes[text] = (count + 1, first)

    def unusable(self, origin: str, why: str, kind: str | None = None) -> None:
        """Adds an object that nothing can be learned from: refused, or left out and counted.

        Args:
            origin: file and line or entry.
            why: expected, got and remedy.
            kind: short name to count it by; None: "having no sound mask".
        """
        if self.skip_unusable:
            what = kind or "having no sound mask"
            self.note(f"objects left out as {what} (learned as background)", f"{origin}: {why}")
        else:
            self.refuse(f"{origin}: {why}; or leave such objects out with --unusable skip")

    def raise_if_refused(self) -> None:
        """
        Raises:
            ValueError: with up to ten of the problems.
        """
        if not self._num_problems:
            return
        more = self._num_problems - len(self._problems)
        lines = list(self._problems)
        if self._num_problems > 1:
            lines = [f"{self._num_problems} problems, nothing was written", *lines]
        if more:
            lines.append(f"... and {more} more")
        raise ValueError("\n  ".join(lines))

    @property
    def notes(self) -> list[str]:
        """One line each, in the order in which they came up."""
        return [
            text if first is None else f"{text}: {count}, the first {first}"
            for text, (count, first) in self._notes.items()
        ]
