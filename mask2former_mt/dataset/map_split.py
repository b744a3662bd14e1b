"""Reads a split whose pictures have maps: of the class of each pixel, or of panoptic segments."""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import functools
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mask2former_mt.dataset.annotation import AnnotationReader
from mask2former_mt.dataset.conventions import COCO_CONVENTIONS
from mask2former_mt.dataset.converted_pictures import ConvertedPictures
from mask2former_mt.dataset.document import UNREADABLE, Header, read_document, read_header
from mask2former_mt.dataset.json_values import as_id
from mask2former_mt.dataset.label_maps import read_map_size
from mask2former_mt.dataset.listed_pictures import Size, look_at_pictures
from mask2former_mt.dataset.packed_records import PackedRecords
from mask2former_mt.dataset.picture_formats import is_picture_name
from mask2former_mt.dataset.problems import ERROR, REPAIR, Fault, Problem, shown
from mask2former_mt.structures import SubcategorySpec

# The key of a record that says where its map is.
CLASS_MAP, SEGMENT_MAP = "sem_seg_file_name", "pan_seg_file_name"
# Three bytes, of which 0 is void.
_MOST_SEGMENT = 2**24 - 1
_THREADS = 8


@dataclasses.dataclass(frozen=True)
class SemanticFiles:
    """Where a split is whose maps hold the class of each pixel.

    Args:
        name: such as "train".
        image_root: folder of the pictures.
        map_root: folder of the maps; each lies and is named there as its picture, but for the
            ending.
        yaml_file: which lists the classes.
        class_names: the class of each number, from 0 on.
        ignore_label: the number of pixels that nothing is learned from.
    """

    name: str
    image_root: Path
    map_root: Path
    yaml_file: Path
    class_names: tuple[str, ...]
    ignore_label: int

    @property
    def label_file(self) -> Path:
        """The file that lists the classes."""
        return self.yaml_file

    @property
    def stamps(self) -> tuple:
        return _stamp(self.image_root), _stamp(self.map_root)


@dataclasses.dataclass(frozen=True)
class PanopticFiles:
    """Where a split in COCO's panoptic format is.

    Args:
        name: such as "train".
        image_root: folder of the pictures.
        map_root: folder of the maps of segments.
        json_file: COCO's panoptic JSON; its segments may have `subcategories`.
    """

    name: str
    image_root: Path
    map_root: Path
    json_file: Path

    @property
    def label_file(self) -> Path:
        """The file that lists the classes."""
        return self.json_file

    @property
    def stamps(self) -> tuple:
        return (_stamp(self.json_file),)


MapFiles = SemanticFiles | PanopticFiles


@dataclasses.dataclass(frozen=True)
class MapSplit:
    """A split as it was read; what the maps themselves hold was not looked at.

    Args:
        files: where it is.
        header: classes and subcategories; None if they cannot be used.
        things: indices of the classes that are things; of semantic maps none.
        records: detectron2's dataset dicts, with `CLASS_MAP`, or with `SEGMENT_MAP` and
            `segments_info`, whose classes are contiguous and whose `subcategories` are S labels
            in {-1, 0..K_s}.
        problems: everything that is wrong, with JSON, pictures and the maps' headers.
        converted_pictures: of which reading keeps less than their files hold.
    """

    files: MapFiles
    header: Header | None
    things: frozenset[int]
    records: Sequence[dict]
    problems: list[Problem]
    converted_pictures: ConvertedPictures

    # Roboflow writes no maps.
    root_class = None


def read_map_split(files: MapFiles) -> MapSplit:
    """The split, read once as long as its JSON, or its two folders, stay as they are.

    Nothing that is wrong is refused here: it is told by the split's problems.
    """
    return _read(files, files.stamps)


@functools.lru_cache(maxsize=32)
def _read(files: MapFiles, _stamps: tuple) -> MapSplit:
    reader = _Reader(files)
    if isinstance(files, SemanticFiles):
        reader.read_folders()
    else:
        reader.read_json()
    return reader.split()


class _Reader:
    """A split that is being read.

    Args:
        files: where it is.
    """

    def __init__(self, files: MapFiles) -> None:
        self.files = files
        self.header: Header | None = None
        self.things: frozenset[int] = frozenset()
        self.records: list[dict] = []
        self.names: list[str] = []  # of the pictures, relative to their folder
        self.problems: list[Problem] = []
        self.converted = ConvertedPictures()

    def split(self) -> MapSplit:
        """What was read, after a look at the headers of pictures and maps."""
        self._look_at_files()
        records = PackedRecords(self.records)
        fields = (self.files, self.header, self.things, records, self.problems, self.converted)
        return MapSplit(*fields)

    def _add(self, fault: Fault, file: str | Path, image_id: int | None = None) -> None:
        self.problems.append(fault.at(str(file), image_id=image_id))

    def read_folders(self) -> None:
        """Finds each picture's map of classes, of the same name but for the ending."""
        files = self.files
        numbers = tuple(range(len(files.class_names)))
        self.header = Header(numbers, files.class_names, SubcategorySpec())
        pictures, maps = _by_stem(files.image_root), _by_stem(files.map_root)
        for stem in sorted(pictures.keys() | maps.keys()):
            for folder, found in ((files.image_root, pictures), (files.map_root, maps)):
                if len(found[stem]) > 1:
                    message = f"{folder} holds several files of one name, {shown(found[stem])}"
                    fault = Fault("bad-image-entry", message, "keep one of them")
                    self._add(fault, folder / found[stem][0])
            if not pictures[stem]:
                map_file = files.map_root / maps[stem][0]
                message = f"no picture below {files.image_root} is named as this map is"
                self._add(Fault("missing-image", message, "add it, or remove the map"), map_file)
                continue
            name = pictures[stem][0]
            map_name = maps[stem][0] if maps[stem] else f"{stem}.png"
            record = self._record(name, len(self.records) + 1, CLASS_MAP, map_name)
            record |= {"ignore_label": files.ignore_label, "semantic_classes": numbers}
        if not self.records:
            fault = Fault("bad-image-entry", f"{files.image_root} holds no picture with a map")
            self._add(fault, files.yaml_file)

    def read_json(self) -> None:
        """Reads COCO's panoptic JSON."""
        json_file = self.files.json_file
        try:
            document = read_document(json_file)
        except UNREADABLE as error:
            self._add(Fault("bad-annotation-file", str(error)), json_file)
            return
        self.header, faults = read_header(document)
        for text in faults:
            self._add(Fault("bad-categories", text), json_file)
        if self.header is not None:
            self.things = frozenset(self._things(document["categories"]))
        entries: dict[int | None, list[dict]] = collections.defaultdict(list)
        for entry in document["annotations"]:
            entries[as_id(entry.get("image_id"))].append(entry)
        reader = AnnotationReader(self.header, COCO_CONVENTIONS)
        for image in document["images"]:
            self._read_image(image, entries, reader)
        for image_id in entries:
            message = f"image_id {shown(image_id)} is not listed in 'images', or listed twice"
            self._add(Fault("unknown-image", message, "list it, or remove the entry"), json_file)
        if not document["images"]:
            self._add(Fault("bad-annotation-file", "'images' is empty"), json_file)

    def _things(self, categories: Sequence[Mapping]) -> Iterator[int]:
        for category in categories:
            if category.get("isthing") not in (0, 1):
                message = (
                    f"class {category['name']!r} must have 'isthing', 1 for things and 0 for "
                    f"stuff, got {shown(category.get('isthing'))}"
                )
                self._add(Fault("bad-categories", message), self.files.json_file)
            elif category["isthing"]:
                yield self.header.contiguous_ids[as_id(category["id"])]

    def _read_image(
        self, image: Mapping, entries: dict[int | None, list[dict]], reader: AnnotationReader
    ) -> None:
        image_id, name = as_id(image.get("id")), image.get("file_name")
        if image_id is None or not isinstance(name, str) or not name:
            message = (
                'an entry of \'images\' must have an integer "id" and a "file_name", got id '
                f"{shown(image.get('id'))}, file_name {shown(name)}"
            )
            self._add(Fault("bad-image-entry", message), self.files.json_file)
            return
        picture = self.files.image_root / name
        own = entries.pop(image_id, [])
        map_name = own[0].get("file_name") if own else None
        if len(own) != 1 or not isinstance(map_name, str) or not map_name:
            message = (
                "a picture must have one entry of 'annotations' with the 'file_name' of its map, "
                f"got {len(own)}{f' with {shown(map_name)}' if own else ''}"
            )
            self._add(Fault("missing-map", message), picture, image_id)
            return
        record = self._record(name, image_id, SEGMENT_MAP, map_name)
        for side in ("height", "width"):
            if isinstance(image.get(side), int):
                record[side] = image[side]
        record["segments_info"] = self._segments(own[0], picture, image_id, reader)

    def _segments(
        self, entry: Mapping, picture: Path, image_id: int, reader: AnnotationReader
    ) -> list[dict]:
        listed, segments = entry.get("segments_info"), {}
        if not isinstance(listed, list) or not all(isinstance(s, dict) for s in listed):
            message = f"'segments_info' must be a list of segments, got {shown(listed)}"
            self._add(Fault("bad-segment", message), picture, image_id)
            return []
        for segment in listed:
            segment_id = as_id(segment.get("id"))
            if segment_id is None or not 0 < segment_id <= _MOST_SEGMENT or segment_id in segments:
                message = (
                    f"a segment must have an id of its own, 1 to {_MOST_SEGMENT}, got "
                    f"{shown(segment.get('id'))}"
                )
                self._add(Fault("bad-segment", message), picture, image_id)
                continue
            faults: list[Fault] = []
            category, labels = reader.read_labels(segment, faults)
            for kind, message, remedy, severity in faults:
                fault = Fault(kind, f"segment {segment_id}: {message}", remedy, severity)
                self._add(fault, picture, image_id)
            if category is not None and labels is not None:
                segments[segment_id] = {
                    "id": segment_id,
                    "category_id": category,
                    "iscrowd": int(as_id(segment.get("iscrowd", 0)) == 1),
                    "isthing": category in self.things,
                    "subcategories": labels,
                }
        return list(segments.values())

    def _record(self, name: str, image_id: int, map_key: str, map_name: str) -> dict:
        record = {
            "file_name": os.path.join(self.files.image_root, name),
            "image_id": image_id,
            "height": math.inf,
            "width": math.inf,
            map_key: os.path.join(self.files.map_root, map_name),
        }
        self.records.append(record)
        self.names.append(name)
        return record

    def _look_at_files(self) -> None:
        """Finds missing pictures and maps, and sizes that do not fit."""
        maps = [record.get(CLASS_MAP) or record.get(SEGMENT_MAP) for record in self.records]
        with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
            sizes = list(pool.map(_size_or_fault, maps))

        def fits(position: int, size: Size) -> bool:
            return sizes[position] == size

        arguments = (self.files.image_root, self.records, self.names, fits, self.converted)
        unfit = set()
        for position, (kind, message, remedy, severity) in look_at_pictures(*arguments):
            record = self.records[position]
            if severity == ERROR:
                unfit.add(position)
            # Nothing repairs this JSON.
            remedy = remedy.replace(REPAIR, "correct the JSON")
            fault = Fault(kind, message, remedy, severity)
            self._add(fault, record["file_name"], record["image_id"])
        for position, (record, size) in enumerate(zip(self.records, sizes, strict=True)):
            own = (record["height"], record["width"])
            if isinstance(size, Fault):
                self._add(size, maps[position], record["image_id"])
            elif size != own and position not in unfit:
                message = (
                    f"the map is {size[1]}x{size[0]} (width x height), its picture "
                    f"{own[1]}x{own[0]}"
                )
                fault = Fault("map-size", message, "put back the one that belongs to the other")
                self._add(fault, maps[position], record["image_id"])


def _size_or_fault(map_file: str) -> tuple[int, int] | Fault:
    try:
        return read_map_size(map_file)
    except FileNotFoundError:
        return Fault("missing-map", "the file does not exist", "add it, or remove its picture")
    except ValueError as error:
        return Fault("bad-map", str(error))


def _by_stem(folder: Path) -> dict[str, list[str]]:
    """The pictures below a folder, relative to it, by their names without the ending."""
    found = collections.defaultdict(list)
    for root, _, names in os.walk(folder, followlinks=True):
        for name in sorted(filter(is_picture_name, names)):
            path = Path(root, name).relative_to(folder)
            found[path.with_suffix("").as_posix()].append(path.as_posix())
    return found


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns
