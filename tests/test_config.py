"""Every config key is commented and tested; bad values are refused; the published YAML loads."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
import yaml
from config_tools import changed, leaves, tiny_config
from detectron2.config import get_cfg
from detectron2.modeling import build_model
from test_config_inference import INFERENCE_ROWS, PANOPTIC_ROWS
from test_config_model import FORMER, MODEL_ROWS, pixel_decoder, predictor
from test_config_training import INPUT_ROWS, OPTIMIZER_ROWS
from torch import nn

import mask2former_mt.config
from mask2former_mt.config import add_mask2former_mt_config, check_config
from mask2former_mt.engine.optimizer import build_optimizer
from mask2former_mt.engine.setup import load_config
from mask2former_mt.modeling.meta_arch import MaskFormer
from mask2former_mt.modeling.transformer_decoder import MultiScaleMaskedTransformerDecoder

PUBLISHED = Path(__file__).parent / "data_files" / "published" / "maskformer2_R50_bs16_50ep.yaml"

PACKAGE = Path(mask2former_mt.config.__file__).parent

# Keys in no table, and the file that has a test of them.
ELSEWHERE = {
    "MODEL.DEVICE": "engine/test_setup.py",
    "TEST.COCO_ENGINE": "evaluation/test_evaluator.py",
    "TEST.REPORT": "engine/test_train.py",
    "SOLVER.AMP.DTYPE": "modeling/test_precision.py",
    "DATASETS.FILES": "engine/test_setup.py",
    "SOLVER.REFERENCE_IMS_PER_BATCH": "engine/test_lr_scaling.py",
    "SOLVER.LR_SCALING": "engine/test_lr_scaling.py",
    "DATALOADER.ON_BAD_SAMPLE": "engine/test_hooks.py",
    "DATALOADER.MAX_BAD_SAMPLES": "engine/test_hooks.py",
    "INPUT.PANEL_PERIOD": "engine/test_hooks.py",
    "INPUT.SHARE_ALARM": "engine/test_hooks.py",
    "MODEL.TIMM.WEIGHTS": "engine/test_train.py",
    # In tests of their own.
    "MODEL.MASK_FORMER.TEST.DROP_NONE": "test_config_inference.py",
    "MODEL.SUBCATEGORY.WITHOUT_NONE": "test_config_inference.py",
    "MODEL.MASK_FORMER.TEST.SEM_SEG_POSTPROCESSING_BEFORE_INFERENCE": "test_config_inference.py",
    "MODEL.SEM_SEG_HEAD.PIXEL_DECODER_NAME": "test_config_model.py",
    "MODEL.TIMM.OUT_FEATURES": "test_config_model.py",
}


def own_keys() -> set[str]:
    """What `add_mask2former_mt_config` adds or gives another default."""
    cfg = get_cfg()
    before = leaves(cfg)
    add_mask2former_mt_config(cfg)
    return {k for k, v in leaves(cfg).items() if k not in before or before[k] != v}


def comments_of_keys() -> list[tuple[str, str]]:
    """Each assignment in config.py, as a key's last parts, and the comment above it."""
    comments, comment = [], []
    for line in inspect.getsource(mask2former_mt.config).splitlines():
        text = line.strip()
        if text.startswith("#"):
            comment.append(text.lstrip("# "))
            continue
        match = re.fullmatch(r"(?:cfg|node|head)\.([A-Z0-9_.]+) = (.*)", text)
        if match and match[2] not in ("CfgNode()", "node"):
            comments.append((match[1], " ".join(comment)))
        comment = []
    return comments


def test_every_key_has_a_comment():
    comments = comments_of_keys()
    assert len(comments) == len(own_keys())
    assert [name for name, comment in comments if len(comment) < 10] == []


def test_every_key_has_a_test_that_it_changes_something_or_says_that_it_does_not():
    tables = (MODEL_ROWS, INFERENCE_ROWS, PANOPTIC_ROWS, OPTIMIZER_ROWS, *INPUT_ROWS)
    tested = {row[0] for table in tables for row in table} | set(ELSEWHERE)
    without_effect = tuple(
        f".{name}" for name, comment in comments_of_keys() if "without effect" in comment
    )
    assert {key for key in own_keys() - tested if not f".{key}".endswith(without_effect)} == set()
    # What claims to have no effect is read nowhere in the package.
    code = "".join(f.read_text("utf-8") for f in PACKAGE.rglob("*.py") if f.name != "config.py")
    assert [name for name in without_effect if name in code] == []
    assert {Path(__file__).parent / f for f in ELSEWHERE.values()} <= set(
        Path(__file__).parent.rglob("test_*.py")
    )


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        (FORMER + "TEST.INSTANCE_ON", False, "one of .*INSTANCE_ON, SEM.* must be True, else noth"),
        (FORMER + "TEST.MASK_RESIZE", "nearest", r"MASK_RESIZE must be one of .* got 'nearest'"),
        ("TEST.COCO_ENGINE", "coco", "COCO_ENGINE must be 'own' or 'pycocotools', got 'coco'"),
        (FORMER + "TEST.RANKING", "labels", "RANKING must be one of .*'joint', 'sum'.*'labels'"),
        (FORMER + "TEST.NMS", "soft", "TEST.NMS must be one of .*'gaussian'.* got 'soft'"),
        (FORMER + "TEST.SCORE_THRESHOLD", 1.5, r"SCORE_THRESHOLD must be in \[0, 1\], got 1.5"),
        (FORMER + "TEST.OVERLAP_THRESHOLD", 80.0, r"OVERLAP_THRESHOLD must be in \[0, 1\], got 80"),
        (FORMER + "TEST.SUBCATEGORY_THRESHOLDS", [-0.1], r"THRESHOLDS must be in \[0, 1\], got"),
        (FORMER + "TEST.RANKING_GAMMA", -1.0, "RANKING_GAMMA must be at least 0, got -1.0"),
        (FORMER + "TEST.MIN_AREA", -1, "MIN_AREA must be at least 0, got -1"),
        (FORMER + "TEST.NMS_SIGMA", 0.0, "NMS_SIGMA must be positive, got 0.0"),
        ("MODEL.SUBCATEGORY.WITHOUT_NONE", ["hue"], r"WITHOUT_NONE must be one of NAMES .*'hue'"),
        (FORMER + "HIDDEN_DIM", 30, r"HIDDEN_DIM must be a multiple of NHEADS \(4\), got 30"),
        (FORMER + "DEC_LAYERS", 1, "DEC_LAYERS must be at least 2, got 1"),
        (FORMER + "IMPORTANCE_SAMPLE_RATIO", 1.5, r"SAMPLE_RATIO must be in \[0, 1\], got 1.5"),
        (FORMER + "OVERSAMPLE_RATIO", 0.5, "OVERSAMPLE_RATIO must be at least 1, got 0.5"),
        ("SOLVER.OPTIMIZER", "ADAM", "SOLVER.OPTIMIZER must be 'ADAMW' or 'SGD', got 'ADAM'"),
        ("DATALOADER.ON_BAD_SAMPLE", "drop", "ON_BAD_SAMPLE must be 'raise' or 'skip', got 'drop'"),
        ("DATALOADER.MAX_BAD_SAMPLES", -1, "MAX_BAD_SAMPLES must be at least 0, got -1"),
        ("INPUT.DEEP_CHECK_EVERY", -1, "DEEP_CHECK_EVERY must be at least 0, got -1"),
        ("INPUT.SHARE_ALARM", -0.5, "SHARE_ALARM must be at least 0, got -0.5"),
        ("INPUT.PANEL_PERIOD", -1, "PANEL_PERIOD must be at least 0, got -1"),
        ("SOLVER.LR_SCALING", "log", "SOLVER.LR_SCALING must be .* got 'log'"),
        ("SOLVER.AMP.DTYPE", "half", "DTYPE must be 'auto', 'float16' or 'bfloat16', got 'half'"),
        ("SOLVER.IMS_PER_BATCH", 0, "SOLVER.IMS_PER_BATCH must be positive, got 0"),
        ("SOLVER.REFERENCE_IMS_PER_BATCH", -1, "REFERENCE_IMS_PER_BATCH must be positive, got -1"),
        ("MODEL.TIMM.NORM", "GN", "MODEL.TIMM.NORM must be 'FrozenBN' or 'BN', got 'GN'"),
        ("MODEL.MS_DEFORM_ATTN_IMPL", "cuda", "IMPL must be 'auto', 'native' or 'torch', got 'cu"),
        (
            "MODEL.SUBCATEGORY.NAMES",
            ["a"],
            r"NAMES and NUM_CLASSES must be equally long, got \['a'\] and \[2, 3\]",
        ),
        (
            "MODEL.SUBCATEGORY.NUM_CLASSES",
            [2, 0],
            "NUM_CLASSES of 'finish' must be at least 1 value, got 0",
        ),
    ],
)
def test_values_that_could_only_fail_later_are_refused(key, value, message):
    check_config(tiny_config())
    with pytest.raises(ValueError, match=message):
        check_config(changed(key, value))


def test_the_published_yaml_loads_unchanged():
    cfg = load_config(str(PUBLISHED))
    loaded = leaves(cfg)
    for file in (PUBLISHED, PUBLISHED.with_name("Base-COCO-InstanceSegmentation.yaml")):
        for key, value in leaves(yaml.safe_load(file.read_text(encoding="utf-8"))).items():
            if key == "_BASE_":
                continue
            # yacs reads ("a",) as a tuple, which plain YAML keeps as text.
            text = str(loaded[key]) if isinstance(value, str) else loaded[key]
            assert str(text).replace("'", '"') == str(value).replace("'", '"'), key


@pytest.fixture(scope="module")
def published_model() -> nn.Module:
    return build_model(load_config(str(PUBLISHED), ["MODEL.DEVICE", "cpu"]))


def test_the_published_yaml_builds_the_published_model(published_model):
    model = published_model
    decoder = predictor(model)
    assert type(model) is MaskFormer
    assert type(decoder) is MultiScaleMaskedTransformerDecoder
    assert decoder.query_feat.weight.shape == (100, 256)
    assert len(decoder.transformer_cross_attention_layers) == 9
    assert len(decoder.transformer_ffn_layers) == 9
    assert decoder.class_embed.out_features == 81  # 80 classes and "no object"
    assert len(decoder.subcategory_embed) == 0
    assert len(pixel_decoder(model).transformer.encoder.layers) == 6
    assert model.loss_weights == {"loss_ce": 2.0, "loss_mask": 5.0, "loss_dice": 5.0}
    # The paper's table 1: 44 M parameters.
    assert round(sum(p.numel() for p in model.parameters()) / 1e6) == 44


def test_the_published_yaml_trains_its_whole_backbone_at_a_tenth_of_the_rate(published_model):
    cfg = load_config(str(PUBLISHED))
    optimizer = build_optimizer(cfg, published_model)
    assert len(optimizer.param_groups) <= 6
    assert {round(g["lr"], 9) for g in optimizer.param_groups} == {1e-4, 1e-5}
    decays = {
        name: group["weight_decay"]
        for group in optimizer.param_groups
        for name, p in published_model.named_parameters()
        if any(p is q for q in group["params"])
    }
    assert decays["sem_seg_head.predictor.query_feat.weight"] == 0
    assert decays["sem_seg_head.predictor.decoder_norm.weight"] == 0
    assert decays["sem_seg_head.predictor.class_embed.weight"] == 0.05
    assert decays["backbone.res2.0.conv1.weight"] == 0.05


@pytest.mark.parametrize(
    ("batch", "lr", "max_iter", "steps"),
    [
        (16, 1e-4, 368750, (327778, 355092)),
        (8, 5e-5, 737500, (655556, 710184)),  # half the rate, twice the iterations
        (2, 1.25e-5, 2950000, (2622224, 2840736)),  # an eighth, eight times
    ],
)
def test_the_published_schedule_follows_the_batch(batch, lr, max_iter, steps):
    solver = load_config(str(PUBLISHED), ["SOLVER.IMS_PER_BATCH", str(batch)]).SOLVER
    assert pytest.approx(lr) == solver.BASE_LR
    assert (max_iter, steps) == (solver.MAX_ITER, solver.STEPS)
