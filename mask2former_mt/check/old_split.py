"""Reads a COCO JSON with subcategories into detectron2's dataset dicts, and refuses broken ones."""

from __future__ import annotations

import concurrent.futures
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from mask2former_mt.check.old_annotation import (
    PIXELS,
    Coordinates,
    check_image_header,
    read_annotation,
    scale_box,
    scale_polygons,
)
from mask2former_mt.check.old_document import (
    CocoHeader,
    Problems,
    parse_header,
    read_document,
    without_garbage_collection,
)
from mask2former_mt.check.old_rle import is_int, sums_of_lengths
from mask2former_mt.structures import SubcategorySpec

_MAX_FILES_SHOWN = 3
# Headers are read by several threads: most of the time goes into waiting for the disk.
_HEADER_THREADS = 8
_HEADER_CHUNK = 64
# So many RLE texts are checked together; the arrays in between are 100 times as large as they are.
_RLE_CHUNK = 1000
_MISSING = "missing"


def scale_to_pixels(document: Mapping, coordinates: Coordinates) -> None:
    """Takes a COCO document's boxes and polygons to pixels, in place.

    It is for those who read the JSON themselves, as COCO's evaluation does; nothing is checked.
    `area` is dropped where polygons are scaled, since nobody says what it is normalised by.

    Args:
        document: COCO, with `height` and `width` of every image.
        coordinates: what its numbers are.
    """
    if coordinates == PIXELS:
        return
    sizes = {image["id"]: (image["height"], image["width"]) for image in document["images"]}
    for annotation in document["annotations"]:
        size = sizes[annotation["image_id"]]
        if coordinates.box_coords == "normalized" and "bbox" in annotation:
            annotation["bbox"] = scale_box(annotation["bbox"], *size)
        segmentation = annotation.get("segmentation")
        if coordinates.polygon_coords == "normalized" and isinstance(segmentation, list):
            annotation["segmentation"] = scale_polygons(segmentation, *size)
            annotation.pop("area", None)


def load_dataset_dicts(
    json_file: Path,
    image_root: Path,
    expected: CocoHeader,
    coordinates: Coordinates = PIXELS,
    *,
    check_images: bool = True,
) -> list[dict]:
    """Reads and checks the whole file, so that nothing surprises a training under way.

    Args:
        json_file: COCO JSON, plain or with subcategories.
        image_root: folder that the file names in the JSON are relative to.
        expected: the header that the dataset's metadata was made from.
        coordinates: what the JSON's boxes and polygons are; the result is in pixels.
        check_images: whether every image must exist, and be of the size that the JSON says.

    Returns:
        detectron2's dataset dicts, one per image with or without annotations. Each annotation has
        `id`, `bbox` (xywh in pixels), `bbox_mode`, `segmentation`, `category_id` (contiguous),
        `iscrowd` and `subcategories`, S labels in {-1, 0..K_s}.

    Raises:
        ValueError: names the file, the image, the annotation, what was expected and found; up to
            ten problems at once.
    """
    with without_garbage_collection():
        document = read_document(json_file)
        if parse_header(document, json_file) != expected:
            raise ValueError(
                f"{json_file}: its categories or subcategories changed since the dataset was "
                "registered; start again, so that the model is built for the new ones"
            )
        problems = Problems(json_file, image_root)
        images = _read_images(document["images"], image_root, check_images, problems)
        _read_annotations(document["annotations"], images, expected, coordinates, problems)
        problems.raise_if_any()
        return list(images.values())


class _RememberedLabels:
    """A spec that looks up equal labels once: a dataset has few combinations of them."""

    def __init__(self, spec: SubcategorySpec) -> None:
        self._spec = spec
        self._known: dict[str, list[int]] = {}

    def labels_of(self, annotation: Mapping) -> list[int]:
        # Written out, because True equals 1, and only one of them is a label.
        key = repr(annotation)
        if key not in self._known:
            self._known[key] = self._spec.labels_of(annotation)
        return list(self._known[key])


def _read_annotations(
    entries: list[dict | None],
    images: Mapping[int, dict],
    header: CocoHeader,
    coordinates: Coordinates,
    problems: Problems,
) -> None:
    """Appends to the images' records; empties `entries`, so that both are never whole at once."""
    contiguous_ids = header.contiguous_ids
    spec = _RememberedLabels(header.spec)
    seen_ids = set()
    texts: list[tuple[dict, dict]] = []
    for position, entry in enumerate(entries):
        entries[position] = None
        annotation_id, image_id = entry.get("id"), entry.get("image_id")
        if not is_int(annotation_id):
            problems.add(
                f"an annotation of image_id {image_id!r} must have an integer 'id', "
                f"got {annotation_id!r}"
            )
            continue
        if annotation_id in seen_ids:
            problems.add(f"annotation id {annotation_id} is used twice; ids must be unique")
        seen_ids.add(annotation_id)
        record = images.get(image_id) if is_int(image_id) else None
        if record is None:
            problems.add(
                f"annotation {annotation_id}: image_id {image_id!r} is not listed in 'images'"
            )
            continue
        try:
            annotation = read_annotation(
                entry,
                height=record["height"],
                width=record["width"],
                contiguous_ids=contiguous_ids,
                spec=spec,
                coordinates=coordinates,
            )
        except ValueError as error:
            problems.add(f"{_where(annotation_id, record, problems)}: {error}")
            continue
        record["annotations"].append(annotation)
        if isinstance(annotation["segmentation"], dict):
            texts.append((annotation, record))
            if len(texts) == _RLE_CHUNK:
                _check_sums(texts, problems)
                texts = []
    _check_sums(texts, problems)


def _check_sums(annotations: list[tuple[dict, dict]], problems: Problems) -> None:
    """Finds RLE texts that were cut short between two run lengths."""
    rles = [annotation["segmentation"] for annotation, _ in annotations]
    counts = [rle["counts"] for rle in rles]
    texts = [text.decode() if isinstance(text, bytes) else text for text in counts]
    for (annotation, record), rle, total in zip(
        annotations, rles, sums_of_lengths(texts).tolist(), strict=True
    ):
        if total != math.prod(rle["size"]):
            problems.add(
                f"{_where(annotation['id'], record, problems)}: RLE counts must be run lengths "
                f"that add up to height * width = {math.prod(rle['size'])}, got {total}; they may "
                "be cut short, export them again"
            )


def _where(annotation_id: int, record: Mapping, problems: Problems) -> str:
    name = os.path.relpath(record["file_name"], problems.image_root)
    return f"annotation {annotation_id} of image {record['image_id']} ({name})"


def _header_problems(records: Mapping[int, Mapping]) -> Iterator[str | None]:
    """What is wrong with each image's file, in the records' order."""
    in_order = list(records.values())
    # By the chunk: handing single files to the threads would take longer than reading them.
    chunks = [in_order[i : i + _HEADER_CHUNK] for i in range(0, len(in_order), _HEADER_CHUNK)]
    with concurrent.futures.ThreadPoolExecutor(_HEADER_THREADS) as pool:
        for problems in pool.map(lambda chunk: [_header_problem(r) for r in chunk], chunks):
            yield from problems


def _header_problem(record: Mapping) -> str | None:
    if not os.path.isfile(record["file_name"]):
        return _MISSING
    try:
        check_image_header(record["file_name"], record["height"], record["width"])
    except ValueError as error:
        return str(error)
    return None


def _read_images(
    entries: list[dict], image_root: Path, check_images: bool, problems: Problems
) -> dict[int, dict]:
    records: dict[int, dict] = {}
    missing = []
    for entry in entries:
        image_id, name = entry.get("id"), entry.get("file_name")
        height, width = entry.get("height"), entry.get("width")
        if not is_int(image_id) or not isinstance(name, str) or not name:
            problems.add(
                'an entry of \'images\' must have an integer "id" and a "file_name", '
                f"got id {image_id!r}, file_name {name!r}"
            )
            continue
        if image_id in records:
            problems.add(f"image id {image_id} is used twice, last by {name}; ids must be unique")
            continue
        if not (is_int(height) and is_int(width) and height > 0 and width > 0):
            problems.add(
                f"image {image_id} ({name}): 'height' and 'width' must be positive integers, "
                f"got {height!r} and {width!r}"
            )
            height = width = math.inf  # its annotations are checked for everything else
        records[image_id] = {
            "file_name": os.path.join(image_root, name),
            "image_id": image_id,
            "height": height,
            "width": width,
            "annotations": [],
        }
    if not entries:
        problems.add("'images' is empty; list at least one image")
    found = _header_problems(records) if check_images else [None] * len(records)
    for record, problem in zip(records.values(), found, strict=True):
        if problem is None:
            continue
        name = os.path.relpath(record["file_name"], image_root)
        if problem is _MISSING:
            missing.append(name)
        else:
            problems.add(f"image {record['image_id']} ({name}): {problem}")
    if missing:
        shown = ", ".join(missing[:_MAX_FILES_SHOWN])
        more = len(missing) - _MAX_FILES_SHOWN
        problems.add(
            f"{len(missing)} of {len(entries)} image files are missing from {image_root}: {shown}"
            + (f" and {more} more" if more > 0 else "")
            + "; check the YAML's 'images' folder and the JSON's 'file_name'"
        )
    return records
