"""Config keys: each has a comment and changes what is built; the published YAML loads unchanged."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
import yaml
from detectron2.config import CfgNode, get_cfg
from detectron2.data import transforms as T
from detectron2.modeling import build_model
from detectron2.solver import build_lr_scheduler
from torch import nn
from training_files import CONFIG

import mask2former_mt.config
from mask2former_mt.config import add_mask2former_mt_config, check_config
from mask2former_mt.data.augmentation import build_test_augmentations, build_train_augmentations
from mask2former_mt.data.mapper import MultiTaskInstanceMapper
from mask2former_mt.engine.optimizer import build_optimizer
from mask2former_mt.engine.setup import load_config
from mask2former_mt.modeling.meta_arch import MaskFormer
from mask2former_mt.modeling.transformer_decoder import MultiScaleMaskedTransformerDecoder
from mask2former_mt.structures import SubcategorySpec

PUBLISHED = Path(__file__).parent / "data_files" / "published" / "maskformer2_R50_bs16_50ep.yaml"


def tiny_config() -> CfgNode:
    cfg = get_cfg()
    add_mask2former_mt_config(cfg)
    cfg.merge_from_other_cfg(CfgNode(CONFIG))
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = 3
    cfg.MODEL.SUBCATEGORY.NAMES = ["tint", "finish"]
    cfg.MODEL.SUBCATEGORY.NUM_CLASSES = [2, 3]
    return cfg


def leaves(node: Mapping, prefix: str = "") -> dict[str, object]:
    found = {}
    for key, value in node.items():
        if isinstance(value, Mapping):
            found.update(leaves(value, f"{prefix}{key}."))
        else:
            found[prefix + key] = value
    return found


# What the rows below look at, in the model, the optimizer and the augmentations.


def pixel_decoder(model):
    return model.sem_seg_head.pixel_decoder


def predictor(model):
    return model.sem_seg_head.predictor


def encoder_layer(model):
    return pixel_decoder(model).transformer.encoder.layers[0]


def trained_backbone(model) -> int:
    return sum(p.requires_grad for p in model.backbone.parameters())


def group_of(optimizer, model, parameter: Callable) -> dict:
    (group,) = [
        g for g in optimizer.param_groups if any(p is parameter(model) for p in g["params"])
    ]
    return group


def optimized(cfg):
    model = small_model(cfg)
    return build_optimizer(cfg, model), model


def small_model(cfg):
    """A stand-in with the names and kinds that the optimizer asks for."""
    return nn.ModuleDict(
        {
            "backbone": nn.Linear(2, 2),
            "head": nn.Linear(2, 2),
            "norm": nn.LayerNorm(2),
            "embed": nn.Embedding(2, 2),
        }
    )


def setting(parameter: Callable, name: str) -> Callable:
    return lambda built: group_of(*built, parameter)[name]


def used_gradient(built) -> list[float]:
    """What is left of the gradients [[3, 4], [0, 0]] and 1 of the head when a step is taken."""
    optimizer, model = built
    head = model["head"]
    head.weight.grad = torch.tensor([[3.0, 4.0], [0.0, 0.0]])
    head.bias.grad = torch.tensor([1.0, 0.0])
    optimizer.step()
    return [round(float(x), 4) for p in (head.weight, head.bias) for x in p.grad.flatten()]


def rates(cfg) -> list[float]:
    """The learning rate of the head's weight over six iterations, as a share of BASE_LR."""
    optimizer, model = optimized(cfg)
    scheduler = build_lr_scheduler(cfg, optimizer)
    shares = []
    for _ in range(6):
        lr = group_of(optimizer, model, lambda m: m["head"].weight)["lr"]
        shares.append(round(lr / cfg.SOLVER.BASE_LR, 4))
        optimizer.step()
        scheduler.step()
    return shares


def kinds(augmentations) -> list[str]:
    return [type(a).__name__ for a in augmentations]


def found(kind: type, name: str) -> Callable:
    return lambda augmentations: next(
        getattr(a, name) for a in augmentations if isinstance(a, kind)
    )


def mapper(cfg) -> MultiTaskInstanceMapper:
    return MultiTaskInstanceMapper(cfg, is_train=True, spec=SubcategorySpec())


FORMER, HEAD = "MODEL.MASK_FORMER.", "MODEL.SEM_SEG_HEAD."
ENCODER = HEAD + "DEFORMABLE_TRANSFORMER_ENCODER_"

# key, new value, what is looked at, what it is then.
MODEL_ROWS = [
    (FORMER + "HIDDEN_DIM", 64, lambda m: predictor(m).query_feat.embedding_dim, 64),
    (
        FORMER + "NHEADS",
        2,
        lambda m: predictor(m).transformer_self_attention_layers[0].self_attn.num_heads,
        2,
    ),
    # One less than the supervised predictions.
    (FORMER + "DEC_LAYERS", 5, lambda m: len(predictor(m).transformer_ffn_layers), 4),
    (FORMER + "NUM_OBJECT_QUERIES", 9, lambda m: predictor(m).query_embed.num_embeddings, 9),
    (
        FORMER + "DIM_FEEDFORWARD",
        48,
        lambda m: predictor(m).transformer_ffn_layers[0].linear1.out_features,
        48,
    ),
    (FORMER + "PRE_NORM", True, lambda m: predictor(m).transformer_ffn_layers[0].pre_norm, True),
    (FORMER + "ENFORCE_INPUT_PROJ", True, lambda m: len(list(predictor(m).input_proj.parameters())), 6),
    (FORMER + "DROPOUT", 0.3, lambda m: encoder_layer(m).dropout, 0.3),
    (
        FORMER + "TRANSFORMER_DECODER_NAME",
        "MultiScaleMaskedTransformerDecoder",
        lambda m: type(predictor(m)).__name__,
        "MultiScaleMaskedTransformerDecoder",
    ),
    (FORMER + "DEEP_SUPERVISION", False, lambda m: m.criterion.deep_supervision, False),
    (FORMER + "NO_OBJECT_WEIGHT", 0.4, lambda m: m.criterion.no_object_weight, 0.4),
    (
        FORMER + "CLASS_WEIGHT",
        3.0,
        lambda m: (m.loss_weights["loss_ce"], m.criterion.matcher.costs.class_),
        (3.0, 3.0),
    ),
    (
        FORMER + "MASK_WEIGHT",
        3.0,
        lambda m: (m.loss_weights["loss_mask"], m.criterion.matcher.costs.mask),
        (3.0, 3.0),
    ),
    (
        FORMER + "DICE_WEIGHT",
        3.0,
        lambda m: (m.loss_weights["loss_dice"], m.criterion.matcher.costs.dice),
        (3.0, 3.0),
    ),
    (
        FORMER + "TRAIN_NUM_POINTS",
        50,
        lambda m: (m.criterion.num_points, m.criterion.matcher.num_points),
        (50, 50),
    ),
    (FORMER + "OVERSAMPLE_RATIO", 2.0, lambda m: m.criterion.oversample_ratio, 2.0),
    (FORMER + "IMPORTANCE_SAMPLE_RATIO", 0.5, lambda m: m.criterion.importance_sample_ratio, 0.5),
    (FORMER + "SIZE_DIVISIBILITY", 64, lambda m: m.size_divisibility, 64),
    (HEAD + "NUM_CLASSES", 7, lambda m: predictor(m).class_embed.out_features, 8),  # "no object"
    (HEAD + "MASK_DIM", 48, lambda m: pixel_decoder(m).mask_features.out_channels, 48),
    (HEAD + "CONVS_DIM", 64, lambda m: pixel_decoder(m).mask_features.in_channels, 64),
    (HEAD + "NORM", "", lambda m: type(pixel_decoder(m).adapter_1.norm).__name__, "NoneType"),
    (HEAD + "IN_FEATURES", ["res3", "res4", "res5"], lambda m: pixel_decoder(m).fpn_features, []),
    (HEAD + "COMMON_STRIDE", 8, lambda m: pixel_decoder(m).fpn_features, []),
    (HEAD + "TRANSFORMER_ENC_LAYERS", 3, lambda m: len(pixel_decoder(m).transformer.encoder.layers), 3),
    (ENCODER + "DIM_FEEDFORWARD", 48, lambda m: encoder_layer(m).linear1.out_features, 48),
    (
        ENCODER + "IN_FEATURES",
        ["res4", "res5", "res3", "res2"],
        lambda m: pixel_decoder(m).encoder_features,
        ["res5", "res4", "res3", "res2"],
    ),
    (ENCODER + "N_POINTS", 2, lambda m: encoder_layer(m).self_attn.num_points, 2),
    (ENCODER + "N_HEADS", 8, lambda m: encoder_layer(m).self_attn.num_heads, 8),
    (
        "MODEL.SUBCATEGORY.NAMES",
        ["tint", "gloss"],
        lambda m: list(predictor(m).subcategory_embed),
        ["tint", "gloss"],
    ),
    (
        "MODEL.SUBCATEGORY.NUM_CLASSES",
        [2, 5],
        lambda m: predictor(m).subcategory_embed["finish"].out_features,
        6,  # 5 values and none
    ),
    (
        "MODEL.SUBCATEGORY.LOSS_WEIGHTS",
        [0.5, 2.0],
        lambda m: (m.loss_weights["loss_tint"], m.loss_weights["loss_finish"]),
        (0.5, 2.0),
    ),
    (
        "MODEL.SUBCATEGORY.MATCH_COSTS",
        [0.5, 2.0],
        lambda m: m.criterion.matcher.costs.subcategories,
        (0.5, 2.0),
    ),
    (
        "MODEL.SUBCATEGORY.NO_OBJECT_WEIGHT",
        0.4,
        lambda m: m.criterion.subcategory_no_object_weight,
        0.4,
    ),
    ("MODEL.TIMM.NAME", "lcnet_035", lambda m: m.backbone.body.default_cfg["architecture"], "lcnet_035"),
    (
        "MODEL.TIMM.NORM",
        "BN",
        lambda m: any(isinstance(x, nn.BatchNorm2d) for x in m.backbone.modules()),
        True,
    ),
    ("MODEL.META_ARCHITECTURE", "MaskFormer", lambda m: type(m).__name__, "MaskFormer"),
    ("MODEL.PIXEL_MEAN", [1.0, 2.0, 3.0], lambda m: m.pixel_mean.flatten().tolist(), [1, 2, 3]),
    ("MODEL.PIXEL_STD", [1.0, 2.0, 3.0], lambda m: m.pixel_std.flatten().tolist(), [1, 2, 3]),
    ("TEST.DETECTIONS_PER_IMAGE", 2, lambda m: m.detections_per_image, 2),
]
OPTIMIZER_ROWS = [
    ("SOLVER.OPTIMIZER", "SGD", lambda b: type(b[0]).__name__, "SGD"),
    ("SOLVER.BASE_LR", 0.5, setting(lambda m: m["head"].weight, "lr"), 0.5),
    # BASE_LR is 0.001.
    ("SOLVER.BACKBONE_MULTIPLIER", 0.5, setting(lambda m: m["backbone"].weight, "lr"), 0.0005),
    ("SOLVER.WEIGHT_DECAY", 0.5, setting(lambda m: m["head"].weight, "weight_decay"), 0.5),
    ("SOLVER.WEIGHT_DECAY_NORM", 0.5, setting(lambda m: m["norm"].weight, "weight_decay"), 0.5),
    ("SOLVER.WEIGHT_DECAY_EMBED", 0.5, setting(lambda m: m["embed"].weight, "weight_decay"), 0.5),
    ("SOLVER.AMP.ENABLED", True, lambda b: b[0].defaults["fused"], None),
    # The gradients' norm is sqrt(9 + 16 + 1) = 5.099; CLIP_VALUE is 1.
    ("SOLVER.CLIP_GRADIENTS.ENABLED", False, used_gradient, [3, 4, 0, 0, 1, 0]),
    ("SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "norm", used_gradient, [0.6, 0.8, 0, 0, 1, 0]),
    # 2 / 5.099 = 0.39223 times each.
    ("SOLVER.CLIP_GRADIENTS.CLIP_VALUE", 2.0, used_gradient, [1.1767, 1.5689, 0, 0, 0.3922, 0]),
    # The 1-norm is 3 + 4 + 1 = 8.
    ("SOLVER.CLIP_GRADIENTS.NORM_TYPE", 1.0, used_gradient, [0.375, 0.5, 0, 0, 0.125, 0]),
]
SCHEDULE_ROWS = [
    # MAX_ITER 100, constant otherwise.
    ("SOLVER.STEPS", (2, 4), [1, 1, 0.1, 0.1, 0.01, 0.01]),
    ("SOLVER.WARMUP_ITERS", 2, [0.001, 0.5005, 1, 1, 1, 1]),
    ("SOLVER.LR_SCHEDULER_NAME", "WarmupCosineLR", [1, 0.9998, 0.999, 0.9978, 0.9961, 0.9938]),
]
TRAIN_ROWS = [
    (
        "INPUT.DATASET_MAPPER_NAME",
        "coco_instance_lsj",
        kinds,
        ["ResizeScale", "FixedSizeCrop"],
    ),
    ("INPUT.COLOR_AUG_SSD", True, len, 4),  # three of colour beside the resize
    ("INPUT.RANDOM_FLIP", "horizontal", kinds, ["ResizeShortestEdge", "RandomFlip"]),
    ("INPUT.MIN_SIZE_TRAIN", (40, 50), found(T.ResizeShortestEdge, "short_edge_length"), (40, 50)),
    ("INPUT.MAX_SIZE_TRAIN", 90, found(T.ResizeShortestEdge, "max_size"), 90),
]
LSJ_ROWS = [
    ("INPUT.IMAGE_SIZE", 96, found(T.FixedSizeCrop, "crop_size"), (96, 96)),
    ("INPUT.MIN_SCALE", 0.5, found(T.ResizeScale, "min_scale"), 0.5),
    ("INPUT.MAX_SCALE", 1.5, found(T.ResizeScale, "max_scale"), 1.5),
]
TEST_ROWS = [
    ("INPUT.MIN_SIZE_TEST", 40, found(T.ResizeShortestEdge, "short_edge_length"), [40, 40]),
    ("INPUT.MAX_SIZE_TEST", 90, found(T.ResizeShortestEdge, "max_size"), 90),
]
MAPPER_ROWS = [
    ("INPUT.FORMAT", "BGR", lambda m: m.image_format, "BGR"),
    ("INPUT.SIZE_DIVISIBILITY", 32, lambda m: m.size_divisibility, 32),
]
# Looked at elsewhere.
ELSEWHERE = {
    "MODEL.DEVICE": "engine/test_setup.py",
    "DATASETS.FILES": "engine/test_setup.py",
    "SOLVER.REFERENCE_IMS_PER_BATCH": "engine/test_lr_scaling.py",
    "SOLVER.LR_SCALING": "engine/test_lr_scaling.py",
    "MODEL.TIMM.WEIGHTS": "engine/test_train.py",
    # Here, but refused values or a second key beside it.
    "MODEL.MASK_FORMER.TEST.INSTANCE_ON": "test_config.py",
    "MODEL.MASK_FORMER.TEST.SEMANTIC_ON": "test_config.py",
    "MODEL.MASK_FORMER.TEST.PANOPTIC_ON": "test_config.py",
    "MODEL.SEM_SEG_HEAD.PIXEL_DECODER_NAME": "test_config.py",
    "MODEL.TIMM.OUT_FEATURES": "test_config.py",
}


@functools.cache
def tiny_model() -> nn.Module:
    return build_model(tiny_config())


def changed(key: str, value: object, cfg: CfgNode | None = None) -> CfgNode:
    cfg = tiny_config() if cfg is None else cfg
    cfg.merge_from_list([key, value])
    return cfg


def rows(table: list[tuple]):
    return pytest.mark.parametrize(
        ("key", "value", "look", "expected"), table, ids=[row[0] for row in table]
    )


@rows(MODEL_ROWS)
def test_a_key_changes_the_model(key, value, look, expected):
    assert look(tiny_model()) != expected
    assert look(build_model(changed(key, value))) == expected


@rows(OPTIMIZER_ROWS)
def test_a_key_changes_the_optimizer(key, value, look, expected):
    assert look(optimized(tiny_config())) != expected
    assert look(optimized(changed(key, value))) == expected


@pytest.mark.parametrize(
    ("key", "value", "expected"), SCHEDULE_ROWS, ids=[row[0] for row in SCHEDULE_ROWS]
)
def test_a_key_changes_the_schedule(key, value, expected):
    base = changed("SOLVER.MAX_ITER", 100)
    assert rates(base) == [1] * 6
    assert rates(changed(key, value, base)) == expected


@rows(TRAIN_ROWS)
def test_a_key_changes_the_training_augmentation(key, value, look, expected):
    assert look(build_train_augmentations(tiny_config())) != expected
    assert look(build_train_augmentations(changed(key, value))) == expected


@rows(LSJ_ROWS)
def test_a_key_changes_the_large_scale_jitter(key, value, look, expected):
    base = changed("INPUT.DATASET_MAPPER_NAME", "coco_instance_lsj")
    assert look(build_train_augmentations(base)) != expected
    assert look(build_train_augmentations(changed(key, value, base))) == expected


@rows(TEST_ROWS)
def test_a_key_changes_the_test_augmentation(key, value, look, expected):
    assert look(build_test_augmentations(tiny_config())) != expected
    assert look(build_test_augmentations(changed(key, value))) == expected


@rows(MAPPER_ROWS)
def test_a_key_changes_the_mapper(key, value, look, expected):
    assert look(mapper(tiny_config())) != expected
    assert look(mapper(changed(key, value))) == expected


def test_freeze_at_fixes_the_first_layers_of_the_backbone():
    counts = [
        trained_backbone(build_model(changed("MODEL.BACKBONE.FREEZE_AT", n))) for n in (0, 1, 2, 5)
    ]
    assert counts[0] > counts[1] > counts[2] > counts[3]


def test_timm_gives_the_features_that_are_asked_for():
    cfg = changed("MODEL.TIMM.OUT_FEATURES", ["res3", "res4", "res5"])
    cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES = ["res3", "res4", "res5"]
    assert set(tiny_model().backbone.output_shape()) == {"res2", "res3", "res4", "res5"}
    assert set(build_model(cfg).backbone.output_shape()) == {"res3", "res4", "res5"}


def test_another_pixel_decoder_is_refused():
    with pytest.raises(ValueError, match="PIXEL_DECODER_NAME must be 'MSDeformAttnPixelDecoder'"):
        build_model(changed(HEAD + "PIXEL_DECODER_NAME", "BasePixelDecoder"))


def own_keys() -> set[str]:
    """What `add_mask2former_mt_config` adds or gives another default."""
    cfg = get_cfg()
    before = leaves(cfg)
    add_mask2former_mt_config(cfg)
    return {k for k, v in leaves(cfg).items() if k not in before or before[k] != v}


def comments_of_keys() -> dict[str, str]:
    """The comment above each assignment in config.py, by the key's last part and place."""
    comments, comment = {}, []
    for line in inspect.getsource(mask2former_mt.config).splitlines():
        text = line.strip()
        if text.startswith("#"):
            comment.append(text.lstrip("# "))
            continue
        match = re.fullmatch(r"((?:cfg|node|head)(?:\.[A-Z0-9_]+)+) = (.*)", text)
        if match and match[2] not in ("CfgNode()", "node", "cfg.MODEL.SEM_SEG_HEAD"):
            comments[match[1]] = " ".join(comment)
        comment = []
    return comments


def test_every_key_has_a_comment():
    comments = comments_of_keys()
    assert len(comments) == len(own_keys())
    assert not [name for name, comment in comments.items() if len(comment) < 10]


def test_every_key_has_a_test_that_it_changes_something_or_says_that_it_does_not():
    tables = (MODEL_ROWS, OPTIMIZER_ROWS, TRAIN_ROWS, LSJ_ROWS, TEST_ROWS, MAPPER_ROWS)
    tested = {row[0] for table in tables for row in table} | set(ELSEWHERE)
    without_effect = {
        name.split(".", 1)[1] for name, c in comments_of_keys().items() if "without effect" in c
    }
    untested = {key for key in own_keys() - tested if not key.endswith(tuple(without_effect))}
    assert untested == set()
    assert {Path(__file__).parent / f for f in ELSEWHERE.values()} <= set(
        Path(__file__).parent.rglob("test_*.py")
    )


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        (FORMER + "TEST.SEMANTIC_ON", True, "SEMANTIC_ON must be False: .* got True"),
        (FORMER + "TEST.PANOPTIC_ON", True, "PANOPTIC_ON must be False: .* got True"),
        (FORMER + "TEST.INSTANCE_ON", False, "INSTANCE_ON must be True: .* got False"),
        (FORMER + "HIDDEN_DIM", 30, r"HIDDEN_DIM must be a multiple of NHEADS \(4\), got 30"),
        (FORMER + "DEC_LAYERS", 1, "DEC_LAYERS must be at least 2, got 1"),
        (FORMER + "IMPORTANCE_SAMPLE_RATIO", 1.5, r"SAMPLE_RATIO must be in \[0, 1\], got 1.5"),
        (FORMER + "OVERSAMPLE_RATIO", 0.5, "OVERSAMPLE_RATIO must be at least 1, got 0.5"),
        ("SOLVER.OPTIMIZER", "ADAM", "SOLVER.OPTIMIZER must be 'ADAMW' or 'SGD', got 'ADAM'"),
        ("SOLVER.LR_SCALING", "log", "SOLVER.LR_SCALING must be .* got 'log'"),
        ("SOLVER.IMS_PER_BATCH", 0, "SOLVER.IMS_PER_BATCH must be positive, got 0"),
        ("SOLVER.REFERENCE_IMS_PER_BATCH", -1, "REFERENCE_IMS_PER_BATCH must be positive, got -1"),
        ("MODEL.TIMM.NORM", "GN", "MODEL.TIMM.NORM must be 'FrozenBN' or 'BN', got 'GN'"),
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
    assert solver.BASE_LR == pytest.approx(lr)
    assert (solver.MAX_ITER, solver.STEPS) == (max_iter, steps)
