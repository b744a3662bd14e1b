"""tools/evaluate.py: the numbers of a run, from its file of predictions."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
from evaluation_scenes import CLASSES, SPEC, coco, crowded_scene

from mask2former_mt.evaluation.joint_coco import evaluate_joint

TOOL = Path(__file__).parents[2] / "tools" / "evaluate.py"


@pytest.fixture
def scene(tmp_path):
    """A dataset YAML and a file of predictions, and what they evaluate to."""
    annotations, results = crowded_scene(3)
    gt = coco(annotations, num_images=4)
    (tmp_path / "images").mkdir()
    document = {**gt.dataset, "subcategories": SPEC.to_json()}
    for image in document["images"]:
        image["file_name"] = f"{image['id']}.png"
    (tmp_path / "val.json").write_text(json.dumps(document), encoding="utf-8")
    (tmp_path / "fruit.yaml").write_text(
        "name: my_fruit\nroot: .\nval: {images: images, annotations: val.json}\n",
        encoding="utf-8",
    )
    (tmp_path / "predictions.json").write_text(json.dumps(results), encoding="utf-8")
    return tmp_path, evaluate_joint(gt, results, SPEC, CLASSES)


def run(folder, *options, **files):
    arguments = {"predictions": "predictions.json", "dataset": "fruit.yaml", "output": "out"}
    arguments |= files
    paths = [x for k, v in arguments.items() for x in (f"--{k}", str(folder / v))]
    return subprocess.run(
        [sys.executable, "-W", "ignore", str(TOOL), *paths, *options],
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_numbers_are_those_of_the_run(scene):
    folder, expected = scene
    done = run(folder, "--split", "val")
    assert done.returncode == 0, done.stderr
    assert "my_fruit_val" in done.stdout
    (row,) = [line for line in done.stdout.splitlines() if line.startswith("AP^J ")][:1]
    assert row.split() == ["AP^J", f"{expected['joint/AP']:.2f}"]
    metrics = json.loads((folder / "out" / "metrics.json").read_text(encoding="utf-8"))
    plain = {k: None if math.isnan(v) else v for k, v in expected.items()}
    assert metrics == plain
    confusion = json.loads((folder / "out" / "confusion.json").read_text(encoding="utf-8"))
    assert set(confusion) == {"style", "ripeness"}


def test_what_is_wrong_is_one_line(scene):
    folder, _ = scene
    text = (folder / "predictions.json").read_text(encoding="utf-8")
    (folder / "cut.json").write_text(text[: len(text) // 2], encoding="utf-8")
    done = run(folder, predictions="cut.json")
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith(f"error: {folder / 'cut.json'}: character ")
    assert not (folder / "out").exists()


def test_an_unknown_split_is_named(scene):
    done = run(scene[0], "--split", "test")
    assert done.returncode == 1
    assert "fruit.yaml has no split 'test', it has ['val']" in done.stderr
