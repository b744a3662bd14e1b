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
    polygon_annotation,
    the_one,
)
from PIL import Image

from mask2former_mt.check.check import check_dataset


def truncate(dataset):
    path = dataset.image("train", "a.png")
    path.write_bytes(path.read_bytes()[:-500])


def truncate_jpeg(dataset):
    path = dataset.image("train", "a.jpg")
    dataset.write_image(path, seed=5, size=(480, 640), format="JPEG")
    path.write_bytes(path.read_bytes()[:-2000])
    dataset.train["images"][0].update(file_name="a.jpg", height=480, width=640)
    dataset.train["annotations"] = [polygon_annotation(100, 10), *dataset.train["annotations"][2:]]


def rotate(dataset, size):
    exif = Image.Exif()
    exif[0x0112] = 6
    dataset.write_image(dataset.image("train", "a.png"), seed=0, size=size, exif=exif)


def write_bytes(content):
    return lambda dataset: dataset.image("train", "a.png").write_bytes(content)


def change_entry(**fields):
    return lambda dataset: dataset.train["images"][0].update(fields)


def list_again(image_id):
    return lambda dataset: dataset.train["images"].append(image_entry(image_id, "a.png"))


def copy_a_to(split, name):
    return lambda dataset: shutil.copy(dataset.image("train", "a.png"), dataset.image(split, name))


IS_TURNED = "turned by 90 degrees .EXIF orientation 6.*save it upright"
FILE_FAULTS = [
    (lambda d: d.image("train", "a.png").unlink(), ERROR, "missing-image", "does not exist; check"),
    (write_bytes(b"no picture"), ERROR, "unreadable-image", "cannot be read as an image"),
    (write_bytes(b""), ERROR, "unreadable-image", "cannot be read as an image"),
    (truncate, ERROR, "truncated-image", "cannot be decoded to its end.*put the whole file back"),
    (truncate_jpeg, ERROR, "truncated-image", "cannot be decoded to its end"),
    (lambda d: rotate(d, (40, 30)), WARNING, "exif-rotation", IS_TURNED),
    (lambda d: rotate(d, (30, 40)), WARNING, "exif-rotation", IS_TURNED),
    (lambda d: rotate(d, (30, 40)), ERROR, "size-mismatch", "the file is 30x40 once it is turned"),
    (
        lambda d: d.write_image(d.image("train", "a.png"), seed=0, size=(30, 41)),
        ERROR,
        "size-mismatch",
        "the JSON says 40x30 .*, the file is 41x30; correct the JSON",
    ),
    (copy_a_to("train", "b.png"), WARNING, "duplicate-image", "in split 'train' as .*list it once"),
    (list_again(12), WARNING, "duplicate-image", "listed twice, first as image 10; list it once"),
    (
        copy_a_to("val", "c.png"),
        ERROR,
        "leakage",
        "is in split 'train' as .*a.png.*remove it from 'val' or 'train'",
    ),
    (list_again(11), ERROR, "duplicate-image-id", "image id 11 is used twice"),
    (change_entry(height=0), ERROR, "bad-image-entry", "must be positive integers"),
    (change_entry(height=10**300), ERROR, "bad-image-entry", "must be positive integers"),
    (change_entry(file_name=None), ERROR, "bad-image-entry", "file_name"),
    (lambda d: d.train["images"][0].pop("id"), ERROR, "bad-image-entry", 'integer "id"'),
    (change_entry(file_name="\0\ud800"), ERROR, "missing-image", "does not exist"),
    (
        lambda d: d.train.update(images=[], annotations=[]),
        ERROR,
        "bad-annotation-file",
        "'images' is empty",
    ),
]


@pytest.mark.parametrize(("change", "severity", "kind", "match"), FILE_FAULTS)
def test_a_faulty_file_or_entry_is_named(dataset, change, severity, kind, match):
    change(dataset)
    result = check(dataset)
    found = [f for f in result.problems if (f.severity, f.kind) == (severity, kind)]
    assert found, result.problems
    assert re.search(match, found[0].text), found[0]
    assert not dataset.is_refused() or result.exit_code == 2


def test_without_reading_contents_only_paths_are_compared(dataset):
    shutil.copy(dataset.image("train", "a.png"), dataset.image("val", "c.png"))
    assert check(dataset, by_content=False).problems == []
    dataset.documents["val"]["images"][0]["file_name"] = "../train/a.png"
    assert kinds_of(check(dataset, by_content=False)) == [(ERROR, "leakage")]


@pytest.mark.parametrize(
    ("change", "kind", "match"),
    [
        (
            lambda d: d["categories"].append({"id": 7, "name": "x"}),
            "bad-categories",
            "listed twice",
        ),
        (lambda d: d["subcategories"][0].update(values=[]), "bad-categories", "has 0 values"),
        (lambda d: d["categories"].append({"id": 8, "name": "x"}), "splits-differ", "the same"),
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


# tests/dataset has more of them.
@pytest.mark.parametrize(
    "content", [b'{"images": [', b"[" * 100_000, b'{"images": [' + b"9" * 5000 + b"]}", b"[]"]
)
def test_a_broken_json_is_one_problem_and_the_other_split_is_checked(dataset, content):
    dataset.documents["val"]["annotations"][0]["category_id"] = 8
    dataset.write()
    dataset.json_file("train").write_bytes(content)
    result = check_dataset(dataset.yaml, show_progress=False)
    problem = the_one(result, "bad-annotation-file")
    assert problem.file == str(dataset.json_file("train"))
    assert the_one(result, "unknown-category").annotation_id == 1
    assert result.exit_code == 2


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"{", "not valid YAML"),
        (b"name: tiny\nroot: .\n", "names no split"),
        (b"name: tiny\nroot: .\ntrain: {images: train, annotations: x.json}\n", "does not exist"),
        (None, "does not exist"),
    ],
)
def test_a_broken_yaml_is_one_problem(dataset, content, match):
    dataset.write()
    if content is None:
        dataset.yaml.unlink()
    else:
        dataset.yaml.write_bytes(content)
    result = check_dataset(dataset.yaml, show_progress=False)
    assert re.search(match, the_one(result, "bad-dataset-file").text)
    assert kinds_of(result) == [(ERROR, "bad-dataset-file")]


def test_one_bad_split_does_not_hide_the_other(dataset):
    dataset.write()
    dataset.json_file("val").unlink()
    dataset.image("train", "b.png").unlink()
    result = check_dataset(dataset.yaml, show_progress=False)
    assert kinds_of(result) == [(ERROR, "bad-dataset-file"), (ERROR, "missing-image")]
