"""A whole training and evaluation on maps of classes, and on panoptic segments."""

from __future__ import annotations

from pathlib import Path

import pytest
from map_datasets import write_panoptic, write_semantic
from registered import restored_datasets
from training_files import write_config

from mask2former_mt.engine.main import main

# The mapper, the output that is evaluated, and one of its numbers.
KINDS = {
    "semantic": (write_semantic, "mask_former_semantic", "SEMANTIC_ON", "sem_seg/mIoU"),
    "panoptic": (write_panoptic, "mask_former_panoptic", "PANOPTIC_ON", "panoptic_seg/PQ^J"),
    "jitter": (write_panoptic, "coco_panoptic_lsj", "PANOPTIC_ON", "panoptic_seg/PQ"),
}


@pytest.mark.parametrize(("write", "mapper", "output", "metric"), KINDS.values(), ids=KINDS)
def test_maps_are_trained_on_and_evaluated(tmp_path, write, mapper, output, metric):
    yaml_file: Path = write(tmp_path / "data")
    text = yaml_file.read_text()
    yaml_file.write_text(text + text.splitlines()[-1].replace("train:", "val:", 1) + "\n")
    switches = {key: key == output for key in ("INSTANCE_ON", "SEMANTIC_ON", "PANOPTIC_ON")}
    changes = {
        "INPUT.DATASET_MAPPER_NAME": mapper,
        "INPUT.CROP.ENABLED": True,
        "INPUT.CROP.TYPE": "absolute",
        "INPUT.CROP.SIZE": [32, 32],
        "INPUT.CROP.SINGLE_CATEGORY_MAX_AREA": 0.9,
        "INPUT.IMAGE_SIZE": 32,
        **{f"MODEL.MASK_FORMER.TEST.{key}": on for key, on in switches.items()},
    }
    config = write_config(tmp_path / "config.yaml", yaml_file, changes)
    with restored_datasets():
        metrics = main(str(config))
    assert 0 <= metrics[metric] <= 100
