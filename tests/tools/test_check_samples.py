"""tools/check_dataset.py --config-file: what is printed, written and refused."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest
from programs import load_program
from registered import restored_datasets
from training_files import write_config, write_dataset


@pytest.fixture(scope="module")
def program():
    return load_program("check_dataset.py")


@pytest.fixture(autouse=True)
def _forget_datasets():
    with restored_datasets():
        yield


@pytest.fixture
def files(tmp_path) -> tuple[Path, Path]:
    """A dataset without faults, and a config with a list of augmentations."""
    dataset = write_dataset(tmp_path / "shapes", "shapes_samples")
    # The pictures of val are those of train: it would leak.
    dataset.write_text(
        "name: shapes_samples\nroot: .\ntrain: {images: images, annotations: train.json}\n"
    )
    entries = [{"name": "flip"}, {"name": "lsj", "size": 64}, {"name": "copy_paste"}]
    return dataset, write_config(tmp_path / "c.yaml", changes={"INPUT.AUGMENTATIONS": entries})


def test_samples_are_drawn_and_reported(program, files, tmp_path, capsys):
    dataset, config = files
    folder = tmp_path / "report"
    arguments = ["--config-file", str(config), "--samples", "6", "--output", str(folder)]
    # A class and a value without an object are warnings.
    assert program.main([str(dataset), *arguments]) == 1
    printed = capsys.readouterr().out
    assert "Augmented samples: 6\n  alignment IoU of image and masks: mean 1.000" in printed
    assert {path.name for path in folder.iterdir()} == {"report.html", "report.json", "samples.png"}
    assert str(folder / "samples.png") in printed
    content = json.loads((folder / "report.json").read_text())
    assert content["augmented"]["samples"] == 6
    assert content["augmented"]["faults"] == []
    assert set(content["augmented"]["shares"]) == {"classes", "subcategories"}
    # Four pictures in a row.
    assert cv2.imread(str(folder / "samples.png")).shape[1] > 4 * 64


def test_a_misaligned_sample_is_an_error(program, files, monkeypatch, capsys):
    class Shifts(program.MultiTaskInstanceMapper):
        def __call__(self, record):
            sample = super().__call__(record)
            sample["instances"].gt_masks = sample["instances"].gt_masks.roll(4, 2)
            return sample

    monkeypatch.setattr(program, "MultiTaskInstanceMapper", Shifts)
    dataset, config = files
    assert program.main([str(dataset), "--config-file", str(config), "--samples", "2"]) == 2
    assert "png: draw 0: mean alignment IoU" in capsys.readouterr().out


def test_a_split_that_training_refuses_is_told(program, files, capsys):
    dataset, config = files
    (dataset.parent / "images" / "0.png").unlink()
    assert program.main([str(dataset), "--config-file", str(config), "--samples", "2"]) == 2
    printed = capsys.readouterr().out
    assert f"error: {dataset}: no samples were drawn: " in printed
    assert "0.png" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--samples", "5"], "--samples are drawn as a config says: add --config-file"),
        (["--config-file", "nowhere.yaml"], "config file nowhere.yaml does not exist"),
        (["--config-file", "c.yaml", "--samples", "0"], "must be at least 1, got 0"),
    ],
)
def test_a_wrong_command_line_is_refused(program, files, capsys, arguments, message):
    with pytest.raises(SystemExit) as stopped:
        program.main([str(files[0]), *arguments])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
