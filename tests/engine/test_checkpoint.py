"""Checkpoints: what they store, and what loading does with each parameter."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from torch import nn
from training_files import write_config

from mask2former_mt.engine.checkpoint import (
    LoadReport,
    MultiTaskCheckpointer,
    fit_state_dict,
    read_labels,
)
from mask2former_mt.engine.setup import load_config
from mask2former_mt.label_lists import Labels
from mask2former_mt.structures import Subcategory, SubcategorySpec

LABELS = Labels(("a", "b"), SubcategorySpec((Subcategory("tint", ("red", "blue")),)), (1, 2))
PREDICTOR = "sem_seg_head.predictor"


@pytest.fixture(scope="module")
def config_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_config(tmp_path_factory.mktemp("checkpoint") / "c.yaml"))


def model_of(config_file: str, *, classes: int = 2, queries: int = 6, tints: int = 2) -> nn.Module:
    options = {
        "MODEL.SEM_SEG_HEAD.NUM_CLASSES": classes,
        "MODEL.MASK_FORMER.NUM_OBJECT_QUERIES": queries,
        "MODEL.SUBCATEGORY.NAMES": ["tint"],
        "MODEL.SUBCATEGORY.NUM_CLASSES": [tints],
    }
    return build_model(load_config(config_file, [str(x) for o in options.items() for x in o]))


def saved(model: nn.Module, folder: Path) -> str:
    MultiTaskCheckpointer(model, str(folder), labels=LABELS).save("model")
    return str(folder / "model.pth")


def test_a_saved_model_comes_back_with_its_dataset(config_file, tmp_path):
    model = model_of(config_file)
    file = saved(model, tmp_path)
    assert (tmp_path / "last_checkpoint").read_text() == "model.pth"
    assert torch.load(file, weights_only=True)["dataset"] == LABELS.to_record()

    other = model_of(config_file)
    name = f"{PREDICTOR}.query_feat.weight"
    assert not torch.equal(other.state_dict()[name], model.state_dict()[name])
    checkpointer = MultiTaskCheckpointer(other, strict=True)
    rest = checkpointer.load(file)
    assert rest["dataset"] == LABELS.to_record()
    assert checkpointer.report.complete
    assert set(checkpointer.report.loaded) == set(model.state_dict())
    for name, tensor in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor), name


def test_other_rules_of_the_same_names_are_told(tmp_path, caplog):
    file = saved(nn.Linear(2, 2), tmp_path)
    (tint,) = LABELS.spec
    every_object = SubcategorySpec((dataclasses.replace(tint, has_none=False),))
    for spec, told in ((LABELS.spec, 0), (every_object, 1)):
        labels = dataclasses.replace(LABELS, spec=spec)
        MultiTaskCheckpointer(nn.Linear(2, 2), labels=labels, strict=True).load(file)
        assert caplog.text.count("was trained with other rules of its subcategories") == told


def test_without_a_dataset_none_is_stored(tmp_path):
    MultiTaskCheckpointer(nn.Linear(2, 2), str(tmp_path)).save("model")
    assert set(torch.load(tmp_path / "model.pth", weights_only=True)) == {"model"}


@pytest.mark.parametrize(
    ("other", "skipped"),
    [
        # 2 classes and "no object" are 3 outputs, 5 are 6.
        (
            {"classes": 5},
            ["class_embed.weight (3, 32) -> (6, 32)", "class_embed.bias (3,) -> (6,)"],
        ),
        # Likewise 2 or 3 values and none.
        (
            {"tints": 3},
            [
                "subcategory_embed.tint.weight (3, 32) -> (4, 32)",
                "subcategory_embed.tint.bias (3,) -> (4,)",
            ],
        ),
    ],
)
def test_another_number_of_labels_is_skipped_and_named(
    config_file, tmp_path, caplog, other, skipped
):
    file = saved(model_of(config_file), tmp_path)
    model = model_of(config_file, **other)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    checkpointer = MultiTaskCheckpointer(model)
    with caplog.at_level("INFO", logger="mask2former_mt"):
        checkpointer.load(file)
    assert checkpointer.report.skipped == [f"{PREDICTOR}.{line}" for line in skipped]
    assert len(checkpointer.report.loaded) == len(before) - 2
    for line in checkpointer.report.skipped:
        name = line.split()[0]
        assert torch.equal(model.state_dict()[name], before[name])
    assert f"skipped, of another shape: {PREDICTOR}.{skipped[0]}" in caplog.text


@pytest.mark.parametrize(
    ("queries", "rows"),
    [
        (4, [0, 1, 2, 3]),  # the first
        (8, [0, 1, 2, 3, 4, 5, 0, 1]),  # all six, then from the start
    ],
)
def test_another_number_of_queries_is_resized(config_file, tmp_path, queries, rows, caplog):
    old = model_of(config_file, queries=6)
    file = saved(old, tmp_path)
    model = model_of(config_file, queries=queries)
    checkpointer = MultiTaskCheckpointer(model)
    with caplog.at_level("INFO", logger="mask2former_mt"):
        checkpointer.load(file)
    for kind in ("query_feat", "query_embed"):
        name = f"{PREDICTOR}.{kind}.weight"
        torch.testing.assert_close(model.state_dict()[name], old.state_dict()[name][rows])
        assert f"{name} (6, 32) -> ({queries}, 32)" in checkpointer.report.resized
    assert not checkpointer.report.skipped
    assert "resized:" in caplog.text


def test_missing_and_unused_parameters_are_named():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    source = {"0.weight": torch.ones(2, 2), "0.bias": torch.ones(2), "old.weight": torch.ones(1)}
    fitted, report = fit_state_dict(source, model)
    assert set(fitted) == {"0.weight", "0.bias"}
    # The step counter of batch norm carries nothing and is not missed.
    assert report.missing == ["1.weight", "1.bias", "1.running_mean", "1.running_var"]
    assert report.unused == ["old.weight"]
    assert not report.complete
    text = str(report)
    assert "2 parameters loaded" in text
    assert "not in the checkpoint, left as initialised: 1.weight, 1.bias" in text
    assert "in the checkpoint only, unused: old.weight" in text


def test_a_long_list_is_cut_and_counted():
    text = str(LoadReport(missing=[f"p{i}" for i in range(20)]))
    assert "p7, ... (20 in all)" in text
    assert "p8" not in text


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"classes": 5}, r"skipped, of another shape: .*class_embed.weight \(3, 32\) -> \(6, 32\)"),
        ({"queries": 9}, r"resized: .*query_feat.weight \(6, 32\) -> \(9, 32\)"),
    ],
)
def test_strict_refuses_what_does_not_fit_and_changes_nothing(config_file, tmp_path, changed, what):
    file = saved(model_of(config_file), tmp_path)
    model = model_of(config_file, **changed)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(ValueError, match=rf"(?s)model.pth does not fit the model.*{what}"):
        MultiTaskCheckpointer(model, strict=True).load(file)
    for name, tensor in model.state_dict().items():
        assert torch.equal(before[name], tensor)


def test_a_checkpoint_of_something_else_is_refused(tmp_path):
    file = saved(nn.Linear(3, 3), tmp_path)
    with pytest.raises(ValueError, match=r"(?s)nothing in checkpoint .*model.pth fits.*unused: w"):
        MultiTaskCheckpointer(nn.Sequential(nn.Linear(2, 2))).load(file)


@pytest.mark.parametrize("suffix", ["pth", "pkl", "pyth", "safetensors"])
@pytest.mark.parametrize("content", [b"", b"hello", b"no checkpoint", b"PK\x03\x04 cut short"])
def test_an_unreadable_file_is_refused(tmp_path, content, suffix):
    file = tmp_path / f"broken.{suffix}"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=rf"broken\.{suffix} cannot be read, it may be cut .*\Z"):
        MultiTaskCheckpointer(nn.Linear(2, 2)).load(str(file))


@pytest.mark.parametrize("content", [3, [1], torch.zeros(2), {"model": [1]}, {"weight": "text"}])
@pytest.mark.parametrize("suffix", ["pth", "pkl"])
def test_a_file_without_named_tensors_is_refused(tmp_path, content, suffix):
    file = tmp_path / f"other.{suffix}"
    if suffix == "pkl":
        file.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, file)
    with pytest.raises(ValueError, match=rf"other\.{suffix} cannot be read.* tensors?, got"):
        MultiTaskCheckpointer(nn.Linear(2, 2)).load(str(file))


def test_a_checkpoint_that_is_cut_short_is_named(tmp_path):
    file = Path(saved(nn.Linear(99, 99), tmp_path))
    file.write_bytes(file.read_bytes()[:5000])
    for read in (read_labels, MultiTaskCheckpointer(nn.Linear(2, 2)).load):
        with pytest.raises(ValueError, match=r"model\.pth cannot be read, it may be cut short"):
            read(str(file))


def test_a_folder_without_a_config_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"are a folder without config\.json"):
        read_labels(str(tmp_path))


def test_a_url_that_cannot_be_reached_is_named():
    url = "http://127.0.0.1:9/model.pth"
    for read in (read_labels, MultiTaskCheckpointer(nn.Linear(2, 2)).load):
        with pytest.raises(ValueError, match=f"{url} cannot be read"):
            read(url)


def test_a_file_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(AssertionError, match=r"nowhere.pth not found"):
        MultiTaskCheckpointer(nn.Linear(2, 2)).load(str(tmp_path / "nowhere.pth"))


@pytest.mark.parametrize("strict", [False, True])
def test_model_zoo_weights_are_matched_by_name_and_held_to_strict(tmp_path, strict):
    """A backbone of the model zoo names its parameters without the model's prefix."""
    model = nn.ModuleDict({"backbone": nn.ModuleDict({"conv": nn.Linear(2, 3)})})
    model["head"] = nn.Linear(3, 1)
    weight = np.arange(6, dtype=np.float32).reshape(3, 2)
    file = tmp_path / "zoo.pkl"
    zoo = {"conv.weight": weight, "conv.bias": np.zeros(3, np.float32)}
    file.write_bytes(
        pickle.dumps({"model": zoo, "__author__": "someone", "matching_heuristics": True})
    )
    checkpointer = MultiTaskCheckpointer(model, strict=strict)
    if strict:
        # Evaluating it would evaluate a head that nobody trained.
        with pytest.raises(ValueError, match=r"left as initialised: head.weight, head.bias"):
            checkpointer.load(str(file))
        return
    checkpointer.load(str(file))
    torch.testing.assert_close(model["backbone"]["conv"].weight.data, torch.from_numpy(weight))
    assert checkpointer.report.missing == ["head.weight", "head.bias"]
