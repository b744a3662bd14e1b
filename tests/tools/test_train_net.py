"""tools/train_net.py with bad input: an error that names it, exit code 1, no file touched."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from training_files import restored_loggers, write_config, write_dataset

from mask2former_mt.engine.main import launch_training

PROGRAM = Path(__file__).parents[2] / "tools" / "train_net.py"


@pytest.fixture(autouse=True)
def _leave_no_trace():
    known = set(DatasetCatalog.list())
    with restored_loggers():
        yield
    for name in set(DatasetCatalog.list()) - known:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


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


def edit(folder: Path, change: Callable[[dict], object], split: str = "train") -> None:
    """Changes one annotation file."""
    file = folder / "shapes" / f"{split}.json"
    document = json.loads(file.read_text())
    change(document)
    file.write_text(json.dumps(document))


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
    assert isinstance(caught.value.code, str)
    assert caught.value.code.startswith("error: ")
    assert "Traceback" not in caught.value.code
    assert files_of(folder) == before


@pytest.mark.parametrize("mode", [(), ("--eval-only",), ("--resume",)])
def test_a_missing_config_file_is_named(folder, mode):
    (folder / "c.yaml").unlink()
    refused(folder, *mode, match=r"error: config file .*c\.yaml does not exist")


def test_an_unknown_key_of_the_file_is_named(folder):
    with (folder / "c.yaml").open("a") as file:
        file.write("\nFANCY: {KEY: 1}\n")
    refused(folder, match=r"error: config file .*c\.yaml: .*FANCY")


def test_a_value_without_a_key_is_named(folder):
    refused(folder, "SOLVER.MAX_ITER", match=r"must be KEY VALUE pairs, got \['SOLVER.MAX_ITER'\]")


def test_an_option_after_the_keys_is_not_taken_for_a_value(folder):
    refused(folder, "SOLVER.MAX_ITER", 1, "--resume", match="must be KEY VALUE pairs.*--resume")


def test_a_missing_dataset_file_is_named(folder):
    (folder / "shapes" / "shapes.yaml").unlink()
    refused(folder, match=r"error: dataset file .*shapes\.yaml does not exist")


def test_a_missing_annotation_file_is_named(folder):
    (folder / "shapes" / "val.json").unlink()
    refused(folder, match=r"error: .*val\.annotations: .*val\.json does not exist")


def test_a_missing_image_is_named(folder):
    (folder / "shapes" / "images" / "2.png").unlink()
    refused(folder, match=r"(?s)error: .*train\.json.*1 of 4 image files are missing.*2\.png")


def test_a_missing_image_of_the_validation_split_is_found_before_training(folder):
    edit(folder, lambda document: document["images"][0].update(file_name="other.png"), "val")
    refused(folder, match=r"(?s)error: .*val\.json.*1 of 2 image files are missing.*other\.png")


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"images": [], "annotations": []}'])
def test_a_json_that_is_not_coco_is_named(folder, text):
    (folder / "shapes" / "train.json").write_text(text)
    refused(folder, match=r"error: .*train\.json (is not valid JSON|must be a COCO|is not a COCO)")


@pytest.mark.parametrize(
    ("labels", "match"),
    [
        ({"tint": "green"}, r"annotation 1 of .*'tint' has no value 'green'; listed are \['red'"),
        ({"colour": "red"}, r"annotation 1 of .*'colour' is not listed; listed are \['tint'"),
        ({"tint": 3}, r"annotation 1 of .*'tint': index must be in \[-1, 2\].*got 3"),
    ],
)
def test_a_label_that_is_not_listed_is_named(folder, labels, match):
    edit(folder, lambda document: document["annotations"][0].update(subcategories=labels))
    refused(folder, match=rf"(?s)error: .*{match}")


def test_a_category_that_is_not_listed_is_named(folder):
    edit(folder, lambda document: document["annotations"][2].update(category_id=8))
    refused(folder, match=r"(?s)error: .*annotation 3 of .*category_id 8 is not listed")


def test_an_annotation_outside_the_image_is_named(folder):
    edit(folder, lambda document: document["annotations"][0].update(bbox=[60, 8, 40, 12]))
    refused(folder, match=r"(?s)error: .*annotation 1 of .*must lie inside the image")


def test_a_subcategory_without_values_is_named(folder):
    for split in ("train", "val"):
        edit(folder, lambda document: document["subcategories"][1].update(values=[]), split)
    refused(folder, match=r"(?s)error: .*train\.json.*subcategory 'finish' has 0 values")


def test_a_name_that_is_registered_twice_is_named(folder):
    other = write_dataset(folder / "more", "shapes")
    refused(
        folder,
        "DATASETS.FILES",
        f"('{folder}/shapes/shapes.yaml', '{other}')",
        match=r"error: dataset 'shapes_train' of .* is already registered by .*change 'name'",
    )


def test_without_weights_there_is_nothing_to_evaluate(folder):
    refused(folder, "--eval-only", match=r"error: .*output/model_final\.pth not found")


def test_weights_that_are_no_checkpoint_are_named(folder):
    (folder / "w.pth").write_bytes(b"no checkpoint")
    arguments = ("--eval-only", "MODEL.WEIGHTS", folder / "w.pth")
    refused(folder, *arguments, match=r"error: checkpoint .*w\.pth cannot be read")
