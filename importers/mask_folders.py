"""Imports folders of masks: a picture for each object, or a map of ids for each picture.

The masks of `images/a.jpg` (any folder may be called `images`, the last one counts) are
* `masks/a/cup_1.png`, ...: an object each, where it is not 0. The class is the name without a
  number before or behind it, or the folder in between: `masks/a/cup/1.png`;
* `masks/a.png` or `masks/a_id.png`: every value but 0 is an object, 255 beside others a border;
* `masks/cup/a.png`: the same for one class;
* all that lie in `masks`, where `images` has only this picture, as in the Data Science Bowl 2018.
Where pictures and `masks` are in one folder, `a_id.png` may be beside `a.jpg`, too. One name in
`ImportOptions.classes` is the class of everything. With several a map's values are 1000 times the
class's number, from 1 on, plus the object's, as in Cityscapes. The format has no attributes: S = 0.
"""

from __future__ import annotations

import collections
import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from mask2former_mt.importers.attribute_choice import Survey
from mask2former_mt.importers.id_maps import MASK_SUFFIXES, read_ids, rles_of_ids, without_border
from mask2former_mt.importers.labelled_pictures import (
    LabelledObject,
    LabelledPicture,
    labelled_source,
)
from mask2former_mt.importers.picture_files import pictures_below, size_of_picture
from mask2former_mt.importers.source import Request, Source

_PICTURES, _MASKS, _MAP_ENDING = "images", "masks", "_id"
_IDS_PER_CLASS = 1000
_NUMBERS = re.compile(r"^\d+[\s_.-]+|[\s_.-]*\d*$")


def read_mask_folders(request: Request) -> Source:
    """Reads folders with `images` and `masks`, one for each split; see `Request`."""
    pictures, files = {}, []
    for split, folder in request.inputs.items():
        if not os.path.isdir(folder):
            raise FileNotFoundError(f"{folder} is not a folder of pictures and masks")
        folder = Path(os.path.abspath(folder))
        reader = _Reader(folder, request)
        pictures[split] = list(reader.pictures())
        reader.refuse_strays()
        files += reader.masks
    return labelled_source(pictures, files, Survey(), request)


class _Reader:
    """Reads the pictures of a folder, and remembers whose masks there are."""

    def __init__(self, folder: Path, request: Request) -> None:
        self._classes, self._report = request.options.classes, request.report
        listed = [file for file in pictures_below(folder) if not file.name.startswith(".")]
        self.masks = [file for file in listed if _is_mask(file.relative_to(folder))]
        masks = set(self.masks)
        self._pictures = [file for file in listed if file not in masks]
        if not self._pictures or not self.masks:
            what = "masks" if self._pictures else "pictures"
            raise FileNotFoundError(
                f"{folder}: no {what} there; expected images/a.jpg and masks/a.png or masks/a/*.png"
            )
        self._strays = dict.fromkeys(self.masks)
        # Maps by folder and picture's name, the same by the folder above, and all by all above.
        self._maps: dict[tuple[Path, str], list[Path]] = {}
        self._class_maps: dict[tuple[Path, str], list[Path]] = {}
        self._below: dict[Path, list[Path]] = {}
        for file in self.masks:
            name = file.stem.removesuffix(_MAP_ENDING)
            self._maps.setdefault((file.parent, name), []).append(file)
            self._class_maps.setdefault((file.parent.parent, name), []).append(file)
            for above in file.relative_to(folder).parents:
                self._below.setdefault(folder / above, []).append(file)
        self._num_beside = collections.Counter(file.parent for file in self._pictures)

    def pictures(self) -> Iterator[LabelledPicture]:
        """The pictures that have masks."""
        for file in self._pictures:
            masks = self._masks_of(file)
            if not masks:
                self._report.note("pictures without masks, left out as not annotated", str(file))
                continue
            try:
                height, width = size_of_picture(file)
            except ValueError as error:
                self._report.refuse(str(error))
                continue
            objects = []
            for mask, label, is_map in masks:
                self._strays.pop(mask, None)
                try:
                    objects += self._objects(mask, label, is_map, height, width)
                except ValueError as error:
                    self._report.refuse(str(error))
            yield LabelledPicture(file, height, width, objects)

    def _masks_of(self, picture: Path) -> list[tuple[Path, str, bool]]:
        """A picture's masks: file, class as far as its place says it, and whether it is a map."""
        root, stem = _mask_folder(picture), picture.stem
        maps = [*self._maps.get((root, stem), ()), *self._maps.get((picture.parent, stem), ())]
        masks = [(file, "", True) for file in maps]
        for file in self._below.get(root / stem, ()):
            inner = file.relative_to(root).parts
            masks.append((file, inner[1] if len(inner) > 2 else _name_of(file), False))
        for file in self._class_maps.get((root, stem), ()):
            if file.parent.name != stem:
                masks.append((file, file.parent.name, True))
        is_alone = self._num_beside[picture.parent] == 1 and picture.parent.name == _PICTURES
        if not masks and is_alone:
            below = self._below.get(root, ())
            masks = [(file, _name_of(file), False) for file in below if file.parent == root]
        return masks

    def _objects(
        self, mask: Path, label: str, is_map: bool, height: int, width: int
    ) -> Iterator[LabelledObject]:
        if mask.suffix.lower() not in MASK_SUFFIXES:
            raise ValueError(f"{mask}: a mask must be PNG or TIFF, as JPEG changes its values")
        ids = read_ids(mask, height, width)
        ids = without_border(ids) if is_map else (ids != 0).astype(np.int64)
        rles = rles_of_ids(ids)
        if not rles and not is_map:
            self._report.unusable(str(mask), "the mask is empty; draw it, or remove the file")
        if is_map and len(rles) == 1:
            self._report.note("maps with one value, taken as one object", str(mask))
        for number, rle in rles.items():
            origin = f"{mask}: value {number}" if is_map else str(mask)
            yield LabelledObject(origin, self._label(mask, label, number), rle, {})

    def _label(self, mask: Path, label: str, number: int) -> str:
        classes = self._classes
        if len(classes) == 1:
            return classes[0]
        if label and (not classes or label in classes):
            return label
        if label:
            raise ValueError(f"{mask}: the class {label!r} is not in --classes {list(classes)}")
        index = number // _IDS_PER_CLASS - 1
        if not 0 <= index < len(classes):
            raise ValueError(
                f"{mask}: nothing says the class of value {number}; name the only class with "
                f"--classes, or several where values are {_IDS_PER_CLASS} times the class's number "
                "plus the object's"
            )
        return classes[index]

    def refuse_strays(self) -> None:
        """Refuses masks that belong to no picture."""
        for file in self._strays:
            self._report.refuse(
                f"{file}: no picture belongs to this mask; put it back, or remove the mask"
            )


def _is_mask(file: Path) -> bool:
    return _MASKS in file.parts[:-1] or file.stem.endswith(_MAP_ENDING)


def _mask_folder(picture: Path) -> Path:
    """Where the masks of a picture are: as it, with `masks` for the last `images`."""
    parts = list(picture.parent.parts)
    for i in range(len(parts) - 1, -1, -1):
        if parts[i] == _PICTURES:
            parts[i] = _MASKS
            return Path(*parts)
    return picture.parent / _MASKS


def _name_of(mask: Path) -> str:
    """A file's name without a number before or behind it; empty where it is only a number."""
    return _NUMBERS.sub("", mask.stem)
