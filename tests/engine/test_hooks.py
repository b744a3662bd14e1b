"""Pictures and shares of training samples, and bad samples, in whole trainings."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest
from training_files import CLASSES, write_config, write_dataset

from mask2former_mt.data import monitor
from mask2former_mt.engine.main import main

NO_EVALUATION = {"DATASETS.TEST": []}


@pytest.fixture
def dataset(tmp_path) -> Path:
    return write_dataset(tmp_path / "shapes", "shapes_hooks")


def run(folder: Path, dataset: Path, **changes: object) -> None:
    changes = {**NO_EVALUATION, **{k.replace("__", "."): v for k, v in changes.items()}}
    config = write_config(folder / "c.yaml", dataset, changes)
    main(str(config))


def truncate(dataset: Path, name: str) -> Path:
    """Cuts one picture short; its header remains, so only decoding it fails."""
    path = dataset.parent / "images" / name
    path.write_bytes(path.read_bytes()[:-60])
    return path


def log_of(folder: Path) -> str:
    return (folder / "output" / "log.txt").read_text()


def test_panels_and_shares_are_written(dataset, tmp_path):
    run(tmp_path, dataset, SOLVER__MAX_ITER=5, INPUT__PANEL_PERIOD=4)
    samples = tmp_path / "output" / "samples"
    # The first batch, and every fourth.
    assert {p.name for p in samples.iterdir()} == {
        "iter_0000000.png",
        "iter_0000003.png",
        "shares.json",
    }
    picture = cv2.imread(str(samples / "iter_0000003.png"))
    # Two pictures in a row, each at least 512 wide.
    assert picture.shape[1] > 2 * 512
    shares = json.loads((samples / "shares.json").read_text())
    assert shares["pictures"] == 10
    assert shares["bad_samples"] == []
    assert set(shares["classes"]) == set(CLASSES)
    assert sum(row["instances"] for row in shares["classes"].values()) == pytest.approx(1)
    # Of the four objects two are bars.
    assert shares["classes"]["bar"]["dataset_instances"] == 0.5
    lines = [json.loads(x) for x in (tmp_path / "output/training.jsonl").read_text().splitlines()]
    assert lines[-1]["samples/instances/class/bar"] == shares["classes"]["bar"]["instances"]
    assert "samples/pixels/tint/red" in lines[-1]
    events = b"".join(p.read_bytes() for p in (tmp_path / "output").glob("events*"))
    assert b"\x89PNG" in events


def test_no_panels_are_written_where_none_are_asked_for(dataset, tmp_path):
    run(tmp_path, dataset, INPUT__PANEL_PERIOD=0)
    assert [p.name for p in (tmp_path / "output" / "samples").iterdir()] == ["shares.json"]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_truncated_picture_is_skipped_and_listed(dataset, tmp_path, workers):
    name = truncate(dataset, "2.png")
    run(
        tmp_path,
        dataset,
        SOLVER__MAX_ITER=6,
        DATALOADER__ON_BAD_SAMPLE="skip",
        DATALOADER__NUM_WORKERS=workers,
    )
    log = log_of(tmp_path)
    # Twelve draws of four pictures meet it three times; the log names it once, and at the end.
    assert log.count(f"skipped the sample of {name}: image {name} cannot be read:") == 1
    summary = log[log.index("1 bad samples were replaced by others:") :].splitlines()[1]
    times, reason = summary.strip().split("x ", 1)
    assert int(times) >= 3
    assert reason.startswith(f"image {name} cannot be read:")
    shares = json.loads((tmp_path / "output/samples/shares.json").read_text())
    assert shares["bad_samples"] == [{"reason": reason, "times": int(times)}]
    assert (tmp_path / "output" / "model_final.pth").is_file()


@pytest.mark.parametrize("workers", [0, 1])
def test_a_truncated_picture_ends_the_run(dataset, tmp_path, workers):
    name = truncate(dataset, "2.png")
    # In one line, of a worker too.
    with pytest.raises(SystemExit, match=rf"^error: image .*{name.name} cannot be read"):
        run(tmp_path, dataset, SOLVER__MAX_ITER=6, DATALOADER__NUM_WORKERS=workers)
    assert not (tmp_path / "output" / "model_final.pth").exists()


def test_more_bad_pictures_than_the_limit_end_the_run(dataset, tmp_path):
    names = [truncate(dataset, name) for name in ("1.png", "2.png", "3.png")]
    with pytest.raises(SystemExit, match=r"error: at most 2 samples may be bad .*got 3"):
        run(
            tmp_path,
            dataset,
            SOLVER__MAX_ITER=6,
            DATALOADER__ON_BAD_SAMPLE="skip",
            DATALOADER__MAX_BAD_SAMPLES=2,
        )
    log = log_of(tmp_path)
    assert all(f"image {name} cannot be read" in log for name in names)
    assert not (tmp_path / "output" / "model_final.pth").exists()


def test_pictures_of_the_evaluation_are_never_skipped(dataset, tmp_path):
    truncate(dataset, "1.png")
    changes = {"DATASETS.TEST": ["shapes_hooks_val"]}
    with pytest.raises(SystemExit, match=r"1\.png cannot be read"):
        run(tmp_path, dataset, DATALOADER__ON_BAD_SAMPLE="skip", **changes)
    # What was seen in training is written before the evaluation that failed.
    assert (tmp_path / "output" / "samples" / "shares.json").is_file()


@pytest.mark.parametrize(("alarm", "warned"), [(0.9, True), (0.0, False)])
def test_a_class_that_is_augmented_away_is_warned_of(dataset, tmp_path, alarm, warned, monkeypatch):
    monkeypatch.setattr(monitor, "MIN_EXPECTED", 1)
    # Of the third picture, whose only object is the second bar, there is nothing to learn.
    truncate(dataset, "2.png")
    changes = {"SOLVER.MAX_ITER": 6, "DATALOADER.ON_BAD_SAMPLE": "skip"}
    run(tmp_path, dataset, INPUT__SHARE_ALARM=alarm, **changes)
    # A third of what is left are bars, half of all.
    assert ("class 'bar' has" in log_of(tmp_path)) == warned
