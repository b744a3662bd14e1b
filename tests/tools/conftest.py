"""What the tests of the prediction program share."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from predict_tools import load_program, save_model


@pytest.fixture(scope="session")
def program():
    return load_program()


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with config.yaml and two checkpoints, one of which knows its dataset."""
    folder = tmp_path_factory.mktemp("trained")
    save_model(folder)
    return folder


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder with two pictures of different sizes, and a text."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "b.png")
    Image.fromarray(noise[:, :70]).save(folder / "a.JPG")
    (folder / "notes.txt").write_text("not a picture", encoding="utf-8")
    return folder
