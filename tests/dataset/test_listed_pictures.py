"""Names and sizes that the JSON has wrong are the pictures' own, where that is certain."""

from __future__ import annotations

import re
import unicodedata

import pytest
from dataset_on_disk import DatasetOnDisk
from PIL import ExifTags, Image

from mask2former_mt.dataset.listed_pictures import find_pictures
from mask2former_mt.dataset.split import SplitFiles, read_split


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("/data/upload/3/a.jpg", "a.jpg"),
        ("images\\a.jpg", "a.jpg"),
        ("A.JPG", "a.jpg"),
        (unicodedata.normalize("NFD", "Müll.jpg"), "Müll.jpg"),
        ("x/left/b.jpg", "left/b.jpg"),
        ("b.jpg", None),  # in two folders
        ("c.jpg", None),  # nowhere
        ("x/taken.jpg", None),  # another name's
        ("", None),
    ],
)
def test_a_name_means_the_one_picture_that_it_can_mean(tmp_path, name, found):
    for path in ("a.jpg", "Müll.jpg", "left/b.jpg", "right/b.jpg", "taken.jpg"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).touch()
    expected = {} if found is None else {name: found}
    assert find_pictures(tmp_path, [name], {str(tmp_path / "taken.jpg")}) == expected


def test_two_names_are_never_one_picture(tmp_path):
    (tmp_path / "a.jpg").touch()
    assert find_pictures(tmp_path, ["1/a.jpg", "2/a.jpg"], set()) == {}


def read(dataset: DatasetOnDisk):
    files = SplitFiles("train", dataset.folder / "images", dataset.write_json())
    return read_split(files)


def test_a_picture_of_another_name_is_read_and_told(dataset):
    dataset.document["images"][0]["file_name"] = "C:\\data\\A.png"
    split = read(dataset)
    assert split.records[0]["file_name"] == str(dataset.folder / "images" / "a.png")
    (problem,) = split.image_problems
    assert (problem.severity, problem.kind, problem.image_id) == ("warning", "picture-name", 10)
    assert (
        "'C:\\\\data\\\\A.png': the one picture of this name, 'a.png', is read" in problem.message
    )


@pytest.mark.parametrize(
    "fields",
    [
        *({"height": side} for side in (None, 0, -30, "30", 30.0, float("nan"), 10**400)),
        {"height": 30, "width": True},
    ],
)
def test_a_size_that_is_none_is_the_pictures(dataset, fields):
    dataset.document["images"][0].update(fields)
    split = read(dataset)
    record = split.records[0]
    assert (record["height"], record["width"], len(record["annotations"])) == (30, 40, 2)
    (problem,) = split.problems
    assert (problem.severity, problem.kind, problem.image_id) == ("warning", "bad-image-entry", 10)
    assert re.search(
        "positive integers .*: the picture's own are taken, 30 and 40", problem.message
    )
    assert split.image_problems == []


# Of the picture, 40 wide and 30 high: a square of 10 pixels from x = 25 and y = 5 on.
RIGHT = [[25, 5, 35, 5, 35, 15, 25, 15]]
LEFT = [[5, 5, 15, 5, 15, 15, 5, 15]]


@pytest.mark.parametrize(
    ("said", "outline", "severity"),
    [
        # (height, width): exchanged, and the outline tells; or fits both ways.
        ((40, 30), RIGHT, "warning"),
        ((40, 30), LEFT, "warning"),
        # One side of one picture.
        ((30, 50), RIGHT, "warning"),
        # Too small for the outline.
        ((20, 30), RIGHT, "warning"),
        # Both sides: drawn on a picture of another size?
        ((60, 80), RIGHT, "error"),
        # Outside of the picture as it is.
        ((30, 60), [[45, 5, 55, 5, 55, 15]], "error"),
    ],
)
def test_the_outlines_decide_whether_a_size_is_wrong(dataset, said, outline, severity):
    image, _ = dataset.document["images"]
    image["height"], image["width"] = said
    del dataset.document["annotations"][1]
    annotation = dataset.document["annotations"][0]
    annotation.update(segmentation=outline, bbox=[25, 5, 10, 10] if outline is RIGHT else None)
    split = read(dataset)
    (problem,) = split.image_problems
    assert (problem.severity, problem.kind, problem.image_id) == (severity, "size-mismatch", 10)
    record = split.records[0]
    is_taken = severity == "warning"
    assert (record["height"], record["width"]) == ((30, 40) if is_taken else said)
    assert problem.message.endswith("which is taken") == is_taken


def test_where_most_pictures_have_another_height_they_were_stretched(dataset):
    for image in dataset.document["images"]:
        image["height"] = 60
    dataset.document["annotations"] = []
    assert [problem.severity for problem in read(dataset).image_problems] == ["error"] * 2


@pytest.mark.parametrize(
    ("outlines", "severity", "match"),
    [
        # The file is 40 x 30, upright it is 30 x 40, as which it is read.
        ([LEFT, LEFT], "warning", "turned upright as its EXIF .*; make sure that it was annotated"),
        # x = 35 is outside of it; what one picture shows holds for the other one, too.
        ([RIGHT, LEFT], "error", "as its EXIF data say, and was annotated as it is stored; save"),
    ],
)
def test_a_size_that_exif_data_exchange_is_named_as_such(dataset, outlines, severity, match):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # turned by 90 degrees
    for name in ("a.png", "b.png"):
        Image.new("RGB", (40, 30)).save(dataset.folder / "images" / name, exif=exif)
    square = dataset.document["annotations"][0]
    dataset.document["annotations"] = [
        {**square, "id": 10 + i, "image_id": 10 + i, "segmentation": outline}
        for i, outline in enumerate(outlines)
    ]
    problems = read(dataset).image_problems
    assert [(p.severity, p.kind) for p in problems] == [(severity, "size-mismatch")] * 2
    for problem in problems:
        assert re.search(f"the JSON says 40x30 .*, the file is 30x40 .*{match}", problem.text)
