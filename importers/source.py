"""What the reader of a format hands over: pictures, objects with their attributes, and a report."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

# Objects without a sound mask make the import fail, or are left out and counted.
UNUSABLE_CHOICES = ("refuse", "skip")
_MAX_PROBLEMS_SHOWN = 10

# What a source says of an object under one attribute name: the texts it gives (`()`: somebody
# looked, and none of them applies), or None (unknown). No key at all: the source says nothing.
Texts = tuple[str, ...] | None


@dataclasses.dataclass(slots=True)
class SourceObject:
    """One object.

    Args:
        origin: file and line or entry, for messages.
        entry: as the JSON's `annotations` will have it, but without labels: `id`, `image_id`,
            `category_id` and `segmentation`, perhaps `bbox`, `area` and `iscrowd`; not checked yet.
        attributes: what the source says of each attribute, by name.
    """

    origin: str
    entry: dict
    attributes: dict[str, Texts]


@dataclasses.dataclass
class SourceSplit:
    """One split of the source.

    Args:
        name: such as "train".
        file: the file or folder that it was read from, for messages.
        image_root: absolute folder that the pictures' names are relative to.
        images: entries of the JSON's `images`; not checked yet.
        objects: those of all pictures.
    """

    name: str
    file: Path
    image_root: Path
    images: list[dict] = dataclasses.field(default_factory=list)
    objects: list[SourceObject] = dataclasses.field(default_factory=list)

    def add_picture(self, file: Path, height: int, width: int) -> None:
        """Adds a picture below `image_root` under the next number; the size is in pixels."""
        name = Path(os.path.abspath(file)).relative_to(self.image_root).as_posix()
        number = len(self.images) + 1
        self.images.append({"id": number, "file_name": name, "height": height, "width": width})

    def add_object(
        self, origin: str, category_id: int, segmentation: list | dict, attributes: dict[str, Texts]
    ) -> None:
        """Adds an object of the picture that was added last, under the next number."""
        entry = {
            "id": len(self.objects) + 1,
            "image_id": len(self.images),
            "category_id": category_id,
            "segmentation": segmentation,
        }
        self.objects.append(SourceObject(origin, entry, attributes))


@dataclasses.dataclass
class Source:
    """A whole dataset as its source has it.

    Args:
        categories: entries {"id", "name"} of the JSON's `categories`.
        splits: at least one.
        files: the JSON and YAML files that were read; never overwritten.
        attributes: the attributes that become subcategories, each with all of its texts; both in
            the order to write.
        is_coco: whether ids and the pictures' sizes are the source's own: the ids stay, and the
            sizes are still to be compared with the pictures.
        absent_is_unknown: whether a missing attribute is unknown whatever the options say, because
            the source itself says what does not apply.
    """

    categories: list[dict]
    splits: list[SourceSplit]
    files: list[Path]
    attributes: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    is_coco: bool = False
    absent_is_unknown: bool = False


@dataclasses.dataclass(frozen=True)
class ImportOptions:
    """What becomes of what the JSON cannot hold as it is.

    Args:
        subcategories: attributes that become subcategories, in this order; None: all that can.
        attributes_keys: further keys of an annotation that hold attributes.
        classes: names of the classes, where the format does not have them.
        class_attribute: the attribute that is the class, where there are several.
        picture_attributes: whether the attributes of a picture are given to each of its objects.
        max_values: attributes with more texts are left out; None: those with fewer than two objects
            for a text, unless they are asked for.
        none_values: texts that mean "does not apply" and become none.
        absent: a missing attribute, one of `attribute_choice.ABSENT_CHOICES`.
        several: several texts of one attribute, one of `attribute_choice.SEVERAL_CHOICES`.
        unusable: an object without a sound mask, one of `UNUSABLE_CHOICES`.
        crowd, holes: crowd marks, and polygons inside others; see `Conventions`.
        oriented_boxes: files of four corners only, one of `yolo.ORIENTED_BOXES_CHOICES`.
        parts: whether PACO's parts of objects are imported as objects.
    """

    subcategories: tuple[str, ...] | None = None
    attributes_keys: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    class_attribute: str | None = None
    picture_attributes: bool = False
    max_values: int | None = None
    none_values: tuple[str, ...] = ()
    absent: str = "unknown"
    several: str = "unknown"
    unusable: str = "refuse"
    crowd: str = "keep"
    holes: str = "fill"
    oriented_boxes: str = "refuse"
    parts: bool = True


@dataclasses.dataclass(frozen=True)
class Request:
    """What is to be imported.

    A format's reader raises FileNotFoundError for a missing file or folder, and ValueError for one
    that is not of the format at all; whatever else is wrong goes to the report.

    Args:
        inputs: file or folder by split.
        images: picture folder by split, where the format does not say where the pictures are.
        options: what becomes of what the JSON cannot hold as it is.
        report: gets what is wrong, and what is left out.
    """

    inputs: Mapping[str, Path]
    images: Mapping[str, Path]
    options: ImportOptions
    report: Report

    def input_files(self) -> Iterator[tuple[str, Path]]:
        """The inputs by split, where each must be a file.

        Raises:
            FileNotFoundError: one that is not there, or is a folder.
        """
        for split, file in self.inputs.items():
            if not os.path.isfile(file):
                raise FileNotFoundError(f"{file} does not exist, or is no file")
            yield split, file


class RefusedError(ValueError):
    """Ends an import with the problems that were collected."""


class Report:
    """Collects what is wrong and what was left out, so that a user sees more than the first of it.

    Args:
        unusable: one of `UNUSABLE_CHOICES`.
    """

    def __init__(self, unusable: str) -> None:
        self._skips_unusable = unusable == "skip"
        self._problems: list[str] = []
        self._notes: dict[str, tuple[int, str | None]] = {}

    def refuse(self, message: str) -> None:
        """Adds a problem that makes the import fail."""
        self._problems.append(message)

    def refuse_first(self, message: str) -> None:
        """Adds a problem that explains the others."""
        self._problems.insert(0, message)

    def note(self, text: str, origin: str | None = None) -> None:
        """Adds a note; equal texts become one, with their number and the first origin."""
        count, first = self._notes.get(text, (0, origin))
        self._notes[text] = (count + 1, first)

    def unusable(self, origin: str, why: str, kind: str = "having no sound mask") -> None:
        """Adds an object that nothing can be learned from.

        Args:
            origin: file and line or entry.
            why: what was expected and found, and the remedy.
            kind: what such objects are counted as.
        """
        if self._skips_unusable:
            self.note(f"objects left out as {kind} (learned as background)", f"{origin}: {why}")
        else:
            self.refuse(f"{origin}: {why}; or leave such objects out with --unusable skip")

    def raise_if_refused(self) -> None:
        """Ends the import if there is a problem.

        Raises:
            RefusedError: with up to ten of the problems.
        """
        number = len(self._problems)
        lines = self._problems[:_MAX_PROBLEMS_SHOWN]
        if number > 1:
            lines.insert(0, f"{number} problems, nothing was written")
        if number > _MAX_PROBLEMS_SHOWN:
            lines.append(f"... and {number - _MAX_PROBLEMS_SHOWN} more")
        if lines:
            raise RefusedError("\n  ".join(lines))

    @property
    def notes(self) -> list[str]:
        """One line each, in the order in which they came up."""
        return [
            text if first is None else f"{text}: {count}, the first {first}"
            for text, (count, first) in self._notes.items()
        ]
