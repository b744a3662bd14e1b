"""A training, and files that list its labels in another order or in part: names decide."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from registered import restored_datasets
from training_files import write_config, write_dataset

from mask2former_mt.dataset.catalog import register_dataset_files
from mask2former_mt.engine.main import main
from mask2former_mt.engine.setup import fill_from_datasets, load_config
from mask2former_mt.engine.trainer import MultiTaskTrainer
from mask2former_mt.evaluation.evaluator import evaluate_file

RESULTS = "inference/coco_instances_results.json"


@pytest.fixture(scope="module", autouse=True)
def _forget_datasets():
    with restored_datasets():
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of `c.yaml`, the dataset `shapes_names` and `output`, a training of a step."""
    folder = tmp_path_factory.mktemp("names")
    dataset = write_dataset(folder / "shapes", "shapes_names")
    main(str(write_config(folder / "c.yaml", dataset, {"SOLVER.MAX_ITER": 1})))
    return folder


def another_order(document: dict) -> None:
    """bar 1, block 2, bird 3 become bird 1, block 2, bar 3; values and subcategories turn round."""
    for entry in (*document["categories"], *document["annotations"]):
        key = "id" if "name" in entry else "category_id"
        entry[key] = 4 - entry[key]
    document["subcategories"] = [
        {**s, "values": s["values"][::-1]} for s in document["subcategories"][::-1]
    ]


def bars_only(document: dict) -> None:
    """A plain COCO file of one class, with an id that the training has for another one."""
    del document["subcategories"]
    document["categories"] = [{"id": 2, "name": "bar"}]
    document["annotations"] = [
        {**{k: v for k, v in a.items() if k != "subcategories"}, "category_id": 2}
        for a in document["annotations"]
        if a["category_id"] == 1
    ]


def values_turned(document: dict) -> None:
    document["subcategories"][0]["values"].reverse()


def changed(trained: Path, folder: Path, change) -> Path:
    """A copy of the dataset, `<change>_train` and `<change>_val`."""
    shutil.copytree(trained / "shapes", folder)
    for split in ("train", "val"):
        document = json.loads((folder / f"{split}.json").read_text())
        change(document)
        (folder / f"{split}.json").write_text(json.dumps(document))
    path = folder / f"{change.__name__}.yaml"
    text = (folder / "shapes_names.yaml").read_text()
    path.write_text(text.replace("shapes_names", change.__name__))
    return path


def by_name(output: Path, dataset: Path) -> list[tuple]:
    """Picture, score, class and values of each result, as the dataset names them."""
    document = json.loads(dataset.with_name("val.json").read_text())
    names = {c["id"]: c["name"] for c in document["categories"]}
    return [
        (
            r["image_id"],
            r["score"],
            names[r["category_id"]],
            {name: label["value"] for name, label in r["subcategories"].items()},
        )
        for r in json.loads((output / RESULTS).read_text())
    ]


def evaluate_on(trained: Path, folder: Path, dataset: Path, **changes: object) -> dict:
    weights = str(trained / "output" / "model_final.pth")
    changes = {"DATASETS.TRAIN": [], "MODEL.WEIGHTS": weights, **changes}
    return main(str(write_config(folder / "e.yaml", dataset, changes)), eval_only=True)


def test_evaluating_another_order_names_every_detection_as_before(trained, tmp_path):
    dataset = changed(trained, tmp_path / "data", another_order)
    metrics = evaluate_on(trained, tmp_path, dataset)
    expected = by_name(trained / "output", trained / "shapes" / "shapes_names.yaml")
    assert len(expected) == 12  # 6 detections in each of two pictures
    assert by_name(tmp_path / "output", dataset) == expected
    before = json.loads((trained / "output" / "metrics.json").read_text())
    assert metrics == pytest.approx(
        {k: float("nan") if v is None else v for k, v in before.items()}, nan_ok=True
    )


def test_a_plain_file_of_some_classes_can_be_evaluated(trained, tmp_path):
    dataset = changed(trained, tmp_path / "data", bars_only)
    metrics = evaluate_on(trained, tmp_path, dataset)
    everything = by_name(trained / "output", trained / "shapes" / "shapes_names.yaml")
    bars = [(image, score, name, {}) for image, score, name, _ in everything if name == "bar"]
    assert by_name(tmp_path / "output", dataset) == bars
    assert {key for key in metrics if key.startswith("segm/AP-")} == {"segm/AP-bar"}
    assert not any("tint" in key or "finish" in key for key in metrics)
    log = (tmp_path / "output" / "log.txt").read_text()
    left_out = f"{len(everything) - len(bars)} predictions of classes that dataset 'bars_only_val'"
    assert (left_out in log) == (len(everything) > len(bars))


@pytest.mark.parametrize("change", [another_order, values_turned])
def test_resuming_with_another_order_is_refused_with_both_lists(trained, tmp_path, change):
    shutil.copytree(trained / "output", tmp_path / "output")
    dataset = changed(trained, tmp_path / "data", change)
    config = write_config(tmp_path / "c.yaml", dataset)
    match = r"with other labels: .*values of 'tint' \['red', 'blue'\] there, \['blue', 'red'\] here"
    with pytest.raises(SystemExit, match=match):
        main(str(config), resume=True)


def test_fine_tuning_keeps_the_heads_rows_of_the_same_names(trained, tmp_path, caplog):
    dataset = changed(trained, tmp_path / "data", another_order)
    weights = trained / "output" / "model_final.pth"
    config = write_config(tmp_path / "c.yaml", dataset, {"MODEL.WEIGHTS": str(weights)})
    (tmp_path / "output").mkdir()
    trainer = MultiTaskTrainer(fill_from_datasets(load_config(str(config))))
    with caplog.at_level("INFO", logger="mask2former_mt"):
        trainer.resume_or_load(resume=False)
    assert "taken over by name:" in caplog.text
    old, new = torch.load(weights, weights_only=True)["model"], trainer.model.state_dict()
    for head, rows in (
        ("class_embed", [2, 1, 0, 3]),  # bird, block, bar, "no object"
        ("subcategory_embed.tint", [1, 0, 2]),  # blue, red, none
        ("subcategory_embed.finish", [2, 1, 0, 3]),
    ):
        for kind in ("weight", "bias"):
            name = f"sem_seg_head.predictor.{head}.{kind}"
            torch.testing.assert_close(new[name], old[name][rows], rtol=0, atol=0)


def test_results_are_evaluated_by_the_names_that_they_were_written_with(trained, tmp_path):
    dataset = changed(trained, tmp_path / "data", another_order)
    register_dataset_files([dataset, trained / "shapes" / "shapes_names.yaml"])
    before, after = (
        evaluate_file(trained / "output" / RESULTS, name, tmp_path / name).metrics
        for name in ("shapes_names_val", "another_order_val")
    )
    assert after == pytest.approx(before, nan_ok=True)


def test_a_checkpoint_of_others_is_taken_by_number_and_told(trained, tmp_path):
    checkpoint = torch.load(trained / "output" / "model_final.pth", weights_only=True)
    foreign, ours = tmp_path / "foreign.pth", tmp_path / "ours.pth"
    torch.save({"model": checkpoint["model"]}, foreign)
    del checkpoint["dataset"]
    torch.save(checkpoint, ours)
    dataset = trained / "shapes" / "shapes_names.yaml"
    evaluate_on(trained, tmp_path, dataset, **{"MODEL.WEIGHTS": str(foreign)})
    assert by_name(tmp_path / "output", dataset) == by_name(trained / "output", dataset)
    with pytest.raises(SystemExit, match=r"ours.pth has lost the record of its labels"):
        evaluate_on(trained, tmp_path, dataset, **{"MODEL.WEIGHTS": str(ours)})


def test_a_new_run_is_not_resumed_from_an_older_one_s_checkpoint(trained, tmp_path, monkeypatch):
    shutil.copytree(trained / "output", tmp_path / "output")
    dataset = trained / "shapes" / "shapes_names.yaml"
    rate = {"SOLVER.BASE_LR": 0.5, "SOLVER.MAX_ITER": 1}
    config = write_config(tmp_path / "c.yaml", dataset, rate)

    def interrupted(trainer):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(MultiTaskTrainer, "run_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            main(str(config))
    assert (tmp_path / "output" / "model_final.pth").is_file()
    main(str(config), resume=True)
    assert "resuming at" not in (tmp_path / "output" / "log.txt").read_text()
