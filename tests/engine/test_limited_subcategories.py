"""A run whose subcategory is of some classes only, from the dataset JSON to the report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from training_files import write_config, write_dataset

from mask2former_mt.engine.main import main
from mask2former_mt.engine.setup import load_config


def limit_finish(dataset: Path, *, with_contradiction: bool) -> None:
    """The finish is of blocks only; bars have one all the same where they contradict."""
    for split in ("train", "val"):
        file = dataset.parent / f"{split}.json"
        document = json.loads(file.read_text(encoding="utf-8"))
        document["subcategories"][1]["applies_to"] = ["block"]
        for annotation in document["annotations"]:
            if annotation["category_id"] == 1 and not with_contradiction:
                annotation["subcategories"].pop("finish", None)
        file.write_text(json.dumps(document), encoding="utf-8")


def test_a_run_knows_which_classes_have_a_subcategory(tmp_path):
    dataset = write_dataset(tmp_path / "shapes", "shapes_limited")
    limit_finish(dataset, with_contradiction=False)
    config = write_config(tmp_path / "c.yaml", dataset, {"TEST.REPORT": True})
    main(str(config), [], False, False)
    output = tmp_path / "output"
    saved = load_config(str(output / "config.yaml"))
    assert saved.MODEL.SUBCATEGORY.APPLIES_TO == [[], [1]]
    record = torch.load(output / "model_final.pth", weights_only=True)["dataset"]
    assert record["subcategories"][1]["applies_to"] == ["block"]
    results = json.loads((output / "inference/coco_instances_results.json").read_text())
    finishes = [r["subcategories"]["finish"] for r in results if r["category_id"] != 2]
    assert finishes
    assert all(finish == {"value": None, "score": 1.0} for finish in finishes)
    # The untrained head is sure of nothing, where it is asked.
    asked = [r["subcategories"]["finish"] for r in results if r["category_id"] == 2]
    assert all(finish["score"] < 1 for finish in asked)
    assert (output / "inference/report.html").is_file()
    # A saved config alone evaluates the model again, to the same numbers.
    before = json.loads((output / "metrics.json").read_text())
    main(
        str(output / "config.yaml"), ["MODEL.WEIGHTS", str(output / "model_final.pth")], False, True
    )
    after = json.loads((output / "metrics.json").read_text())
    assert {k: v for k, v in after.items() if k != "train/seconds"} == {
        k: v for k, v in before.items() if k != "train/seconds"
    }


def test_a_training_refuses_a_value_of_another_class(tmp_path):
    dataset = write_dataset(tmp_path / "shapes", "shapes_contradicting")
    limit_finish(dataset, with_contradiction=True)
    config = write_config(tmp_path / "c.yaml", dataset)
    with pytest.raises(SystemExit, match="of class 'bar' has value 'matt' of subcategory"):
        main(str(config), [], False, False)
