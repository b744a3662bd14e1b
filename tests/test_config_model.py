"""Each config key of the model changes the model."""

from __future__ import annotations

import functools

import pytest
from config_tools import changed, rows, tiny_config
from detectron2.modeling import build_model
from torch import nn


def pixel_decoder(model):
    return model.sem_seg_head.pixel_decoder


def predictor(model):
    return model.sem_seg_head.predictor


def encoder_layer(model):
    return pixel_decoder(model).transformer.encoder.layers[0]


def trained_backbone(model) -> int:
    return sum(p.requires_grad for p in model.backbone.parameters())


FORMER, HEAD = "MODEL.MASK_FORMER.", "MODEL.SEM_SEG_HEAD."
ENCODER = HEAD + "DEFORMABLE_TRANSFORMER_ENCODER_"

# Key, new value, what to look at in what is built, and what it must be then.
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
    (
        FORMER + "ENFORCE_INPUT_PROJ",
        True,
        lambda m: len(list(predictor(m).input_proj.parameters())),
        6,
    ),
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
    (HEAD + "COMMON_STRIDE", 8, lambda m: pixel_decoder(m).fpn_features, []),
    (
        HEAD + "TRANSFORMER_ENC_LAYERS",
        3,
        lambda m: len(pixel_decoder(m).transformer.encoder.layers),
        3,
    ),
    (ENCODER + "DIM_FEEDFORWARD", 48, lambda m: encoder_layer(m).linear1.out_features, 48),
    (
        ENCODER + "IN_FEATURES",
        ["res4", "res5", "res3", "res2"],
        lambda m: pixel_decoder(m).encoder_features,
        ["res5", "res4", "res3", "res2"],
    ),
    (
        "MODEL.MS_DEFORM_ATTN_IMPL",
        "torch",
        lambda m: encoder_layer(m).self_attn.implementation.value,
        "torch",
    ),
    ("MODEL.COMPILE", True, lambda m: m.backbone._compiled_call_impl is not None, True),
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
        lambda m: tuple(m.loss_weights[f"loss_subcategory_{s}"] for s in ("tint", "finish")),
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
    (
        "MODEL.TIMM.NAME",
        "lcnet_035",
        lambda m: m.backbone.body.default_cfg["architecture"],
        "lcnet_035",
    ),
    (
        "MODEL.TIMM.NORM",
        "BN",
        lambda m: any(isinstance(x, nn.BatchNorm2d) for x in m.backbone.modules()),
        True,
    ),
    ("MODEL.META_ARCHITECTURE", "MaskFormer", lambda m: type(m).__name__, "MaskFormer"),
    ("MODEL.PIXEL_MEAN", [1.0, 2.0, 3.0], lambda m: m.pixel_mean.flatten().tolist(), [1, 2, 3]),
    ("MODEL.PIXEL_STD", [1.0, 2.0, 3.0], lambda m: m.pixel_std.flatten().tolist(), [1, 2, 3]),
    ("TEST.DETECTIONS_PER_IMAGE", 2, lambda m: m.inference.instances.top_k, 2),
]


@functools.cache
def tiny_model() -> nn.Module:
    return build_model(tiny_config())


@rows(MODEL_ROWS)
def test_a_key_changes_the_model(key, value, look, expected):
    assert look(tiny_model()) != expected
    assert look(build_model(changed(key, value))) == expected


def test_freeze_at_fixes_the_first_layers_of_the_backbone():
    counts = [
        trained_backbone(build_model(changed("MODEL.BACKBONE.FREEZE_AT", n))) for n in (0, 1, 2, 5)
    ]
    assert counts[0] > counts[1] > counts[2] > counts[3]


def test_the_pixel_decoder_takes_the_features_that_are_asked_for():
    cfg = changed(HEAD + "IN_FEATURES", ["res3", "res4", "res5"])
    # Without res2 the finest mask features are at stride 8.
    with pytest.raises(ValueError, match=r"stride 4 need .* strides \[4\], got \[8\]; set MODEL"):
        build_model(cfg)
    cfg.MODEL.SEM_SEG_HEAD.COMMON_STRIDE = 8
    assert pixel_decoder(build_model(cfg)).fpn_features == []


def test_timm_gives_the_features_that_are_asked_for():
    cfg = changed("MODEL.TIMM.OUT_FEATURES", ["res3", "res4", "res5"])
    cfg.MODEL.SEM_SEG_HEAD.COMMON_STRIDE = 8
    assert set(tiny_model().backbone.output_shape()) == {"res2", "res3", "res4", "res5"}
    assert set(build_model(cfg).backbone.output_shape()) == {"res3", "res4", "res5"}
