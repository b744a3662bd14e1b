"""The stamps dataset, from a small tree of drawn cut-outs with Tux Paint's folders."""

import collections
import shutil
import subprocess

import cv2
import numpy as np
import pytest
from PIL import Image
from prepared_datasets import checked_pictures, contents, documents, load_script

from mask2former_mt.structures import UNKNOWN, SubcategorySpec

prepare_stamps = load_script("prepare_stamps")
tux_paint = load_script("_stamps")

# Folder, and how many stamps it gets. Four make a group a value.
FOLDERS = {
    "animals/birds": 4,
    "animals/birds/cartoon": 2,
    "animals/lizards": 1,
    "food": 2,
    "food/fruit/cartoon": 5,
    "plants/flowers": 5,
    "plants/trees": 2,
    "vehicles": 2,
    "vehicles/auto": 4,
    "household/cartoon": 2,
    "household/tools": 4,
    "sports": 1,
}


def draw_stamp(path, colour, *, size=(90, 70), alpha=255, rectangle=False):
    w, h = size
    rgba = np.zeros((h, w, 4), np.uint8)
    if rectangle:
        rgba[:] = (*colour, alpha)
    else:
        axes = (w // 2 - 2, h // 2 - 2)
        cv2.ellipse(rgba, (w // 2, h // 2), axes, 0, 0, 360, (*colour, alpha), -1)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rgba).save(path)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A stamps folder with 32 cut-outs of the five classes, and what is to be skipped."""
    root = tmp_path_factory.mktemp("tux") / "stamps"
    rng = np.random.default_rng(0)
    for folder, count in FOLDERS.items():
        for i in range(count):
            colour = tuple(int(c) for c in rng.integers(0, 256, 3))
            draw_stamp(root / folder / f"thing{i}.png", colour, size=(90 + 7 * i, 70))
    draw_stamp(root / "food/pizza.png", (220, 120, 20))  # drawn, though not in a cartoon folder
    draw_stamp(root / "animals/mammals/echidna.png", (10, 10, 10))
    draw_stamp(root / "animals/birds/thing0_mirror.png", (0, 200, 0))
    draw_stamp(root / "vehicles/auto/poster.png", (0, 0, 200), rectangle=True)
    draw_stamp(root / "food/nuts/crumb.png", (90, 60, 30), size=(24, 20))
    draw_stamp(root / "household/tools/nothing.png", (0, 0, 0), alpha=0)
    (root / "plants/flowers/drawing.svg").write_text("<svg/>")
    glass = np.full((100, 60, 4), 70, np.uint8)
    cv2.ellipse(glass, (30, 10), (29, 9), 0, 0, 360, (70, 70, 70, 255), -1)  # rim; body 70/255
    Image.fromarray(glass).save(root / "household/glass.png")
    return root


def prepare(output, tree, *options, train=24, val=12, jobs=1):
    counts = ["--train", str(train), "--val", str(val), "--jobs", str(jobs)]
    prepare_stamps.main(["--output", str(output), "--stamps", str(tree), *counts, *options])
    return output


@pytest.fixture(scope="module")
def dataset(tmp_path_factory, tree):
    return prepare(tmp_path_factory.mktemp("stamps") / "stamps", tree, jobs=2)


def test_stamps_that_do_not_serve_are_skipped(tree, capsys):
    names = {stamp.name for stamp in tux_paint.read_stamps(tree)}
    # All of FOLDERS but the one of sports, pizza and echidna.
    assert len(names) == sum(FOLDERS.values()) - 1 + 2 == 35
    assert "food/pizza.png" in names
    said = capsys.readouterr().out
    assert "skipped: 1 mirrored, 1 mostly half transparent, 1 opaque, 1 tiny, 1 transparent" in said


def test_labels_come_from_the_folders(tree):
    stamps = {stamp.name: stamp for stamp in tux_paint.read_stamps(tree)}
    groups = tux_paint.listed_groups(list(stamps.values()))
    # birds 4 + 2, fruit 5, flowers 5, auto 4, tools 4; lizards, mammals and trees are too few.
    assert groups == ["birds", "fruit", "flowers", "auto", "tools"]
    for name, expected in {
        "animals/birds/thing0.png": {"group": "birds", "style": "photo"},
        "animals/birds/cartoon/thing0.png": {"group": "birds", "style": "cartoon"},
        "animals/lizards/thing0.png": {"style": "photo"},  # a group, not a listed one: unknown
        "animals/mammals/echidna.png": {},  # a black outline: can't tell
        "food/thing0.png": {"group": None, "style": "photo"},
        "food/pizza.png": {"group": None, "style": "cartoon"},
        "household/cartoon/thing0.png": {"group": None, "style": "cartoon"},
    }.items():
        assert prepare_stamps.labels_of(stamps[name], groups) == expected, name


def test_same_bytes_with_any_number_of_jobs(dataset, tree, tmp_path):
    again = contents(prepare(tmp_path / "again", tree, jobs=1))
    assert len(again) == 24 + 12 + 4
    assert again == contents(dataset)


def test_no_stamp_stands_in_both_splits_and_all_values_in_each(dataset):
    parts = {s: {a["stamp"] for a in d["annotations"]} for s, d in documents(dataset).items()}
    assert not parts["train"] & parts["val"]
    for document in documents(dataset).values():
        assert [c["name"] for c in document["categories"]] == list(tux_paint.CLASSES)
        assert {a["category_id"] for a in document["annotations"]} == {1, 2, 3, 4, 5}
        spec = SubcategorySpec.from_json(document["subcategories"])
        assert (spec.names, spec.num_classes) == (("group", "style"), (5, 2))
        labels = np.array([spec.labels_of(a["subcategories"]) for a in document["annotations"]])
        # Stamps without a folder of their own have none (5); no style is none.
        assert set(labels[:, 0].tolist()) >= {0, 1, 2, 3, 4, 5}
        assert set(labels[:, 1].tolist()) <= {UNKNOWN, 0, 1}


@pytest.mark.parametrize("split", ["train", "val"])
def test_annotations_are_true_to_the_pictures(dataset, split):
    for _, objects in checked_pictures(dataset, split, (240, 320), (1, 6)):
        for annotation, _ in objects:
            assert annotation["iscrowd"] == int(annotation["visible"] < 0.3)
            class_name = prepare_stamps.CLASSES[annotation["category_id"] - 1]
            assert annotation["stamp"].startswith(f"{class_name}/")


def test_classes_are_balanced_and_little_visible_is_a_crowd(tree):
    stamps = tux_paint.read_stamps(tree)
    parts = {"train": list(range(len(stamps))), "val": list(range(len(stamps)))}
    # Half-size scenes and six stamps or so in each: quick, and crowded enough for crowds.
    draw = prepare_stamps.make_draw(stamps, parts, tux_paint.listed_groups(stamps), 160)
    rng = np.random.default_rng(0)
    annotations = [a for _ in range(150) for a in draw(rng, "train")[1]]
    shares = collections.Counter(a["category_id"] for a in annotations)
    # A fifth each; about 600 draws: standard deviation 0.016. What lacks contrast is left out,
    # which weighs on some colours, hence the wide margin.
    assert all(0.12 < shares[c] / len(annotations) < 0.28 for c in range(1, 6))
    assert all(a["iscrowd"] == int(a["visible"] < 0.3) for a in annotations)


def test_enlarging_keeps_hidden_colours_out_of_the_edge():
    # Opaque red beside wholly transparent green.
    rgba = np.zeros((8, 8, 4), np.uint8)
    rgba[:, :4] = (255, 0, 0, 255)
    rgba[:, 4:] = (0, 255, 0, 0)
    enlarged = tux_paint.scale_rgba(rgba, 2.5)
    assert enlarged.shape == (20, 20, 4)
    straight = tux_paint.straight_rgba(enlarged)
    visible = straight[..., 3] > 10
    assert straight[visible][:, 0].min() >= 250
    assert straight[visible][:, 1].max() == 0


def test_a_dataset_of_other_stamps_is_not_reused(dataset, tmp_path):
    with pytest.raises(SystemExit, match=r"other parameters: stamps .*; give --force"):
        prepare(dataset, tmp_path)


@pytest.mark.parametrize("make", [True, False])
def test_wrong_stamps_folder_is_named(tmp_path, make):
    folder = tmp_path / "wrong"
    if make:
        (folder / "animals").mkdir(parents=True)
    missing = "food" if make else "animals"
    with pytest.raises(SystemExit, match=rf"{folder} has no folder '{missing}'.*--stamps DIR"):
        prepare(tmp_path / "stamps", folder)
    assert not (tmp_path / "stamps").exists()


def test_a_class_with_one_stamp_is_named(tree, tmp_path):
    copy = shutil.copytree(tree, tmp_path / "tree")
    for path in sorted((copy / "vehicles").rglob("*.png"))[1:]:
        path.unlink()
    # What stays is vehicles/auto/poster.png, nearly opaque.
    with pytest.raises(SystemExit, match=r"has 0 usable PNG stamps of class 'vehicles'"):
        prepare(tmp_path / "stamps", copy)


def program(folder, name, text):
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


def test_without_apt_says_which_folder_to_give(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    command = ["--output", str(tmp_path / "stamps"), "--cache", str(tmp_path / "cache")]
    with pytest.raises(SystemExit, match=r"apt-get and dpkg-deb are not on .*--stamps DIR"):
        prepare_stamps.main(command)
    assert not (tmp_path / "stamps").exists()


def test_failed_download_says_what_to_do_and_leaves_no_half(tmp_path, monkeypatch):
    program(tmp_path / "bin", "apt-get", "echo E: no route to the archive >&2; exit 100")
    program(tmp_path / "bin", "dpkg-deb", "exit 1")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    with pytest.raises(ValueError, match=r"(?s)E: no route.*sudo apt-get update.*--stamps DIR"):
        tux_paint.fetch_stamps(tmp_path / "cache")
    assert not any((tmp_path / "cache").iterdir())


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="builds a Debian package")
def test_package_is_unpacked_once_also_where_apt_has_no_lists(tree, tmp_path, monkeypatch):
    package = tmp_path / "package"
    shutil.copytree(tree, package / "usr/share/tuxpaint/stamps")
    (package / "DEBIAN").mkdir()
    (package / "DEBIAN/control").write_text(
        f"Package: {tux_paint.PACKAGE}\nVersion: 1\nArchitecture: all\n"
        "Maintainer: Nobody <nobody@example.org>\nDescription: test\n"
    )
    deb = tmp_path / f"{tux_paint.PACKAGE}_1_all.deb"
    subprocess.run(["dpkg-deb", "-b", package, deb], check=True, capture_output=True)
    # As apt-get does without its lists: it knows the package only after an update of its own.
    log = tmp_path / "log"
    program(
        tmp_path / "bin",
        "apt-get",
        f'echo "$@" >> {log}\n'
        'if [ "$1" = download ]; then echo E: Unable to locate package >&2; exit 100; fi\n'
        f'case "$*" in *update) ;; *) cp {deb} . ;; esac',
    )
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    stamps = tux_paint.fetch_stamps(tmp_path / "cache")
    assert (stamps / "food/pizza.png").is_file()
    assert stamps == tux_paint.fetch_stamps(tmp_path / "cache")
    calls = log.read_text().splitlines()
    # download; update and download with lists of our own; nothing the second time.
    assert [call.split()[-1] for call in calls] == [tux_paint.PACKAGE, "update", tux_paint.PACKAGE]
    assert [p.name for p in (tmp_path / "cache").iterdir()] == [tux_paint.PACKAGE]
