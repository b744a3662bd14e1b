"""Writes what a format's reader found as this project's JSON and dataset YAML: whole, or nothing.

The one reader of datasets says what is wrong with it; here it is only told which entry of the
source each problem is about, and what becomes of an object without a sound mask.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pycocotools.mask as mask_util
import yaml
from mask2former_mt.importers.attribute_choice import Labeller
from mask2former_mt.importers.class_names import note_alike, tidy_classes
from mask2former_mt.importers.source import Report, Request, Source, SourceObject, SourceSplit

from mask2former_mt.dataset.document import read_header
from mask2former_mt.dataset.problems import ERROR, Problem
from mask2former_mt.dataset.rle import as_id
from mask2former_mt.dataset.split import Split, SplitFiles
from mask2former_mt.files import refuse_inputs, write_whole
from mask2former_mt.structures import SubcategorySpec

_DECIMALS = 3  # a thousandth of a pixel
# Errors of an annotation that have nothing to do with its mask: no option leaves such objects out.
_ALWAYS_REFUSED = ("duplicate-annotation-id", "unknown-image", "unknown-category")
# Problems whose index is a position in `images`; all others' is one in `annotations`.
_OF_IMAGES = ("bad-image-entry", "duplicate-image-id", "unreadable-image", "size-mismatch")
_MAX_FILES_SHOWN = 3


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
    tidy_classes(source, report)
    _, faults = read_header({"categories": source.categories})
    files = ", ".join(dict.fromkeys(str(split.file) for split in source.splits))
    for fault in faults:
        report.refuse(f"{files}: {fault}")
    report.raise_if_refused()
    read = [_read_and_check(split, source, report) for split in source.splits]
    report.raise_if_refused()
    note_alike("classes", (category["name"] for category in source.categories), report)
    labeller = Labeller(source, request.options, report)
    header = {
        "info": {"description": description},
        "categories": _numbered(source.categories),
        "subcategories": labeller.spec.to_json(),
    }
    documents = {
        source_split.name: {
            **header,
            "images": _numbered(source_split.images),
            "annotations": _annotations(source, source_split, split, labeller, report),
        }
        for source_split, split in zip(source.splits, read, strict=True)
    }
    report.raise_if_refused()
    return documents, labeller.spec


def _numbered(entries: list[dict]) -> list[dict]:
    """Entries of a list by their ids, which are integers."""
    return sorted(({**e, "id": as_id(e["id"])} for e in entries), key=lambda entry: entry["id"])


def _read_and_check(source_split: SourceSplit, source: Source, report: Report) -> Split:
    """Reads a split as training will, but for the labels, which are right by construction."""
    document = {
        "images": source_split.images,
        "annotations": [item.entry for item in source_split.objects],
        "categories": source.categories,
    }
    files = SplitFiles(source_split.name, source_split.image_root, source_split.file)
    split = Split(files, document, opens_pictures=source.is_coco)
    found = (*split.problems, *split.image_problems)
    problems = [problem for problem in found if problem.severity == ERROR]
    unusable: dict[int, Problem] = {}
    missing = []
    for problem in problems:
        if problem.kind == "missing-image":
            missing.append(os.path.relpath(problem.file, source_split.image_root))
        elif problem.kind in _OF_IMAGES or problem.index is None:
            # Only a picture has a place of its own within the file.
            place = "" if problem.file == str(source_split.file) else f"{problem.place}: "
            report.refuse(f"{source_split.file}: {place}{problem.text}")
        elif problem.kind in _ALWAYS_REFUSED or problem.annotation_id is None:
            report.refuse(f"{source_split.objects[problem.index].origin}: {problem.text}")
        else:
            unusable.setdefault(problem.index, problem)
    for index, problem in unusable.items():
        report.unusable(source_split.objects[index].origin, problem.text)
    if missing:
        shown = ", ".join(missing[:_MAX_FILES_SHOWN])
        report.refuse(
            f"{source_split.file}: {len(missing)} of {len(source_split.images)} pictures are "
            f"missing from {source_split.image_root}: {shown}"
            f"{' ...' if len(missing) > _MAX_FILES_SHOWN else ''}; give their folder with --images"
        )
    return split


def _annotations(
    source: Source, source_split: SourceSplit, split: Split, labeller: Labeller, report: Report
) -> list[dict]:
    """The sound objects as the JSON's `annotations`, by ascending id of their image."""
    items = {as_id(item.entry["id"]): item for item in source_split.objects}
    entries: list[dict] = []
    for record in sorted(split.records, key=lambda record: record["image_id"]):
        for annotation in record["annotations"]:
            item = items[annotation["id"]]
            entries.append(
                {
                    "id": annotation["id"] if source.is_coco else len(entries) + 1,
                    "image_id": record["image_id"],
                    "category_id": as_id(item.entry["category_id"]),
                    "segmentation": item.entry["segmentation"],
                    "iscrowd": annotation["iscrowd"],
                    "subcategories": labeller.labels(item),
                    "bbox": [round(float(side), _DECIMALS) for side in annotation["bbox"]],
                    "area": _area(annotation, record, item, report),
                }
            )
    return entries


def _area(annotation: dict, record: dict, item: SourceObject, report: Report) -> float:
    """The source's area if it can be one, otherwise the mask's number of pixels."""
    height, width = record["height"], record["width"]
    area = annotation["area"]
    if area is not None and 0 < area <= height * width:
        return area
    rle = annotation["segmentation"]
    if isinstance(rle, list):
        rle = mask_util.merge(mask_util.frPyObjects(rle, height, width))
    area = int(mask_util.area(rle))
    if area == 0:
        report.note("objects that cover no pixel, which training drops", item.origin)
    return area


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
