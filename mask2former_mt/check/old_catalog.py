"""Registers the datasets that a YAML describes with detectron2, without Python from the user."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml
from detectron2.data import DatasetCatalog, MetadataCatalog

from mask2former_mt.check.old_annotation import PIXELS, Coordinates
from mask2former_mt.check.old_document import CocoHeader, read_header
from mask2former_mt.check.old_split import load_dataset_dicts, scale_to_pixels
from mask2former_mt.structures import SubcategorySpec

EVALUATOR_TYPE = "joint_coco"
_OWN_KEYS = ("name", "root")
# May be left out: "pixel" or "normalized", see `Coordinates`.
_COORDINATE_KEYS = ("box_coords", "polygon_coords")
_SPLIT_KEYS = {"images", "annotations"}
_EXAMPLE = "val: {images: val, annotations: val.json}"


def register_dataset_files(paths: Sequence[str | Path]) -> list[str]:
    """Registers every split of every dataset YAML as `<name>_<split>`.

    Only classes and subcategories are read here; images and annotations are read and checked when
    the dataset is first asked for. Registering an unchanged file again does nothing, a changed one
    replaces its own splits.

    Args:
        paths: dataset YAMLs, relative to the working directory.

    Returns:
        The names registered, in the files' order.

    Raises:
        FileNotFoundError: a YAML, or an annotation file or image folder that it names.
        ValueError: a YAML that is not of the documented form, a broken JSON, splits that list
            different classes or subcategories, or a name that another dataset has already.
    """
    if isinstance(paths, (str, Path)):
        raise ValueError(f"paths must be a list of dataset YAMLs, got {paths!r}; write [{paths!r}]")
    names = []
    for path in paths:
        for name in _register_file(Path(os.path.abspath(path))):
            if name not in names:
                names.append(name)
    return names


def spec_of(dataset_name: str) -> SubcategorySpec:
    """The subcategories of a registered dataset; empty for one that others registered.

    Raises:
        ValueError: no dataset has this name.
    """
    if dataset_name not in DatasetCatalog:
        raise ValueError(
            f"dataset {dataset_name!r} is not registered; add its YAML to DATASETS.FILES, "
            f"registered are {sorted(DatasetCatalog.list())}"
        )
    return MetadataCatalog.get(dataset_name).get("subcategory_spec", SubcategorySpec())


def document_to_pixels(dataset_name: str, document: Mapping) -> None:
    """Takes the boxes and polygons of a registered dataset's JSON to pixels, in place.

    Args:
        dataset_name: a registered dataset; one that others registered is in pixels.
        document: its JSON as COCO's tools parse it.
    """
    files = MetadataCatalog.get(dataset_name).get("split_files", None)
    scale_to_pixels(
        document,
        PIXELS
        if files is None
        else Coordinates(files.coordinates.box_coords, files.coordinates.polygon_coords),
    )


def _register_file(yaml_file: Path) -> list[str]:
    name, root, entries = read_dataset_file(yaml_file)
    splits = {split: read_split(yaml_file, root, split, entry) for split, entry in entries.items()}
    coordinates = read_coordinates(yaml_file)
    headers = {split: read_header(json_file) for split, (_, json_file) in splits.items()}
    check_headers_agree(yaml_file, splits, headers)
    # All names are checked first, so that a refused file leaves nothing half registered.
    for split in splits:
        _check_name_is_free(f"{name}_{split}", yaml_file)
    for split, (image_root, json_file) in splits.items():
        _register(f"{name}_{split}", yaml_file, image_root, json_file, headers[split], coordinates)
    return [f"{name}_{split}" for split in splits]


def read_dataset_file(yaml_file: Path) -> tuple[str, Path, dict[str, Mapping]]:
    """Reads a dataset YAML.

    Returns:
        The dataset's name, its root folder, and per split what `read_split` reads.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is not YAML, or not of the documented form.
    """
    content = _parse_yaml(yaml_file)
    for key in _OWN_KEYS:
        if not isinstance(content.get(key), str) or not content[key]:
            raise ValueError(
                f"{yaml_file}: {key!r} must be a text, got "
                f"{repr(content[key]) if key in content else 'no such key'}"
            )
    entries = {}
    for split, entry in content.items():
        if split in _OWN_KEYS or split in _COORDINATE_KEYS:
            continue
        if not isinstance(split, str) or not isinstance(entry, dict):
            raise ValueError(
                f"{yaml_file}: unknown key {split!r}; besides 'name' and 'root' every key is a "
                f"split such as {_EXAMPLE!r}, got {entry!r}"
            )
        entries[split] = entry
    if not entries:
        raise ValueError(f"{yaml_file} names no split; add one such as {_EXAMPLE!r}")
    return content["name"], yaml_file.parent / content["root"], entries


def read_coordinates(yaml_file: Path) -> Coordinates:
    """What a dataset YAML says that its boxes and polygons are; pixels where it says nothing.

    Raises:
        FileNotFoundError, ValueError: as `read_dataset_file`.
    """
    content = _parse_yaml(yaml_file)
    try:
        return Coordinates(**{key: content[key] for key in _COORDINATE_KEYS if key in content})
    except ValueError as error:
        raise ValueError(f"{yaml_file}: {error}") from error


def _parse_yaml(yaml_file: Path) -> dict:
    if not yaml_file.is_file():
        raise FileNotFoundError(
            f"dataset file {yaml_file} does not exist; DATASETS.FILES are relative to the working "
            f"directory, {os.getcwd()}"
        )
    try:
        content = yaml.safe_load(yaml_file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{yaml_file} is not valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(
            f"{yaml_file} must hold 'name', 'root' and splits such as {_EXAMPLE!r}, "
            f"got a {type(content).__name__}"
        )
    return content


def read_split(yaml_file: Path, root: Path, split: str, entry: Mapping) -> tuple[Path, Path]:
    """Checks one split of a dataset YAML.

    Args:
        yaml_file: for messages.
        root: the dataset's folder.
        split: its name, such as "train".
        entry: of `read_dataset_file`.

    Returns:
        The image folder and the annotation file.

    Raises:
        FileNotFoundError: either of them does not exist.
        ValueError: a key that is missing, unknown or no path.
    """
    _check_split_keys(yaml_file, split, entry)
    image_root = root / entry["images"]
    json_file = root / entry["annotations"]
    if not image_root.is_dir():
        raise FileNotFoundError(
            f"{yaml_file}: {split}.images: {image_root} is not a folder; "
            "it is relative to 'root', which is relative to the YAML"
        )
    if not json_file.is_file():
        raise FileNotFoundError(
            f"{yaml_file}: {split}.annotations: {json_file} does not exist; "
            "it is relative to 'root', which is relative to the YAML"
        )
    return image_root.resolve(), json_file.resolve()


def _check_split_keys(yaml_file: Path, split: str, entry: Mapping) -> None:
    unknown = sorted(map(str, set(entry) - _SPLIT_KEYS))
    if unknown:
        raise ValueError(
            f"{yaml_file}: unknown key '{split}.{unknown[0]}'; a split has 'images' and "
            "'annotations'"
        )
    for key in sorted(_SPLIT_KEYS):
        if not isinstance(entry.get(key), str) or not entry[key]:
            raise ValueError(
                f"{yaml_file}: '{split}.{key}' must be a path, got "
                f"{repr(entry[key]) if key in entry else 'no such key'}"
            )


def check_headers_agree(
    yaml_file: Path, splits: Mapping[str, tuple[Path, Path]], headers: Mapping[str, CocoHeader]
) -> None:
    """One model serves all splits, so class 3 must be the same thing in each of them."""
    first = next(iter(splits))
    for split, header in headers.items():
        for what, ours, theirs in (
            ("category ids", headers[first].category_ids, header.category_ids),
            ("category names", headers[first].thing_classes, header.thing_classes),
            ("subcategories", headers[first].spec.to_json(), header.spec.to_json()),
        ):
            if ours != theirs:
                raise ValueError(
                    f"{yaml_file}: all splits must list the same {what}, got {ours} in "
                    f"{splits[first][1]} and {theirs} in {splits[split][1]}; "
                    "copy the lists from one JSON to the other"
                )


def _check_name_is_free(dataset_name: str, yaml_file: Path) -> None:
    if dataset_name not in DatasetCatalog:
        return
    other = MetadataCatalog.get(dataset_name).get("dataset_file")
    if other != str(yaml_file):
        owner = other or "detectron2 or by Python code"
        raise ValueError(
            f"dataset {dataset_name!r} of {yaml_file} is already registered by {owner}; "
            "change 'name' in one of them"
        )


def _register(
    dataset_name: str,
    yaml_file: Path,
    image_root: Path,
    json_file: Path,
    header: CocoHeader,
    coordinates: Coordinates,
) -> None:
    fields = {
        "dataset_file": str(yaml_file),
        "json_file": str(json_file),
        "image_root": str(image_root),
        "thing_classes": list(header.thing_classes),
        "thing_dataset_id_to_contiguous_id": header.contiguous_ids,
        "subcategory_spec": header.spec,
        "coordinates": coordinates,
        "evaluator_type": EVALUATOR_TYPE,
    }
    if dataset_name in DatasetCatalog:
        metadata = MetadataCatalog.get(dataset_name)
        if all(metadata.get(key) == value for key, value in fields.items()):
            return
        DatasetCatalog.remove(dataset_name)
        MetadataCatalog.remove(dataset_name)
    # The JSON is read once more when the dataset is asked for: kept from here on, the parsed file
    # of a split that is never used (train, while evaluating) would stay in memory for good.
    DatasetCatalog.register(
        dataset_name,
        functools.partial(load_dataset_dicts, json_file, image_root, header, coordinates),
    )
    MetadataCatalog.get(dataset_name).set(**fields)
