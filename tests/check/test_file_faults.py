"""Each kind of faulty file, list and entry is found, and does not hide the others."""

from __future__ import annotations

import re
import shutil

import pytest
from dataset_to_check import (
    ERROR,
    WARNING,
    check,
    image_entry,
    kinds_of,
    the_one,
)
from PIL import ExifTags, Image

from mask2former_mt.check.check import check_dataset


def write_bytes(content):
    return lambda dataset: dataset.image("train", "a.png").write_bytes(content)


def truncate(dataset):
    write_bytes(dataset.image("train", "a.png").read_bytes()[:-500])(dataset)


def truncate_jpeg(dataset):
    path = dataset.image("train", "a.jpg")
    dataset.write_image(path, size=(480, 640))
    path.write_bytes(path.read_bytes()[:-2000])
    dataset.train["images"][0] = image_entry(10, "a.jpg", 480, 640)


def rewrite(size, orientation=1):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return lambda d: d.write_image(d.image("train", "a.png"), size=size, exif=exif)


def change_entry(**fields):
    return lambda dataset: dataset.train["images"][0].update(fields)


def list_again(image_id):
    return lambda dataset: dataset.train["images"].append(image_entry(image_id, "a.png"))


def copy_a_to(split, name):
    return lambda dataset: shutil.copy(dataset.image("train", "a.png"), dataset.image(split, name))


IS_TURNED = "turned by 90 degrees .EXIF orientation 6.*save it upright"
WARNINGS = ("exif-rotation", "duplicate-image")


@pytest.mark.parametrize(
    ("change", "kind", "match"),
    [
        (lambda d: d.image("train", "a.png").unlink(), "missing-image", "does not exist; check"),
        (change_entry(file_name="\0\ud800"), "missing-image", "does not exist"),
        (write_bytes(b"no picture"), "unreadable-image", "cannot be read as an image"),
        (write_bytes(b""), "unreadable-image", "cannot be read as an image"),
        (truncate, "truncated-image", "decoded to its end.*put the whole file back"),
        (truncate_jpeg, "truncated-image", "cannot be decoded to its end"),
        (rewrite((40, 30), orientation=6), "exif-rotation", IS_TURNED),
        (rewrite((30, 40), orientation=6), "exif-rotation", IS_TURNED),
        (rewrite((30, 40), orientation=6), "size-mismatch", "the file is 30x40 once it is turned"),
        (rewrite((31, 41)), "size-mismatch", "says 40x30 .*, the file is 41x31; correct the JSON"),
        (copy_a_to("train", "b.png"), "duplicate-image", "in split 'train' as .*list it once"),
        (list_again(12), "duplicate-image", "listed twice, first as image 10; list it once"),
        (
            copy_a_to("val", "c.png"),
            "leakage",
            "'train' as .*a.png.*remove it from 'val' or 'train",
        ),
        (list_again(11), "duplicate-image-id", "image id 11 is used twice"),
        (change_entry(file_name=None), "bad-image-entry", "file_name"),
        (lambda d: d.train["images"][0].pop("id"), "bad-image-entry", 'integer "id"'),
        (
            lambda d: d.train.update(images=[], annotations=[]),
            "bad-annotation-file",
            "'images' is empty",
        ),
    ],
)
def test_a_faulty_file_or_entry_is_named(dataset, change, kind, match):
    change(dataset)
    result = check(dataset)
    problem = next(problem for problem in result.problems if problem.kind == kind)
    assert problem.severity == (WARNING if kind in WARNINGS else ERROR)
    assert re.search(match, problem.text), problem
    assert not dataset.is_refused() or result.exit_code == 2


def test_without_reading_contents_only_paths_are_compared(dataset):
    copy_a_to("val", "c.png")(dataset)
    assert check(dataset, by_content=False).problems == []
    dataset.documents["val"]["images"][0]["file_name"] = "../train/a.png"
    assert kinds_of(check(dataset, by_content=False)) == [(ERROR, "leakage")]


@pytest.mark.parametrize(
    ("change", "kind", "match"),
    [
        (lambda d: d["categories"].append(d["categories"][0]), "bad-categories", "listed twice"),
        (lambda d: d["subcategories"][0].update(values=[]), "bad-categories", "has 0 values"),
    ],
)
def test_faulty_lists_are_named_and_the_rest_is_checked(dataset, change, kind, match):
    change(dataset.train)
    dataset.image("train", "a.png").unlink()
    dataset.train["annotations"][2]["segmentation"] = [[1, 1, 2, 2]]
    result = check(dataset)
    assert re.search(match, the_one(result, kind).text)
    assert the_one(result, "missing-image").image_id == 10
    assert the_one(result, "too-few-points").annotation_id == 102


def test_labels_that_only_another_split_lists_are_named(dataset):
    """Fewer labels, other ids and another order are no fault: they are known by their names."""
    documents = dataset.documents
    documents["val"]["categories"].append({"id": 8, "name": "x"})
    problem = the_one(check(dataset), "splits-differ")
    assert problem.file == str(dataset.json_file("val"))
    assert re.search(
        r"split 'val' lists classes that split 'train' does not: \['x'\]", problem.text
    )
    documents["train"]["categories"].insert(0, {"id": 8, "name": "x"})
    documents["val"]["categories"].pop()
    documents["val"]["subcategories"].reverse()
    assert "splits-differ" not in {kind for _, kind in kinds_of(check(dataset))}


def test_a_split_whose_subcategory_is_of_other_classes_is_told(dataset):
    for annotation in dataset.train["annotations"]:
        annotation["category_id"] = 7
    dataset.train["subcategories"][0]["applies_to"] = ["cat"]
    problem = the_one(check(dataset), "splits-differ")
    assert (problem.severity, problem.file) == (WARNING, str(dataset.json_file("val")))
    assert (
        r"whether subcategory 'style' applies to ['dog'] differs in split 'val' and split 'train'"
    ) in problem.text
    dataset.documents["val"]["subcategories"][0]["applies_to"] = ["cat"]
    assert "splits-differ" not in {kind for _, kind in kinds_of(check(dataset))}


def test_training_splits_that_exchange_other_values_are_told(dataset):
    for document, partner in zip(dataset.documents.values(), ("right", "top"), strict=True):
        values = ["left", "right", "top"]
        flip = {"left": partner}
        document["subcategories"] = [{"name": "side", "values": values, "flip": flip}]
        for annotation in document["annotations"]:
            annotation["subcategories"] = {"side": "left"}
    dataset.write()
    dataset.yaml.write_text(dataset.yaml.read_text().replace("\nval:", "\ntrain_more:"))
    problem = the_one(check_dataset(dataset.yaml), "splits-differ")
    assert "'flip' exchanges 'left' with 'right' and with 'top'" in problem.text


# tests/dataset has more of them.
@pytest.mark.parametrize("content", [b'{"images": [', b"[" * 100_000, b"[]"])
def test_a_broken_json_is_one_problem_and_the_other_split_is_checked(dataset, content):
    dataset.documents["val"]["annotations"][0]["category_id"] = 8
    dataset.write()
    dataset.json_file("train").write_bytes(content)
    result = check_dataset(dataset.yaml)
    assert the_one(result, "bad-annotation-file").file == str(dataset.json_file("train"))
    assert the_one(result, "unknown-category").annotation_id == 1
    assert result.exit_code == 2


def test_one_bad_split_does_not_hide_the_other(dataset):
    dataset.write()
    dataset.json_file("val").unlink()
    dataset.image("train", "b.png").unlink()
    result = check_dataset(dataset.yaml)
    assert kinds_of(result) == [(ERROR, "bad-dataset-file"), (ERROR, "missing-image")]
    problem = the_one(result, "bad-dataset-file")
    assert problem.file == str(dataset.yaml)
    assert "val.json does not exist" in problem.text
