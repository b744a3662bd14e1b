"""Every config key is commented and tested; bad values are refused; the published YAML loads."""

from __future__ import annotations

import functools
import inspect
import math
import re
from pathlib import Path

import pytest
import yaml
from config_tools import changed, tiny_config
from detectron2.config import get_cfg
from detectron2.modeling import build_model
from test_config_inference import INFERENCE_ROWS, PANOPTIC_ROWS
from test_config_model import FORMER, HEAD, MODEL_ROWS, pixel_decoder, predictor
from test_config_training import TRAINING_ROWS
from torch import nn

import mask2former_mt
from mask2former_mt.config import (
    add_mask2former_mt_config,
    check_config,
    mask2former_keys,
    say_what_has_no_effect,
)
from mask2former_mt.config.config_checks import rules
from mask2former_mt.config.config_nodes import leaves
from mask2former_mt.config.config_rules import (
    BELOW_ONE,
    POSITIVE,
    TEXT,
    Key,
    ascending,
    at_least,
    between,
    count,
    distinct,
    each,
    list_of,
    one_of,
    only,
    some,
)
from mask2former_mt.config.detectron2_keys import READ, UNREAD, covers
from mask2former_mt.config.mask2former_keys import KEYS
from mask2former_mt.engine.setup import load_config
from mask2former_mt.modeling.meta_arch import MaskFormer
from mask2former_mt.modeling.transformer_decoder import MultiScaleMaskedTransformerDecoder
from mask2former_mt.solver.optimizer import build_optimizer

PACKAGE = Path(mask2former_mt.__file__).parent
TESTS = Path(__file__).parent
PUBLISHED = TESTS / "data_files" / "published" / "maskformer2_R50_bs16_50ep.yaml"

# Keys that no table lists, and the file that tests them.
ELSEWHERE = {
    "MODEL.DEVICE": "engine/test_setup.py",
    "TEST.COCO_ENGINE": "evaluation/test_evaluator.py",
    "TEST.REPORT": "engine/test_train.py",
    "SOLVER.AMP.DTYPE": "modeling/test_precision.py",
    "DATASETS.FILES": "engine/test_setup.py",
    "SOLVER.POLY_LR_POWER": "solver/test_schedule.py",
    "SOLVER.POLY_LR_CONSTANT_ENDING": "solver/test_schedule.py",
    **{f"MODEL.SWIN.{key.name}": "modeling/test_swin.py" for key in KEYS["MODEL.SWIN"]},
    "SOLVER.REFERENCE_IMS_PER_BATCH": "solver/test_lr_scaling.py",
    "SOLVER.LR_SCALING": "solver/test_lr_scaling.py",
    "DATALOADER.ON_BAD_SAMPLE": "engine/test_hooks.py",
    "DATALOADER.MAX_BAD_SAMPLES": "engine/test_hooks.py",
    "INPUT.CROP.SINGLE_CATEGORY_MAX_AREA": "data/test_segment_targets.py",
    "INPUT.DEPTH_RANGE": "data/test_mapper.py",
    "INPUT.PANEL_PERIOD": "engine/test_hooks.py",
    "INPUT.SHARE_ALARM": "engine/test_hooks.py",
    "MODEL.TIMM.WEIGHTS": "engine/test_train.py",
    "MODEL.MASK_FORMER.TEST.DROP_NONE": "test_config_inference.py",
    "MODEL.SUBCATEGORY.WITHOUT_NONE": "test_config_inference.py",
    "MODEL.MASK_FORMER.TEST.SEM_SEG_POSTPROCESSING_BEFORE_INFERENCE": "test_config_inference.py",
    "MODEL.SEM_SEG_HEAD.PIXEL_DECODER_NAME": "test_config.py",
    "MODEL.TIMM.OUT_FEATURES": "test_config_model.py",
}


def own_keys() -> set[str]:
    """Keys that `add_mask2former_mt_config` adds, or whose default it changes."""
    cfg = get_cfg()
    before = dict(leaves(cfg))
    add_mask2former_mt_config(cfg)
    return {k for k, v in leaves(cfg) if k not in before or before[k] != v}


def declared() -> dict[str, Key]:
    return {f"{section}.{key.name}": key for section, keys in KEYS.items() for key in keys}


def comments_of_keys() -> dict[str, str]:
    """Each key of our own that mask2former_keys.py declares, and the comment above it."""
    comments, comment, section = {}, [], ""
    for line in inspect.getsource(mask2former_keys).splitlines():
        text = line.strip()
        if text.startswith("#"):
            comment.append(text.lstrip("# "))
            continue
        if match := re.match(r'"([A-Z_.]+)": \(', text):
            section = match[1]
        if match := re.match(r'Key\("?([A-Z0-9_]*)', text):
            comments[f"{section}.{match[1]}"] = " ".join(comment)
        comment = []
    return comments


def test_every_key_has_a_comment():
    comments = comments_of_keys()
    assert len(comments) == len(own_keys())
    assert [name for name, comment in comments.items() if len(comment) < 10] == []


def test_every_key_has_a_test_that_it_has_an_effect_or_says_that_it_has_none():
    tables = (MODEL_ROWS, INFERENCE_ROWS, PANOPTIC_ROWS, TRAINING_ROWS)
    tested = {row[0] for table in tables for row in table} | set(ELSEWHERE)
    without_effect = {k for k, comment in comments_of_keys().items() if "without effect" in comment}
    assert own_keys() - tested == without_effect
    # No file of the package reads the keys without effect.
    tables = ("mask2former_keys.py", "detectron2_keys.py")
    code = "".join(f.read_text("utf-8") for f in PACKAGE.rglob("*.py") if f.name not in tables)
    assert [key for key in without_effect if f".{key.rpartition('.')[2]}" in code] == []
    assert all((TESTS / file).is_file() for file in ELSEWHERE.values())


# Names that only build and dataset can judge, besides switches and keys without effect.
WITHOUT_RULE = {"INPUT.AUGMENTATIONS", "MODEL.SWIN.QK_SCALE"}


def test_every_key_of_ours_but_switches_has_a_rule():
    comments = comments_of_keys()
    assert {
        name
        for name, key in declared().items()
        if not (key.rule or isinstance(key.default, bool) or "without effect" in comments[name])
    } == WITHOUT_RULE


def test_every_key_of_detectron2_is_read_by_a_rule_or_listed_as_unread():
    read = {f"{section}.{name}".lstrip(".") for section, names in READ.items() for name in names}
    never_read = [name for unread in UNREAD if unread.when is None for name in unread.keys]
    keys = {key for key, _ in leaves(get_cfg())}
    unread = {key for key in keys if any(covers(name, key) for name in never_read)}
    # What we declare ourselves has its rule there.
    assert keys - read - unread == set(declared()) & keys
    assert read & unread == set()
    assert read <= keys


def test_every_unread_key_exists():
    keys = [key for key, _ in leaves(tiny_config())]
    for unread in UNREAD:
        for name in unread.keys:
            assert any(covers(name, key) for key in keys), name


def test_the_published_defaults_keep_all_rules():
    cfg = get_cfg()
    add_mask2former_mt_config(cfg)
    check_config(cfg)


NAMES_OF_RULES = [name for name, _ in rules()]
# Each is refused by every key that does not hold such a value, of whatever type it should be.
NONSENSE = (None, math.nan, math.inf, -7, 10**400, "nonsense", [], [None], {"a": 1}, True, 0.37, "")


@pytest.mark.parametrize("name", NAMES_OF_RULES)
def test_what_a_rule_forbids_is_refused_by_name(name):
    rule, cfg = dict(rules())[name], tiny_config()
    *section, last = name.split(".")
    node = functools.reduce(getattr, section, cfg)
    forbidden = [bad for bad in NONSENSE if not rule.holds(bad)]
    assert len(forbidden) >= 8
    for bad in forbidden:
        node[last] = bad
        message = f"{name} must be {rule.expected}, got {bad!r}"
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            check_config(cfg)


@pytest.mark.parametrize(
    ("rule", "expected", "good", "bad"),
    [
        (one_of(["a", "b"]), "one of 'a', 'b'", ["a", "b"], ["c", "", 0, []]),
        (one_of([1, 2]), "one of 1, 2", [1, 2], [True, 1.0, 3]),
        (at_least(0), "at least 0", [0, 0.0, 7], [-1, -1e-9, math.nan, math.inf, "a", True]),
        (between(0, 1), "in [0, 1]", [0, 0.5, 1.0], [-0.1, 1.1, math.nan, True, 10**400]),
        (count(1, 9), "an integer in [1, 9]", [1, 9], [0, 10, 1.0, True, None]),
        (BELOW_ONE, "in [0, 1)", [0, 0.99], [1, 1.0, -0.1]),
        (POSITIVE, "positive", [1, 1e-9], [0, 0.0, -1, math.inf]),
        (
            each(at_least(1)),
            *("a list, each value of it at least 1", [[], [1, 2]], [[2, 0], ["a"], "12", None]),
        ),
        (
            some(TEXT),
            *("a list that is not empty, each value of it a text", [["a"], ("a",)], [[], "a"]),
        ),
        (
            list_of(2, POSITIVE),
            *("a list of 2, each value of it positive", [[1, 2]], [[1], [1, 2, 3], [1, 0]]),
        ),
        (
            ascending(count(0, 9)),
            "a list, each value of it an integer in [0, 9], in ascending order",
            *([[], [1, 1, 2]], [[2, 1], [1.0]]),
        ),
        (
            distinct(TEXT),
            "a list, each value of it a text, none of them twice",
            *([[], ["a", "b"]], [["a", "b", "a"], [["a"]], "a"]),
        ),
        (only(False, "no"), "False: no", [False], [True, 0, None]),
    ],
)
def test_a_rule_holds_for_the_values_that_it_says(rule, expected, good, bad):
    assert rule.expected == expected
    assert all(rule.holds(value) for value in good)
    assert not any(rule.holds(value) for value in bad)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        (FORMER + "TEST.INSTANCE_ON", False, "one of .*INSTANCE_ON, SEM.* must be True, else noth"),
        (HEAD + "CONVS_DIM", 40, r"CONVS_DIM must be a multiple of 32, .* 'GN', got 40"),
        (
            "INPUT.MIN_SIZE_TRAIN_SAMPLING",
            "range",
            r"_TRAIN must be the smallest and .* got \[64\]",
        ),
        ("INPUT.MIN_SCALE", 3.0, r"MIN_SCALE must be at most INPUT.MAX_SCALE \(2.0\), got 3.0"),
        (
            "SOLVER.STEPS",
            (0,),
            r"STEPS must be a list, each value of it an integer in \[1, .*\(0,\)",
        ),
        ("SOLVER.STEPS", (2, 1), r"in ascending order, got \(2, 1\)"),
        ("SOLVER.OPTIMIZER", "ADAM", "SOLVER.OPTIMIZER must be one of 'ADAMW', 'SGD', got 'ADAM'"),
        (FORMER + "TRANSFORMER_DECODER_NAME", "Other", "must be a name in TRANSFORMER_DECODER_REG"),
        (FORMER + "HIDDEN_DIM", 30, r"HIDDEN_DIM must be a multiple of NHEADS \(4\), got 30"),
        ("MODEL.SUBCATEGORY.WITHOUT_NONE", ["hue"], r"_NONE must hold some of NAMES .*'hue'"),
        ("MODEL.SUBCATEGORY.APPLIES_TO", [[0]], r"for each of NAMES .*, got \[\[0\]\]"),
        ("MODEL.SUBCATEGORY.APPLIES_TO", [[], [0, 9]], r"below .*NUM_CLASSES \(\d\), got 9"),
        ("MODEL.SUBCATEGORY.APPLIES_TO", [[], "dog"], "APPLIES_TO must be a list, each value of"),
        ("MODEL.SUBCATEGORY.NAMES", ["a"], r"equally long, got \['a'\] and \[2, 3\]"),
    ],
)
def test_values_that_could_only_fail_later_are_refused(key, value, message):
    with pytest.raises(ValueError, match=message):
        check_config(changed(key, value))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            ["SOLVER.LR_SCHEDULER_NAME", "WarmupCosineLR", "SOLVER.BASE_LR_END", 0.5],
            "BASE_LR must be positive and SOLVER.BASE_LR_END at most that, got 0.001 and 0.5",
        ),
        (
            ["SOLVER.LR_SCHEDULER_NAME", "WarmupStepWithFixedGammaLR", "SOLVER.NUM_DECAYS", 2],
            r"NUM_DECAYS must be less than SOLVER.MAX_ITER \(2\), got 2",
        ),
        (["SOLVER.NESTEROV", True, "SOLVER.MOMENTUM", 0.0], "MOMENTUM must be above 0 where"),
    ],
)
def test_values_that_do_not_go_together_are_refused(changes, message):
    cfg = tiny_config()
    cfg.merge_from_list(changes)
    with pytest.raises(ValueError, match=message):
        check_config(cfg)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("TEST.AUG.ENABLED", True, "each picture is predicted once"),
        ("INPUT.CROP.ENABLED", True, "INPUT.AUGMENTATIONS with {name: crop"),
        ("MODEL.RPN.NMS_THRESH", 0.5, "of MODEL.META_ARCHITECTURE 'MultiTaskRCNN'"),
        ("MODEL.RETINANET.NUM_CONVS", 5, "of detectron2's other models"),
        ("MODEL.RESNETS.STEM_TYPE", "deeplab", "of DeepLab's ResNet"),
        ("SOLVER.NESTEROV", True, "SOLVER.OPTIMIZER is not 'SGD'"),
        ("SOLVER.REFERENCE_WORLD_SIZE", 8, "use SOLVER.REFERENCE_IMS_PER_BATCH"),
        ("SOLVER.WEIGHT_DECAY_BIAS", 0.1, "biases learn and decay as weights do"),
        ("MODEL.RESNETS.DEPTH", 101, "the backbone is another"),
        (FORMER + "TEST.NMS_SIGMA", 0.7, "TEST.NMS is 'none'"),
        ("VIS_PERIOD", 10, "use INPUT.PANEL_PERIOD"),
    ],
)
def test_a_key_that_nothing_reads_is_named(key, value, message, caplog):
    with caplog.at_level("WARNING", logger="mask2former_mt"):
        say_what_has_no_effect(tiny_config())
        assert caplog.messages == []
        say_what_has_no_effect(changed(key, value))
    (said,) = caplog.messages
    assert said.startswith(f"{key}: set, but without effect: ")
    assert message in said


@pytest.mark.parametrize(
    ("changes", "key", "value"),
    [
        # Read by another model, head, backbone, optimizer, and so on.
        (["MODEL.META_ARCHITECTURE", "GeneralizedRCNN"], "MODEL.RETINANET.NUM_CONVS", 5),
        (["MODEL.META_ARCHITECTURE", "MultiTaskRCNN"], "MODEL.RPN.NMS_THRESH", 0.5),
        ([HEAD + "NAME", "SemSegFPNHead"], HEAD + "LOSS_WEIGHT", 2.0),
        (["MODEL.BACKBONE.NAME", "build_resnet_fpn_backbone"], "MODEL.FPN.OUT_CHANNELS", 8),
        (["SOLVER.OPTIMIZER", "SGD"], "SOLVER.NESTEROV", True),
        (["SOLVER.LR_SCHEDULER_NAME", "WarmupCosineLR"], "SOLVER.BASE_LR_END", 0.0001),
        ([FORMER + "TEST.NMS", "gaussian"], FORMER + "TEST.NMS_SIGMA", 0.7),
    ],
)
def test_a_key_that_is_read_is_not_named(changes, key, value, caplog):
    cfg = changed(key, value)
    cfg.merge_from_list(changes)
    say_what_has_no_effect(cfg)
    assert [message for message in caplog.messages if key in message] == []


@pytest.mark.parametrize("where", ["file", "base", "command line"])
def test_a_key_that_is_gone_says_what_took_its_place(tmp_path, where, caplog):
    (tmp_path / "base.yaml").write_text("VERSION: 2\nINPUT: {DEEP_CHECK_EVERY: 7}")
    (tmp_path / "leaf.yaml").write_text("VERSION: 2\n_BASE_: base.yaml")
    (tmp_path / "plain.yaml").write_text("VERSION: 2")
    file = {"file": "base.yaml", "base": "leaf.yaml", "command line": "plain.yaml"}[where]
    opts = ["INPUT.DEEP_CHECK_EVERY", "7"] if where == "command line" else []
    with caplog.at_level("WARNING", logger="mask2former_mt"):
        cfg = load_config(str(tmp_path / file), opts)
    (message,) = caplog.messages
    assert message.startswith("INPUT.DEEP_CHECK_EVERY is gone: python tools/check_dataset.py ")
    assert "DEEP_CHECK_EVERY" not in cfg.INPUT
    # Another unknown key is an error still.
    with pytest.raises(KeyError, match=r"INPUT\.DEEP"):
        load_config(str(tmp_path / file), ["INPUT.DEEP", "7"])


def test_a_value_that_is_gone_says_what_is_read_in_its_place(tmp_path, caplog):
    (tmp_path / "old.yaml").write_text("VERSION: 2\nINPUT: {RASTERIZER: opencv}")
    with caplog.at_level("WARNING", logger="mask2former_mt"):
        cfg = load_config(str(tmp_path / "old.yaml"))
    assert cfg.INPUT.RASTERIZER == "auto"
    (message,) = caplog.messages
    assert message.startswith("INPUT.RASTERIZER 'opencv' is gone, and read as 'auto': pycocotools")


def test_the_published_yaml_loads_unchanged():
    cfg = load_config(str(PUBLISHED))
    loaded = dict(leaves(cfg))
    for file in (PUBLISHED, PUBLISHED.with_name("Base-COCO-InstanceSegmentation.yaml")):
        for key, value in leaves(yaml.safe_load(file.read_text(encoding="utf-8"))):
            if key == "_BASE_":
                continue
            # yacs reads ("a",) as a tuple, which plain YAML keeps as text.
            text = str(loaded[key]) if isinstance(value, str) else loaded[key]
            assert str(text).replace("'", '"') == str(value).replace("'", '"'), key


CONFIGS = sorted(PACKAGE.parent.glob("configs/*.yaml"))


@pytest.mark.parametrize("file", [PUBLISHED, *CONFIGS], ids=lambda file: file.stem)
def test_no_config_of_ours_nor_the_published_one_sets_what_nothing_reads(file, caplog):
    load_config(str(file))
    # The published thresholds of a panoptic output that it leaves off.
    thresholds = f"{FORMER}TEST.OBJECT_MASK_THRESHOLD, {FORMER}TEST.OVERLAP_THRESHOLD: set, but"
    assert [text for text in caplog.messages if "without effect" in text] == [
        text for text in caplog.messages if file == PUBLISHED and text.startswith(thresholds)
    ]


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
