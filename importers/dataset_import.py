"""From other formats to this project's JSON: one call for each of them."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from mask2former_mt.importers.coco_attributes import read_coco_attributes
from mask2former_mt.importers.cvat_xml import read_cvat
from mask2former_mt.importers.fashionpedia_json import read_fashionpedia
from mask2former_mt.importers.label_studio import read_label_studio
from mask2former_mt.importers.labelme import read_labelme
from mask2former_mt.importers.mask_folders import read_mask_folders
from mask2former_mt.importers.paco_json import read_paco
from mask2former_mt.importers.recognise import formats_of
from mask2former_mt.importers.source import ImportOptions, RefusedError, Report, Request, Source
from mask2former_mt.importers.via_json import read_via
from mask2former_mt.importers.writer import make_documents, write_dataset
from mask2former_mt.importers.yolo import read_yolo

from mask2former_mt.dataset.catalog import OTHER_KEYS
from mask2former_mt.dataset.document import without_garbage_collection
from mask2former_mt.structures import SubcategorySpec


class Format(NamedTuple):
    """A format that can be imported: its reader, and one line that says what the input is."""

    read: Callable[[Request], Source]
    description: str


FORMATS = {
    "yolo": Format(read_yolo, "YOLO segmentation: data.yaml, or a folder"),
    "labelme": Format(read_labelme, "LabelMe or X-AnyLabeling: a folder of JSON files"),
    "label-studio": Format(read_label_studio, "Label Studio's JSON (not JSON-MIN, not its COCO)"),
    "cvat": Format(read_cvat, "CVAT's XML for images 1.1"),
    "via": Format(read_via, "the JSON of the VGG Image Annotator, VIA 1 or 2"),
    "masks": Format(
        read_mask_folders, "a folder with images, and masks: one for each object, or maps of ids"
    ),
    "coco": Format(
        read_coco_attributes, "CVAT or another COCO JSON whose annotations have 'attributes'"
    ),
    "fashionpedia": Format(
        read_fashionpedia,
        "Fashionpedia's JSON: 'attribute_ids' and attributes with supercategories",
    ),
    "paco": Format(read_paco, "PACO's JSON: 'attribute_ids' and 'attr_type_to_attr_idxs'"),
}
DEFAULT_SPLIT = "train"
_SPLIT = re.compile(r"([A-Za-z][\w-]*)=(.+)", re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Imported:
    """What an import wrote.

    Args:
        files: the JSON of each split, then the YAML if there is one.
        num_images, num_instances: by split.
        num_classes: K.
        spec: the subcategories.
        notes: what was left out or could not be kept, one line each.
    """

    files: list[Path]
    num_images: dict[str, int]
    num_instances: dict[str, int]
    num_classes: int
    spec: SubcategorySpec
    notes: list[str]


def import_dataset(
    format_name: str,
    inputs: Mapping[str, Path],
    output: Path,
    *,
    images: Mapping[str, Path] | None = None,
    options: ImportOptions | None = None,
    dataset_name: str | None = None,
    force: bool = False,
) -> Imported:
    """Imports all splits of a dataset together, so that they list the same classes and values.

    Args:
        format_name: one of `FORMATS`.
        inputs: file or folder by split.
        output: folder for `<split>.json` and `<dataset_name>.yaml`, made where missing.
        images: picture folder by split, where the format does not say where the pictures are.
        options: None: the defaults.
        dataset_name: for the YAML; None: no YAML.
        force: whether to replace files that are there.

    Raises:
        FileNotFoundError: an input or a picture.
        ValueError: broken input, by file and entry; nothing is written then.
        OSError: the output cannot be written.
    """
    options = options or ImportOptions()
    output = Path(output)
    if dataset_name is not None and not re.fullmatch(r"\w[\w.-]*", dataset_name):
        raise ValueError(
            f"--name must be letters, digits and any of _.- such as stamps, got {dataset_name!r}"
        )
    for path in inputs.values():
        if os.path.isdir(path) and os.path.realpath(path) == os.path.realpath(output):
            raise ValueError(
                f"--output: {output} is the input's own folder; give another one, such as "
                f"{output / 'imported'}"
            )
    report = Report(options.unusable)
    request = Request(inputs, images or {}, options, report)
    with without_garbage_collection():
        source = _read(format_name, request)
        documents, spec = make_documents(source, request, f"Imported from {format_name}")
        _note_empty_splits(documents, report)
        files = write_dataset(documents, source, output, dataset_name=dataset_name, force=force)
    return Imported(
        files=files,
        num_images={split: len(d["images"]) for split, d in documents.items()},
        num_instances={split: len(d["annotations"]) for split, d in documents.items()},
        num_classes=len(source.categories),
        spec=spec,
        notes=report.notes,
    )


def _read(format_name: str, request: Request) -> Source:
    """What the reader of a format finds; says which format it is if it is not this one."""
    report = request.report
    try:
        source = FORMATS[format_name].read(request)
        report.raise_if_refused()
    except (ValueError, FileNotFoundError) as error:
        if not isinstance(error, RefusedError):
            # What was collected before may be the reason.
            report.refuse(str(error))
        for path in request.inputs.values():
            found = sorted(formats_of(path))
            if found and format_name not in found:
                names = [name for name in found if name in FORMATS]
                titles = [FORMATS[n].description if n in FORMATS else n for n in found]
                remedy = f"import it as {' or '.join(names)}" if names else "export COCO instead"
                report.refuse_first(f"{path} looks like {' or '.join(titles)}; {remedy}")
        report.raise_if_refused()
    return source


def _note_empty_splits(documents: Mapping[str, dict], report: Report) -> None:
    empty = [split for split, document in documents.items() if not document["annotations"]]
    if len(empty) == len(documents):
        report.note(
            "no split has an object, so that nothing can be learned from it; was the export made "
            "with its masks?"
        )
    else:
        for split in empty:
            report.note(f"split {split!r} has no object")


def by_split(entries: Sequence[str], what: str) -> dict[str, Path]:
    """Reads `train=a.json val=b.json`; a single path without a name is the split `train`.

    Args:
        entries: of the command line.
        what: the argument's name, for messages.

    Raises:
        ValueError: several paths without names, a name twice, or one that no split can have.
    """
    result: dict[str, Path] = {}
    for entry in entries:
        match = None if os.path.exists(entry) else _SPLIT.fullmatch(entry)
        if match is None and len(entries) > 1:
            raise ValueError(f"{what}: several need names, such as val={entry}; got {entry!r}")
        name, path = match.groups() if match else (DEFAULT_SPLIT, entry)
        if name in OTHER_KEYS or name in result:
            raise ValueError(f"{what}: {name!r} is no name for a split, or named twice")
        result[name] = Path(path)
    return result
