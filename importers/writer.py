"""Writes what a reader found as this project's JSON and dataset YAML: whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pycocotools.mask as mask_util
import yaml
from mask2former_mt.importers.attribute_choice import Labeller
from mask2former_mt.importers.source import Picture, Report, Source, SourceObject, Split

from mask2former_mt.check.old_annotation import read_annotation
from mask2former_mt.check.old_document import CocoHeader, parse_header
from mask2former_mt.check.old_rle import run_lengths
from mask2former_mt.check.old_split import load_dataset_dicts

_DECIMALS = 3  # a thousandth of a pixel


def make_documents(
    source: Source, labeller: Labeller, report: Report, *, description: str
) -> dict[str, dict]:
    """The JSON of each split; every object in it is one that training accepts.

    Args:
        source: what a reader found.
        labeller: for its objects.
        report: gets objects that have no sound mask.
        description: for the JSON's `info`.

    Raises:
        ValueError: no class, or classes of the same name; objects without a sound mask unless
            they are skipped.
    """
    header = {
        "info": {"description": description},
        "categories": [{"id": n, "name": name} for n, name in source.categories.items()],
        "subcategories": labeller.spec.to_json(),
    }
    parsed = parse_header(header, Path(description))
    documents = {}
    for split in source.splits:
        images, annotations = [], []
        for position, picture in enumerate(split.pictures):
            image_id = position + 1 if picture.id is None else picture.id
            images.append(
                {
                    **picture.extra,
                    "id": image_id,
                    "file_name": picture.file_name,
                    "height": picture.height,
                    "width": picture.width,
                }
            )
            for item in picture.objects:
                number = len(annotations) + 1 if item.id is None else item.id
                entry = _annotation(item, number, image_id, picture, parsed, labeller, report)
                if entry is not None:
                    annotations.append(entry)
        documents[split.name] = {**header, "images": images, "annotations": annotations}
    report.raise_if_refused()
    return documents


def _annotation(
    item: SourceObject,
    number: int,
    image_id: int,
    picture: Picture,
    header: CocoHeader,
    labeller: Labeller,
    report: Report,
) -> dict | None:
    entry = {
        "id": number,
        "image_id": image_id,
        "category_id": item.category_id,
        "segmentation": item.segmentation,
        "iscrowd": item.iscrowd,
        "subcategories": labeller.labels(item.attributes, item.category_id, item.origin),
    }
    if item.bbox is not None:
        entry["bbox"] = item.bbox
    try:
        if isinstance(item.segmentation, dict):
            run_lengths(item.segmentation)
        checked = read_annotation(
            entry,
            height=picture.height,
            width=picture.width,
            contiguous_ids=header.contiguous_ids,
            spec=header.spec,
        )
    # Whole numbers beyond float's range are an OverflowError.
    except (ValueError, OverflowError) as error:
        report.unusable(item.origin, str(error))
        return None
    area = item.area
    pixels = picture.height * picture.width
    if isinstance(area, bool) or not isinstance(area, (int, float)) or not 0 < area <= pixels:
        rles = checked["segmentation"]
        if isinstance(rles, list):
            rles = mask_util.merge(mask_util.frPyObjects(rles, picture.height, picture.width))
        area = int(mask_util.area(rles))
        if area == 0:
            report.note("objects that cover no pixel, which training drops", item.origin)
    return {
        **entry,
        "bbox": [round(float(side), _DECIMALS) for side in checked["bbox"]],
        "area": area,
        "iscrowd": checked["iscrowd"],
    }


def write_dataset(
    documents: dict[str, dict],
    source: Source,
    output: Path,
    *,
    dataset_name: str | None,
    force: bool = False,
) -> list[Path]:
    """Writes `<split>.json` for every split, and `<dataset_name>.yaml`.

    All files are written beside their place, read as training will, and only then put there.

    Args:
        documents: as `make_documents` gives them.
        source: they were made from; none of its files is written over.
        output: folder, made where missing.
        dataset_name: None: no YAML.
        force: whether to replace files that are there.

    Returns:
        The files written.

    Raises:
        ValueError: a file is there already, or is one of the inputs; pictures that are not what
            the source says.
        OSError: nothing can be written there.
    """
    output = Path(os.path.abspath(output))
    targets = {split.name: output / f"{split.name}.json" for split in source.splits}
    yaml_file = output / f"{dataset_name}.yaml"
    written = [*targets.values(), *([yaml_file] if dataset_name is not None else [])]
    _check_targets(written, source.files, force)
    with _new_folder(output), _partial_files(written) as partial:
        for split in source.splits:
            file = partial[targets[split.name]]
            file.write_text(
                json.dumps(documents[split.name], allow_nan=False) + "\n", encoding="utf-8"
            )
            header = parse_header(documents[split.name], targets[split.name])
            try:
                load_dataset_dicts(file, split.image_root, header)
            except ValueError as error:
                text = str(error).replace(str(file), str(targets[split.name]))
                raise ValueError(f"nothing was written: {text}") from error
        if dataset_name is not None:
            partial[yaml_file].write_text(
                _yaml_text(dataset_name, source.splits, targets, output), encoding="utf-8"
            )
        for target, file in partial.items():
            os.replace(file, target)
    return written


def _yaml_text(name: str, splits: Sequence[Split], targets: dict[str, Path], output: Path) -> str:
    content: dict = {"name": name, "root": "."}
    for split in splits:
        try:
            images = os.path.relpath(split.image_root, output)
        except ValueError:  # on another drive
            images = str(split.image_root)
        content[split.name] = {
            "images": Path(images).as_posix(),
            "annotations": targets[split.name].name,
        }
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def _check_targets(targets: Sequence[Path], inputs: Sequence[Path], force: bool) -> None:
    read = {os.path.realpath(file) for file in inputs}
    for target in targets:
        if os.path.realpath(target) in read:
            raise ValueError(
                f"--output: {target} is one of the inputs and is never written over; "
                "give another folder"
            )
        if os.path.lexists(target) and not force:
            raise ValueError(f"--output: {target} is there already; give --force to replace it")


@contextlib.contextmanager
def _new_folder(folder: Path) -> Iterator[None]:
    """Makes a folder where it is missing, and takes it away again if what follows fails."""
    made = []
    for path in (folder, *folder.parents):
        if path.exists():
            break
        made.append(path)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        for path in made:
            with contextlib.suppress(OSError):
                path.rmdir()
        raise


@contextlib.contextmanager
def _partial_files(targets: Sequence[Path]) -> Iterator[dict[Path, Path]]:
    partial = {t: t.with_name(f".{t.name}.partial-{os.getpid()}") for t in targets}
    try:
        yield partial
    finally:
        for file in partial.values():
            file.unlink(missing_ok=True)
