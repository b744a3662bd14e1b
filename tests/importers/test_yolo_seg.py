"""YOLO segmentation folders: the round trip, the forms that they come in, and every refusal."""

from __future__ import annotations

import json
import re
import shutil

import pytest
import yaml
from importer_scenes import check_masks_and_classes, load, views, write_yolo
from mask2former_mt.importers.dataset_import import import_dataset
from mask2former_mt.importers.source import ImportOptions
from mask2former_mt.importers.yolo import label_file_of


@pytest.fixture
def yolo(tmp_path):
    """A written dataset: (folder, import with options)."""
    folder = tmp_path / "yolo"
    write_yolo(folder, views())

    def run(path=folder / "data.yaml", **options):
        return import_dataset(
            "yolo",
            {"train": path},
            tmp_path / "out",
            options=ImportOptions(**options),
            dataset_name="tiny",
        )

    return folder, run, tmp_path / "out"


def test_the_scene_comes_back(yolo):
    _, run, out = yolo
    done = run()
    # The mask of an outline rounded to 1e-6 of 64 pixels and then to 1e-3 pixel is the same.
    check_masks_and_classes(load(out / "tiny.yaml"), views(), least=1.0)
    assert (done.num_images, done.num_instances) == ({"train": 3, "val": 1}, {"train": 3, "val": 1})
    assert len(done.spec) == 0
    document = json.loads((out / "train.json").read_text())
    assert [c["id"] for c in document["categories"]] == [0, 3]
    assert [i["id"] for i in document["images"]] == [1, 2, 3]
    assert [a["id"] for a in document["annotations"]] == [1, 2, 3]
    # The L covers 40 * 10 + 10 * 30 = 700 pixels.
    assert document["annotations"][0]["area"] == 700
    assert document["annotations"][0]["bbox"] == [5, 5, 40, 40]


def test_the_same_input_gives_the_same_bytes(yolo, tmp_path):
    folder, run, out = yolo
    run()
    first = (out / "train.json").read_bytes()
    shutil.move(out, tmp_path / "first")
    run(folder)  # the folder stands for its data.yaml
    assert (out / "train.json").read_bytes() == first


def test_windows_line_ends_and_a_byte_order_mark(tmp_path):
    folder = tmp_path / "yolo"
    data = write_yolo(folder, views(), newline="\r\n")
    label = folder / "labels" / "train" / "a b.txt"
    label.write_bytes(b"\xef\xbb\xbf" + label.read_bytes() + b"\r\n  \r\n")
    data.write_bytes(b"\xef\xbb\xbf" + data.read_bytes().replace(b"\n", b"\r\n"))
    import_dataset("yolo", {"train": data}, tmp_path / "out", dataset_name="tiny")
    check_masks_and_classes(load(tmp_path / "out" / "tiny.yaml"), views(), least=1.0)


def test_a_picture_without_a_label_file_has_no_objects(yolo):
    folder, run, out = yolo
    (folder / "labels" / "train" / "empty.txt").unlink()
    done = run()
    assert load(out / "tiny.yaml")["train"]["empty.png"] == []
    assert done.notes == [
        "pictures without a label file, taken as without objects: 1, the first "
        f"{folder / 'images' / 'train' / 'empty.png'}"
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"path": None},
        {"path": "../yolo"},
        {"path": None, "train": "../images/train", "val": "../images/val"},  # as Roboflow writes
        {"names": ["cat", "x", "y", "dog"], "nc": 4},
        {"train": ["images/train"]},
        {"train": "train.txt"},
    ],
    ids=lambda change: ",".join(change),
)
def test_the_forms_of_data_yaml(yolo, change):
    folder, run, out = yolo
    (folder / "train.txt").write_text(
        "./images/train/a b.png\r\nimages/train/empty.png\n\nimages/train/turned.jpg\n"
    )
    data = yaml.safe_load((folder / "data.yaml").read_text()) | change
    data = {key: value for key, value in data.items() if value is not None}
    (folder / "data.yaml").write_text(yaml.safe_dump(data))
    run()
    check_masks_and_classes(load(out / "tiny.yaml"), views(), least=1.0)


def test_where_labels_are(tmp_path):
    path = tmp_path / "images" / "x" / "images" / "train" / "a.b.jpg"
    assert label_file_of(path) == tmp_path / "images" / "x" / "labels" / "train" / "a.b.txt"
    assert label_file_of(tmp_path / "x" / "a.jpg") == tmp_path / "x" / "a.txt"


def test_boxes_are_refused_or_left_out_and_counted(yolo):
    folder, run, out = yolo
    label = folder / "labels" / "train" / "a b.txt"
    label.write_text(label.read_text() + "0 0.5 0.5 0.2 0.2\n3 0.4 0.5 0.2 0.2\n")
    with pytest.raises(
        ValueError, match=r"(?s)2 problems.*a b.txt line 3: it is a box .5 numbers.*--unusable skip"
    ):
        run()
    assert not out.exists()
    done = run(unusable="skip")
    check_masks_and_classes(load(out / "tiny.yaml"), views(), least=1.0)
    (note,) = done.notes
    assert note.startswith(
        f"objects left out as boxes without a mask (learned as background): 2, the first {label} "
    )


@pytest.mark.parametrize(
    ("line", "match"),
    [
        ("0 0.1 0.1 0.2 0.2 0.3", "an odd number of at least 7, got 6 numbers"),
        ("0 0.1 0.1 0.2 0.2 0.3 0.3 0.4", "an odd number of at least 7, got 8 numbers"),
        ("0", "got 1 numbers"),
        ("0 0.1 x 0.2 0.2 0.3 0.3", "numbers only, got '0 0.1 x"),
        ("0 0.1 nan 0.2 0.2 0.3 0.3", "numbers only"),
        ("0,0.1,0.2", "numbers only"),
        ("1 0.1 0.1 0.2 0.2 0.3 0.3", r"class 1 is not listed in 'names'; listed are \[0, 3\]"),
        ("0.5 0.1 0.1 0.2 0.2 0.3 0.3", "class 0.5 is not listed"),
        ("-1 0.1 0.1 0.2 0.2 0.3 0.3", "class -1 is not listed"),
        ("0 10 10 20 10 20 40", r"normalised to \[0, 1\].*got 40; these may be pixels"),
        # 0.1 of 64 pixels outside.
        ("0 0.5 0.1 1.1 0.2 0.3 0.3", r"a polygon must lie inside the image, .*\[19.2, 70.4\]"),
    ],
)
def test_a_bad_line_is_named(yolo, line, match):
    folder, run, out = yolo
    label = folder / "labels" / "train" / "a b.txt"
    label.write_text(f"\n{label.read_text()}{line}\n")
    with pytest.raises(ValueError, match=f"{re.escape(str(label))} line 4: .*{match}"):
        run()
    assert not out.exists()


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "must hold 'names' and 'train' or 'val', got NoneType"),
        ("train: x", r"must hold 'names'.*got \['train'\]"),
        ("names: [a\n", "is not valid YAML"),
        ("when: 2001-99-99\nnames: [a]", "is not valid YAML"),
        ("names: []\ntrain: x", r"must list the classes.*got \[\]"),
        ("names: [a, no]\ntrain: x", "got 1: False; put quotes around"),
        ("names: {-1: a}\ntrain: x", "indices from 0 on to texts, got -1: 'a'"),
        ("names: [a]\nnc: 2\ntrain: x", "'nc' must be the number of names, 1, got 2"),
        ("names: [a]", "names no pictures; it needs 'train' or 'val'"),
        ("names: [a]\ntrain: 3", "'train' must be a path or a list, got 3"),
        ("names: {0: cat, 3: cat}\nval: images/val", "two categories are named 'cat'"),
    ],
)
def test_a_bad_data_yaml_is_named(yolo, text, match):
    folder, run, _ = yolo
    (folder / "data.yaml").write_text(text)
    with pytest.raises(ValueError, match=match):
        run()


def test_what_is_missing_is_named(yolo):
    folder, run, out = yolo
    with pytest.raises(FileNotFoundError, match=re.escape(f"{folder / 'no.yaml'} does not exist")):
        run(folder / "no.yaml")
    data = folder / "data.yaml"
    text = data.read_text()
    data.write_text(text.replace("images/val", "images/test"))
    with pytest.raises(FileNotFoundError, match="'val': 'images/test' does not exist; looked for"):
        run()
    (folder / "images" / "test").mkdir()
    with pytest.raises(FileNotFoundError, match=r"val: \['images/test'\] has no pictures"):
        run()
    data.write_text(text.replace("images/val", "val.txt"))
    (folder / "val.txt").write_text("images/val/v.png\nimages/val/w.png\n")
    with pytest.raises(ValueError, match=r"val.txt line 2: 'images/val/w.png' is no picture"):
        run()
    assert not out.exists()


def test_labels_without_a_picture_are_refused(yolo):
    folder, run, _ = yolo
    (folder / "labels" / "train" / "classes.txt").write_text("cat\ndog\n")  # as labelImg leaves it
    run()
    (folder / "images" / "train" / "a b.png").unlink()
    with pytest.raises(ValueError, match=r"a b.txt: no picture below .*put the picture back"):
        run()


def test_pictures_that_share_their_labels_are_refused(yolo):
    folder, run, _ = yolo
    shutil.copy(folder / "images" / "val" / "v.png", folder / "images" / "val" / "v.bmp")
    with pytest.raises(ValueError, match=r"v.png: v.bmp in the same folder has the same labels"):
        run()


def test_a_broken_picture_and_broken_text_are_named(yolo):
    folder, run, _ = yolo
    (folder / "images" / "val" / "v.png").write_bytes(b"GIF89a")
    (folder / "labels" / "train" / "empty.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"(?s)2 problems.*empty.txt must be text in UTF-8.*v.png"):
        run()


def test_one_input_only(tmp_path):
    with pytest.raises(ValueError, match=r"takes one data.yaml, .*got 2 inputs"):
        import_dataset("yolo", {"train": tmp_path, "val": tmp_path}, tmp_path / "out")
