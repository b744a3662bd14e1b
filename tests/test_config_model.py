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


FORMER, HEAD = "MODEL.MASK_FORMER.", "MODEL.SEM_SEG_HEAD."
ENCODER = HEAD + "DEFORMABLE_TRANSFORMER_ENCODER_"
SUBCATEGORY = "MODEL.SUBCATEGORY."
# Paths in the model.
PIXELS, PREDICTOR = "sem_seg_head.pixel_decoder.", "sem_seg_head.predictor."


def in_encoder(path: str):
    return lambda m: functools.reduce(
        getattr, path.split("."), pixel_decoder(m).transformer.encoder.layers[0]
    )


def weight_and_cost(loss: str, cost: str):
    return lambda m: (m.loss_weights[loss], getattr(m.criterion.matcher.costs, cost))


def has_batch_norm(model) -> bool:
    return any(isinstance(module, nn.BatchNorm2d) for module in model.modules())


# See `config_tools.rows`.
MODEL_ROWS = [
    (FORMER + "HIDDEN_DIM", 64, PREDICTOR + "query_feat.embedding_dim"),
    (
        *(FORMER + "NHEADS", 2),
        lambda m: predictor(m).transformer_self_attention_layers[0].self_attn.num_heads,
    ),
    # One less than the supervised predictions.
    (FORMER + "DEC_LAYERS", 5, lambda m: len(predictor(m).transformer_ffn_layers), 4),
    (FORMER + "NUM_OBJECT_QUERIES", 9, PREDICTOR + "query_embed.num_embeddings"),
    (
        *(FORMER + "DIM_FEEDFORWARD", 48),
        lambda m: predictor(m).transformer_ffn_layers[0].linear1.out_features,
    ),
    (FORMER + "PRE_NORM", True, lambda m: predictor(m).transformer_ffn_layers[0].pre_norm),
    # Weight and bias for three features.
    (
        *(FORMER + "ENFORCE_INPUT_PROJ", True),
        *(lambda m: len(list(predictor(m).input_proj.parameters())), 6),
    ),
    (FORMER + "DROPOUT", 0.3, in_encoder("dropout")),
    (
        *(FORMER + "TRANSFORMER_DECODER_NAME", "MultiScaleMaskedTransformerDecoder"),
        lambda m: type(predictor(m)).__name__,
    ),
    (FORMER + "DEEP_SUPERVISION", False, "criterion.deep_supervision"),
    (FORMER + "NO_OBJECT_WEIGHT", 0.4, "criterion.no_object_weight"),
    (FORMER + "CLASS_WEIGHT", 3.0, weight_and_cost("loss_ce", "class_"), (3.0, 3.0)),
    (FORMER + "MASK_WEIGHT", 3.0, weight_and_cost("loss_mask", "mask"), (3.0, 3.0)),
    (FORMER + "DICE_WEIGHT", 3.0, weight_and_cost("loss_dice", "dice"), (3.0, 3.0)),
    (FORMER + "TRAIN_NUM_POINTS", 50, "criterion.num_points"),
    (FORMER + "TRAIN_NUM_POINTS", 50, "criterion.matcher.num_points"),
    (FORMER + "OVERSAMPLE_RATIO", 2.0, "criterion.oversample_ratio"),
    (FORMER + "IMPORTANCE_SAMPLE_RATIO", 0.5, "criterion.importance_sample_ratio"),
    (FORMER + "SIZE_DIVISIBILITY", 64, "size_divisibility"),
    (HEAD + "NUM_CLASSES", 7, PREDICTOR + "class_embed.out_features", 8),  # "no object"
    (HEAD + "MASK_DIM", 48, PIXELS + "mask_features.out_channels"),
    (HEAD + "CONVS_DIM", 64, PIXELS + "mask_features.in_channels"),
    (HEAD + "NORM", "", PIXELS + "adapter_1.norm", None),
    (HEAD + "COMMON_STRIDE", 8, PIXELS + "fpn_features", []),
    (
        *(HEAD + "TRANSFORMER_ENC_LAYERS", 3),
        lambda m: len(pixel_decoder(m).transformer.encoder.layers),
    ),
    (ENCODER + "DIM_FEEDFORWARD", 48, in_encoder("linear1.out_features")),
    (
        *(ENCODER + "IN_FEATURES", ["res4", "res5", "res3", "res2"]),
        *(PIXELS + "encoder_features", ["res5", "res4", "res3", "res2"]),
    ),
    (ENCODER + "N_POINTS", 2, in_encoder("self_attn.num_points")),
    (ENCODER + "N_HEADS", 8, in_encoder("self_attn.num_heads")),
    ("MODEL.MS_DEFORM_ATTN_IMPL", "torch", in_encoder("self_attn.implementation.value")),
    ("MODEL.COMPILE", True, lambda m: m.backbone._compiled_call_impl is not None),
    (SUBCATEGORY + "NAMES", ["tint", "gloss"], lambda m: list(predictor(m).subcategory_embed)),
    (
        *(SUBCATEGORY + "NUM_CLASSES", [2, 5]),
        *(PREDICTOR + "subcategory_embed.finish.out_features", 6),  # 5 values and none
    ),
    (
        *(SUBCATEGORY + "LOSS_WEIGHTS", [0.5, 2.0]),
        lambda m: [m.loss_weights[f"loss_subcategory_{s}"] for s in ("tint", "finish")],
    ),
    (SUBCATEGORY + "MATCH_COSTS", [0.5, 2], "criterion.matcher.costs.subcategories", (0.5, 2)),
    (SUBCATEGORY + "NO_OBJECT_WEIGHT", 0.4, "criterion.subcategory_no_object_weight"),
    (
        *("MODEL.TIMM.NAME", "lcnet_035"),
        lambda m: m.backbone.body.default_cfg["architecture"],
    ),
    ("MODEL.TIMM.NORM", "BN", lambda m: has_batch_norm(m.backbone), True),
    ("MODEL.META_ARCHITECTURE", "MaskFormer", lambda m: type(m).__name__),
    ("MODEL.PIXEL_MEAN", [1.0, 2.0, 3.0], lambda m: m.pixel_mean.flatten().tolist()),
    ("MODEL.PIXEL_STD", [1.0, 2.0, 3.0], lambda m: m.pixel_std.flatten().tolist()),
    ("TEST.DETECTIONS_PER_IMAGE", 2, "inference.instances.top_k"),
]


@functools.cache
def tiny_model() -> nn.Module:
    return build_model(tiny_config())


@rows(MODEL_ROWS)
def test_a_key_changes_the_model(key, value, look, expected):
    assert look(tiny_model()) != expected
    assert look(build_model(changed(key, value))) == expected


def test_freeze_at_fixes_the_first_layers_of_the_backbone():
    models = [build_model(changed("MODEL.BACKBONE.FREEZE_AT", n)) for n in (0, 1, 2, 5)]
    counts = [sum(p.requires_grad for p in model.backbone.parameters()) for model in models]
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
