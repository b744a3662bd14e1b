"""tools/demo.py on a small model: trains once, and predicts each time."""

import pytest
from programs import load_program
from training_files import restored_loggers, write_config, write_dataset


@pytest.fixture(autouse=True)
def _restored_loggers():
    with restored_loggers():
        yield


def test_demo_trains_once_and_shows_pictures(tmp_path, capsys):
    program = load_program("demo.py")
    config = write_config(tmp_path / "demo.yaml", write_dataset(tmp_path / "data", "demo_test"))
    output = tmp_path / "output"
    arguments = ["--config-file", str(config), "--pictures", "1"]
    program.main(arguments)
    first = capsys.readouterr().out
    assert "is trained already" not in first
    (weights,) = (line.split()[1] for line in first.splitlines() if line.startswith("model "))
    assert weights == str(output / "model_final.pth")
    assert [p.name for p in (output / "predictions").glob("*.png")] == ["0.png"]
    assert (output / "predictions.png").is_file()

    (output / "predictions.png").unlink()
    program.main(arguments)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{weights} is trained already; remove {output} to train again"
    # The table and the places are the same again; before them stands the log.
    start = next(i for i, line in enumerate(lines) if line.startswith("demo_test_val, "))
    assert first.splitlines()[start - len(lines) :] == lines[start:]
    assert f"all in one   {output / 'predictions.png'} (ground truth beside prediction)" in lines
    assert (output / "predictions.png").is_file()

    for damaged, message in (("{", "is no JSON"), ("{}", "has no 'train/seconds' of a training")):
        (output / "metrics.json").write_text(damaged)
        with pytest.raises(SystemExit, match=rf"^error: .*metrics\.json {message}.*remove it"):
            program.main(arguments)
