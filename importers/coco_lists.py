"""Reads the lists that every COCO-like JSON has; the attributes are the caller's to read.

Source: cocodataset.org, "Data format"; `area`, `bbox` and `iscrowd` may be missing, as they are in
files that other tools wrote.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from mask2former_mt.importers.source import (
    ImportOptions,
    Picture,
    Report,
    Source,
    SourceObject,
    Split,
    Texts,
)
from mask2former_mt.importers.source_files import read_json_object

from mask2former_mt.check.old_annotation import check_image_header
from mask2former_mt.check.old_rle import check_size, is_int

_MAX_FILES_SHOWN = 3
_LISTS = ("images", "annotations", "categories")


class CocoFiles:
    """The COCO-like files of a dataset, one per split, that agree in their classes.

    Args:
        inputs: JSON file by split.
        images: picture folder by split; a missing one is looked for beside the JSON.
        report: gets what is wrong.

    Raises:
        FileNotFoundError: no such file or folder.
        ValueError: not a COCO-like file.
    """

    def __init__(
        self, inputs: Mapping[str, Path], images: Mapping[str, Path], report: Report
    ) -> None:
        self._report = report
        self._images = images
        self.files = dict(inputs)
        self.documents: dict[str, dict] = {}
        self.categories: dict[int, str] = {}
        for split, file in inputs.items():
            document = self.documents[split] = read_json_object(file)
            for key in _LISTS:
                self.objects_of(split, key)
            self._add_categories(file, document["categories"])

    def objects_of(self, split: str, key: str) -> list[dict]:
        """A top-level list of JSON objects.

        Raises:
            ValueError: no such list.
        """
        file, document = self.files[split], self.documents[split]
        entries = document.get(key)
        if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
            got = f"a {type(entries).__name__}" if key in document else "no such key"
            if isinstance(entries, list):
                got = "a list of other things"
            raise ValueError(
                f"{file}: {key!r} must be a list of JSON objects, got {got}; "
                f"its keys are {sorted(document)}"
            )
        return entries

    def named_entries(self, split: str, key: str) -> dict[int, dict]:
        """The entries of a list such as `attributes` by their id; broken ones are reported."""
        named: dict[int, dict] = {}
        for entry in self.objects_of(split, key):
            number, name = entry.get("id"), entry.get("name")
            if not is_int(number) or not isinstance(name, str) or not name:
                self._report.refuse(
                    f'{self.files[split]}: an entry of {key!r} must have an integer "id" and a '
                    f'"name", got {str(entry)[:120]}'
                )
            elif named.setdefault(number, entry)["name"] != name:
                self._report.refuse(
                    f"{self.files[split]}: id {number} is used twice in {key!r}, for "
                    f"{named[number]['name']!r} and {name!r}; ids must be unique"
                )
        return named

    def _add_categories(self, file: Path, entries: list[dict]) -> None:
        for entry in entries:
            number, name = entry.get("id"), entry.get("name")
            if not is_int(number) or not isinstance(name, str) or not name:
                self._report.refuse(
                    f'{file}: an entry of \'categories\' must have an integer "id" and a "name", '
                    f"got {str(entry)[:120]}"
                )
            elif self.categories.setdefault(number, name) != name:
                self._report.refuse(
                    f"{file}: category {number} is {name!r} here and "
                    f"{self.categories[number]!r} before; give each class one id in all files"
                )

    def source(
        self,
        options: ImportOptions,
        attributes_of: Callable[[str, dict, str], dict[str, Texts] | None],
        attributes: Mapping[str, list[str]] | Callable[[], Mapping[str, list[str]]],
        *,
        keep: tuple[str, ...] = (),
        wanted: Callable[[dict], bool] = lambda entry: True,
        absent_is_unknown: bool = False,
    ) -> Source:
        """Reads pictures and objects.

        Args:
            options: for objects marked as crowds.
            attributes_of: (split, annotation, origin) -> what it says of its attributes.
            attributes: texts by attribute; a function is called when all objects were read.
            keep: further keys of the entries of `images` to hand on.
            wanted: whether an annotation is an object of this dataset.
            absent_is_unknown: see `Source`.
        """
        splits = []
        for split, file in self.files.items():
            entries = self.objects_of(split, "images")
            root = self._image_root(split, entries)
            pictures = self._pictures(file, entries, root, keep)
            seen: set[int] = set()
            for entry in self.objects_of(split, "annotations"):
                if not wanted(entry):
                    continue
                item = self._object(file, entry, pictures, seen, options)
                if item is not None:
                    item.attributes = attributes_of(split, entry, item.origin) or {}
                    pictures[entry["image_id"]].objects.append(item)
            splits.append(Split(split, root, [pictures[number] for number in sorted(pictures)]))
        return Source(
            categories=dict(sorted(self.categories.items())),
            splits=splits,
            attributes=dict(attributes() if callable(attributes) else attributes),
            files=list(self.files.values()),
            absent_is_unknown=absent_is_unknown,
        )

    def _image_root(self, split: str, entries: list[dict]) -> Path:
        if split in self._images:
            folder = self._images[split]
            if not os.path.isdir(folder):
                raise FileNotFoundError(f"--images: {folder} is not a folder")
            return Path(os.path.abspath(folder))
        names = [entry["file_name"] for entry in entries if isinstance(entry.get("file_name"), str)]
        beside = Path(os.path.abspath(self.files[split])).parent
        # CVAT: annotations/instances_<subset>.json and images/<subset>/.
        subset = Path(self.files[split]).stem.partition("_")[2]
        folders = [beside, beside / "images", beside.parent / "images"]
        candidates = [*folders, *([folders[2] / subset] if subset else [])]
        for folder in candidates:
            if names and _find(folder, names[0]) is not None:
                return folder
        raise FileNotFoundError(
            f"{self.files[split]}: the pictures are in none of "
            f"{', '.join(map(str, candidates))}; give their folder with --images"
        )

    def _pictures(
        self, file: Path, entries: list[dict], root: Path, keep: tuple[str, ...]
    ) -> dict[int, Picture]:
        pictures: dict[int, Picture] = {}
        missing = []
        for entry in entries:
            number, name = entry.get("id"), entry.get("file_name")
            size = [entry.get("height"), entry.get("width")]
            if not is_int(number) or not isinstance(name, str) or not name:
                self._report.refuse(
                    f'{file}: an entry of \'images\' must have an integer "id" and a "file_name", '
                    f"got id {number!r}, file_name {str(name)[:80]!r}"
                )
            elif number in pictures:
                self._report.refuse(
                    f"{file}: image id {number} is used twice, last by {name}; ids must be unique"
                )
            else:
                found = _find(root, name)
                if found is None:
                    missing.append(name)
                try:
                    height, width = check_size(size, "'height' and 'width'")
                    # The sizes are used to draw the outlines: wrong ones must not get that far.
                    if found is not None:
                        check_image_header(os.path.join(root, found), height, width)
                except ValueError as error:
                    self._report.refuse(f"{file}: image {number} ({name[:120]}): {error}")
                    height = width = 1
                extra = {key: entry[key] for key in keep if _is_int_list(entry.get(key))}
                pictures[number] = Picture(found or name, height, width, id=number, extra=extra)
        if not entries:
            self._report.refuse(f"{file}: 'images' is empty; is it the right file?")
        if missing:
            shown = ", ".join(missing[:_MAX_FILES_SHOWN])
            self._report.refuse(
                f"{file}: {len(missing)} of {len(entries)} pictures are missing from {root}: "
                f"{shown}{' ...' if len(missing) > _MAX_FILES_SHOWN else ''}; give their folder "
                "with --images"
            )
        return pictures

    def _object(
        self,
        file: Path,
        entry: dict,
        pictures: Mapping[int, Picture],
        seen: set[int],
        options: ImportOptions,
    ) -> SourceObject | None:
        number, image_id = entry.get("id"), entry.get("image_id")
        if not is_int(number) or number in seen:
            self._report.refuse(
                f"{file}: an annotation of image_id {str(image_id)[:80]} must have an integer "
                f"'id' of its own, got {str(number)[:80]}"
            )
            return None
        seen.add(number)
        origin = f"{file}: annotation {number}"
        if not is_int(image_id) or image_id not in pictures:
            self._report.refuse(
                f"{origin}: image_id {str(image_id)[:80]} is not listed in 'images'; "
                "list the picture, or remove the annotation"
            )
            return None
        category_id = entry.get("category_id")
        if not is_int(category_id) or category_id not in self.categories:
            self._report.refuse(
                f"{origin}: category_id {str(category_id)[:80]} is not listed in 'categories'; "
                f"listed are {sorted(self.categories)[:20]}"
            )
            return None
        segmentation = entry.get("segmentation")
        if segmentation is None or segmentation == [] or segmentation == {}:
            self._report.unusable(
                origin,
                "it has a box but no mask ('segmentation' is empty); draw the outline",
                "boxes without a mask",
            )
            return None
        iscrowd = entry.get("iscrowd", 0)
        if iscrowd == 1 and options.crowd == "object":
            iscrowd = 0
        elif iscrowd == 1:
            self._report.note(
                "objects marked as crowds, which training leaves out (CVAT marks every brush mask "
                "so; if they are single objects, give --crowd object)",
                origin,
            )
        return SourceObject(
            origin,
            category_id,
            segmentation,
            {},
            id=number,
            bbox=entry.get("bbox"),
            area=entry.get("area"),
            iscrowd=iscrowd,
        )


def _is_int_list(value: object) -> bool:
    return isinstance(value, list) and all(map(is_int, value))


def _find(root: Path, name: str) -> str | None:
    """The name under which a file lies in a folder; exports from Windows have backslashes."""
    for candidate in (name, name.replace("\\", "/")):
        if os.path.isfile(os.path.join(root, candidate)):
            return candidate
    return None
