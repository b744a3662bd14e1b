"""Weights of our model under transformers' names: the way back from `from_transformers`."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch

from mask2former_mt.engine.convert_weights import PREFIXES, rename

_BLOCK = re.compile(r"backbone\.res(\d)\.(\d+)\.(?:conv(\d)|shortcut)\.(norm\.)?(\w+)")
_QKV = re.compile(
    re.escape(PREFIXES["predictor"])
    + r"\.transformer_self_attention_layers\.(\d+)\.self_attn\.in_proj_(weight|bias)"
)


def to_transformers(state_dict: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Renames our weights to transformers' names; subcategory heads are left out."""
    converted = {}
    for key, tensor in state_dict.items():
        if ".subcategory_embed." in key or key.endswith("num_batches_tracked"):
            continue
        if match := _QKV.fullmatch(key):
            layer, kind = match.groups()
            prefix = f"{PREFIXES['module']}.decoder.layers.{layer}.self_attn"
            for part, chunk in zip("qkv", tensor.chunk(3), strict=True):
                converted[f"{prefix}.{part}_proj.{kind}"] = chunk
        elif match := _BLOCK.fullmatch(key):
            # detectron2's stages begin with res2 and convolutions with conv1; theirs with 0.
            stage, block, conv, norm, name = match.groups()
            part = "shortcut" if conv is None else f"layer.{int(conv) - 1}"
            kind = "normalization" if norm else "convolution"
            stages = f"{PREFIXES['encoder']}.encoder.stages"
            converted[f"{stages}.{int(stage) - 2}.layers.{block}.{part}.{kind}.{name}"] = tensor
        else:
            converted[rename(key, source=0)] = tensor
    return converted
