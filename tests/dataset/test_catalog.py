"""Dataset YAMLs become detectron2 datasets, with subcategories and without any Python."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog, get_detection_dataset_dicts
from detectron2.structures import BoxMode
from PIL import Image

from mask2former_mt.data.mapper import MultiTaskInstanceMapper
from mask2former_mt.dataset import catalog
from mask2former_mt.label_lists import Labels
from mask2former_mt.structures import SubcategorySpec

EXAMPLE = Path(__file__).parents[2] / "datasets" / "example" / "example.yaml"


def test_a_yaml_registers_each_split_with_its_metadata(dataset):
    dataset.write_json("train")
    dataset.write_json("val")
    path = dataset.write_yaml(
        "name: tiny\nroot: .\n"
        "train: {images: images, annotations: train.json}\n"
        "val: {images: images, annotations: val.json}\n"
    )
    assert catalog.register_dataset_files([path]) == ["tiny_train", "tiny_val"]
    metadata = MetadataCatalog.get("tiny_val")
    assert metadata.name == "tiny_val"
    assert metadata.json_file == str(dataset.folder.resolve() / "val.json")
    assert metadata.image_root == str(dataset.folder.resolve() / "images")
    # Contiguous in the order of the ids 3, 7, 9, not of the list.
    assert metadata.thing_classes == ["cup", "cat", "dog"]
    assert metadata.thing_dataset_id_to_contiguous_id == {3: 0, 7: 1, 9: 2}
    assert metadata.evaluator_type == "joint_coco"
    assert metadata.subcategory_spec.to_json() == dataset.document["subcategories"]
    assert catalog.spec_of("tiny_train").num_classes == (2, 3)


def test_the_dicts_are_detectron2s_with_labels(dataset):
    dataset.write_json()
    catalog.register_dataset_files([dataset.write_yaml()])
    first, second = DatasetCatalog.get("tiny_train")
    assert (first["image_id"], first["height"], first["width"]) == (10, 30, 40)
    assert Path(first["file_name"]).is_file()
    polygon, rle = first["annotations"]
    assert polygon == {
        "id": 100,
        "bbox": [5, 5, 10, 10],
        "has_bbox": True,
        "bbox_mode": BoxMode.XYWH_ABS,
        "segmentation": [[5, 5, 15, 5, 15, 15, 5, 15]],
        "category_id": 1,
        "iscrowd": 0,
        "area": 100,
        # style: cartoon is value 1; ripeness: null is none, index K_s = 3.
        "subcategories": [1, 3],
    }
    # style: no key is unknown, -1; ripeness: written as index 1.
    assert rle["subcategories"] == [-1, 1]
    assert rle["category_id"] == 2
    assert rle["segmentation"]["size"] == [30, 40]
    # An image without objects stays, also where detectron2 is asked for the dicts.
    assert second["annotations"] == []
    assert len(get_detection_dataset_dicts("tiny_train", filter_empty=False)) == 2


def test_a_missing_box_is_taken_from_the_segmentation(dataset):
    for annotation in dataset.document["annotations"]:
        del annotation["bbox"]
    dataset.write_json()
    catalog.register_dataset_files([dataset.write_yaml()])
    polygon, rle = DatasetCatalog.get("tiny_train")[0]["annotations"]
    assert polygon["bbox"] == [5, 5, 10, 10]
    assert rle["bbox"] == [20.0, 0.0, 20.0, 30.0]


def test_a_plain_coco_file_has_an_empty_spec(dataset):
    del dataset.document["subcategories"]
    for annotation in dataset.document["annotations"]:
        del annotation["subcategories"]
    dataset.write_json()
    catalog.register_dataset_files([dataset.write_yaml()])
    assert catalog.spec_of("tiny_train") == SubcategorySpec()
    assert DatasetCatalog.get("tiny_train")[0]["annotations"][0]["subcategories"] == []


def test_spec_of_datasets_that_others_registered():
    DatasetCatalog.register("foreign", list)
    assert len(catalog.spec_of("foreign")) == 0
    with pytest.raises(ValueError, match=r"'no_such' is not registered; add its YAML to DATASETS"):
        catalog.spec_of("no_such")


def test_root_is_relative_to_the_yaml(dataset, monkeypatch, tmp_path):
    dataset.write_json()
    path = dataset.folder.parent / "tiny.yaml"
    path.write_text("name: tiny\nroot: tiny\ntrain: {images: images, annotations: train.json}\n")
    monkeypatch.chdir(tmp_path)
    assert catalog.register_dataset_files(["tiny.yaml"]) == ["tiny_train"]
    assert len(DatasetCatalog.get("tiny_train")) == 2


def test_a_changed_file_replaces_its_splits_and_an_unchanged_one_does_nothing(dataset):
    dataset.write_json()
    path = dataset.write_yaml()
    catalog.register_dataset_files([path])
    metadata = MetadataCatalog.get("tiny_train")
    assert catalog.register_dataset_files([path, path]) == ["tiny_train"]
    assert MetadataCatalog.get("tiny_train") is metadata
    dataset.document["categories"][0]["name"] = "kitten"
    dataset.write_json()
    catalog.register_dataset_files([path])
    assert MetadataCatalog.get("tiny_train").thing_classes == ["cup", "kitten", "dog"]


def test_a_json_that_changed_since_is_refused(dataset):
    dataset.write_json()
    catalog.register_dataset_files([dataset.write_yaml()])
    dataset.document["subcategories"][0]["values"].append("drawing")
    path = dataset.write_json()
    for ask in (DatasetCatalog.get, catalog.check_registered):
        with pytest.raises(
            ValueError, match=rf"{re.escape(path.name)}.*changed since.*start again"
        ):
            ask("tiny_train")


def test_a_name_registered_twice_names_both_files(dataset):
    dataset.write_json()
    first = dataset.write_yaml()
    second = shutil.copytree(dataset.folder, dataset.folder.parent / "copy") / "tiny.yaml"
    catalog.register_dataset_files([first])
    with pytest.raises(ValueError, match=rf"'tiny_train' of {second} is already .* by {first}"):
        catalog.register_dataset_files([second])


def test_a_name_that_detectron2_has_is_refused(dataset):
    dataset.write_json()
    assert "coco_2014_train" in DatasetCatalog
    path = dataset.write_yaml(
        "name: coco_2014\nroot: .\nother: {images: images, annotations: train.json}\n"
        "train: {images: images, annotations: train.json}\n"
    )
    with pytest.raises(ValueError, match=r"'coco_2014_train'.*already registered by detectron2"):
        catalog.register_dataset_files([path])
    assert "coco_2014_other" not in DatasetCatalog  # nothing is left half registered


SPLIT = "train: {images: images, annotations: train.json}\n"


@pytest.mark.parametrize(
    ("text", "error", "match"),
    [
        ("", ValueError, "must hold 'name', 'root' and splits.*got a NoneType"),
        ("- tiny\n", ValueError, "got a list"),
        ("name: [tiny\n", ValueError, "is not valid YAML"),
        (f"root: .\n{SPLIT}", ValueError, "'name' must be a text, got no such key"),
        (f"name: 7\nroot: .\n{SPLIT}", ValueError, "'name' must be a text, got 7"),
        (f"name: tiny\n{SPLIT}", ValueError, "'root' must be a text, got no such key"),
        ("name: tiny\nroot: .\n", ValueError, "names no split"),
        (f"name: tiny\nroot: .\nlabels: 3\n{SPLIT}", ValueError, "unknown key 'labels'.*got 3"),
        (
            "name: tiny\nroot: .\ntrain: {images: images, annotations: train.json, mask: m}\n",
            ValueError,
            "unknown key 'train.mask'",
        ),
        (
            "name: tiny\nroot: .\ntrain: {images: images}\n",
            ValueError,
            "'train.annotations' must be a path, got no such key",
        ),
        (
            "name: tiny\nroot: .\ntrain: {images: pictures, annotations: train.json}\n",
            FileNotFoundError,
            "train.images: .*pictures is not a folder",
        ),
        (
            "name: tiny\nroot: .\ntrain: {images: images, annotations: t.json}\n",
            FileNotFoundError,
            r"train.annotations: .*t\.json does not exist",
        ),
    ],
)
def test_a_yaml_that_is_wrong_is_named_with_its_key(dataset, text, error, match):
    dataset.write_json()
    path = dataset.write_yaml(text)
    with pytest.raises(error, match=f"{re.escape(str(path))}.*{match}"):
        catalog.register_dataset_files([path])


def test_a_missing_yaml_and_a_bare_path_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.yaml does not exist; DATASETS\.FILES"):
        catalog.register_dataset_files([tmp_path / "none.yaml"])
    with pytest.raises(ValueError, match=r"must be a list of dataset YAMLs, got 'a\.yaml'"):
        catalog.register_dataset_files("a.yaml")


def test_records_are_relabelled_by_name_whatever_the_order(dataset):
    dataset.write_json("train")
    # cup 3, cat 7, dog 9 become dog 1, cat 2, and style lists its values the other way round.
    dataset.document["categories"] = [{"id": 1, "name": "dog"}, {"id": 2, "name": "cat"}]
    dataset.document["subcategories"] = [{"name": "style", "values": ["cartoon", "photo"]}]
    cat, dog = dataset.document["annotations"]
    cat |= {"category_id": 2, "subcategories": {"style": "cartoon"}}
    dog |= {"category_id": 1, "subcategories": {"style": None}}
    dataset.write_json("val")
    val = "val: {images: images, annotations: val.json}\n"
    catalog.register_dataset_files([dataset.write_yaml(f"name: tiny\nroot: .\n{SPLIT}{val}")])
    labels = catalog.labels_of("tiny_train")
    assert labels.class_names == ("cup", "cat", "dog")

    to_train = catalog.map_onto(labels, "tiny_val", "the model")
    record, _ = catalog.relabelled(DatasetCatalog.get("tiny_val"), to_train)
    # cat and dog are 1 and 2 there; cartoon is 1, none 2; ripeness is listed in train only.
    assert [a["category_id"] for a in record["annotations"]] == [1, 2]
    assert [a["subcategories"] for a in record["annotations"]] == [[1, -1], [2, -1]]
    with pytest.raises(ValueError, match=r"dataset 'tiny_train' lists classes that .*\['cup'\]"):
        catalog.map_onto(catalog.labels_of("tiny_val"), "tiny_train", "the model")


def test_labels_of_datasets_that_others_registered():
    DatasetCatalog.register("by_hand", list)
    # "sky" is stuff: it has no id of a thing.
    MetadataCatalog.get("by_hand").set(
        thing_classes=["b", "sky", "a"], thing_dataset_id_to_contiguous_id={3: 2, 9: 0}
    )
    labels = catalog.labels_of("by_hand")
    assert labels == Labels(("b", "sky", "a"), SubcategorySpec(), (9, None, 3))


def test_the_example_dataset_registers_loads_and_maps():
    names = catalog.register_dataset_files([EXAMPLE])
    assert names == ["example_train", "example_val"]
    spec = catalog.spec_of("example_train")
    assert spec.names == ("material", "visible")
    dicts = [record for name in names for record in DatasetCatalog.get(name)]
    assert len(dicts) == 5
    annotations = [a for record in dicts for a in record["annotations"]]
    assert {a["category_id"] for a in annotations} == set(range(6))
    # material: unknown on the rocket, none on the cat, both values; visible: both values.
    assert {a["subcategories"][0] for a in annotations} == {-1, 0, 1, 2}
    assert {a["subcategories"][1] for a in annotations} == {0, 1}

    areas = {}
    for name in names:
        document = json.loads(Path(MetadataCatalog.get(name).json_file).read_text())
        areas.update({a["id"]: a["area"] for a in document["annotations"]})
    mapper = MultiTaskInstanceMapper(is_train=True, augmentations=[], image_format="RGB", spec=spec)
    for record in dicts:
        mapped = mapper(record)
        assert mapped["image"].shape == (3, record["height"], record["width"])
        assert len(mapped["instances"]) == len(record["annotations"])
        # The JSON's area is the polygon's own; only pixels along the outline differ from it.
        expected = [areas[a["id"]] for a in record["annotations"]]
        pixels = mapped["instances"].gt_masks.sum((1, 2)).tolist()
        assert pixels == pytest.approx(expected, rel=0.05)


def test_pictures_that_are_converted_are_told_and_those_that_need_a_range_are_refused(dataset):
    Image.new("I;16", (40, 30), 9).save(dataset.folder / "images" / "a.png")
    dataset.write_json()
    catalog.register_dataset_files([dataset.write_yaml()])
    (line,) = catalog.check_registered("tiny_train")
    assert line.startswith("1 pictures of 16-bit integers")
    # Whatever their names say.
    Image.new("F", (40, 30)).save(dataset.folder / "images" / "b.png", format="TIFF")
    dataset.document["info"] = "changed, and so read again"
    dataset.write_json()
    with pytest.raises(ValueError, match=r"train\.json: 1 pictures of floats .*set INPUT\.DEPTH"):
        catalog.check_registered("tiny_train")
    assert len(catalog.check_registered("tiny_train", [0, 1])) == 2
