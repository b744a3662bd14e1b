"""Registers the datasets that a YAML describes with detectron2, without Python from the user."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import yaml
from detectron2.data import DatasetCatalog, MetadataCatalog

from mask2former_mt.dataset.conventions import Conventions
from mask2former_mt.dataset.problems import refuse
from mask2former_mt.dataset.split import (
    Split,
    SplitFiles,
    read_split,
    refuse_errors,
    training_records,
)
from mask2former_mt.label_lists import LabelMap, Labels, map_by_name, union
from mask2former_mt.structures import SubcategorySpec

_OWN_KEYS = ("name", "root")
# May be left out; see `Conventions`.
_CONVENTION_KEYS = tuple(field.name for field in dataclasses.fields(Conventions))
# Keys of a dataset YAML that are no splits.
OTHER_KEYS = (*_OWN_KEYS, *_CONVENTION_KEYS)
_SPLIT_KEYS = {"images", "annotations"}
_EXAMPLE = "val: {images: val, annotations: val.json}"


@dataclasses.dataclass(frozen=True)
class DatasetFile:
    """A dataset YAML.

    Args:
        path: absolute path of the YAML.
        name: the dataset's.
        root: folder that the splits' paths are relative to.
        conventions: what all splits' numbers and marks mean.
        entries: what the YAML says of each split, by name; see `files_of`.
    """

    path: Path
    name: str
    root: Path
    conventions: Conventions
    entries: Mapping[str, Mapping]

    def files_of(self, split: str) -> SplitFiles:
        """Where a split is.

        Args:
            split: one of `entries`.

        Raises:
            FileNotFoundError: its image folder or its annotation file does not exist.
            ValueError: a key that is missing, unknown or no path.
        """
        entry = self.entries[split]
        unknown = sorted(map(str, set(entry) - _SPLIT_KEYS))
        if unknown:
            raise ValueError(
                f"{self.path}: unknown key '{split}.{unknown[0]}'; a split has 'images' and "
                "'annotations'"
            )
        for key in sorted(_SPLIT_KEYS):
            if not isinstance(entry.get(key), str) or not entry[key]:
                raise ValueError(
                    f"{self.path}: '{split}.{key}' must be a path, got "
                    f"{repr(entry[key]) if key in entry else 'no such key'}"
                )
        image_root, json_file = self.root / entry["images"], self.root / entry["annotations"]
        for key, path, missing in (
            ("images", image_root, None if image_root.is_dir() else "is not a folder"),
            ("annotations", json_file, None if json_file.is_file() else "does not exist"),
        ):
            if missing:
                raise FileNotFoundError(
                    f"{self.path}: {split}.{key}: {path} {missing}; "
                    "it is relative to 'root', which is relative to the YAML"
                )
        return SplitFiles(split, image_root.resolve(), json_file.resolve(), self.conventions)


def read_dataset_file(yaml_file: Path) -> DatasetFile:
    """Reads a dataset YAML.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is not YAML, or not of the documented form.
    """
    yaml_file = Path(os.path.abspath(yaml_file))
    content = _parse_yaml(yaml_file)
    for key in _OWN_KEYS:
        if not isinstance(content.get(key), str) or not content[key]:
            raise ValueError(
                f"{yaml_file}: {key!r} must be a text, got "
                f"{repr(content[key]) if key in content else 'no such key'}"
            )
    try:
        conventions = Conventions(**{k: content[k] for k in _CONVENTION_KEYS if k in content})
    except ValueError as error:
        raise ValueError(f"{yaml_file}: {error}") from error
    entries = {split: entry for split, entry in content.items() if split not in OTHER_KEYS}
    for split, entry in entries.items():
        if not isinstance(split, str) or not isinstance(entry, dict):
            raise ValueError(
                f"{yaml_file}: unknown key {split!r}; besides 'name' and 'root' every key is a "
                f"split such as {_EXAMPLE!r}, got {entry!r}"
            )
    if not entries:
        raise ValueError(f"{yaml_file} names no split; add one such as {_EXAMPLE!r}")
    root = yaml_file.parent / content["root"]
    return DatasetFile(yaml_file, content["name"], root, conventions, entries)


def _parse_yaml(yaml_file: Path) -> dict:
    if not yaml_file.is_file():
        what = "is a folder" if yaml_file.is_dir() else "does not exist"
        raise FileNotFoundError(
            f"dataset file {yaml_file} {what}; DATASETS.FILES are relative to the working "
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


def register_dataset_files(
    paths: Sequence[str | Path], needed: Collection[str] | None = None
) -> list[str]:
    """Registers every split of every dataset YAML as `<name>_<split>`.

    Only classes and subcategories are checked here; annotations and images are read and checked
    when the dataset is first asked for. Registering an unchanged file again does nothing, a changed
    one replaces its own splits.

    Args:
        paths: dataset YAMLs, relative to the working directory.
        needed: names of the datasets that will be asked for: of the others nothing is kept in
            memory but classes and subcategories. None: all will.

    Returns:
        The names registered, in the files' order.

    Raises:
        FileNotFoundError: a YAML, or an annotation file or image folder that it names.
        ValueError: a YAML that is not of the documented form, a broken JSON, or a name that another
            dataset has already.
    """
    if isinstance(paths, (str, Path)):
        raise ValueError(f"paths must be a list of dataset YAMLs, got {paths!r}; write [{paths!r}]")
    names: dict[str, None] = {}
    for path in paths:
        names |= dict.fromkeys(_register_file(Path(path), needed))
    return list(names)


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


def labels_of(*dataset_names: str) -> Labels:
    """The labels of a registered dataset, also of one that others registered; of several, all.

    Raises:
        ValueError: no dataset has one of these names, or one subcategory's options contradict.
    """
    return union(map(_labels_of, dataset_names))


def _labels_of(dataset_name: str) -> Labels:
    spec, metadata = spec_of(dataset_name), MetadataCatalog.get(dataset_name)
    # Of datasets without things, detectron2's list what they have as stuff.
    class_names = tuple(metadata.get("thing_classes", None) or metadata.get("stuff_classes", ()))
    class_of_id = metadata.get("thing_dataset_id_to_contiguous_id", None) or {
        index + 1: index for index in range(len(class_names))
    }
    id_of_class = {index: category_id for category_id, index in class_of_id.items()}
    return Labels(class_names, spec, tuple(map(id_of_class.get, range(len(class_names)))))


def map_onto(labels: Labels, dataset_name: str, target_name: str) -> LabelMap:
    """Where a dataset's labels are in a list.

    Args:
        target_name: whose `labels` are, for the message.

    Raises:
        ValueError: the dataset lists what `labels` do not; with both lists.
    """
    return map_by_name(
        labels_of(dataset_name),
        labels,
        source_name=f"dataset {dataset_name!r}",
        target_name=target_name,
    )


def relabelled(records: Iterable[Mapping], to_target: LabelMap) -> list[dict]:
    """Copies of dataset dicts, also of a dataset that others registered, with the target's labels.

    The annotations' outlines are not copied, and maps of classes or segments stay as they are:
    `semantic_classes` says what a map's numbers mean.
    """
    return [_relabelled_record(record, to_target) for record in records]


def _relabelled_record(record: Mapping, to_target: LabelMap) -> dict:
    copy = {**record}
    for key in ("annotations", "segments_info"):
        if key in copy:
            copy[key] = [_relabelled(entry, to_target) for entry in copy[key]]
    if "semantic_classes" in copy:
        copy["semantic_classes"] = tuple(to_target.classes[c] for c in copy["semantic_classes"])
    return copy


def _relabelled(annotation: Mapping, to_target: LabelMap) -> dict:
    copy = {**annotation, "category_id": to_target.classes[annotation["category_id"]]}
    if "subcategories" in copy:
        copy["subcategories"] = to_target.values(copy["subcategories"])
    return copy


def split_of(dataset_name: str) -> Split:
    """The JSON of a registered dataset as it was read, also of one that others registered.

    Raises:
        ValueError: no dataset has this name, or nobody knows where its JSON is.
    """
    spec_of(dataset_name)
    metadata = MetadataCatalog.get(dataset_name)
    files = metadata.get("split_files", None)
    if files is None:
        if metadata.get("json_file", None) is None:
            raise ValueError(
                f"dataset {dataset_name!r} must have the path of a COCO JSON, 'json_file', in its "
                "metadata; register it from a dataset YAML"
            )
        root = metadata.get("image_root", None) or "."
        files = SplitFiles(dataset_name, Path(root), Path(metadata.json_file))
        # The records that are trained on are its own loader's, whatever the pictures say.
        return read_split(files, opens_pictures=False)
    return read_split(files)


def check_registered(dataset_name: str, depth_range: Sequence[float] = ()) -> list[str]:
    """Reads all annotations and the pictures' headers of a registered dataset.

    Args:
        dataset_name: of the dataset.
        depth_range: INPUT.DEPTH_RANGE.

    Returns:
        Which pictures are not read as they are, in words; empty for a dataset that others
        registered.

    Raises:
        ValueError: see `refuse_errors`; pictures that need a depth range; or what the loader of
            another's dataset raises.
    """
    metadata = MetadataCatalog.get(dataset_name)
    if metadata.get("split_files", None) is None:
        DatasetCatalog.get(dataset_name)
        return []
    split = refuse_errors(metadata.split_files, metadata.split_header)
    try:
        return split.converted_pictures.describe(depth_range)
    except ValueError as error:
        raise ValueError(f"{metadata.json_file}: {error}") from error


def _register_file(yaml_file: Path, needed: Collection[str] | None) -> list[str]:
    dataset = read_dataset_file(yaml_file)
    splits = {
        f"{dataset.name}_{split}": read_split(dataset.files_of(split)) for split in dataset.entries
    }
    for split in splits.values():
        if split.is_unreadable:
            raise ValueError(split.header_problems[0].text)
        refuse(split.header_problems, split.files.json_file, split.files.image_root)
    # All names are checked first, so that a refused file leaves nothing half registered.
    for name in splits:
        _check_name_is_free(name, dataset.path)
    for name, split in splits.items():
        _register(name, dataset.path, split)
        if needed is not None and name not in needed:
            split.forget_document()
    return list(splits)


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


def _register(dataset_name: str, yaml_file: Path, split: Split) -> None:
    files, header = split.files, split.header
    fields = {
        "dataset_file": str(yaml_file),
        "json_file": str(files.json_file),
        "image_root": str(files.image_root),
        "split_files": files,
        "split_header": header,
        "thing_classes": list(header.class_names),
        "thing_dataset_id_to_contiguous_id": header.contiguous_ids,
        "subcategory_spec": header.spec,
        "evaluator_type": "joint_coco",
    }
    if dataset_name in DatasetCatalog:
        metadata = MetadataCatalog.get(dataset_name)
        if all(metadata.get(key) == value for key, value in fields.items()):
            return
        DatasetCatalog.remove(dataset_name)
        MetadataCatalog.remove(dataset_name)
    DatasetCatalog.register(dataset_name, functools.partial(training_records, files, header))
    MetadataCatalog.get(dataset_name).set(**fields)
