"""Datasets with maps of classes or panoptic segments are registered as detectron2 has them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from map_datasets import panoptic_document, write_panoptic, write_picture, write_semantic
from PIL import Image

from mask2former_mt.dataset.catalog import check_registered, labels_of, register_dataset_files


def test_maps_of_classes_are_registered_as_detectron2s(tmp_path):
    assert register_dataset_files([write_semantic(tmp_path)]) == ["streets_train"]
    metadata = MetadataCatalog.get("streets_train")
    assert metadata.stuff_classes == ["road", "tree", "sky"]
    assert (metadata.ignore_label, metadata.evaluator_type) == (255, "sem_seg")
    assert labels_of("streets_train").class_names == ("road", "tree", "sky")
    first, second = DatasetCatalog.get("streets_train")
    assert first == {
        "file_name": str(tmp_path / "images" / "a.bmp"),
        "sem_seg_file_name": str(tmp_path / "maps" / "a.png"),
        "image_id": 1,
        "height": 3,
        "width": 4,
        "ignore_label": 255,
        "semantic_classes": (0, 1, 2),
    }
    assert second["sem_seg_file_name"] == str(tmp_path / "maps" / "deep" / "b.png")
    assert check_registered("streets_train") == []


def test_panoptic_segments_are_registered_with_their_labels(tmp_path):
    register_dataset_files([write_panoptic(tmp_path)])
    metadata = MetadataCatalog.get("garden_train")
    assert metadata.thing_classes == metadata.stuff_classes == ["cat", "grass"]
    assert metadata.thing_dataset_id_to_contiguous_id == {5: 0}
    assert metadata.stuff_dataset_id_to_contiguous_id == {8: 1}
    assert metadata.evaluator_type == "joint_panoptic"
    assert labels_of("garden_train").spec.names == ("style",)
    record, _ = DatasetCatalog.get("garden_train")
    assert record["pan_seg_file_name"] == str(tmp_path / "maps" / "1_map.png")
    segments = [
        (s["id"], s["category_id"], s["isthing"], s["iscrowd"], s["subcategories"])
        for s in record["segments_info"]
    ]
    # photo is 0, unknown -1; grass has no style, which is none: 2.
    assert segments == [(300, 0, True, 0, [0]), (65537, 1, False, 0, [2]), (7, 0, True, 1, [-1])]


def _refusal(yaml_file: Path) -> str:
    (name,) = register_dataset_files([yaml_file])
    with pytest.raises(ValueError, match="problem") as error:
        check_registered(name)
    return str(error.value)


def _remove_map(folder: Path) -> None:
    os.remove(folder / "maps" / "a.png")


def _remove_picture(folder: Path) -> None:
    os.remove(folder / "images" / "a.bmp")


def _enlarge_map(folder: Path) -> None:
    Image.new("L", (5, 3)).save(folder / "maps" / "a.png")


def _damage_map(folder: Path) -> None:
    (folder / "maps" / "a.png").write_bytes(b"\x89PNG")


def _add_second_picture(folder: Path) -> None:
    write_picture(folder / "images" / "a.png")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (_remove_map, "image 1 (../maps/a.png): the file does not exist"),
        (_remove_picture, "missing from"),
        (_enlarge_map, "the map is 5x3 (width x height), its picture 4x3"),
        (_damage_map, "a.png cannot be read"),
        (_add_second_picture, "several files of one name, ['a.bmp', 'a.png']"),
    ],
)
def test_maps_of_classes_that_do_not_fit_are_refused(tmp_path, change, expected):
    yaml_file = write_semantic(tmp_path)
    change(tmp_path)
    assert expected in _refusal(yaml_file)


@pytest.mark.parametrize(
    ("place", "value", "expected"),
    [
        (("annotations", 0, "segments_info", 0, "category_id"), 6, "segment 300: category_id 6"),
        (("annotations", 0, "segments_info", 0, "id"), 0, "an id of its own, 1 to 16777215, got 0"),
        (("annotations", 0, "segments_info", 0, "id"), 7, "an id of its own"),
        (("annotations", 0, "segments_info"), None, "must be a list of segments, got None"),
        (("annotations", 0, "segments_info", 1, "subcategories"), {"style": "photo"}, "segment 65"),
        (("annotations", 0, "file_name"), "other.png", "(../maps/other.png): the file does not"),
        (("annotations", 0, "image_id"), 9, "image_id 9 is not listed"),
        (("images", 0, "file_name"), "other.png", "1 of 2 image files are missing"),
        (("categories", 0, "isthing"), None, "class 'cat' must have 'isthing'"),
    ],
)
def test_a_panoptic_json_that_does_not_fit_is_refused(tmp_path, place, value, expected):
    document = panoptic_document()
    *way, last = place
    entry = document
    for step in way:
        entry = entry[step]
    entry[last] = value
    assert expected in _refusal(write_panoptic(tmp_path, document))


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("train: {images: images, semantic: maps}", "needs the names of the classes"),
        ("classes: [a, a]\ntrain: {images: images, semantic: maps}", "list of different names"),
        ("classes: [a]\ntrain: {images: images, semantic: maps, ignore: x}", "train.ignore"),
        ("train: {images: images, panoptic: maps, segments: maps}", "maps does not exist"),
        ("train: {images: images, panoptic: a, annotations: b}", "unknown key 'train.panoptic'"),
    ],
)
def test_a_yaml_of_another_form_is_refused(tmp_path, text, match):
    write_semantic(tmp_path).write_text(f"name: streets\nroot: .\n{text}\n")
    with pytest.raises((ValueError, FileNotFoundError), match=match):
        register_dataset_files([tmp_path / "streets.yaml"])
