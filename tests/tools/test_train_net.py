"""tools/train_net.py with bad input: an error that names it, exit code 1, no file touched."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from registered import restored_datasets
from training_files import restored_loggers, write_config, write_dataset

from mask2former_mt.engine.main import launch_training

PROGRAM = Path(__file__).parents[2] / "tools" / "train_net.py"


@pytest.fixture(autouse=True)
def _leave_no_trace():
    with restored_loggers(), restored_datasets():
        yield


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A config `c.yaml`, its dataset in `shapes`, and no `output` yet."""
    write_config(tmp_path / "c.yaml", write_dataset(tmp_path / "shapes", "shapes"))
    return tmp_path


def program(*arguments: object) -> subprocess.CompletedProcess:
    environment = {
        **os.environ,
        "PYTHONPATH": str(PROGRAM.parents[1]),
        "OMP_NUM_THREADS": "1",
        "PYTHONWARNINGS": "ignore",
    }
    return subprocess.run(
        [sys.executable, str(PROGRAM), *map(str, arguments)],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )


def files_of(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


def test_the_program_trains_and_says_what_it_wrote(folder):
    done = program("--config-file", folder / "c.yaml", "SOLVER.MAX_ITER", 1)
    assert done.returncode == 0, done.stderr
    assert "AP^J finish" in done.stdout
    assert f"wrote {folder / 'output' / 'metrics.json'}" in done.stdout
    assert (folder / "output" / "model_final.pth").is_file()


def test_the_program_ends_with_one_line_and_exit_code_1(folder):
    before = files_of(folder)
    done = program("--config-file", folder / "c.yaml", "MODEL.FANCY_KEY", 1)
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("error: ")
    assert "MODEL.FANCY_KEY" in line
    assert files_of(folder) == before


def refused(folder: Path, *arguments: object, match: str) -> None:
    before = files_of(folder)
    with pytest.raises(SystemExit, match=match) as caught:
        launch_training(["--config-file", str(folder / "c.yaml"), *map(str, arguments)])
    # Python prints a text to stderr and exits with 1.
    assert caught.value.code.startswith("error: ")
    assert files_of(folder) == before


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["--config-file", "no.yaml"], r"error: config file no\.yaml does not exist"),
        (["SOLVER.MAX_ITER"], r"must be KEY VALUE pairs, got \['SOLVER.MAX_ITER'\]"),
        # An option after the keys is not taken for a value.
        (["SOLVER.MAX_ITER", 1, "--resume"], "must be KEY VALUE pairs.*--resume"),
        (["--eval-only"], r"error: weights .*output/model_final\.pth do not exist"),
        (["--eval-only", "MODEL.WEIGHTS", __file__], r"error: weights .* cannot be read"),
        (["DATASETS.FILES", "('no.yaml',)"], r"error: dataset file .*no\.yaml does not exist"),
    ],
)
def test_arguments_that_do_not_fit_are_named(folder, arguments, match):
    refused(folder, *arguments, match=match)


# Split, list in its JSON, index in the list, what is changed there.
@pytest.mark.parametrize(
    ("split", "place", "index", "change", "match"),
    [
        (
            *("train", "annotations", 0, {"subcategories": {"tint": "green"}}),
            r"annotation 1 of .*'tint' has no value 'green'; listed are \['red'",
        ),
        (
            *("train", "subcategories", 1, {"values": []}),
            r"train\.json.*subcategory 'finish' has 0 values",
        ),
        # The validation split is read before the training, too.
        (
            *("val", "images", 0, {"file_name": "other.png"}),
            r"val\.json.*1 of 2 image files are missing.*other\.png",
        ),
    ],
)
def test_what_is_wrong_in_an_annotation_file_is_named(folder, split, place, index, change, match):
    file = folder / "shapes" / f"{split}.json"
    document = json.loads(file.read_text())
    document[place][index].update(change)
    file.write_text(json.dumps(document))
    refused(folder, match=rf"(?s)error: .*{match}")
