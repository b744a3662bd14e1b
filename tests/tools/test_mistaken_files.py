"""Each program of tools/, given a file that is not there, a folder, bytes, or no place to write."""

from __future__ import annotations

from pathlib import Path

import pytest
from programs import load_program
from registered import restored_datasets
from training_files import restored_loggers, write_config, write_dataset

# Where the mistaken file stands among the arguments of a program, as "{}".
PLACES = {
    "train_net.py": [
        ["--config-file", "{}"],
        ["--config-file", "c.yaml", "DATASETS.FILES", "('{}',)"],
        ["--config-file", "c.yaml", "MODEL.WEIGHTS", "{}"],
        ["--config-file", "c.yaml", "MODEL.TIMM.WEIGHTS", "{}"],
        ["--config-file", "c.yaml", "--eval-only", "MODEL.WEIGHTS", "{}"],
    ],
    "predict.py": [
        ["--config-file", "{}", "--weights", "w.pth", "--input", "shapes/images", "--output", "o"],
        ["--config-file", "c.yaml", "--weights", "{}", "--input", "shapes/images", "--output", "o"],
        ["--config-file", "c.yaml", "--weights", "w.pth", "--input", "{}", "--output", "out"],
    ],
    "evaluate.py": [
        ["--predictions", "{}", "--dataset", "shapes/shapes.yaml", "--output", "out"],
        ["--predictions", "p.json", "--dataset", "{}", "--output", "out"],
    ],
    "check_dataset.py": [["{}"], ["shapes/shapes.yaml", "--config-file", "{}"]],
    "import_dataset.py": [
        ["coco", "{}", "--output", "out"],
        ["yolo", "{}", "--output", "out"],
        ["labelme", "{}", "--output", "out"],
    ],
    "demo.py": [["--config-file", "{}"]],
}
CASES = [(program, arguments) for program, places in PLACES.items() for arguments in places]
# Programs that write a folder, and how it is named.
WRITERS = {
    "train_net.py": ["--config-file", "c.yaml", "OUTPUT_DIR", "{}"],
    "evaluate.py": ["--predictions", "p.json", "--dataset", "shapes/shapes.yaml", "--output", "{}"],
    "check_dataset.py": ["shapes/shapes.yaml", "--output", "{}"],
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch) -> Path:
    write_config(tmp_path / "c.yaml", write_dataset(tmp_path / "shapes", "shapes"))
    (tmp_path / "folder").mkdir()
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00hello")
    (tmp_path / "p.json").write_text("[]")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def ended(program: str, arguments: list[str], capsys) -> tuple[object, str]:
    """Exit code, and the last line, which says why."""
    module = load_program(program)
    run = module.launch_training if program == "train_net.py" else module.main
    with restored_loggers(), restored_datasets():
        try:
            code = run(arguments)
        except SystemExit as error:
            code = error.code
    if isinstance(code, str):
        return 1, code
    told = capsys.readouterr()
    return code, (told.err or told.out).strip()


@pytest.mark.parametrize("mistake", ["nowhere", "folder", "bytes"])
@pytest.mark.parametrize(("program", "arguments"), CASES)
@pytest.mark.usefixtures("folder")
def test_a_mistaken_file_is_named(capsys, program, arguments, mistake):
    code, message = ended(program, [a.replace("{}", mistake) for a in arguments], capsys)
    assert code in (1, 2)
    assert mistake in message
    assert "Traceback" not in message


@pytest.mark.parametrize("mistake", ["bytes", "bytes/below"])
@pytest.mark.parametrize(("program", "arguments"), WRITERS.items())
@pytest.mark.usefixtures("folder")
def test_a_place_that_is_no_folder_is_named(capsys, program, arguments, mistake):
    code, message = ended(program, [a.replace("{}", mistake) for a in arguments], capsys)
    assert code in (1, 2)
    assert mistake in message
    assert "expected a folder" in message
