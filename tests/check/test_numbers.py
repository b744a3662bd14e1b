"""What is counted, what the counts say about the labels, and what is suggested."""

from __future__ import annotations

import io
import tracemalloc

import numpy as np
import pytest
from dataset_to_check import (
    HEADER,
    WARNING,
    check,
    image_entry,
    kinds_of,
    polygon_annotation,
    rle_annotation,
    the_one,
)
from PIL import Image

from mask2former_mt.check.check import check_dataset
from mask2former_mt.dataset.problems import KINDS


def test_what_is_never_seen_and_never_varies_is_told(dataset):
    dataset.train["categories"].append({"id": 12, "name": "owl"})
    dataset.documents["val"]["categories"].append({"id": 12, "name": "owl"})
    dataset.train["annotations"][1]["subcategories"] = {"style": "photo"}
    dataset.documents["val"]["annotations"][0]["subcategories"] = {"style": "cartoon"}
    messages = {(f.kind, f.text) for f in check(dataset).problems}
    text = "\n".join(f"{kind}: {message}" for kind, message in sorted(messages))
    assert {kind for kind, _ in messages} == {
        "class-never-seen",
        "value-never-seen",
        "label-never-varies",
    }
    assert "class 'owl' has no object in split 'train'; add pictures" in text
    assert "value 'cartoon' of subcategory 'style' has no object in split 'train', but 1 in" in text
    # ripeness: green and none are left, so it varies; brown is not there any more.
    assert "value 'brown' of subcategory 'ripeness'" in text
    assert "all 2 labels of subcategory 'style' in split 'train' are 'photo'" in text


def test_a_subcategory_without_a_label_is_told_once(dataset):
    for annotation in dataset.train["annotations"]:
        annotation["subcategories"].pop("style", None)
    finding = the_one(check(dataset), "value-never-seen")
    assert "no object of split 'train' has a label of subcategory 'style'" in finding.text


def test_a_plain_coco_file_without_annotations_is_checked(dataset):
    for document in dataset.documents.values():
        document.pop("subcategories")
        document["annotations"] = []
    assert kinds_of(check(dataset)) == [(WARNING, "class-never-seen")]


def test_numbers_are_counted(dataset):
    dataset.train["annotations"].append(rle_annotation(104, 11, iscrowd=1))
    flat = np.zeros((30, 40, 3), np.uint8)
    flat[...] = (10, 20, 30)
    Image.fromarray(flat).save(dataset.image("train", "a.png"))
    flat[...] = (30, 20, 10)
    Image.fromarray(flat).save(dataset.image("train", "b.png"))
    result = check(dataset)
    numbers = result.statistics["train"].to_json()
    assert numbers["images"] == numbers["images_decoded"] == 2
    assert numbers["instances"] == 3
    assert numbers["crowds"] == 1
    assert numbers["instances_per_class"] == {"cat": 2, "dog": 1}
    style, ripeness = numbers["subcategories"]
    assert style["instances_per_value"] == {"photo": 1, "cartoon": 1}
    assert style["share_unknown"] == pytest.approx(1 / 3)
    assert ripeness["share_none"] == pytest.approx(1 / 3)
    # Rows cat and dog; columns photo, cartoon, none, unknown.
    assert style["class_by_value"] == [[1, 0, 0, 1], [0, 1, 0, 0]]
    # Red is 10 in one picture and 30 in the other: mean 20, deviation 10.
    assert numbers["colour_mean_rgb"] == [20, 20, 20]
    assert numbers["colour_std_rgb"] == [10, 0, 10]
    assert numbers["instances_per_image"]["mean"] == 1.5


def test_settings_are_suggested_from_the_training_split(dataset):
    dataset.train["annotations"] += [
        polygon_annotation(200 + i, 10, segmentation=[[i, 1, i + 5, 1, i + 5, 9, i, 9]])
        for i in range(30)
    ]
    for annotation in dataset.train["annotations"][3:]:
        annotation.pop("bbox")
        annotation.pop("area")
    settings = {}
    for suggestion in check(dataset).suggestions:
        settings.update(suggestion.settings)
    assert settings["INPUT.FORMAT"] == "RGB"
    # Noise over 0..255: mean 127.5, deviation 255 / sqrt(12) = 73.6.
    assert settings["MODEL.PIXEL_MEAN"] == pytest.approx([127.5] * 3, abs=6)
    assert settings["MODEL.PIXEL_STD"] == pytest.approx([73.6] * 3, abs=4)
    # 32 and 1 objects: of two numbers 99 % is 1 + 0.99 * 31 = 31.69; twice that is 63.4, so 70.
    assert settings["MODEL.MASK_FORMER.NUM_OBJECT_QUERIES"] == 70
    # Most are 5 x 8 pixels, sqrt(40) / 30 = 0.21 of the short side: 16 / 0.21 = 76 would do, but
    # twice the short side is 60, and 64 the next multiple of 32.
    assert settings["INPUT.MIN_SIZE_TEST"] == 64


def test_reduced_decoding_keeps_mean_and_nearly_the_deviation(dataset):
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (60, 80, 3), dtype=np.uint8)
    pixels = np.asarray(Image.fromarray(coarse).resize((640, 480)))
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(dataset.image("train", "a.jpg"), quality=95)
    Image.fromarray(pixels).save(buffer, "JPEG", quality=95)
    dataset.train["images"] = [{"id": 10, "file_name": "a.jpg", "height": 480, "width": 640}]
    dataset.train["annotations"] = [polygon_annotation(100, 10)]
    mean, deviation = check(dataset).statistics["train"].colours
    expected = np.asarray(Image.open(buffer)).reshape(-1, 3)
    np.testing.assert_allclose(mean, expected.mean(axis=0), atol=0.3)
    np.testing.assert_allclose(deviation, expected.std(axis=0), rtol=0.03)


def test_any_number_of_workers_finds_the_same(dataset):
    dataset.train["images"] += [image_entry(20 + i, f"{i}.png") for i in range(50)]
    results = [check(dataset, num_workers=n).problems for n in (1, 2, 7)]
    assert results[0] == results[1] == results[2]
    assert len(results[0]) == 50


def test_every_kind_is_described():
    assert all(KINDS.values())
    assert HEADER["categories"]


def test_memory_does_not_grow_with_the_pictures(dataset):
    path = dataset.image("train", "large.png")
    dataset.write_image(path, seed=1, size=(480, 640))
    entry = {"file_name": path.name, "height": 480, "width": 640}
    dataset.train["images"] = [{"id": i, **entry} for i in range(200)]
    dataset.train["annotations"] = [polygon_annotation(i, i) for i in range(200)]
    dataset.write()
    tracemalloc.start()
    check_dataset(dataset.yaml, num_workers=2, show_progress=False)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # A decoded picture has 480 * 640 * 3 = 0.92 MB; all 200 of them would be 184 MB.
    assert peak < 40e6
