"""Weights of transformers' Mask2FormerForUniversalSegmentation (ResNet backbones) for our model."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch

# (ours, theirs), with # for a number. A state-dict key matches at most one row.
_NAMES = (
    ("backbone.stem.conv1.weight", "{encoder}.embedder.embedder.convolution.weight"),
    ("backbone.stem.conv1.norm", "{encoder}.embedder.embedder.normalization"),
    ("sem_seg_head.pixel_decoder.transformer.level_embed", "{decoder}.level_embed"),
    ("sem_seg_head.pixel_decoder.input_proj", "{decoder}.input_projections"),
    ("sem_seg_head.pixel_decoder.mask_features", "{decoder}.mask_projection"),
    ("sem_seg_head.pixel_decoder.adapter_1.weight", "{decoder}.adapter_1.0.weight"),
    ("sem_seg_head.pixel_decoder.adapter_1.norm", "{decoder}.adapter_1.1"),
    ("sem_seg_head.pixel_decoder.layer_1.weight", "{decoder}.layer_1.0.weight"),
    ("sem_seg_head.pixel_decoder.layer_1.norm", "{decoder}.layer_1.1"),
    ("{encoder_layer}.#.self_attn", "{decoder}.encoder.layers.#.self_attn"),
    ("{encoder_layer}.#.norm1", "{decoder}.encoder.layers.#.self_attn_layer_norm"),
    ("{encoder_layer}.#.linear1", "{decoder}.encoder.layers.#.fc1"),
    ("{encoder_layer}.#.linear2", "{decoder}.encoder.layers.#.fc2"),
    ("{encoder_layer}.#.norm2", "{decoder}.encoder.layers.#.final_layer_norm"),
    ("{predictor}.query_embed", "{module}.queries_embedder"),
    ("{predictor}.query_feat", "{module}.queries_features"),
    ("{predictor}.level_embed", "{module}.level_embed"),
    ("{predictor}.decoder_norm", "{module}.decoder.layernorm"),
    ("{predictor}.class_embed", "class_predictor"),
    ("{predictor}.mask_embed.layers.#", "{module}.decoder.mask_predictor.mask_embedder.#.0"),
    (
        "{predictor}.transformer_self_attention_layers.#.self_attn.out_proj",
        "{module}.decoder.layers.#.self_attn.out_proj",
    ),
    (
        "{predictor}.transformer_self_attention_layers.#.norm",
        "{module}.decoder.layers.#.self_attn_layer_norm",
    ),
    (
        "{predictor}.transformer_cross_attention_layers.#.multihead_attn",
        "{module}.decoder.layers.#.cross_attn",
    ),
    (
        "{predictor}.transformer_cross_attention_layers.#.norm",
        "{module}.decoder.layers.#.cross_attn_layer_norm",
    ),
    ("{predictor}.transformer_ffn_layers.#.linear1", "{module}.decoder.layers.#.fc1"),
    ("{predictor}.transformer_ffn_layers.#.linear2", "{module}.decoder.layers.#.fc2"),
    ("{predictor}.transformer_ffn_layers.#.norm", "{module}.decoder.layers.#.final_layer_norm"),
    ("{predictor}.input_proj.#", "{module}.input_projections.#"),
)
PREFIXES = {
    "encoder": "model.pixel_level_module.encoder",
    "decoder": "model.pixel_level_module.decoder",
    "module": "model.transformer_module",
    "encoder_layer": "sem_seg_head.pixel_decoder.transformer.encoder.layers",
    "predictor": "sem_seg_head.predictor",
}
_TABLE = [tuple(name.format(**PREFIXES) for name in row) for row in _NAMES]

# Stages count from 0, where detectron2 begins with res2; convolutions from 0, as against conv1.
_THEIR_BLOCK = re.compile(
    re.escape(PREFIXES["encoder"])
    + r"\.encoder\.stages\.(\d)\.layers\.(\d+)\.(?:layer\.(\d)|shortcut)"
    + r"\.(convolution|normalization)\.(\w+)"
)
_THEIR_QKV = re.compile(
    re.escape(PREFIXES["module"])
    + r"\.decoder\.layers\.(\d+)\.self_attn\.([qkv])_proj\.(weight|bias)"
)


def from_transformers(state_dict: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Renames transformers' weights to this package's (the published) names.

    Args:
        state_dict: of Mask2FormerForUniversalSegmentation with a ResNet backbone.

    Returns:
        A state dict of the same tensors, without those of the loss and BN's step counters.

    Raises:
        ValueError: a key that no rule converts.
    """
    converted, qkv = {}, {}
    for key, tensor in state_dict.items():
        if key.startswith("criterion.") or key.endswith("num_batches_tracked"):
            continue
        if match := _THEIR_QKV.fullmatch(key):
            layer, part, kind = match.groups()
            qkv.setdefault((layer, kind), {})[part] = tensor
        else:
            converted[_their_block(key) or rename(key, source=1)] = tensor
    for (layer, kind), parts in qkv.items():
        name = (
            f"{PREFIXES['predictor']}.transformer_self_attention_layers.{layer}"
            f".self_attn.in_proj_{kind}"
        )
        converted[name] = torch.cat([parts[part] for part in "qkv"])
    return converted


def rename(key: str, *, source: int) -> str:
    """Converts a key by the table of names.

    Args:
        key: a state-dict key.
        source: column of the table that `key` is from: 0 ours, 1 theirs.

    Raises:
        ValueError: a key that no rule converts.
    """
    for row in _TABLE:
        pattern = re.escape(row[source]).replace(r"\#", r"(\d+)")
        if match := re.fullmatch(pattern + r"((?:\..*)?)", key):
            *numbers, rest = match.groups()
            target = row[1 - source]
            for number in numbers:
                target = target.replace("#", number, 1)
            return target + rest
    raise ValueError(f"no rule converts {key!r}; only ResNet backbones are known")


def _their_block(key: str) -> str | None:
    if not (match := _THEIR_BLOCK.fullmatch(key)):
        return None
    stage, block, conv, kind, name = match.groups()
    part = "shortcut" if conv is None else f"conv{int(conv) + 1}"
    norm = "norm." if kind == "normalization" else ""
    return f"backbone.res{int(stage) + 2}.{block}.{part}.{norm}{name}"
