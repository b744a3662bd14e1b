"""Writes what a format's reader found as this project's JSON and dataset YAML: whole, or nothing.

The one reader of datasets says what is wrong with it, and what `check_dataset.py --write-clean`
repairs is repaired in the same way; here it is only told which entry of the source each problem is
about, and what becomes of an object without a sound mask.
"""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import NamedTuple

import pycocotools.mask as mask_util
import yaml
from mask2former_mt.importers.attribute_choice import Labeller
from mask2former_mt.importers.class_names import note_alike, tidy_classes
from mask2former_mt.importers.source import Report, Request, Source, SourceObject, SourceSplit

from mask2former_mt.check.repair import clean_document
from mask2former_mt.dataset.conventions import Conventions
from mask2former_mt.dataset.document import read_header, root_category
from mask2former_mt.dataset.json_values import as_id
from mask2former_mt.dataset.problems import ERROR, Problem
from mask2former_mt.dataset.split import Split, SplitFiles
from mask2former_mt.files import refuse_inputs, write_whole
from mask2former_mt.structures import SubcategorySpec

_DECIMALS = 3  # a thousandth of a pixel
# Errors of an annotation that have nothing to do with its mask: no option leaves such objects out.
_ALWAYS_REFUSED = ("duplicate-annotation-id", "unknown-image", "unknown-category")
# Problems whose index is a position in `images`; all others' is one in `annotations`.
_OF_IMAGES = ("bad-image-entry", "duplicate-image-id", "unreadable-image", "size-mismatch")
_MAX_FILES_SHOWN = 3


class _ReadSplit(NamedTuple):
    """A split of the source as the project's reader sees it.

    Args:
        source: the split.
        document: its lists, repaired.
        objects: those of the source that `document` lists, in its order.
        split: the repaired document as it was read.
    """

    source: SourceSplit
    document: dict
    objects: list[SourceObject]
    split: Split


def make_documents(
    source: Source, request: Request, description: str
) -> tuple[dict[str, dict], SubcategorySpec]:
    """The JSON of each split, and the subcategories that all of them list.

    Args:
        source: what a format's reader found.
        request: what the source was read for.
        description: for the JSON's `info`.

    Raises:
        ValueError: anything that training would refuse, by file and entry; objects without a sound
            mask, unless they are left out.
    """
    report = request.report
    _leave_out_root(source, report)
    tidy_classes(source, report)
    _, faults = read_header({"categories": source.categories})
    files = ", ".join(dict.fromkeys(str(split.file) for split in source.splits))
    for fault in faults:
        report.refuse(f"{files}: {fault}")
    report.raise_if_refused()
    read = [_read_and_check(split, source, request) for split in source.splits]
    report.raise_if_refused()
    note_alike("classes", (category["name"] for category in source.categories), report)
    labeller = Labeller(source, request.options, report)
    header = {
        "info": {"description": description},
        "categories": _categories(source),
        "subcategories": labeller.spec.to_json(),
    }
    documents = {
        part.source.name: {
            **header,
            "images": sorted(part.document["images"], key=lambda entry: entry["id"]),
            "annotations": _annotations(source, part, labeller, report),
        }
        for part in read
    }
    report.raise_if_refused()
    return documents, labeller.spec


def _leave_out_root(source: Source, report: Report) -> None:
    """Takes out a class that only stands above the others; it may be called as one of them."""
    entries = [item.entry for split in source.splits for item in split.objects]
    root = root_category(source.categories, entries)
    if root is None:
        return
    report.note(
        f"left out category {root['name']!r}, which has no object: all others name it as their "
        "supercategory"
    )
    source.categories = [entry for entry in source.categories if entry is not root]


def _categories(source: Source) -> list[dict]:
    """The classes by ascending id."""
    classes = [{"id": as_id(entry["id"]), "name": entry["name"]} for entry in source.categories]
    return sorted(classes, key=lambda entry: entry["id"])


def _read_and_check(source_split: SourceSplit, source: Source, request: Request) -> _ReadSplit:
    """Repairs a split, and reads it as training will, but for the labels, which are right by
    construction."""
    report, options = request.report, request.options
    document = {
        "images": source_split.images,
        "annotations": [item.entry for item in source_split.objects],
        "categories": source.categories,
    }
    files = SplitFiles(
        source_split.name,
        source_split.image_root,
        source_split.file,
        Conventions(crowd=options.crowd, holes=options.holes),
    )
    # What is the same in the keys that are read need not be the same object.
    cleaned = clean_document(document, files, opens_pictures=source.is_coco, keeps_doubles=True)
    for repair, count in cleaned.repairs.items():
        report.note(f"{source_split.file}: {count} x {repair}")
    if cleaned.num_doubtful:
        report.note(
            f"{source_split.file}: {cleaned.num_doubtful} objects have a polygon inside another "
            "one, which COCO fills; if such polygons are holes, give --holes even-odd"
        )
    objects = [source_split.objects[index] for index in cleaned.kept]
    # The split takes its list of annotations apart.
    copied = {**cleaned.document, "annotations": list(cleaned.document["annotations"])}
    split = Split(dataclasses.replace(files, conventions=Conventions()), copied)
    unusable: dict[int, Problem] = {}
    missing = []
    for problem in (*split.problems, *cleaned.split.image_problems):
        if problem.kind == "crowd":
            report.note(f"{source_split.file}: {problem.text}")
        elif problem.severity != ERROR:
            continue  # a note tells of the repair
        elif problem.kind == "missing-image":
            missing.append(os.path.relpath(problem.file, source_split.image_root))
        elif problem.kind in _OF_IMAGES or problem.index is None:
            # Only a picture has a place of its own within the file.
            place = "" if problem.file == str(source_split.file) else f"{problem.place}: "
            report.refuse(f"{source_split.file}: {place}{problem.text}")
        elif problem.kind in _ALWAYS_REFUSED or problem.annotation_id is None:
            report.refuse(f"{objects[problem.index].origin}: {problem.text}")
        else:
            unusable.setdefault(problem.index, problem)
    for index, problem in unusable.items():
        report.unusable(objects[index].origin, problem.text)
    if missing:
        shown = ", ".join(missing[:_MAX_FILES_SHOWN])
        is_given = source_split.name in request.images
        remedy = "none has this name" if is_given else "give their folder with --images"
        report.refuse(
            f"{source_split.file}: {len(missing)} of {len(source_split.images)} pictures are "
            f"missing from {source_split.image_root}: {shown}"
            f"{' ...' if len(missing) > _MAX_FILES_SHOWN else ''}; {remedy}"
        )
    return _ReadSplit(source_split, cleaned.document, objects, split)


def _annotations(
    source: Source, part: _ReadSplit, labeller: Labeller, report: Report
) -> list[dict]:
    """The sound objects as the JSON's `annotations`, by ascending id of their image."""
    pairs = zip(part.document["annotations"], part.objects, strict=True)
    items = {entry["id"]: (entry, item) for entry, item in pairs}
    entries: list[dict] = []
    for record in sorted(part.split.records, key=lambda record: record["image_id"]):
        for annotation in record["annotations"]:
            entry, item = items[annotation["id"]]
            entries.append(
                {
                    "id": annotation["id"] if source.is_coco else len(entries) + 1,
                    "image_id": record["image_id"],
                    "category_id": entry["category_id"],
                    "segmentation": entry["segmentation"],
                    "iscrowd": annotation["iscrowd"],
                    "subcategories": labeller.labels(item),
                    "bbox": [round(float(side), _DECIMALS) for side in annotation["bbox"]],
                    "area": _area(annotation, record, item, report),
                }
            )
    return entries


def _area(annotation: dict, record: dict, item: SourceObject, report: Report) -> float:
    """The source's area if it has a sound one, otherwise the mask's number of pixels."""
    height, width = record["height"], record["width"]
    rle = annotation["segmentation"]
    if isinstance(rle, list):
        rle = mask_util.merge(mask_util.frPyObjects(rle, height, width))
    area = int(mask_util.area(rle))
    if area == 0:
        report.note("objects that cover no pixel, which training drops", item.origin)
    return area if annotation["area"] is None else annotation["area"]


def write_dataset(
    documents: dict[str, dict],
    source: Source,
    output: Path,
    *,
    dataset_name: str | None,
    force: bool,
) -> list[Path]:
    """Writes `<split>.json` for every split, and `<dataset_name>.yaml`.

    Args:
        documents: as `make_documents` gives them.
        source: what they were made from; none of its files is overwritten.
        output, dataset_name, force: as for `import_dataset`.

    Returns:
        The files written.

    Raises:
        ValueError: a file that is an input, or that is there and may not be replaced.
        OSError: the output cannot be written.
    """
    contents = {
        output / f"{split}.json": f"{json.dumps(document, allow_nan=False)}\n".encode()
        for split, document in documents.items()
    }
    if dataset_name is not None:
        content: dict = {"name": dataset_name, "root": "."}
        for split in source.splits:
            images = Path(os.path.relpath(split.image_root, output)).as_posix()
            content[split.name] = {"images": images, "annotations": f"{split.name}.json"}
        text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
        contents[output / f"{dataset_name}.yaml"] = text.encode()
    names = {path.name.casefold() for path in contents}
    refuse_inputs(list(contents), [f for f in source.files if f.name.casefold() in names])
    for path in contents:
        if os.path.lexists(path) and not force:
            raise ValueError(f"--output: {path} is there already; give --force to replace it")
    output.mkdir(parents=True, exist_ok=True)
    write_whole(contents)
    return list(contents)
