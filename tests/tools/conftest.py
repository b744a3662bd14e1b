"""What the tests of the prediction program share."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from predict_tools import pictures, trained  # noqa: F401 (fixtures)
from programs import load_program


@pytest.fixture(scope="session")
def program():
    return load_program("predict.py")


@pytest.fixture
def command(trained: Path, tmp_path: Path) -> Callable[..., list[str]]:  # noqa: F811
    """Makes the program's arguments from inputs, further options and the output folder's name."""

    def command(inputs: list, *options: object, out: str = "out") -> list[str]:
        return [
            *("--config-file", str(trained / "config.yaml")),
            *("--weights", str(trained / "model_final.pth")),
            *("--input", *map(str, inputs)),
            *("--output", str(tmp_path / out)),
            *map(str, options),
        ]

    return command


@pytest.fixture
def predict(program, command, tmp_path: Path) -> Callable[..., dict]:
    """Runs the program, with arguments as of `command`, and returns predictions.json."""

    def predict(inputs: list, *options: object, out: str = "out") -> dict:
        program.main(command(inputs, *options, out=out))
        return json.loads((tmp_path / out / "predictions.json").read_text(encoding="utf-8"))

    return predict


@pytest.fixture
def refuse(program, command, capsys) -> Callable[..., str]:
    """Runs the program, which must end with this exit code, and returns what it says."""

    def refuse(code: int, inputs: list, *options: object) -> str:
        with pytest.raises(SystemExit) as caught:
            program.main(command(inputs, *options))
        if isinstance(caught.value.code, str):  # Python prints it and exits with 1
            assert code == 1
            return caught.value.code
        assert caught.value.code == code
        return capsys.readouterr().err

    return refuse
