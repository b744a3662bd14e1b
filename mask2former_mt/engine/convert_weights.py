"""Weights of transformers' Mask2FormerForUniversalSegmentation under our names, and back.

Our names are the published ones. Theirs are those of the files that transformers writes; the names
of its modules in memory may differ. ResNet and Swin backbones are known.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import NamedTuple

import torch

_ENCODER = "model.pixel_level_module.encoder"
_DECODER = "model.pixel_level_module.decoder"
_MODULE = "model.transformer_module"
_ENCODER_LAYER = "sem_seg_head.pixel_decoder.transformer.encoder.layers.#"
_PREDICTOR = "sem_seg_head.predictor"
# Of no use to the other side: buffers of the loss, step counters of batch norms, the constant index
# of Swin's windows and the norm of its classifier.
_LEFT_OUT = re.compile(
    r"criterion\..*|.*num_batches_tracked|.*relative_position_index"
    rf"|{re.escape(_ENCODER)}(\.swin)?\.layernorm\..*"
)


class _Row(NamedTuple):
    """Names of one parameter, or of a module with all of its parameters.

    Args:
        ours: a number is written "#".
        theirs: one name, or three whose tensors are the parts of ours, one after another. Their
            number is ours plus what follows "#", as in "#-2".
    """

    ours: str
    theirs: tuple[str, ...]


def _qkv(ours: str, theirs: str, names: tuple[str, str, str]) -> _Row:
    return _Row(ours, tuple(theirs.format(name) for name in names))


_SWIN_BLOCK = "backbone.layers.#.blocks.#"
_THEIR_SWIN_BLOCK = f"{_ENCODER}.encoder.layers.#.blocks.#"
_SELF_ATTENTION = f"{_PREDICTOR}.transformer_self_attention_layers.#"
_CROSS_ATTENTION = f"{_PREDICTOR}.transformer_cross_attention_layers.#"
_FFN = f"{_PREDICTOR}.transformer_ffn_layers.#"
_THEIR_LAYER = f"{_MODULE}.decoder.layers.#"
_PROJECTIONS = ("q_proj", "k_proj", "v_proj")

# A key matches at most one row.
_TABLE = (
    # ResNet: detectron2 counts stages from res2 and convolutions from conv1, they from 0.
    _Row("backbone.stem.conv1.weight", (f"{_ENCODER}.embedder.embedder.convolution.weight",)),
    _Row("backbone.stem.conv1.norm", (f"{_ENCODER}.embedder.embedder.normalization",)),
    *(
        _Row(
            f"backbone.res#.#.{ours}.{our_kind}",
            (f"{_ENCODER}.encoder.stages.#-2.layers.#.{theirs}.{their_kind}",),
        )
        for ours, theirs in (("conv#", "layer.#-1"), ("shortcut", "shortcut"))
        for our_kind, their_kind in (("weight", "convolution.weight"), ("norm", "normalization"))
    ),
    # Swin
    _Row("backbone.patch_embed.proj", (f"{_ENCODER}.embeddings.patch_embeddings.projection",)),
    _Row("backbone.patch_embed.norm", (f"{_ENCODER}.embeddings.norm",)),
    _Row("backbone.norm#", (f"{_ENCODER}.hidden_states_norms.stage#+1",)),
    _Row("backbone.layers.#.downsample", (f"{_ENCODER}.encoder.layers.#.downsample",)),
    _Row(f"{_SWIN_BLOCK}.norm1", (f"{_THEIR_SWIN_BLOCK}.layernorm_before",)),
    _Row(f"{_SWIN_BLOCK}.norm2", (f"{_THEIR_SWIN_BLOCK}.layernorm_after",)),
    _Row(f"{_SWIN_BLOCK}.mlp.fc1", (f"{_THEIR_SWIN_BLOCK}.intermediate.dense",)),
    _Row(f"{_SWIN_BLOCK}.mlp.fc2", (f"{_THEIR_SWIN_BLOCK}.output.dense",)),
    _Row(f"{_SWIN_BLOCK}.attn.proj", (f"{_THEIR_SWIN_BLOCK}.attention.output.dense",)),
    _Row(
        f"{_SWIN_BLOCK}.attn.relative_position_bias_table",
        (f"{_THEIR_SWIN_BLOCK}.attention.self.relative_position_bias_table",),
    ),
    _qkv(
        f"{_SWIN_BLOCK}.attn.qkv",
        _THEIR_SWIN_BLOCK + ".attention.self.{}",
        ("query", "key", "value"),
    ),
    # Pixel decoder
    _Row("sem_seg_head.pixel_decoder.transformer.level_embed", (f"{_DECODER}.level_embed",)),
    _Row("sem_seg_head.pixel_decoder.input_proj", (f"{_DECODER}.input_projections",)),
    _Row("sem_seg_head.pixel_decoder.mask_features", (f"{_DECODER}.mask_projection",)),
    *(
        _Row(f"sem_seg_head.pixel_decoder.{part}_#.{ours}", (f"{_DECODER}.{part}_#.{theirs}",))
        for part in ("adapter", "layer")
        for ours, theirs in (("weight", "0.weight"), ("norm", "1"))
    ),
    _Row(f"{_ENCODER_LAYER}.self_attn", (f"{_DECODER}.encoder.layers.#.self_attn",)),
    _Row(f"{_ENCODER_LAYER}.norm1", (f"{_DECODER}.encoder.layers.#.self_attn_layer_norm",)),
    _Row(f"{_ENCODER_LAYER}.linear1", (f"{_DECODER}.encoder.layers.#.fc1",)),
    _Row(f"{_ENCODER_LAYER}.linear2", (f"{_DECODER}.encoder.layers.#.fc2",)),
    _Row(f"{_ENCODER_LAYER}.norm2", (f"{_DECODER}.encoder.layers.#.final_layer_norm",)),
    # Transformer decoder
    _Row(f"{_PREDICTOR}.query_embed", (f"{_MODULE}.queries_embedder",)),
    _Row(f"{_PREDICTOR}.query_feat", (f"{_MODULE}.queries_features",)),
    _Row(f"{_PREDICTOR}.level_embed", (f"{_MODULE}.level_embed",)),
    _Row(f"{_PREDICTOR}.input_proj.#", (f"{_MODULE}.input_projections.#",)),
    _Row(f"{_PREDICTOR}.decoder_norm", (f"{_MODULE}.decoder.layernorm",)),
    _Row(f"{_PREDICTOR}.class_embed", ("class_predictor",)),
    _Row(
        f"{_PREDICTOR}.mask_embed.layers.#",
        (f"{_MODULE}.decoder.mask_predictor.mask_embedder.#.0",),
    ),
    *(
        _qkv(
            f"{_SELF_ATTENTION}.self_attn.in_proj_{kind}",
            f"{_THEIR_LAYER}.self_attn.{{}}.{kind}",
            _PROJECTIONS,
        )
        for kind in ("weight", "bias")
    ),
    _Row(f"{_SELF_ATTENTION}.self_attn.out_proj", (f"{_THEIR_LAYER}.self_attn.out_proj",)),
    _Row(f"{_SELF_ATTENTION}.norm", (f"{_THEIR_LAYER}.self_attn_layer_norm",)),
    _Row(f"{_CROSS_ATTENTION}.multihead_attn", (f"{_THEIR_LAYER}.cross_attn",)),
    _Row(f"{_CROSS_ATTENTION}.norm", (f"{_THEIR_LAYER}.cross_attn_layer_norm",)),
    _Row(f"{_FFN}.linear1", (f"{_THEIR_LAYER}.fc1",)),
    _Row(f"{_FFN}.linear2", (f"{_THEIR_LAYER}.fc2",)),
    _Row(f"{_FFN}.norm", (f"{_THEIR_LAYER}.final_layer_norm",)),
    # Transformers has no such heads, and ignores them: they travel under our name.
    _Row(f"{_PREDICTOR}.subcategory_embed", ("subcategory_predictors",)),
)
_NUMBER = re.compile(r"#([+-]\d)?")


def from_transformers(state_dict: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Renames transformers' weights to this package's (the published) names.

    Args:
        state_dict: as transformers writes it for Mask2FormerForUniversalSegmentation.

    Returns:
        A state dict of the same tensors, queries, keys and values of an attention in one.

    Raises:
        ValueError: a key that no row converts, or a part of an attention that is missing.
    """
    converted: dict[str, torch.Tensor] = {}
    parts: dict[str, dict[int, torch.Tensor]] = {}
    columns = [row.theirs for row in _TABLE]
    for key, tensor in state_dict.items():
        if _LEFT_OUT.fullmatch(key):
            continue
        row, part, numbers, rest = _match(key, columns)
        name = _fill(_TABLE[row].ours, numbers) + rest
        if len(_TABLE[row].theirs) == 1:
            converted[name] = tensor
        else:
            parts.setdefault(name, {})[part] = tensor
    for name, tensors in parts.items():
        if len(tensors) != 3:
            raise ValueError(f"{name} is made of query, key and value, got {len(tensors)} of them")
        converted[name] = torch.cat([tensors[part] for part in range(3)])
    return converted


def to_transformers(state_dict: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Renames our weights to the names in the files of transformers.

    Subcategory heads are kept under `subcategory_predictors`, which transformers ignores and
    `from_transformers` reads.

    Raises:
        ValueError: a key that no row converts.
    """
    converted: dict[str, torch.Tensor] = {}
    columns = [(row.ours,) for row in _TABLE]
    for key, tensor in state_dict.items():
        if _LEFT_OUT.fullmatch(key):
            continue
        row, _, numbers, rest = _match(key, columns)
        theirs = _TABLE[row].theirs
        for name, part in zip(theirs, tensor.chunk(len(theirs)), strict=True):
            converted[_fill(name, numbers) + rest] = part
    return converted


def _match(key: str, columns: list[tuple[str, ...]]) -> tuple[int, int, list[int], str]:
    """Row and position in it of the name that a key has; our numbers in it; and what follows it.

    Raises:
        ValueError: no row has it.
    """
    for row, names in enumerate(columns):
        for part, name in enumerate(names):
            pattern, offsets = _compiled(name)
            if match := pattern.fullmatch(key):
                *numbers, rest = match.groups()
                ours = [int(n) - offset for n, offset in zip(numbers, offsets, strict=True)]
                return row, part, ours, rest
    raise ValueError(f"no rule converts {key!r}; only ResNet and Swin backbones are known")


@functools.cache
def _compiled(name: str) -> tuple[re.Pattern, list[int]]:
    """A name of the table as a pattern of its numbers and the rest, and the numbers' offsets."""
    pattern = _NUMBER.sub(r"(\\d+)", name.replace(".", r"\."))
    offsets = [int(offset or 0) for offset in _NUMBER.findall(name)]
    return re.compile(pattern + r"((?:\..*)?)"), offsets


def _fill(name: str, numbers: list[int]) -> str:
    """Puts our numbers into a name of the table, with its offsets."""
    remaining = iter(numbers)
    return _NUMBER.sub(lambda match: str(next(remaining) + int(match.group(1) or 0)), name)
