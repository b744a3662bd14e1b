"""From other formats to this project's JSON: one call for each of them."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from mask2former_mt.importers.attribute_choice import Labeller
from mask2former_mt.importers.coco_attributes import read_coco_attributes
from mask2former_mt.importers.fashionpedia_json import read_fashionpedia
from mask2former_mt.importers.labelme import read_labelme
from mask2former_mt.importers.paco_json import read_paco
from mask2former_mt.importers.source import ImportOptions, Report, Source
from mask2former_mt.importers.writer import make_documents, write_dataset
from mask2former_mt.importers.yolo_seg import read_yolo_seg

from mask2former_mt.check.old_document import without_garbage_collection
from mask2former_mt.structures import SubcategorySpec

READERS: dict[str, Callable[..., Source]] = {
    "yolo": read_yolo_seg,
    "labelme": read_labelme,
    "coco": read_coco_attributes,
    "fashionpedia": read_fashionpedia,
    "paco": read_paco,
}
DEFAULT_SPLIT = "train"
_SPLIT = re.compile(r"([A-Za-z][\w-]*)=(.+)", re.DOTALL)
# Keys of the dataset YAML that are no splits.
_NO_SPLITS = ("name", "root", "box_coords", "polygon_coords")


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
        format_name: one of `READERS`.
        inputs: file or folder by split.
        output: folder for `<split>.json` and `<dataset_name>.yaml`, made where missing.
        images: picture folder by split, where the format does not name the pictures' place.
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
    report = Report(skip_unusable=options.unusable == "skip")
    with without_garbage_collection():
        source = READERS[format_name](inputs, images or {}, options, report)
        report.raise_if_refused()
        labeller = Labeller(source, options, report)
        documents = make_documents(
            source, labeller, report, description=f"Imported from {format_name}"
        )
        files = write_dataset(documents, source, output, dataset_name=dataset_name, force=force)
    return Imported(
        files=files,
        num_images={name: len(d["images"]) for name, d in documents.items()},
        num_instances={name: len(d["annotations"]) for name, d in documents.items()},
        num_classes=len(source.categories),
        spec=labeller.spec,
        notes=report.notes,
    )


def by_split(entries: Sequence[str], what: str) -> dict[str, Path]:
    """Reads `train=a.json val=b.json`; a single path without a name is the split `train`.

    Raises:
        ValueError: several paths without names, a name twice, or one that no split can have.
    """
    result: dict[str, Path] = {}
    for entry in entries:
        match = None if os.path.exists(entry) else _SPLIT.fullmatch(entry)
        if match is None and len(entries) > 1:
            raise ValueError(f"{what}: several need names, such as val={entry}; got {entry!r}")
        name, path = match.groups() if match else (DEFAULT_SPLIT, entry)
        if name in _NO_SPLITS or name in result:
            raise ValueError(f"{what}: {name!r} is no name for a split, or named twice")
        result[name] = Path(path)
    return result
