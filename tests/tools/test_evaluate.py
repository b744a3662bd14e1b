"""tools/evaluate.py: the numbers of a run, from its file of predictions."""

import importlib.util
import json
import math
from pathlib import Path

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from evaluation_scenes import crowded_scene, evaluate_scene, write_scene

TOOL = Path(__file__).parents[2] / "tools" / "evaluate.py"


@pytest.fixture
def scene(tmp_path):
    """A dataset YAML and a file of predictions, and what they evaluate to."""
    annotations, results = crowded_scene(3)
    write_scene(tmp_path, annotations, results, name="my_fruit")
    return tmp_path, evaluate_scene(annotations, results)


@pytest.fixture
def program():
    spec = importlib.util.spec_from_file_location("evaluate_tool", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    for name in [n for n in DatasetCatalog.list() if n.startswith("my_fruit")]:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def run(program, folder, *options, **files):
    arguments = {"predictions": "predictions.json", "dataset": "fruit.yaml", "output": "out"}
    arguments |= files
    paths = [x for k, v in arguments.items() for x in (f"--{k}", str(folder / v))]
    program.main([*paths, *options])


@pytest.mark.parametrize("engine", ["own", "pycocotools"])
def test_the_numbers_are_those_of_the_run(program, scene, capsys, engine):
    folder, expected = scene
    run(program, folder, "--split", "val", "--engine", engine)
    shown = capsys.readouterr().out
    assert shown.startswith("my_fruit_val\n")
    row = next(line for line in shown.splitlines() if line.startswith("AP^J "))
    assert row.split() == ["AP^J", f"{expected['joint/AP']:.2f}"]
    metrics = json.loads((folder / "out" / "metrics.json").read_text(encoding="utf-8"))
    assert metrics == {k: None if math.isnan(v) else v for k, v in expected.items()}
    confusion = json.loads((folder / "out" / "confusion.json").read_text(encoding="utf-8"))
    assert set(confusion) == {"style", "ripeness"}
    page = (folder / "out" / "report.html").read_text(encoding="utf-8")
    assert f"<td>{engine}</td>" in page  # what matched
    assert f'<td class="r">{expected["joint/AP"]:.2f}</td>' in page


def test_the_report_can_be_left_out(program, scene, capsys):
    run(program, scene[0], "--no-report")
    assert "report.html" not in capsys.readouterr().out
    assert not (scene[0] / "out" / "report.html").exists()


def test_a_file_that_is_cut_short_is_one_line(program, scene):
    folder, _ = scene
    text = (folder / "predictions.json").read_text(encoding="utf-8")
    (folder / "cut.json").write_text(text[: len(text) // 2], encoding="utf-8")
    with pytest.raises(SystemExit, match=r"^error: .*cut\.json: character \d+: .* cut short"):
        run(program, folder, predictions="cut.json")
    assert not (folder / "out").exists()


def test_predictions_of_another_dataset_are_named_with_their_file(program, scene):
    folder, _ = scene
    (folder / "other.json").write_text(
        '[{"image_id": 77, "category_id": 7, "score": 1, "segmentation": {}}]', encoding="utf-8"
    )
    with pytest.raises(
        SystemExit, match=r"error: .*other\.json: results\[0\]: image 77: image_id 7"
    ):
        run(program, folder, predictions="other.json")


def test_an_unknown_split_is_named(program, scene):
    with pytest.raises(SystemExit, match=r"fruit\.yaml has no split 'test', it has \['val'\]"):
        run(program, scene[0], "--split", "test")
