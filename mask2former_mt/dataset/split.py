"""Reads a split, one COCO JSON and its folder of pictures: once, for everybody who needs it."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
import math
import os
import pickle
from array import array
from collections.abc import Iterable, Sequence
from pathlib import Path

from mask2former_mt.dataset.annotation import PIXELS, AnnotationReader, Coordinates, Fault
from mask2former_mt.dataset.document import (
    Header,
    read_document,
    read_header,
    without_garbage_collection,
)
from mask2former_mt.dataset.images import is_turned, upright_size
from mask2former_mt.dataset.problems import ERROR, Problem, refuse, shown
from mask2former_mt.dataset.rle import MAX_SIDE, faults_of_counts, is_int

# What reading a JSON file raises: it is not there or not to be read, or it is nested too deep.
_UNREADABLE = (ValueError, OSError, RecursionError, MemoryError)
# Headers are read by several threads: most of the time goes into waiting for the disk.
_HEADER_THREADS = 8
_HEADER_CHUNK = 64
# So many RLE texts are checked together; the arrays in between are 100 times as large as they are.
_RLE_CHUNK = 1000
# Splits of one process that are kept; one that changed on disk takes a place of its own.
_KEPT_SPLITS = 32


@dataclasses.dataclass(frozen=True)
class SplitFiles:
    """Where a split is.

    Args:
        name: such as "train".
        image_root: folder that the file names in the JSON are relative to.
        json_file: COCO JSON, plain or with subcategories.
        coordinates: units of its numbers.
    """

    name: str
    image_root: Path
    json_file: Path
    coordinates: Coordinates = PIXELS


class PackedRecords(Sequence):
    """Dataset dicts, each pickled: a tenth of the memory, and nothing that a forked worker's
    reference counts would copy page by page.

    Args:
        records: are packed one after another.
    """

    def __init__(self, records: Iterable[dict]) -> None:
        self._ends = array("q")
        packed = bytearray()
        for record in records:
            packed += pickle.dumps(record, protocol=pickle.HIGHEST_PROTOCOL)
            self._ends.append(len(packed))
        self._packed = bytes(packed)

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index: int) -> dict:
        index = range(len(self))[index]
        start = self._ends[index - 1] if index else 0
        return pickle.loads(memoryview(self._packed)[start : self._ends[index]])


class Split:
    """A split as it was read.

    Args:
        files: where it is.
        document: the parsed JSON, which is taken apart when the annotations are first asked for;
            None if it cannot be used.
        problems: of the file as a whole.

    Attributes:
        header: classes and subcategories; None if they cannot be used.
        header_problems: what is wrong with the file as a whole and its lists of classes; nothing
            more is read for it.
    """

    def __init__(
        self, files: SplitFiles, document: dict | None, problems: Sequence[Problem] = ()
    ) -> None:
        self.files = files
        self.header: Header | None = None
        self._document = document
        self.header_problems = list(problems)
        if document is not None:
            self.header, faults = read_header(document)
            file = str(files.json_file)
            self.header_problems += [
                Problem(ERROR, "bad-categories", file, text) for text in faults
            ]

    @property
    def records(self) -> Sequence[dict]:
        """detectron2's dataset dicts, one per entry of `images` that has an id of its own.

        Each has `file_name`, `image_id`, `height`, `width` (infinite where the JSON tells none) and
        `annotations`, the sound ones, as `AnnotationReader.read` gives them.
        """
        return self._content.records

    @property
    def unsound(self) -> dict[int, list[dict]]:
        """By position of the record: annotations with an error, as far as they could be read.

        Each has the `index` of its entry in the JSON's list, too.
        """
        return self._content.unsound

    @property
    def problems(self) -> list[Problem]:
        """Everything that is wrong with the JSON; see `image_problems` for the pictures."""
        return self._content.problems

    @property
    def is_unreadable(self) -> bool:
        """Whether the file is no COCO JSON; the one problem says why."""
        return any(problem.kind == "bad-annotation-file" for problem in self.header_problems)

    @functools.cached_property
    def image_problems(self) -> list[Problem]:
        """What is wrong with the pictures' files, by their headers; each is opened once."""
        places = self._content.places
        # By the chunk: handing single files to the threads would take longer than reading them.
        chunks = [places[i : i + _HEADER_CHUNK] for i in range(0, len(places), _HEADER_CHUNK)]
        with concurrent.futures.ThreadPoolExecutor(_HEADER_THREADS) as pool:
            found = pool.map(lambda chunk: [image_problem(*place) for place in chunk], chunks)
            return [problem for part in found for problem in part if problem is not None]

    def forget_document(self) -> None:
        """Frees the memory of annotations that nobody will ask for; else they are read again."""
        self._document = None

    @functools.cached_property
    def _content(self) -> _Content:
        document = self._document
        if document is None and not self.header_problems:
            document = read_document(self.files.json_file)
        self._document = None
        content = _Content(self.files, self.header, self.header_problems)
        if document is not None:
            with without_garbage_collection():
                content.read(document)
        return content


def read_split(files: SplitFiles) -> Split:
    """The split, read once as long as the JSON stays as it is.

    Nothing that the file holds is refused here: it is told by the split's problems.
    """
    try:
        status = os.stat(files.json_file)
        stamp = (status.st_size, status.st_mtime_ns)
    except (OSError, ValueError):
        stamp = None
    return _read_split(files, stamp)


@functools.lru_cache(maxsize=_KEPT_SPLITS)
def _read_split(files: SplitFiles, stamp: tuple[int, int] | None) -> Split:
    try:
        return Split(files, read_document(files.json_file))
    except _UNREADABLE as error:
        problem = Problem(ERROR, "bad-annotation-file", str(files.json_file), str(error))
        return Split(files, None, [problem])


def refuse_errors(files: SplitFiles, expected: Header) -> Split:
    """The split, if training can use all of it, so that nothing surprises a training under way.

    Args:
        files: where it is.
        expected: the header that the dataset's metadata was made from.

    Raises:
        ValueError: names file, image, annotation, what was expected and found; up to ten problems
            at once.
    """
    split = read_split(files)
    if split.header is not None and split.header != expected:
        raise ValueError(
            f"{files.json_file}: its categories or subcategories changed since the dataset was "
            "registered; start again, so that the model is built for the new ones"
        )
    problems = [*split.problems, *split.image_problems]
    refuse(problems, files.json_file, files.image_root, len(split.records))
    return split


def training_records(files: SplitFiles, expected: Header) -> list[dict]:
    """A split's dataset dicts, whole and sound; see `refuse_errors`."""
    split = refuse_errors(files, expected)
    with without_garbage_collection():
        return list(split.records)


class _Content:
    """The records of a document under way."""

    def __init__(
        self, files: SplitFiles, header: Header | None, problems: Sequence[Problem]
    ) -> None:
        self.files = files
        self.header = header
        self.problems = list(problems)
        self.records: Sequence[dict] = PackedRecords([])
        self.unsound: dict[int, list[dict]] = {}
        # File, image id, height and width of each record that names a file.
        self.places: list[tuple[str, int, float, float]] = []
        self._images: dict[int, int] = {}  # from image id to the position of its record

    def read(self, document: dict) -> None:
        """Reads images and annotations; empties the list of annotations meanwhile."""
        records = self._read_images(document["images"])
        self._read_annotations(document["annotations"], records)
        self.records = PackedRecords(records)

    def _add(self, fault: Fault, **place) -> None:
        place.setdefault("file", str(self.files.json_file))
        self.problems.append(Problem(**fault._asdict(), **place))

    def _read_images(self, entries: list[dict]) -> list[dict]:
        records = []
        for index, entry in enumerate(entries):
            image_id, name = entry.get("id"), entry.get("file_name")
            known_id = image_id if is_int(image_id) else None
            has_name = isinstance(name, str) and bool(name)
            place = {"image_id": known_id, "index": index}
            path = str(self.files.image_root)
            if has_name:
                path = place["file"] = os.path.join(path, name)
            if known_id is None or not has_name:
                message = (
                    'an entry of \'images\' must have an integer "id" and a "file_name", got id '
                    f"{shown(image_id)}, file_name {shown(name)}"
                )
                self._add(Fault("bad-image-entry", message, "export the file again"), **place)
            height, width = entry.get("height"), entry.get("width")
            if not all(is_int(side) and 0 < side <= MAX_SIDE for side in (height, width)):
                message = (
                    f"'height' and 'width' must be positive integers up to {MAX_SIDE}, got "
                    f"{shown(height)} and {shown(width)}"
                )
                remedy = "write the picture's size there"
                self._add(Fault("bad-image-entry", message, remedy), **place)
                height = width = math.inf  # its annotations are checked for everything else
            if known_id is None:
                continue
            if known_id in self._images:
                message = f"image id {known_id} is used twice, last by {name}; ids must be unique"
                remedy = "give each image its own"
                self._add(Fault("duplicate-image-id", message, remedy), **place)
                continue
            self._images[known_id] = len(records)
            if has_name:
                self.places.append((path, known_id, height, width))
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

    def _read_annotations(self, entries: list[dict | None], records: list[dict]) -> None:
        reader = AnnotationReader(self.header, self.files.coordinates)
        seen_ids: set[int] = set()
        rles: list[tuple[dict, int, int]] = []
        for index, entry in enumerate(entries):
            entries[index] = None  # both are never whole at once
            annotation_id, image_id = entry.get("id"), entry.get("image_id")
            position = self._images.get(image_id) if type(image_id) is int else None
            faults = []
            if type(annotation_id) is not int or annotation_id in seen_ids or position is None:
                faults = _id_faults(
                    annotation_id, image_id, seen_ids, is_listed=position is not None
                )
            else:
                seen_ids.add(annotation_id)
            place = {"annotation_id": annotation_id if is_int(annotation_id) else None}
            if position is None:
                for fault in faults:
                    self._add(fault, index=index, **place)
                continue
            record = records[position]
            annotation, found = reader.read(entry, record["height"], record["width"])
            is_sound = True
            if faults or found:
                faults = [*faults, *found]
                is_sound = all(fault.severity != ERROR for fault in faults)
                place |= {"file": record["file_name"], "image_id": image_id, "index": index}
                for fault in faults:
                    self._add(fault, **place)
            if is_sound:
                record["annotations"].append(annotation)
            else:
                annotation["index"] = index
                self.unsound.setdefault(position, []).append(annotation)
            if type(annotation["segmentation"]) is dict:
                rles.append((annotation, position, index))
                if len(rles) == _RLE_CHUNK:
                    self._check_counts(rles, records)
                    rles = []
        self._check_counts(rles, records)

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
                annotation_id=annotation["id"] if is_int(annotation["id"]) else None,
                index=index,
            )


def _id_faults(
    annotation_id: object, image_id: object, seen_ids: set[int], *, is_listed: bool
) -> list[Fault]:
    """What is wrong with the ids of an annotation; remembers its own."""
    faults = []
    if not is_int(annotation_id):
        message = (
            f"an annotation of image_id {shown(image_id)} must have an integer 'id', got "
            f"{shown(annotation_id)}"
        )
        faults.append(Fault("bad-annotation", message, "number the annotations"))
    elif annotation_id in seen_ids:
        message = f"annotation id {annotation_id} is used twice; ids must be unique"
        remedy = "tools/check_dataset.py --write-clean gives new ones"
        faults.append(Fault("duplicate-annotation-id", message, remedy))
    else:
        seen_ids.add(annotation_id)
    if not is_listed:
        message = f"image_id {shown(image_id)} is not listed in 'images'"
        remedy = "add the image, or remove the annotation"
        faults.append(Fault("unknown-image", message, remedy))
    return faults


def image_problem(file: str, image_id: int, height: float, width: float) -> Problem | None:
    """What is wrong with a picture's file, by its header; None if it is as the JSON says.

    Args:
        file: path of the picture.
        image_id: the JSON's.
        height, width: pixels that the JSON says; infinite where it says nothing usable.
    """

    def problem(kind: str, message: str, remedy: str) -> Problem:
        return Problem(ERROR, kind, file, message, remedy, image_id)

    if not os.path.isfile(file):
        remedy = "check the YAML's 'images' folder and the JSON's 'file_name'"
        return problem("missing-image", "the file does not exist", remedy)
    try:
        size = upright_size(file)
    except (ValueError, OSError) as error:
        return problem("unreadable-image", str(error), "put the picture back")
    if math.isfinite(height) and (height, width) != size:
        message = (
            f"the JSON says {width}x{height} (width x height), the file is {size[1]}x{size[0]}"
        )
        if size == (width, height) and is_turned(file):
            message += " once it is turned upright as its EXIF data say"
        remedy = "correct the JSON, or put back the picture that was annotated"
        return problem("size-mismatch", message, remedy)
    return None
