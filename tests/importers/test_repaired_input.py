"""An import repairs what check_dataset.py --write-clean repairs, and says so."""

from __future__ import annotations

import codecs
import json

import pytest
from importer_scenes import RIGHT, SQUARE, Case, Thing, cvat_attributes, views, write_coco

from mask2former_mt.check.check import check_dataset

# x from 4 to 24, y from 10 to 30.
BOX, HOLE = [4, 10, 20, 20], [8, 14, 20, 14, 20, 26, 8, 26]


@pytest.fixture
def cvat(tmp_path) -> Case:
    """The scene as CVAT writes it; val has one picture, 64 x 48, with a square first."""
    scene = views()
    scene["val"][0].things.append(Thing("cat", [RIGHT], "red"))
    return Case("coco", tmp_path / "out", *write_coco(tmp_path / "in", scene, cvat_attributes))


def as_text(document: dict) -> None:
    for entry in (*document["images"], *document["categories"], *document["annotations"]):
        for key in {"id", "image_id", "category_id"} & set(entry):
            entry[key] = str(entry[key])


def of_first(**fields):
    return lambda document: document["annotations"][0].update(fields)


def of_picture(**fields):
    return lambda document: document["images"][0].update(fields)


def with_root(document: dict, name: str = "animals") -> None:
    for category in document["categories"]:
        category["supercategory"] = name
    document["categories"].insert(0, {"id": 0, "name": name, "supercategory": "none"})


def with_root_named_as_a_class(document: dict) -> None:
    with_root(document, "cat")


@pytest.mark.parametrize(
    ("change", "note"),
    [
        (as_text, "id that was written as text: the integer"),
        (lambda d: d["annotations"][1].update(id=5), "missing or used twice: a new one"),
        (of_first(id=None), "missing or used twice: a new one"),
        (lambda d: d["images"].append(d["images"][0]), "there twice: left in once"),
        (of_picture(height=None, width="64"), "size of a picture that was missing or wrong"),
        (of_picture(height=64, width=48), "size of a picture that was missing or wrong"),
        (of_picture(file_name="/data/upload/3/v.png"), "name of a picture: as its file"),
        (of_picture(file_name="C:\\data\\V.png"), "name of a picture: as its file"),
        (of_first(bbox=[4, 10, 24, 30]), "bbox that did not fit the mask"),
        (of_first(bbox=["4", 10, 24, 30]), "bbox that did not fit the mask"),
        (of_first(area=20), "area that did not fit the mask"),
        (of_first(iscrowd="no"), "iscrowd: as the dataset means it"),
        (of_first(segmentation=[SQUARE, [1, 1, 9, 9]]), "without 3 points or without area"),
        (of_first(segmentation=[SQUARE, [], [1, 1, 2, 2, 3, 3]]), "without 3 points or without"),
        (of_first(segmentation=SQUARE), "outline that was no list of polygons"),
        (with_root, "left out category 'animals', which has no object"),
        (with_root_named_as_a_class, "left out category 'cat', which has no object"),
    ],
)
def test_a_sound_outline_is_kept_and_the_repair_is_told(cvat, change, note):
    is_of_classes = change in (with_root, with_root_named_as_a_class)
    for split in cvat.inputs if is_of_classes else ("val",):
        cvat.edit(split, change)
    done = cvat.run()
    assert done.num_classes == 2
    assert any(note in told for told in done.notes), done.notes
    assert done.num_instances == {"train": 3, "val": 2}
    document = cvat.document("val")
    assert [entry["name"] for entry in document["categories"]] == ["cat", "dog"]
    assert document["images"] == [{"id": 7, "file_name": "v.png", "height": 48, "width": 64}]
    first = next(entry for entry in document["annotations"] if entry["segmentation"] == [SQUARE])
    assert (first["bbox"], first["area"], first["iscrowd"]) == (BOX, 400, 0)
    # Nothing is left to tell of what was repaired.
    kinds = {problem.kind for problem in check_dataset(cvat.out / "tiny.yaml").problems}
    assert not kinds & {
        *("id-as-text", "duplicate-annotation-id", "bad-image-entry", "size-mismatch", "bad-box"),
        *("picture-name", "box-unlike-mask", "area-unlike-mask", "bad-crowd-mark", "bad-polygon"),
        *("too-few-points", "zero-area", "root-category"),
    }


def test_a_byte_order_mark_is_read(cvat):
    file = cvat.inputs["val"]
    file.write_bytes(codecs.BOM_UTF8 + json.dumps(json.loads(file.read_text())).encode())
    assert cvat.run().num_instances == {"train": 3, "val": 2}


def test_holes_are_told_of_and_cut_out_on_request(cvat):
    cvat.edit("val", of_first(segmentation=[SQUARE, HOLE]))
    note = "1 objects have a polygon inside another one, which COCO fills"
    assert any(note in told for told in cvat.run().notes)
    done = cvat.run(holes="even-odd")
    assert not any(note in told for told in done.notes)
    assert any("1 x polygon inside another one: joined" in told for told in done.notes)
    # 20 x 20 pixels without 12 x 12.
    masks = [int(mask.sum()) for _, mask, _ in cvat.load()["val"]["v.png"]]
    assert 400 - 144 in masks


def test_pictures_that_are_not_where_they_were_said_to_be(cvat):
    cvat.edit("val", of_picture(file_name="w.png"))
    cvat.refuses(r"1 of 1 pictures are missing from .*: w.png; none has this name")
