"""Registers the datasets that a YAML describes with detectron2, without Python from the user."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path

import yaml
from detectron2.data import DatasetCatalog, MetadataCatalog

from mask2former_mt.dataset.conventions import Conventions
from mask2former_mt.dataset.document import Header
from mask2former_mt.dataset.map_split import (
    MapFiles,
    MapSplit,
    PanopticFiles,
    SemanticFiles,
    read_map_split,
)
from mask2former_mt.dataset.problems import refuse, warnings_text
from mask2former_mt.dataset.split import (
    Split,
    SplitFiles,
    log_once,
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
OTHER_KEYS = (*_OWN_KEYS, "classes", *_CONVENTION_KEYS)
# Paths of a split by its kind, which the second of them tells.
_PATH_KEYS = {
    "annotations": ("images", "annotations"),
    "semantic": ("images", "semantic"),
    "panoptic": ("images", "panoptic", "segments"),
}
# Those that are files, not folders.
_FILE_KEYS = ("annotations", "panoptic")
_MOST_IGNORED = 65_535
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
        class_names: what the numbers in maps of classes stand for, from 0 on.
    """

    path: Path
    name: str
    root: Path
    conventions: Conventions
    entries: Mapping[str, Mapping]
    class_names: tuple[str, ...] = ()

    def files_of(self, split: str) -> SplitFiles | MapFiles:
        """Where a split is.

        Args:
            split: one of `entries`.

        Raises:
            FileNotFoundError: its image folder or its annotation file does not exist.
            ValueError: a key that is missing, unknown or no path.
        """
        entry = self.entries[split]
        kind = next((key for key in _PATH_KEYS if key in entry), "annotations")
        path_keys = _PATH_KEYS[kind]
        known = [*path_keys, "ignore"] if kind == "semantic" else path_keys
        unknown = sorted(map(str, set(entry) - set(known)))
        if unknown:
            raise ValueError(
                f"{self.path}: unknown key '{split}.{unknown[0]}'; a split has 'images' and "
                "'annotations', 'semantic' and 'ignore', or 'panoptic' and 'segments'"
            )
        paths = [self._path_of(split, key) for key in path_keys]
        if kind == "annotations":
            return SplitFiles(split, *paths, self.conventions)
        if kind == "panoptic":
            image_root, json_file, map_root = paths
            return PanopticFiles(split, image_root, map_root, json_file)
        ignored = entry.get("ignore", 255)
        if type(ignored) is not int or not 0 <= ignored <= _MOST_IGNORED:
            raise ValueError(
                f"{self.path}: '{split}.ignore' must be the number of pixels that nothing is "
                f"learned from, 0 to {_MOST_IGNORED}, got {ignored!r}"
            )
        if not self.class_names:
            raise ValueError(
                f"{self.path}: '{split}.semantic' needs the names of the classes, from number 0 "
                "on; add 'classes: [road, tree]'"
            )
        return SemanticFiles(split, *paths, self.path, self.class_names, ignored)

    def _path_of(self, split: str, key: str) -> Path:
        entry = self.entries[split]
        if not isinstance(entry.get(key), str) or not entry[key]:
            raise ValueError(
                f"{self.path}: '{split}.{key}' must be a path, got "
                f"{repr(entry[key]) if key in entry else 'no such key'}"
            )
        path = self.root / entry[key]
        is_there, missing = path.is_dir(), "is not a folder"
        if key in _FILE_KEYS:
            is_there, missing = path.is_file(), "does not exist"
        if not is_there:
            raise FileNotFoundError(
                f"{self.path}: {split}.{key}: {path} {missing}; "
                "it is relative to 'root', which is relative to the YAML"
            )
        return path.resolve()


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
    root, class_names = yaml_file.parent / content["root"], content.get("classes", [])
    is_listed = isinstance(class_names, list) and all(
        isinstance(name, str) and name for name in class_names
    )
    if not is_listed or len(set(class_names)) < len(class_names):
        raise ValueError(
            f"{yaml_file}: 'classes' must be a list of different names, got {class_names!r}"
        )
    return DatasetFile(yaml_file, content["name"], root, conventions, entries, tuple(class_names))


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
    if metadata.get("map_files", None) is not None:
        split = _sound_map_split(metadata.map_files, metadata.split_header)
        file = split.files.label_file
    elif metadata.get("split_files", None) is not None:
        split = refuse_errors(metadata.split_files, metadata.split_header)
        file = metadata.json_file
    else:
        DatasetCatalog.get(dataset_name)
        return []
    try:
        return split.converted_pictures.describe(depth_range)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


def _register_file(yaml_file: Path, needed: Collection[str] | None) -> list[str]:
    dataset = read_dataset_file(yaml_file)
    files = {f"{dataset.name}_{split}": dataset.files_of(split) for split in dataset.entries}
    splits = {name: _read_header(split_files) for name, split_files in files.items()}
    # All names are checked first, so that a refused file leaves nothing half registered.
    for name in splits:
        _check_name_is_free(name, dataset.path)
    for name, split in splits.items():
        if isinstance(split, MapSplit):
            _register_maps(name, dataset.path, split)
            continue
        _register(name, dataset.path, split)
        if needed is not None and name not in needed:
            split.forget_document()
    return list(splits)


def _read_header(files: SplitFiles | MapFiles) -> Split | MapSplit:
    """The split, whose lists of labels can be used."""
    if not isinstance(files, SplitFiles):
        split = read_map_split(files)
        if split.header is None:
            refuse(split.problems, files.label_file, files.image_root)
        return split
    split = read_split(files)
    if split.is_unreadable:
        raise ValueError(split.header_problems[0].text)
    refuse(split.header_problems, files.json_file, files.image_root)
    return split


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
    records = functools.partial(training_records, files, header)
    _set_registered(dataset_name, fields, records)


def _register_maps(dataset_name: str, yaml_file: Path, split: MapSplit) -> None:
    """With the metadata of detectron2's own datasets of this kind."""
    files, header = split.files, split.header
    fields = {
        "dataset_file": str(yaml_file),
        "image_root": str(files.image_root),
        "map_files": files,
        "split_header": header,
        "stuff_classes": list(header.class_names),
        "subcategory_spec": header.spec,
    }
    if isinstance(files, SemanticFiles):
        fields |= {
            "sem_seg_root": str(files.map_root),
            "ignore_label": files.ignore_label,
            "evaluator_type": "sem_seg",
        }
    else:
        ids = header.contiguous_ids.items()
        fields |= {
            "panoptic_root": str(files.map_root),
            "panoptic_json": str(files.json_file),
            # As detectron2's panoptic datasets do, both lists have all classes, and the ids tell.
            "thing_classes": list(header.class_names),
            "thing_dataset_id_to_contiguous_id": {i: k for i, k in ids if k in split.things},
            "stuff_dataset_id_to_contiguous_id": {i: k for i, k in ids if k not in split.things},
            "ignore_label": 255,
            "label_divisor": 1000,
            "evaluator_type": "joint_panoptic",
        }
    _set_registered(dataset_name, fields, functools.partial(_map_records, files, header))


def _map_records(files: MapFiles, expected: Header) -> list[dict]:
    return list(_sound_map_split(files, expected).records)


def _sound_map_split(files: MapFiles, expected: Header) -> MapSplit:
    """The split, if training can use all of it; see `refuse_errors`."""
    split = read_map_split(files)
    if split.header is not None and split.header != expected:
        raise ValueError(
            f"{files.label_file}: its classes or subcategories changed since the dataset was "
            "registered; start again, so that the model is built for the new ones"
        )
    refuse(split.problems, files.label_file, files.image_root, len(split.records))
    log_once(warnings_text(split.problems, files.label_file, files.image_root))
    return split


def _set_registered(
    dataset_name: str, fields: Mapping[str, object], records: Callable[[], list[dict]]
) -> None:
    """Registers a dataset; one that is there with the same fields stays."""
    if dataset_name in DatasetCatalog:
        metadata = MetadataCatalog.get(dataset_name)
        if all(metadata.get(key) == value for key, value in fields.items()):
            return
        DatasetCatalog.remove(dataset_name)
        MetadataCatalog.remove(dataset_name)
    DatasetCatalog.register(dataset_name, records)
    MetadataCatalog.get(dataset_name).set(**fields)
