"""Opens a dataset YAML and its annotation files; what cannot be used becomes a finding."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping
from pathlib import Path

from mask2former_mt.check.findings import ERROR, WARNING, Finding, shown
from mask2former_mt.check.old_annotation import Coordinates
from mask2former_mt.check.old_catalog import (
    check_headers_agree,
    read_coordinates,
    read_dataset_file,
    read_split,
)
from mask2former_mt.check.old_document import CocoHeader, parse_header, read_document
from mask2former_mt.check.old_rle import MAX_SIDE, is_int

# What reading a file raises: it is not there or not to be read, or it is nested too deep.
_UNREADABLE = (ValueError, OSError, RecursionError, MemoryError)


@dataclasses.dataclass(frozen=True)
class Split:
    """One annotation file and its folder of pictures.

    Args:
        name: such as "train".
        image_root: folder that the file names in the JSON are relative to.
        json_file: COCO JSON.
        coordinates: what its numbers are.
    """

    name: str
    image_root: Path
    json_file: Path
    coordinates: Coordinates


@dataclasses.dataclass
class ImageJob:
    """One entry of `images` and the annotations that refer to it.

    Args:
        image_id: None if the entry has no usable one.
        path: of the file; None if the entry does not name one.
        height, width: as the entry says; infinite where it says nothing usable.
        annotations: entries of the JSON.
    """

    image_id: int | None
    path: str | None
    height: float
    width: float
    annotations: list[Mapping]


def open_dataset(yaml_file: Path) -> tuple[list[Split], list[Finding]]:
    """Reads the YAML; splits that cannot be used are left out, each with a finding."""
    findings = []
    splits = []

    def refuse(error: Exception) -> None:
        findings.append(Finding(ERROR, "bad-dataset-file", str(yaml_file), None, None, str(error)))

    try:
        _, root, entries = read_dataset_file(yaml_file)
        coordinates = read_coordinates(yaml_file)
    except _UNREADABLE as error:
        refuse(error)
        return [], findings
    for name, entry in entries.items():
        try:
            image_root, json_file = read_split(yaml_file, root, name, entry)
        except _UNREADABLE as error:
            refuse(error)
            continue
        splits.append(Split(name, image_root, json_file, coordinates))
    return splits, findings


def open_split(split: Split) -> tuple[dict | None, CocoHeader | None, list[Finding]]:
    """Reads a split's JSON.

    Returns:
        The document, None if it is not COCO; its header, None if its classes or subcategories
        cannot be used; what was found.
    """
    file = str(split.json_file)
    try:
        document = read_document(split.json_file)
    except _UNREADABLE as error:
        return None, None, [Finding(ERROR, "bad-annotation-file", file, None, None, str(error))]
    try:
        return document, parse_header(document, split.json_file), []
    except (ValueError, TypeError, RecursionError) as error:
        return document, None, [Finding(ERROR, "bad-categories", file, None, None, str(error))]


def compare_headers(
    yaml_file: Path, splits: Mapping[str, Split], headers: Mapping[str, CocoHeader]
) -> list[Finding]:
    """Finds classes or subcategories that the splits do not have in common.

    Args:
        yaml_file: for the finding.
        splits: by name.
        headers: of those of them that have a usable one.
    """
    files = {name: (splits[name].image_root, splits[name].json_file) for name in headers}
    if not headers:
        return []
    try:
        check_headers_agree(yaml_file, files, headers)
    except ValueError as error:
        return [Finding(ERROR, "splits-differ", str(yaml_file), None, None, str(error))]
    return []


def image_jobs(document: Mapping, split: Split) -> tuple[list[ImageJob], list[Finding]]:
    """Joins images and annotations, and checks the ids that join them."""
    file = str(split.json_file)
    findings = []
    jobs = []
    by_id: dict[int, ImageJob] = {}
    by_path: dict[str, ImageJob] = {}
    for entry in document["images"]:
        job = _read_image_entry(entry, split, findings)
        jobs.append(job)
        if job.image_id in by_id:
            other = by_id[job.image_id].path
            message = (
                f"image id {job.image_id} is used twice, first by {other}; give each image its own"
            )
            place = job.path or file
            findings.append(
                Finding(ERROR, "duplicate-image-id", place, job.image_id, None, message)
            )
        elif job.image_id is not None:
            by_id[job.image_id] = job
        if job.path is not None:
            path = os.path.normpath(job.path)
            if path in by_path:
                message = (
                    f"the file is listed twice, first as image {by_path[path].image_id}; list it "
                    "once, with the annotations of both"
                )
                findings.append(
                    Finding(WARNING, "duplicate-image", job.path, job.image_id, None, message)
                )
            else:
                by_path[path] = job
    if not jobs:
        message = "'images' is empty; list at least one image"
        findings.append(Finding(ERROR, "bad-annotation-file", file, None, None, message))
    findings += _join(document["annotations"], by_id, file)
    return jobs, findings


def _read_image_entry(entry: Mapping, split: Split, findings: list[Finding]) -> ImageJob:
    image_id, name = entry.get("id"), entry.get("file_name")
    height, width = entry.get("height"), entry.get("width")
    path = None
    if isinstance(name, str) and name:
        path = os.path.join(split.image_root, name)
    place = path or str(split.json_file)
    known_id = image_id if is_int(image_id) else None
    if known_id is None or path is None:
        message = (
            'an entry of \'images\' must have an integer "id" and a "file_name", got id '
            f"{shown(image_id)}, file_name {shown(name)}; export the file again"
        )
        findings.append(Finding(ERROR, "bad-image-entry", place, known_id, None, message))
    if not all(is_int(side) and 0 < side <= MAX_SIDE for side in (height, width)):
        message = (
            f"'height' and 'width' must be integers from 1 to {MAX_SIDE}, got {shown(height)} and "
            f"{shown(width)}; write the picture's size there"
        )
        findings.append(Finding(ERROR, "bad-image-entry", place, known_id, None, message))
        height = width = math.inf
    return ImageJob(known_id, path, height, width, [])


def _join(entries: list[Mapping], by_id: Mapping[int, ImageJob], file: str) -> list[Finding]:
    """Gives each annotation to its image."""
    findings = []
    seen_ids = set()
    for entry in entries:
        annotation_id, image_id = entry.get("id"), entry.get("image_id")
        job = by_id.get(image_id) if is_int(image_id) else None
        known_id = annotation_id if is_int(annotation_id) else None
        place = file if job is None or job.path is None else job.path
        place_id = None if job is None else image_id
        if known_id is None:
            message = (
                f"an annotation of image_id {shown(image_id)} must have an integer 'id', got "
                f"{shown(annotation_id)}; number the annotations"
            )
            findings.append(Finding(ERROR, "bad-annotation", place, place_id, None, message))
        elif known_id in seen_ids:
            message = (
                f"annotation id {known_id} is used twice; ids must be unique, --write-clean gives "
                "new ones"
            )
            findings.append(
                Finding(ERROR, "duplicate-annotation-id", place, place_id, known_id, message)
            )
        seen_ids.add(known_id)
        if job is None:
            message = (
                f"image_id {shown(image_id)} is not listed in 'images'; add the image, or remove "
                "the annotation"
            )
            findings.append(Finding(ERROR, "unknown-image", file, None, known_id, message))
        else:
            job.annotations.append(entry)
    return findings
