"""A small, untrained model on disk, pictures and videos, and the programs that take them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from PIL import Image
from training_files import write_config

from mask2former_mt.engine.checkpoint import MultiTaskCheckpointer
from mask2former_mt.engine.setup import load_config
from mask2former_mt.label_lists import Labels

RECORD = {
    "thing_classes": ["apple", "pear", "plum"],
    "category_ids": [4, 7, 9],
    "subcategories": [{"name": "ripeness", "values": ["unripe", "ripe"]}],
}
COUNTS = [
    *("MODEL.SEM_SEG_HEAD.NUM_CLASSES", "3"),
    *("MODEL.SUBCATEGORY.NAMES", "['ripeness']"),
    *("MODEL.SUBCATEGORY.NUM_CLASSES", "[2]"),
]


def save_model(folder: Path, *, seed: int = 0) -> None:
    """Writes config.yaml and two checkpoints, one of which knows its dataset."""
    changes = {"INPUT.MAX_SIZE_TEST": 128, "TEST.DETECTIONS_PER_IMAGE": 4}
    write_config(folder / "config.yaml", changes=changes)
    torch.manual_seed(seed)
    model = build_model(load_config(str(folder / "config.yaml"), COUNTS))
    MultiTaskCheckpointer(model, str(folder), labels=Labels.from_record(RECORD)).save("model_final")
    MultiTaskCheckpointer(model, str(folder)).save("nameless")


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files of `save_model`."""
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


def write_video(file: Path, num_frames: int, *, size: tuple[int, int] = (64, 96)) -> None:
    """A video of size H, W in which each frame is brighter than the last."""
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter_fourcc(*"MJPG"), 10, size[::-1])
    assert writer.isOpened()
    for i in range(num_frames):
        writer.write(np.full((*size, 3), 5 * i, dtype=np.uint8))
    writer.release()


def cut_file(file: Path, share: float) -> None:
    """Keeps the first part of a file."""
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])
