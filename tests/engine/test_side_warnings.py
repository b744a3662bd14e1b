"""A training that flips says, before it starts, which labels the flips would mix up."""

from __future__ import annotations

import json
import logging

import pytest
from registered import restored_datasets
from training_files import write_config, write_dataset

from mask2former_mt.engine.setup import fill_from_datasets, load_config
from mask2former_mt.engine.trainer import MultiTaskTrainer


@pytest.mark.parametrize(
    ("flip", "keys", "is_told"),
    [
        ("horizontal", {}, True),
        ("none", {}, False),
        ("horizontal", {"flip": {"left": "right"}}, False),
    ],
)
def test_sides_are_told(tmp_path, caplog, flip, keys, is_told):
    dataset = write_dataset(tmp_path / "data", "sides")
    for split in ("train", "val"):
        file = dataset.parent / f"{split}.json"
        document = json.loads(file.read_text())
        document["subcategories"] = [{"name": "tint", "values": ["left", "right"], **keys}]
        for annotation in document["annotations"]:
            annotation["subcategories"] = {"tint": "left"}
        file.write_text(json.dumps(document))
    config = write_config(tmp_path / "c.yaml", dataset, {"INPUT.RANDOM_FLIP": flip})
    with restored_datasets(), caplog.at_level(logging.WARNING, "mask2former_mt"):
        MultiTaskTrainer.build_train_loader(fill_from_datasets(load_config(str(config))))
    lines = [r.getMessage() for r in caplog.records if "look like sides" in r.getMessage()]
    assert len(lines) == is_told
    assert all('add "flip": {"left": "right"}' in line for line in lines)
