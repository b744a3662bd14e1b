"""tools/check_dataset.py: exit codes, what is printed and written, and every refusal."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from dataset_to_check import DatasetToCheck, image_entry, polygon_annotation
from map_datasets import write_panoptic, write_semantic
from programs import load_program
from registered import restored_datasets

PROGRAM = Path(__file__).parents[2] / "tools" / "check_dataset.py"
BROKEN = {"segmentation": [[1, 1, 9, 9]]}
BOX = {"bbox": [9, 5, 10, 10]}


@pytest.fixture(scope="module")
def program():
    return load_program("check_dataset.py")


@pytest.fixture
def dataset(tmp_path: Path) -> DatasetToCheck:
    return DatasetToCheck(tmp_path / "tiny")


@pytest.mark.parametrize(
    ("changes", "code", "counts"),
    [({}, 0, "0 errors, 0 warnings"), (BOX, 1, "0 errors, 1 warning"), (BROKEN, 2, "1 error, ")],
)
def test_the_exit_code_is_the_worst_severity(program, dataset, capsys, changes, code, counts):
    dataset.annotation.update(changes)
    assert program.main([str(dataset.write())]) == code
    printed = capsys.readouterr().out
    assert counts in printed
    assert "MODEL.PIXEL_MEAN" in printed
    assert "NUM_OBJECT_QUERIES 10" in printed


def test_the_program_itself_ends_with_that_code(dataset):
    dataset.write()
    dataset.json_file("val").write_text("{", encoding="utf-8")
    command = [sys.executable, str(PROGRAM), str(dataset.yaml)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "bad-annotation-file" in done.stdout
    assert "Traceback" not in done.stderr


def test_equal_files_are_found_unless_told_not_to_read_them(program, dataset):
    dataset.image("val", "c.png").write_bytes(dataset.image("train", "a.png").read_bytes())
    assert program.main([str(dataset.write())]) == 2
    assert program.main([str(dataset.yaml), "--no-hash"]) == 0


def test_reports_are_written_and_the_console_shows_some_of_each_kind(
    program, dataset, tmp_path, capsys
):
    dataset.annotation.update(BROKEN)
    dataset.train["annotations"] += [polygon_annotation(200 + i, 10, **BROKEN) for i in range(8)]
    folder = tmp_path / "new" / "report"
    assert program.main([str(dataset.write()), "--show", "2", "--output", str(folder)]) == 2
    assert "... and 7 more" in capsys.readouterr().out
    assert sorted(path.name for path in folder.iterdir()) == ["report.html", "report.json"]
    report = json.loads((folder / "report.json").read_text())
    assert "augmented" not in report
    assert report["findings"][0] == {
        "severity": "error",
        "kind": "too-few-points",
        "file": str(dataset.image("train", "a.png")),
        "image_id": 10,
        "annotation_id": 100,
        "message": "a polygon needs at least 3 points, got 2: [1, 1, 9, 9]; remove it or draw it "
        "again",
    }
    assert "too-few-points" in (folder / "report.html").read_text()


def test_clean_writes_one_split_and_touches_no_input(program, dataset, tmp_path, capsys):
    dataset.annotation.update(BOX)
    dataset.write()
    before = dataset.json_file().read_bytes()
    output = tmp_path / "clean.json"
    arguments = [str(dataset.yaml), "--write-clean", str(output), "--split", "train"]
    assert program.main(arguments) == 1
    assert json.loads(output.read_text())["annotations"][0]["bbox"] == [5, 5, 10, 10]
    assert dataset.json_file().read_bytes() == before
    assert "1 x bbox" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["--write-clean", "out.json"], r"add --split, one of \['train', 'val'\]"),
        (["--write-clean", "out.json", "--split", "x"], "--split must be one of"),
        (["--split", "train"], "--split says what --write-clean repairs"),
        (["--write-clean", "{}/train.json", "--split", "val"], "is the input"),
        (["--write-clean", "{}/tiny.yaml", "--split", "train"], "is the input"),
        (["--output", "{}"], "report.json is the input"),
        (["--output", "{}/tiny.yaml"], "File exists|Not a directory"),
        (["--workers", "0"], "must be at least 1"),
    ],
)
def test_what_cannot_be_done_is_refused_before_the_check(
    program, dataset, capsys, arguments, match, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    # A split may be named like the report.
    dataset.write().write_text(dataset.yaml.read_text().replace("val.json", "report.json"))
    dataset.json_file("val").rename(dataset.json_file("report"))
    before = {path: path.read_bytes() for path in dataset.folder.glob("*.*")}
    with pytest.raises(SystemExit) as caught:
        program.main([str(dataset.yaml), *(a.format(dataset.folder) for a in arguments)])
    assert caught.value.code == 2
    assert re.search(match, capsys.readouterr().err)
    assert {path: path.read_bytes() for path in dataset.folder.glob("*.*")} == before


def test_a_json_that_cannot_be_repaired_leaves_no_file(program, dataset, tmp_path):
    dataset.write()
    dataset.json_file("train").write_text("{", encoding="utf-8")
    output = tmp_path / "clean.json"
    with pytest.raises(SystemExit) as caught:
        program.main([str(dataset.yaml), "--write-clean", str(output), "--split", "train"])
    assert caught.value.code == 2
    assert not output.exists()


def test_an_interrupt_leaves_no_file(dataset, tmp_path):
    # Enough pictures for some seconds, all of them one file.
    dataset.write_image(dataset.image("train", "large.png"), size=(1500, 1500))
    dataset.train.update(
        images=[image_entry(i, "large.png", 1500, 1500) for i in range(2000)], annotations=[]
    )
    folder = tmp_path / "report"
    arguments = [str(dataset.write()), "--output", str(folder), "--workers", "1"]
    process = subprocess.Popen(
        [sys.executable, str(PROGRAM), *arguments],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        # A shell that runs the tests in the background has them, and so the program, ignore it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 60
    while not folder.is_dir() and time.monotonic() < deadline:  # made just before the check
        time.sleep(0.1)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted: nothing was written" in errors
    assert "Traceback" not in errors
    assert list(folder.iterdir()) == []


def test_datasets_with_maps_are_checked_and_sampled(program, tmp_path, capsys):
    config = tmp_path / "config.yaml"
    config.write_text("INPUT: {DATASET_MAPPER_NAME: plain, MIN_SIZE_TRAIN: [12]}\n")
    for write in (write_semantic, write_panoptic):
        yaml_file = str(write(tmp_path / write.__name__))
        with restored_datasets():
            assert program.main([yaml_file, "--config-file", str(config), "--samples", "4"]) < 2
        # Every pixel of a picture and its masks was moved alike, at three times the size.
        assert "alignment IoU of image and masks: mean 1.000" in capsys.readouterr().out
    clean = ["--write-clean", str(tmp_path / "out.json")]
    with pytest.raises(SystemExit):
        program.main([yaml_file, *clean])
    assert "--write-clean repairs instances" in capsys.readouterr().err
