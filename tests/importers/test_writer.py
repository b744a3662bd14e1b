"""Written whole or not at all, and never over an input; each input is read once."""

from __future__ import annotations

import collections
import json
import os
import time
from pathlib import Path

import numpy as np
import pycocotools.mask as mask_util
import pytest
import yaml
from importer_scenes import (
    ELL,
    Thing,
    View,
    check_masks_and_classes,
    coco_document,
    cvat_attributes,
    edit,
    load,
    save_picture,
    views,
    write_coco,
    write_format,
    write_yolo,
)
from mask2former_mt.importers.dataset_import import FORMATS, by_split, import_dataset
from PIL import Image


@pytest.fixture
def cvat(tmp_path):
    """A written dataset: (inputs, images)."""
    return write_coco(tmp_path / "in", views(), cvat_attributes)


def run(cvat, output, **kwargs):
    inputs, images = cvat
    return import_dataset("coco", inputs, output, images=images, dataset_name="tiny", **kwargs)


def test_the_yaml_stands_on_relative_paths(cvat, tmp_path):
    done = run(cvat, tmp_path / "deep" / "out")
    assert [file.name for file in done.files] == ["train.json", "val.json", "tiny.yaml"]
    assert yaml.safe_load(done.files[-1].read_text()) == {
        "name": "tiny",
        "root": ".",
        "train": {"images": "../../in/images/train", "annotations": "train.json"},
        "val": {"images": "../../in/images/val", "annotations": "val.json"},
    }
    # So that the whole may be moved.
    (tmp_path / "moved").mkdir()
    for name in ("in", "deep"):
        (tmp_path / name).rename(tmp_path / "moved" / name)
    loaded = load(tmp_path / "moved" / "deep" / "out" / "tiny.yaml")
    check_masks_and_classes(loaded, views())


def test_what_is_there_stays_unless_forced(cvat, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "val.json").write_text("mine")
    with pytest.raises(ValueError, match=r"val.json is there already; give --force"):
        run(cvat, out)
    assert os.listdir(out) == ["val.json"]
    assert (out / "val.json").read_text() == "mine"
    run(cvat, out, force=True)
    assert json.loads((out / "val.json").read_text())["annotations"]


def test_an_input_is_never_written_over(cvat, tmp_path):
    inputs, images = cvat
    source = inputs["val"].rename(inputs["val"].with_name("val.json"))
    before = source.read_bytes()
    with pytest.raises(ValueError, match=r"val.json is the input .*val.json; write to another"):
        import_dataset("coco", {"val": source}, source.parent, images=images, force=True)
    assert source.read_bytes() == before
    data = write_yolo(tmp_path / "yolo", views())
    with pytest.raises(ValueError, match=r"data.yaml is the input .*data.yaml; write to another"):
        import_dataset("yolo", {"train": data}, data.parent, dataset_name="data", force=True)
    assert sorted(os.listdir(data.parent)) == ["data.yaml", "images", "labels"]


@pytest.mark.parametrize("format_name", FORMATS)
def test_pictures_and_files_are_opened_once(tmp_path, monkeypatch, format_name):
    inputs, images = write_format(format_name, tmp_path / "in", views())
    opened = collections.Counter()

    def counted(function, name_of):
        def count(*args, **kwargs):
            opened[str(name_of(*args))] += 1
            return function(*args, **kwargs)

        return count

    monkeypatch.setattr(Image, "open", counted(Image.open, lambda file: file))
    monkeypatch.setattr(Path, "read_bytes", counted(Path.read_bytes, lambda file: file))
    import_dataset(format_name, inputs, tmp_path / "out", images=images)
    suffixes = collections.Counter(Path(name).suffix for name in opened)
    num_png = 8 if format_name == "masks" else 3
    num_json = {"yolo": 0, "labelme": 4, "cvat": 0, "masks": 0}.get(format_name, 2)
    # Three PNG and a JPEG, four masks and a map of none; what was written is not read again.
    assert (suffixes[".png"], suffixes[".jpg"], suffixes[".json"]) == (num_png, 1, num_json)
    assert set(opened.values()) == {1}


AREAS = [0, -3, True, "big", None, 10**400, float("nan"), 64 * 48 + 1]


# SQUARE has 20 * 20 pixels; an area that can be one is kept.
@pytest.mark.parametrize(("area", "kept"), [(399.5, 399.5), *((area, 400) for area in AREAS)])
def test_an_area_that_cannot_be_is_counted_again(cvat, tmp_path, area, kept):
    inputs, _ = cvat
    edit(inputs["val"], lambda d: d["annotations"][0].update(area=area))
    run(cvat, tmp_path / "out")
    entry = json.loads((tmp_path / "out" / "val.json").read_text())["annotations"][0]
    assert entry["area"] == kept


# Nothing is between the centres of pixels, nor in a line, whatever the area says.
@pytest.mark.parametrize("area", [None, 400])
@pytest.mark.parametrize("outline", [[5.1, 5.1, 5.2, 5.1, 5.2, 5.2], [5, 5, 20, 20, 10, 10]])
def test_objects_without_a_pixel_are_named(cvat, tmp_path, outline, area):
    inputs, _ = cvat
    fields = {"segmentation": [outline], "area": area}
    edit(inputs["val"], lambda d: d["annotations"][0].update(fields))
    done = run(cvat, tmp_path / "out")
    assert any(
        note.startswith("objects that cover no pixel, which training drops: 1, the first")
        for note in done.notes
    )


@pytest.mark.parametrize("name", ["", "a/b", "../x", "a\nb", " a"])
def test_names_that_no_file_can_have(cvat, tmp_path, name):
    inputs, images = cvat
    with pytest.raises(ValueError, match="--name must be letters, digits"):
        import_dataset("coco", inputs, tmp_path / "out", images=images, dataset_name=name)


def test_inputs_by_split(tmp_path):
    assert by_split(["a.json"], "input") == {"train": Path("a.json")}
    assert list(by_split(["val=a.json", "test-2=b.json"], "input")) == ["val", "test-2"]
    (tmp_path / "x=y").mkdir()
    assert by_split([str(tmp_path / "x=y")], "input") == {"train": tmp_path / "x=y"}
    with pytest.raises(ValueError, match=r"several need names, such as val=b.json"):
        by_split(["train=a.json", "b.json"], "input")
    with pytest.raises(ValueError, match="'train' is no name for a split, or named twice"):
        by_split(["train=a.json", "train=b.json"], "input")
    with pytest.raises(ValueError, match="'root' is no name for a split"):
        by_split(["root=a.json"], "input")


def test_many_objects_are_read_quickly(tmp_path):
    """10,000 objects, polygons and run lengths; 100,000 take ten times as long."""
    number, size = 10_000, (480, 640)
    mask = np.zeros(size, np.uint8, order="F")
    mask[40:200, 50:300] = 1
    counts = mask_util.encode(mask)["counts"].decode()
    view = View("a.png", size[1], size[0], [Thing("cat", [ELL], "red", True)] * number)
    save_picture(tmp_path / "a.png", view)
    document = coco_document([view], cvat_attributes)
    for entry in document["annotations"][::4]:
        entry["segmentation"] = {"size": list(size), "counts": counts}
    (tmp_path / "a.json").write_text(json.dumps(document))
    start = time.process_time()
    done = import_dataset("coco", {"train": tmp_path / "a.json"}, tmp_path / "out")
    # Less than 1 s; a way that grows with the square of the number would take minutes.
    assert time.process_time() - start < 15
    assert done.num_instances == {"train": number}
