"""YOLO segmentation folders: the round trip, the forms that they come in, and every refusal."""

from __future__ import annotations

import re
import shutil

import pytest
import yaml
from importer_scenes import Case, check_masks_and_classes, views, write_yolo
from mask2former_mt.importers.yolo import label_file_of
from PIL import Image


@pytest.fixture
def yolo(tmp_path):
    return Case("yolo", tmp_path / "out", {"train": write_yolo(tmp_path / "yolo", views())})


@pytest.fixture
def folder(tmp_path):
    """Where the dataset `yolo` is."""
    return tmp_path / "yolo"


def test_the_scene_comes_back(yolo, folder):
    done = yolo.run()
    # The mask of an outline rounded to 1e-6 of 64 pixels and then to 1e-3 pixel is the same.
    check_masks_and_classes(yolo.load(), views())
    assert (done.num_images, done.num_instances) == ({"train": 3, "val": 1}, {"train": 3, "val": 1})
    assert len(done.spec) == 0
    document = yolo.document("train")
    assert [c["id"] for c in document["categories"]] == [0, 3]
    assert [i["id"] for i in document["images"]] == [1, 2, 3]
    assert [a["id"] for a in document["annotations"]] == [1, 2, 3]
    # The L covers 40 * 10 + 10 * 30 = 700 pixels.
    assert document["annotations"][0]["area"] == 700
    assert document["annotations"][0]["bbox"] == [5, 5, 40, 40]
    yolo.inputs = {"train": folder}  # stands for its data.yaml
    yolo.run()
    assert yolo.document("train") == document


def test_windows_line_ends_and_a_byte_order_mark(yolo, folder):
    for file in (folder / "data.yaml", *folder.rglob("*.txt")):
        file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"\r\n") + b"\r\n")
    yolo.run()
    check_masks_and_classes(yolo.load(), views())


def test_a_picture_without_a_label_file_has_no_objects(yolo, folder):
    (folder / "labels" / "train" / "empty.txt").unlink()
    done = yolo.run()
    assert yolo.load()["train"]["empty.png"] == []
    picture = folder / "images" / "train" / "empty.png"
    assert done.notes == [
        f"pictures without a label file, taken as without objects: 1, the first {picture}"
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
def test_the_forms_of_data_yaml(yolo, folder, change):
    (folder / "train.txt").write_text(
        "./images/train/a b.png\r\nimages/train/empty.png\n\nimages/train/turned.jpg\n"
    )
    data = yaml.safe_load((folder / "data.yaml").read_text()) | change
    data = {key: value for key, value in data.items() if value is not None}
    (folder / "data.yaml").write_text(yaml.safe_dump(data))
    yolo.run()
    check_masks_and_classes(yolo.load(), views())


def test_where_labels_are(tmp_path):
    path = tmp_path / "images" / "x" / "images" / "train" / "a.b.jpg"
    assert label_file_of(path) == tmp_path / "images" / "x" / "labels" / "train" / "a.b.txt"
    assert label_file_of(tmp_path / "x" / "a.jpg") == tmp_path / "x" / "a.txt"


def test_boxes_are_refused_or_left_out_and_counted(yolo, folder):
    label = folder / "labels" / "train" / "a b.txt"
    label.write_text(label.read_text() + "0 0.5 0.5 0.2 0.2\n3 0.4 0.5 0.2 0.2\n")
    yolo.refuses(r"(?s)2 problems.*a b.txt line 3: it is a box .5 numbers.*--unusable skip")
    (note,) = yolo.run(unusable="skip").notes
    check_masks_and_classes(yolo.load(), views())
    start = "objects left out as boxes without a mask (learned as background): 2, the first"
    assert note.startswith(f"{start} {label} ")


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
def test_a_bad_line_is_named(yolo, folder, line, match):
    label = folder / "labels" / "train" / "a b.txt"
    label.write_text(f"\n{label.read_text()}{line}\n")
    yolo.refuses(f"{re.escape(str(label))} line 4: .*{match}")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "must hold 'names' and 'train' or 'val', got NoneType"),
        ("train: x", r"must hold 'names'.*got \['train'\]; or name the classes.*--classes or"),
        ("names: [a\n", "is not valid YAML"),
        ("when: 2001-99-99\nnames: [a]", "is not valid YAML"),
        ("names: []\ntrain: x", r"must list the classes.*got \[\]"),
        ("names: [a, no]\ntrain: x", "got 1: False; put quotes around"),
        ("names: {-1: a}\ntrain: x", "indices from 0 on to texts, got -1: 'a'"),
        ("names: [a]\nnc: 2\ntrain: x", "'nc' must be the number of names, 1, got 2"),
        ("names: [a]\ntrain: 3", "'train' must be a path or a list, got 3"),
        ("names: {0: cat, 3: cat}\nval: images/val", "two categories are named 'cat'"),
    ],
)
def test_a_bad_data_yaml_is_named(yolo, folder, text, match):
    (folder / "data.yaml").write_text(text)
    yolo.refuses(match)


def test_a_folder_without_a_usable_data_yaml(yolo, folder):
    data = folder / "data.yaml"
    data.unlink()
    yolo.inputs = {"train": folder}
    yolo.refuses(r"must hold 'names' .*got \[\]; .*with --classes or in classes.txt")
    names = ("cat", "x", "y", "dog")
    yolo.run(classes=names)
    check_masks_and_classes(yolo.load(), views())
    (folder / "classes.txt").write_text("\n".join(names) + "\n\n")
    yolo.run()
    check_masks_and_classes(yolo.load(), views())
    data.write_text("names: [cat, x, y, dog]\n")  # which does not say where the pictures are
    yolo.refuses(r"--classes: .*names of its own, \['cat', .*got \['dog'\]", classes=("dog",))
    yolo.run()
    check_masks_and_classes(yolo.load(), views())
    data.write_text(
        "names: [cat, x, y, dog]\ntrain: /content/a/images/train\nval: C:\\b\\images\\val"
    )
    yolo.run()  # written on other computers
    check_masks_and_classes(yolo.load(), views())
    shutil.rmtree(folder / "images")
    data.unlink()
    yolo.refuses("names no pictures, and there are none in images, train and the like")


@pytest.mark.parametrize("form", ["{}/images", "{}"])
def test_folders_of_splits(yolo, folder, form):
    (folder / "data.yaml").write_text("names: {0: cat, 3: dog}\n")
    for split, name in (("train", "train"), ("val", "valid")):
        for kind, suffix in (("images", ""), ("labels", "")):
            place = form.format(name).replace("images", kind) + suffix
            (folder / place).mkdir(parents=True, exist_ok=True)
            for file in (folder / kind / split).iterdir():
                file.rename(folder / place / file.name)
    shutil.rmtree(folder / "images")
    shutil.rmtree(folder / "labels")
    yolo.run()
    check_masks_and_classes(yolo.load(), views())


def test_pictures_without_splits_are_for_training(yolo, folder):
    (folder / "data.yaml").write_text("names: {0: cat, 3: dog}\n")
    for kind in ("images", "labels"):
        shutil.rmtree(folder / kind / "val")
        for file in (folder / kind / "train").iterdir():
            file.rename(folder / kind / file.name)
    yolo.run()
    check_masks_and_classes(yolo.load(), {"train": views()["train"]})


def test_what_is_missing_is_named(yolo, folder):
    data = folder / "data.yaml"
    text = data.read_text()
    data.write_text(text.replace("images/val", "images/test"))
    yolo.refuses("'val': 'images/test' does not exist; looked for")
    (folder / "images" / "test").mkdir()
    yolo.refuses(r"val: \['images/test'\] has no pictures")
    data.write_text(text.replace("images/val", "val.txt"))
    (folder / "val.txt").write_text("images/val/v.png\nimages/val/w.png\n")
    yolo.refuses(r"val.txt line 2: 'images/val/w.png' is no picture")
    (folder / "val.txt").write_text("data/images/val/v.png\n")
    yolo.refuses(r"^[^\n]*val.txt line 1: 'data/images/val/v.png' is no picture[^\n]*$")
    data.unlink()
    yolo.refuses(re.escape(f"{data} does not exist"))


def test_what_was_collected_is_told_whatever_ends_the_reading(yolo, folder):
    (folder / "train.txt").write_text("images/train/x.png\n./images/train/a b.png\n")
    data = folder / "data.yaml"
    data.write_text(data.read_text().replace("train: images/train", "train: train.txt"))
    data.write_text(data.read_text().replace("images/val", "images/test"))
    yolo.refuses("(?s)2 problems.*train.txt line 1: .*'images/test' does not exist")


def test_key_points_are_refused(yolo, folder):
    data = folder / "data.yaml"
    data.write_text(data.read_text() + "kpt_shape: [3, 2]\n")
    yolo.refuses(r"'kpt_shape' \[3, 2\] says that the labels are boxes and key points")


def set_lines(folder, line: str) -> None:
    """Gives every picture one line."""
    for file in (folder / "labels").rglob("*.txt"):
        file.write_text(f"{line}\n")


# A box and two or three key points, each with its visibility.
@pytest.mark.parametrize("points", ["0.4 0.4 2 0.6 0.6 1", "0.4 0.4 2 0.6 0.6 1 0 0 0"])
def test_boxes_with_key_points_are_refused_without_kpt_shape_too(yolo, folder, points):
    set_lines(folder, f"0 0.5 0.5 0.4 0.4 {points}")
    yolo.refuses(r"data.yaml: all 4 lines are a box with key points \(YOLO pose\)")


def test_oriented_boxes_are_refused(yolo, folder):
    set_lines(folder, "0 0.2 0.5 0.5 0.2 0.8 0.5 0.5 0.8")
    yolo.refuses(r"data.yaml: all 4 lines have four corners: .* \(YOLO OBB\).*--oriented-boxes")
    assert yolo.run(oriented_boxes="outline").num_instances == {"train": 3, "val": 1}
    # Among other outlines they are outlines.
    (folder / "labels" / "val" / "v.txt").write_text("0 0.1 0.1 0.2 0.2 0.1 0.3\n")
    assert yolo.run().num_instances == {"train": 3, "val": 1}


def test_labels_without_a_picture_are_refused(yolo, folder):
    (folder / "labels" / "train" / "classes.txt").write_text("cat\ndog\n")  # as labelImg leaves it
    yolo.run()
    (folder / "images" / "train" / "a b.png").unlink()
    yolo.refuses(r"a b.txt: no picture below .*put the picture back")


@pytest.mark.parametrize("suffix", [".avif", ".gif", ".jfif", ".jp2"])
def test_every_format_that_the_decoder_knows_is_read(yolo, folder, suffix):
    picture = folder / "images" / "val" / "v.png"
    Image.open(picture).convert("RGB").save(picture.with_suffix(suffix))
    picture.unlink()
    yolo.run()
    assert [entry["file_name"] for entry in yolo.document("val")["images"]] == [f"v{suffix}"]


def test_a_format_that_is_not_read_is_named_and_not_missing(yolo, folder):
    picture = folder / "images" / "val" / "v.png"
    picture.rename(picture.with_suffix(".heic")).write_bytes(b"\0\0\0\x18ftypheic")
    yolo.refuses(r"^\S*v\.heic: the format \.heic is not read by the installed Pillow")


def test_pictures_that_share_their_labels_are_refused(yolo, folder):
    shutil.copy(folder / "images" / "val" / "v.png", folder / "images" / "val" / "v.bmp")
    yolo.refuses(r"v.png: v.bmp in the same folder has the same labels")


def test_a_broken_picture_and_broken_text_are_named(yolo, folder):
    (folder / "images" / "val" / "v.png").write_bytes(b"GIF89a")
    (folder / "labels" / "train" / "empty.txt").write_bytes(b"\xff\xfe\x00")
    yolo.refuses(r"(?s)2 problems.*empty.txt must be text in UTF-8.*v.png")


def test_one_input_only(yolo, folder):
    yolo.inputs = {"train": folder, "val": folder}
    yolo.refuses(r"takes one data.yaml, .*got 2 inputs")
