"""tools/evaluate.py: the numbers of a run, from its file of predictions."""

import json
import math

import pytest
from evaluation_scenes import crowded_scene, evaluate, write_scene
from programs import load_program
from registered import restored_datasets

SCENE = crowded_scene(3)


@pytest.fixture
def run(tmp_path):
    """Runs the tool on a dataset and predictions that are written to the folder."""
    write_scene(tmp_path, *SCENE, name="my_fruit")
    program = load_program("evaluate.py")

    def call(*options, predictions="predictions.json"):
        files = {"predictions": predictions, "dataset": "fruit.yaml", "output": "out"}
        paths = [x for k, v in files.items() for x in (f"--{k}", str(tmp_path / v))]
        program.main([*paths, *options])

    with restored_datasets():
        yield call


@pytest.mark.parametrize("engine", ["own", "pycocotools"])
def test_the_numbers_are_those_of_the_run(run, tmp_path, capsys, engine):
    expected = evaluate(*SCENE)
    run("--split", "val", "--engine", engine)
    shown = capsys.readouterr().out
    assert shown.startswith("my_fruit_val\n")
    row = next(line for line in shown.splitlines() if line.startswith("AP^J "))
    assert row.split() == ["AP^J", f"{expected['joint/AP']:.2f}"]
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text(encoding="utf-8"))
    assert metrics == {k: None if math.isnan(v) else v for k, v in expected.items()}
    confusion = json.loads((tmp_path / "out" / "confusion.json").read_text(encoding="utf-8"))
    assert set(confusion) == {"style", "ripeness"}
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert f"<td>{engine}</td>" in page  # what matched
    assert f'<td class="r">{expected["joint/AP"]:.2f}</td>' in page


def test_as_many_detections_count_as_are_asked_for(run, tmp_path, capsys):
    run("--no-report", "--max-detections", "1")
    shown = capsys.readouterr().out
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text(encoding="utf-8"))
    expected = evaluate(*SCENE, max_dets=1)["segm/AP"]
    assert metrics["segm/AP"] == pytest.approx(expected)
    assert "AP@" not in shown
    run("--no-report", "--max-detections", "300")
    assert "segm AP@300" in capsys.readouterr().out


def test_the_report_can_be_left_out(run, tmp_path, capsys):
    run("--no-report")
    assert "report.html" not in capsys.readouterr().out
    assert not (tmp_path / "out" / "report.html").exists()


def test_predictions_that_do_not_fit_are_named_in_one_line_with_their_file(run, tmp_path):
    entry = '{"image_id": 77, "category_id": 7, "score": 1, "segmentation": '
    (tmp_path / "cut.json").write_text(f"[{entry}", encoding="utf-8")
    with pytest.raises(SystemExit, match=r"^error: .*cut\.json: character \d+: .* cut short"):
        run(predictions="cut.json")
    other = f'[{entry}{{"size": [160, 160], "counts": "0"}}, "subcategories": {{}}}}]'
    (tmp_path / "other.json").write_text(other, encoding="utf-8")
    with pytest.raises(SystemExit, match=r"other\.json: results\[0\]: image 77: image_id 7"):
        run(predictions="other.json")
    assert not (tmp_path / "out").exists()


def test_an_unknown_split_is_named(run):
    with pytest.raises(SystemExit, match=r"fruit\.yaml has no split 'test', it has \['val'\]"):
        run("--split", "test")
