"""The digits dataset: same bytes for a seed, true labels, no scan in both splits, whole or not."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import yaml
from prepared_datasets import DATASETS, checked_pictures, contents, documents, load_script
from sklearn.datasets import load_digits

from mask2former_mt.structures import UNKNOWN, SubcategorySpec

digits = load_script("prepare_digits")


def prepare(output, *options, train=12, val=6, jobs=1):
    counts = ["--train", str(train), "--val", str(val), "--jobs", str(jobs)]
    digits.main(["--output", str(output), *counts, *options])
    return output


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return prepare(tmp_path_factory.mktemp("digits") / "digits", jobs=2)


def test_same_bytes_with_any_number_of_jobs(dataset, tmp_path):
    expected = contents(dataset)
    # 12 + 6 pictures, two JSONs, the YAML and the parameters.
    assert len(expected) == 22
    assert contents(prepare(tmp_path / "again", jobs=1)) == expected
    other_seed = prepare(tmp_path / "other", "--seed", "1")
    assert contents(other_seed)["train.json"] != expected["train.json"]
    # More pictures leave the first ones as they are.
    more = contents(prepare(tmp_path / "more", train=14))
    pictures = [name for name in expected if name.endswith(".jpg")]
    assert [more[name] for name in pictures] == [expected[name] for name in pictures]


def test_no_scan_stands_in_both_splits(dataset):
    parts = {s: {a["scan"] for a in d["annotations"]} for s, d in documents(dataset).items()}
    assert not parts["train"] & parts["val"]
    # The split that they are drawn from: 1797 scans, a fifth of each digit for val.
    labels = load_digits().target
    split = digits.split_stratified(labels, seed=0)
    assert parts["train"] <= set(split["train"])
    assert parts["val"] <= set(split["val"])
    assert sorted(split["train"] + split["val"]) == list(range(1797))
    share = np.bincount(labels[split["val"]]) / np.bincount(labels)
    np.testing.assert_allclose(share, 0.2, atol=0.01)


@pytest.mark.parametrize("split", ["train", "val"])
def test_annotations_are_true_to_the_pictures(dataset, split):
    labels = load_digits().target
    inks = np.array(list(digits.INKS.values()), np.float32)
    for picture, objects in checked_pictures(dataset, split, (192, 192), (2, 8)):
        for annotation, mask in objects:
            assert annotation["iscrowd"] == 0
            assert annotation["visible"] >= digits.MIN_VISIBLE
            assert annotation["category_id"] == labels[annotation["scan"]] + 1
            ink = annotation["subcategories"].get("ink")
            if ink is not None:
                colour = np.median(picture[mask].astype(np.float32), axis=0)
                nearest = np.linalg.norm(inks - colour, axis=1).argmin()
                assert list(digits.INKS)[nearest] == ink
            size = annotation["subcategories"].get("size")
            if size is not None:
                low, high = digits.SIZES[size]
                # Rounded to whole pixels, and the mask's rim may fall to either side.
                assert low - 2 <= annotation["digit_height"] <= high + 2


def test_subcategories_are_read_by_the_package(dataset):
    for document in documents(dataset).values():
        categories = [{"id": digit + 1, "name": str(digit)} for digit in range(10)]
        assert document["categories"] == categories
        spec = SubcategorySpec.from_json(document["subcategories"])
        assert spec.names == ("ink", "size")
        assert spec.num_classes == (5, 3)
        for annotation in document["annotations"]:
            ink, size = spec.labels_of(annotation["subcategories"])
            assert -1 <= ink < 5
            assert -1 <= size < 3
            assert (ink, size) != (UNKNOWN, UNKNOWN)


def test_dataset_file_names_what_is_there(dataset):
    assert yaml.safe_load((dataset / "digits.yaml").read_text()) == {
        "name": "digits",
        "root": ".",
        "train": {"images": "train", "annotations": "train.json"},
        "val": {"images": "val", "annotations": "val.json"},
    }
    for split, document in documents(dataset).items():
        listed = {i["file_name"] for i in document["images"]}
        assert listed == {p.name for p in (dataset / split).iterdir()}


def test_about_fifteen_per_cent_lack_one_label():
    scans = load_digits()
    rng = np.random.default_rng(0)
    lacking = {"ink": 0, "size": 0}
    for _ in range(1500):
        digit = digits.random_digit(rng, scans.images, scans.target, list(range(1797)), 192)
        for name in lacking:
            lacking[name] += name not in digit.annotation["subcategories"]
    # 1500 draws at 0.15: standard deviation sqrt(0.15 * 0.85 / 1500) = 0.0092; four of them.
    assert abs(sum(lacking.values()) / 1500 - 0.15) < 0.037
    # Each label half of the time: 0.075, standard deviation 0.0068.
    assert all(abs(count / 1500 - 0.075) < 0.028 for count in lacking.values())


@pytest.mark.parametrize("height", [24, 30, 46, 70])
def test_rendered_digit_has_the_height_asked_for(height):
    scans = load_digits().images
    for number in range(0, 1797, 97):
        alpha = digits.render_digit(scans[number], height, degrees=9, shear=0.1, stretch=1.1)
        assert alpha.dtype == np.float32
        assert 0 <= alpha.min() <= alpha.max() <= 1
        rows = np.flatnonzero((alpha > 0.5).any(axis=1))
        assert abs(rows[-1] - rows[0] + 1 - height) <= 2, number


def test_second_call_reuses_what_is_there(dataset, capsys):
    before = {p: p.stat().st_mtime_ns for p in dataset.rglob("*")}
    prepare(dataset)
    assert "made with the same parameters; reused" in capsys.readouterr().out
    assert {p: p.stat().st_mtime_ns for p in dataset.rglob("*")} == before


def test_other_parameters_are_refused_and_force_rebuilds(tmp_path, capsys):
    output = prepare(tmp_path / "digits", train=2, val=1)
    before = contents(output)
    with pytest.raises(SystemExit, match=r"other parameters: train 2 there, 3 asked; give --force"):
        prepare(output, train=3, val=1)
    assert contents(output) == before
    prepare(output, "--force", train=3, val=1)
    assert len(documents(output)["train"]["images"]) == 3
    said = capsys.readouterr().out
    assert f"wrote {output}: 3 train pictures with " in said
    assert str(output / "digits.yaml") in said
    assert [p.name for p in tmp_path.iterdir()] == ["digits"]  # nothing left beside it


@pytest.mark.parametrize("options", [[], ["--force"]])
def test_a_folder_of_something_else_is_left_alone(tmp_path, options):
    (tmp_path / "letter.txt").write_text("mine")
    with pytest.raises(SystemExit, match=r"is no prepared dataset .*give another folder"):
        prepare(tmp_path, *options)
    assert contents(tmp_path) == {"letter.txt": b"mine"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--train", "0"], r"--train must be at least 1, got 0"),
        (["--jobs", "0"], r"--jobs must be at least 1, got 0"),
        (["--seed", "-1"], r"--seed must be 0 or more, got -1"),
        (["--size", "50"], r"--size must be at least 96 .* got 50"),
    ],
)
def test_bad_options_are_named_and_write_nothing(tmp_path, options, message):
    with pytest.raises(SystemExit, match=message):
        prepare(tmp_path / "digits", *options)
    assert not any(tmp_path.iterdir())


def test_a_killed_run_leaves_nothing_that_passes_for_a_dataset(tmp_path):
    # As a command, from another folder, without the package on its path.
    command = [sys.executable, str(DATASETS / "prepare_digits.py"), "--output", "digits"]
    command += ["--val", "1", "--jobs", "1", "--train"]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    where = {"cwd": tmp_path, "env": environment, "stderr": subprocess.PIPE}
    with subprocess.Popen([*command, "100000"], **where) as run:
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob(".digits.partial-*/train/*.jpg")):
            assert time.monotonic() < deadline
            assert run.poll() is None
            time.sleep(0.05)
        run.send_signal(signal.SIGKILL)
    assert not (tmp_path / "digits").exists()
    assert len(list(tmp_path.iterdir())) == 1
    done = subprocess.run([*command, "2"], check=True, stdout=subprocess.PIPE, text=True, **where)
    assert "2 train pictures" in done.stdout
    assert [p.name for p in tmp_path.iterdir()] == ["digits"]
    assert len(documents(tmp_path / "digits")["train"]["images"]) == 2


def test_failure_while_drawing_leaves_nothing(tmp_path, monkeypatch):
    scenes = load_script("_scenes")
    monkeypatch.setattr(scenes, "PHOTOGRAPHS", ("none.png",))
    scenes.photographs.cache_clear()
    with pytest.raises(SystemExit, match=r"has no photograph .*none\.png; install the version"):
        prepare(tmp_path / "digits")
    assert not any(tmp_path.iterdir())
