"""Reads the document of a split: its pictures and annotations as records, and their problems."""

from __future__ import annotations

import collections
import dataclasses
import math
import os
from collections.abc import Sequence
from pathlib import Path

from mask2former_mt.dataset.annotation import AnnotationReader
from mask2former_mt.dataset.conventions import COCO_CONVENTIONS, Conventions
from mask2former_mt.dataset.converted_pictures import ConvertedPictures
from mask2former_mt.dataset.document import Header, root_category
from mask2former_mt.dataset.json_values import as_id, is_int
from mask2former_mt.dataset.listed_pictures import Size, look_at_pictures
from mask2former_mt.dataset.misnamed_keys import MisnamedKeys
from mask2former_mt.dataset.packed_records import PackedRecords
from mask2former_mt.dataset.problems import ERROR, REPAIR, WARNING, Fault, Problem, shown
from mask2former_mt.dataset.rle import MAX_SIDE, faults_of_counts

# What is wrong with an outline that was drawn on a picture of another size.
_OF_OTHER_SIZE = ("out-of-bounds", "rle-size-mismatch")
# So many RLE texts are checked together; the arrays in between are 100 times as large as they are.
_RLE_CHUNK = 1000


@dataclasses.dataclass(frozen=True)
class SplitFiles:
    """Where a split is.

    Args:
        name: such as "train".
        image_root: folder that the file names in the JSON are relative to.
        json_file: COCO JSON, plain or with subcategories.
        conventions: what its numbers and marks mean.
    """

    name: str
    image_root: Path
    json_file: Path
    conventions: Conventions = COCO_CONVENTIONS

    @property
    def label_file(self) -> Path:
        """The file that lists the classes."""
        return self.json_file


class SplitContent:
    """The records of a document, and what is wrong with it.

    Args:
        files: where the split is.
        header: of the document; None if it cannot be used.
        problems: of the file as a whole.
        opens_pictures: as for `Split`.

    Attributes:
        records, unsound, problems, image_problems, converted_pictures, root_class: as of `Split`.
    """

    def __init__(
        self,
        files: SplitFiles,
        header: Header | None,
        problems: Sequence[Problem],
        *,
        opens_pictures: bool,
    ) -> None:
        self._files = files
        self._opens_pictures = opens_pictures
        self._header = header
        self.problems = list(problems)
        self.records: Sequence[dict] = PackedRecords([])
        self.unsound: dict[int, list[dict]] = {}
        self.image_problems: list[Problem] = []
        self.converted_pictures = ConvertedPictures()
        self.root_class: str | None = None
        # Of each record the index of its entry and its name in the JSON; and by position what is
        # wrong with its size.
        self._indices: list[int] = []
        self._names: list[str | None] = []
        self._size_faults: dict[int, str] = {}
        self._images: dict[int, int] = {}  # from image id to the position of its record
        # By list and key: how many ids of the JSON are text, and the first of them.
        self._text_ids: dict[tuple[str, str], tuple[int, object]] = {}
        self._misnamed_keys = MisnamedKeys()

    def read(self, document: dict) -> None:
        """Reads images and annotations; empties the list of annotations meanwhile."""
        self._misnamed_keys.look_at(document, "")
        if self._header is not None:
            for subcategory in document.get("subcategories") or ():
                self._misnamed_keys.look_at(subcategory, "subcategories")
        for category in document["categories"]:
            self._id_of(category, "categories", "id")
        records = self._read_images(document["images"])
        if self._opens_pictures:
            self._look_at_pictures(records, document["annotations"])
        self._tell_root(root_category(document["categories"], document["annotations"]))
        self._tell_sizes(records)
        self._read_annotations(document["annotations"], records)
        self.records = PackedRecords(records)
        self._tell_text_ids()
        for message in self._misnamed_keys.messages():
            self._add(Fault("misnamed-key", message, "rename it, or remove it", WARNING))

    def _tell_root(self, root: dict | None) -> None:
        if root is None:
            return
        self.root_class = root["name"]
        message = (
            f"class {shown(root['name'])} has no object, and all other classes name it as their "
            "supercategory: Roboflow writes such a root, which is no class"
        )
        remedy = "leave it out: tools/check_dataset.py --write-clean and an import do so"
        self._add(Fault("root-category", message, remedy, WARNING))

    def _tell_text_ids(self) -> None:
        for (listed, key), (count, first) in self._text_ids.items():
            message = (
                f"{key!r} must be an integer, but {count} entries of {listed!r} have such as "
                f"{shown(first)}: read as the number that it says"
            )
            self._add(Fault("id-as-text", message, REPAIR, WARNING))

    def _id_of(self, entry: dict, listed: str, key: str) -> int | None:
        """An id of an entry of the list `listed`; None if it has none."""
        value = entry.get(key)
        known_id = as_id(value)
        if known_id is not None and not is_int(value):
            count, first = self._text_ids.get((listed, key), (0, value))
            self._text_ids[listed, key] = count + 1, first
        return known_id

    def _add(self, fault: Fault, **place) -> None:
        self.problems.append(fault.at(**{"file": str(self._files.json_file), **place}))

    def _read_images(self, entries: list[dict]) -> list[dict]:
        records = []
        for index, entry in enumerate(entries):
            known_id, name = self._id_of(entry, "images", "id"), entry.get("file_name")
            has_name = isinstance(name, str) and bool(name)
            place = {"image_id": known_id, "index": index}
            path = str(self._files.image_root)
            if has_name:
                path = place["file"] = os.path.join(path, name)
            if known_id is None or not has_name:
                message = (
                    'an entry of \'images\' must have an integer "id" and a "file_name", got id '
                    f"{shown(entry.get('id'))}, file_name {shown(name)}"
                )
                self._add(Fault("bad-image-entry", message, "export the file again"), **place)
            height, width = entry.get("height"), entry.get("width")
            size_fault = ""
            if not all(is_int(side) and 0 < side <= MAX_SIDE for side in (height, width)):
                size_fault = (
                    f"'height' and 'width' must be positive integers up to {MAX_SIDE}, got "
                    f"{shown(height)} and {shown(width)}"
                )
                height = width = math.inf  # its annotations are checked for everything else
            if known_id is None:
                continue
            if known_id in self._images:
                message = f"image id {known_id} is used twice, last by {name}; ids must be unique"
                remedy = "give each image its own"
                self._add(Fault("duplicate-image-id", message, remedy), **place)
                continue
            self._images[known_id] = len(records)
            self._indices.append(index)
            self._names.append(name if has_name else None)
            if size_fault:
                self._size_faults[len(records)] = size_fault
            records.append(
                {
                    "file_name": path,
                    "image_id": known_id,
                    "height": height,
                    "width": width,
                    "annotations": [],
                }
            )
        if not entries:
            remedy = "list at least one image"
            self._add(Fault("bad-annotation-file", "'images' is empty", remedy))
        return records

    def _look_at_pictures(self, records: list[dict], entries: list[dict]) -> None:
        reader = AnnotationReader(None, self._files.conventions)
        outlines: dict[int, list[dict]] = {}

        def fits(position: int, size: Size) -> bool:
            if not outlines:
                for entry in entries:
                    outlines.setdefault(as_id(entry.get("image_id")), []).append(
                        {"segmentation": entry.get("segmentation")}
                    )
            of_picture = outlines.get(records[position]["image_id"], [])
            faults = [fault for outline in of_picture for fault in reader.read(outline, *size)[1]]
            return not any(fault.kind in _OF_OTHER_SIZE for fault in faults)

        root, converted = self._files.image_root, self.converted_pictures
        for position, fault in look_at_pictures(root, records, self._names, fits, converted):
            self.image_problems.append(self._problem_of_image(records, position, fault))

    def _tell_sizes(self, records: list[dict]) -> None:
        for position, message in self._size_faults.items():
            record = records[position]
            fault = Fault("bad-image-entry", message, "write the picture's size there")
            if math.isfinite(record["height"]):
                message += (
                    f": the picture's own are taken, {record['height']} and {record['width']}"
                )
                fault = Fault("bad-image-entry", message, REPAIR, WARNING)
            self.problems.append(self._problem_of_image(records, position, fault))

    def _problem_of_image(self, records: list[dict], position: int, fault: Fault) -> Problem:
        record = records[position]
        index = self._indices[position]
        return fault.at(record["file_name"], image_id=record["image_id"], index=index)

    def _read_annotations(self, entries: list[dict | None], records: list[dict]) -> None:
        reader = AnnotationReader(self._header, self._files.conventions)
        seen_ids: set[int] = set()
        rles: list[tuple[dict, int, int]] = []
        # How many of each class.
        crowds, singles = collections.Counter(), collections.Counter()
        for index, entry in enumerate(entries):
            entries[index] = None  # both are never whole at once
            self._misnamed_keys.look_at(entry, "annotations")
            annotation_id, image_id = entry.get("id"), entry.get("image_id")
            if type(annotation_id) is not int:
                annotation_id = self._id_of(entry, "annotations", "id")
            if type(image_id) is not int:
                image_id = self._id_of(entry, "annotations", "image_id")
            position = self._images.get(image_id)
            faults = []
            if annotation_id is None or annotation_id in seen_ids or position is None:
                faults = _id_faults(entry, annotation_id, seen_ids, is_listed=position is not None)
            else:
                seen_ids.add(annotation_id)
            place = {"annotation_id": annotation_id}
            if position is None:
                for fault in faults:
                    self._add(fault, index=index, **place)
                continue
            record = records[position]
            annotation, found = reader.read(entry, record["height"], record["width"])
            annotation["id"] = annotation_id
            if type(entry.get("category_id")) is not int:
                self._id_of(entry, "annotations", "category_id")
            is_sound = True
            if faults or found:
                faults = [*faults, *found]
                is_sound = all(fault.severity != ERROR for fault in faults)
                place |= {"file": record["file_name"], "image_id": image_id, "index": index}
                for fault in faults:
                    self._add(fault, **place)
            if is_sound:
                record["annotations"].append(annotation)
                (crowds if annotation["iscrowd"] else singles)[annotation["category_id"]] += 1
            else:
                annotation["index"] = index
                self.unsound.setdefault(position, []).append(annotation)
            if type(annotation["segmentation"]) is dict:
                rles.append((annotation, position, index))
                if len(rles) == _RLE_CHUNK:
                    self._check_counts(rles, records)
                    rles = []
        self._check_counts(rles, records)
        if crowds and self._header is not None:
            self._tell_crowds(crowds, singles)

    def _tell_crowds(self, crowds: collections.Counter, singles: collections.Counter) -> None:
        by_class = ", ".join(
            f"{count} of {count + singles[category]} {self._header.class_names[category]!r}"
            for category, count in sorted(crowds.items())
        )
        message = f"crowds ('iscrowd': 1) are left out of training: {by_class}"
        remedy = (
            "tools mark brush masks and outlines with holes so: if they are single objects, write "
            "'crowd: object' into the dataset YAML, or import with --crowd object"
        )
        self._add(Fault("crowd", message, remedy, WARNING))

    def _check_counts(self, rles: list[tuple[dict, int, int]], records: list[dict]) -> None:
        """Finds RLE texts that were cut short between two run lengths."""
        for number, message in faults_of_counts([a["segmentation"] for a, _, _ in rles]):
            annotation, position, index = rles[number]
            record = records[position]
            annotation["segmentation"] = None
            if "index" not in annotation:  # it was sound so far
                annotation["index"] = index
                record["annotations"] = [a for a in record["annotations"] if a is not annotation]
                self.unsound.setdefault(position, []).append(annotation)
            self._add(
                Fault("bad-rle", message),
                file=record["file_name"],
                image_id=record["image_id"],
                annotation_id=annotation["id"],
                index=index,
            )


def _id_faults(
    entry: dict, annotation_id: int | None, seen_ids: set[int], *, is_listed: bool
) -> list[Fault]:
    """What is wrong with the ids of an annotation; remembers its own."""
    faults = []
    if annotation_id is None:
        message = (
            f"an annotation of image_id {shown(entry.get('image_id'))} must have an integer 'id', "
            f"got {shown(entry.get('id'))}"
        )
        faults.append(Fault("bad-annotation", message, "number the annotations"))
    elif annotation_id in seen_ids:
        message = f"annotation id {annotation_id} is used twice; ids must be unique"
        remedy = "tools/check_dataset.py --write-clean gives new ones"
        faults.append(Fault("duplicate-annotation-id", message, remedy))
    else:
        seen_ids.add(annotation_id)
    if not is_listed:
        image_id = entry.get("image_id")
        message = f"image_id {shown(image_id)} is not listed in 'images'"
        if isinstance(image_id, str) and as_id(image_id) is None:
            message = f"image_id must be an integer, got the text {shown(image_id)}"
        remedy = "add the image, or remove the annotation"
        faults.append(Fault("unknown-image", message, remedy))
    return faults
