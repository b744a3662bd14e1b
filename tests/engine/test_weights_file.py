"""Weights of every kind of file, and of transformers' folders both ways."""

from __future__ import annotations

import json
import os
import pickle

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from programs import load_program
from safetensors.torch import save_file
from tiny import tiny_cfg
from transformers import Mask2FormerForUniversalSegmentation

from mask2former_mt.engine.checkpoint import MultiTaskCheckpointer, fit_state_dict, read_labels
from mask2former_mt.engine.setup import load_config
from mask2former_mt.engine.transformers_folder import PREPROCESSOR_FILE, write_folder
from mask2former_mt.engine.weights_file import read_weights
from mask2former_mt.label_lists import Labels
from mask2former_mt.predict.predictor import build_predictor, build_settings
from mask2former_mt.structures import SubcategorySpec

TENSOR = torch.arange(6.0).reshape(2, 3)
SWIN = {
    "MODEL.BACKBONE.NAME": "D2SwinTransformer",
    "MODEL.SWIN.EMBED_DIM": 8,
    "MODEL.SWIN.DEPTHS": [1, 2, 1, 1],
    "MODEL.SWIN.NUM_HEADS": [1, 2, 2, 4],
    "MODEL.SWIN.WINDOW_SIZE": 4,
}
RESNET = {
    "MODEL.BACKBONE.NAME": "build_resnet_backbone",
    "MODEL.RESNETS.OUT_FEATURES": ["res2", "res3", "res4", "res5"],
    "MODEL.RESNETS.STRIDE_IN_1X1": False,
    "MODEL.RESNETS.STEM_OUT_CHANNELS": 8,
    "MODEL.RESNETS.RES2_OUT_CHANNELS": 16,
    "MODEL.RESNETS.WIDTH_PER_GROUP": 4,
}
SPEC = SubcategorySpec.from_json([{"name": "fill", "values": ["solid", "hollow"]}])
LABELS = Labels(("disc", "bar", "star"), SPEC, (4, 7, 9))


# --- files --------------------------------------------------------------------------------------


class Harmful:
    """Pickles as a call of os.mkdir."""

    def __init__(self, folder) -> None:
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def test_a_pickle_that_would_run_something_is_refused_by_name(tmp_path):
    file = tmp_path / "model.pkl"
    file.write_bytes(pickle.dumps({"model": {"a": Harmful(tmp_path / "made")}, "__author__": "x"}))
    with pytest.raises(pickle.UnpicklingError, match=r"asks for posix\.mkdir, .* nothing"):
        read_weights(file)
    assert not (tmp_path / "made").exists()


def test_a_number_that_would_unpickle_is_refused(tmp_path):
    file = tmp_path / "model.pkl"
    scalar = np.array(["x"], dtype=object).dtype, b"cposix\nmkdir\n(S'made'\ntR."

    class Scalar:
        def __reduce__(self):
            return np.float64(1).__reduce__()[0], scalar

    file.write_bytes(pickle.dumps({"model": {"a": Scalar()}, "__author__": "x"}))
    with pytest.raises(pickle.UnpicklingError, match="a scalar of object"):
        read_weights(file)


def test_a_model_zoos_pickle_is_read_with_its_old_names(tmp_path):
    content = {
        "sem_seg_head.adapter_1.weight": TENSOR.numpy(),
        "sem_seg_head.pixel_decoder.layer_1.weight": TENSOR.numpy(),
        "sem_seg_head.predictor.static_query.weight": TENSOR.numpy(),
        "backbone.stem.conv1.weight": TENSOR.numpy(),
        "number": np.float32(2.5),
    }
    file = tmp_path / "model.pkl"
    file.write_bytes(pickle.dumps({"model": content, "__author__": "third-party"}))
    checkpoint = read_weights(file)
    assert list(checkpoint["model"]) == [
        "sem_seg_head.pixel_decoder.adapter_1.weight",
        "sem_seg_head.pixel_decoder.layer_1.weight",
        "sem_seg_head.predictor.query_feat.weight",
        "backbone.stem.conv1.weight",
        "number",
    ]
    assert checkpoint["model"]["number"] == 2.5
    assert (checkpoint["model"]["backbone.stem.conv1.weight"] == TENSOR.numpy()).all()


def test_a_pickle_of_tensors_is_read(tmp_path):
    file = tmp_path / "model.pkl"
    content = {"model": {"a": TENSOR, "b": torch.nn.Parameter(TENSOR)}, "__author__": "x"}
    file.write_bytes(pickle.dumps(content))
    model = read_weights(file)["model"]
    assert torch.equal(model["a"], TENSOR)
    assert torch.equal(model["b"], TENSOR)


def test_caffe2s_blobs_are_matched_by_heuristics(tmp_path):
    file = tmp_path / "model.pkl"
    file.write_bytes(pickle.dumps({"blobs": {"conv1_w": TENSOR.numpy(), "conv1_w_momentum": 0}}))
    checkpoint = read_weights(file)
    assert list(checkpoint["model"]) == ["conv1_w"]
    assert checkpoint["matching_heuristics"]


def test_safetensors_and_bare_state_dicts_are_read(tmp_path):
    save_file({"a.weight": TENSOR}, tmp_path / "model.safetensors")
    torch.save({"a.weight": TENSOR}, tmp_path / "model.pth")
    for name in ("model.safetensors", "model.pth"):
        assert torch.equal(read_weights(tmp_path / name)["model"]["a.weight"], TENSOR)


# --- folders of transformers ----------------------------------------------------------------------


def model_of(backbone: dict):
    """Config, and a float64 model with random weights everywhere."""
    cfg = tiny_cfg(subcategories={"fill": 2}, opts=backbone)
    torch.manual_seed(0)
    model = build_model(cfg).double().eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not name.startswith("backbone"):
                parameter.copy_(torch.randn_like(parameter) * 0.25)
    return cfg, model


@pytest.fixture(scope="module", params=[SWIN, RESNET], ids=["swin", "resnet"])
def written(request, tmp_path_factory):
    """Config, model and the folder that it was written to."""
    cfg, model = model_of(request.param)
    folder = tmp_path_factory.mktemp("folder")
    write_folder(folder, model.state_dict(), cfg, LABELS)
    return cfg, model, folder


def test_transformers_gives_the_same_logits(written):
    _, model, folder = written
    theirs = Mask2FormerForUniversalSegmentation.from_pretrained(folder, dtype=torch.float64).eval()
    # Sides that are no multiples of the windows.
    image = torch.randn(2, 3, 96, 160, dtype=torch.float64)
    with torch.no_grad():
        expected = model.sem_seg_head(model.backbone(image))
        actual = theirs(image)
    for ours, hf in (
        (expected.pred_logits, actual.class_queries_logits),
        (expected.pred_masks, actual.masks_queries_logits),
    ):
        assert ours.std() > 0.1
        torch.testing.assert_close(hf, ours, atol=1e-8, rtol=1e-8)
    assert theirs.config.id2label == {0: "disc", 1: "bar", 2: "star"}


def test_a_folder_is_loaded_whole_with_its_labels(written):
    cfg, model, folder = written
    assert read_labels(str(folder)) == LABELS
    fresh = build_model(cfg).double()
    MultiTaskCheckpointer(fresh, labels=LABELS, strict=True).load(str(folder))
    own = model.state_dict()
    for name, tensor in fresh.state_dict().items():
        assert torch.equal(tensor, own[name]), name


def test_a_folder_predicts(written):
    cfg, _, folder = written
    predictor = build_predictor(cfg, folder)
    assert predictor.names.classes == list(LABELS.class_names)
    # Other weights are other settings, which a job that goes on asks for.
    preprocessor = folder / PREPROCESSOR_FILE
    before = preprocessor.read_bytes()
    preprocessor.write_bytes(before + b" ")
    assert build_settings(cfg, str(folder))["weights"] != predictor.settings["weights"]
    preprocessor.write_bytes(before)


def test_the_program_converts_there_and_back(tmp_path, written):
    cfg, model, _ = written
    run = tmp_path / "run"
    run.mkdir()
    state = model.float().state_dict()
    torch.save({"model": state, "dataset": LABELS.to_record()}, run / "model.pth")
    (run / "config.yaml").write_text(cfg.dump(), encoding="utf-8")
    program = load_program("convert_weights.py")
    program.main([str(run / "model.pth"), str(tmp_path / "folder"), "--to", "hf"])
    program.main([str(tmp_path / "folder"), str(tmp_path / "back.pth"), "--to", "detectron2"])
    model.double()
    back = torch.load(tmp_path / "back.pth", weights_only=True)
    constant = ("num_batches_tracked", "relative_position_index")
    assert set(back["model"]) == {name for name in state if not name.endswith(constant)}
    assert all(torch.equal(tensor, state[name]) for name, tensor in back["model"].items())
    assert Labels.from_record(back["dataset"]) == LABELS
    # The config beside it makes a model that all of it fits, but for the number of classes.
    names = ["MODEL.SUBCATEGORY.NAMES", "['fill']", "MODEL.SUBCATEGORY.NUM_CLASSES", "[2]"]
    names += ["MODEL.META_ARCHITECTURE", "MultiTaskMaskFormer", "MODEL.DEVICE", "cpu"]
    names += ["MODEL.SEM_SEG_HEAD.NUM_CLASSES", "3", "MODEL.SEM_SEG_HEAD.NAME", "MaskFormerHead"]
    if cfg.MODEL.BACKBONE.NAME == "build_resnet_backbone":
        for key in ("STEM_OUT_CHANNELS", "RES2_OUT_CHANNELS", "WIDTH_PER_GROUP"):
            names += [f"MODEL.RESNETS.{key}", str(cfg.MODEL.RESNETS[key])]
    again = build_model(load_config(str(tmp_path / "back.yaml"), names))
    MultiTaskCheckpointer(again, strict=True).load(str(tmp_path / "back.pth"))


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        ({}, "needs the backbone D2SwinTransformer or .*, got build_timm_backbone"),
        ({**SWIN, "MODEL.SWIN.APE": True}, "APE must be False"),
        ({**SWIN, "INPUT.FORMAT": "BGR"}, "INPUT.FORMAT must be 'RGB' .*, got 'BGR'"),
    ],
)
def test_a_model_that_transformers_does_not_have_is_refused(tmp_path, opts, message):
    cfg = tiny_cfg(opts=opts)
    with pytest.raises(ValueError, match=message):
        write_folder(tmp_path / "folder", {}, cfg, LABELS)
    assert not (tmp_path / "folder").exists()


def test_a_folder_of_another_model_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "detr"}))
    with pytest.raises(ValueError, match="model_type 'mask2former', got 'detr'"):
        read_weights(tmp_path / "config.json")


def test_biases_of_positions_are_interpolated_for_another_window():
    cfg, model = model_of(SWIN)
    table = "backbone.layers.0.blocks.0.attn.relative_position_bias_table"
    state = model.state_dict()
    # One number for all offsets stays that number; the window grows from 4 to 6: 11 x 11 offsets.
    state[table] = torch.full_like(state[table], 0.5)
    cfg.MODEL.SWIN.WINDOW_SIZE = 6
    fitted, report = fit_state_dict(state, build_model(cfg))
    torch.testing.assert_close(fitted[table], torch.full((121, 1), 0.5).double(), atol=1e-6, rtol=0)
    assert report.resized[0].startswith(table)
    assert (report.skipped, report.missing) == ([], [])
