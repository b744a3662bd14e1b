"""The masked-attention transformer decoder with a subcategory head beside class and mask."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from detectron2.config import configurable
from detectron2.layers import Conv2d
from detectron2.utils.registry import Registry
from torch import nn

from mask2former_mt.layers.attention import CrossAttention, SelfAttention
from mask2former_mt.layers.mlp import MLP, FeedForward
from mask2former_mt.layers.position_encoding import sine_position_encoding
from mask2former_mt.modeling.heads import SubcategoryHeads
from mask2former_mt.structures import DecoderOutput, MaskFactors, SubcategorySpec

# B images, Q queries, C channels, L memories, N positions of a memory

TRANSFORMER_DECODER_REGISTRY = Registry("TRANSFORMER_DECODER")
TRANSFORMER_DECODER_REGISTRY.__doc__ = "Decoders: (memories, mask features) -> DecoderOutput."


def attend_mask(mask_embedding: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
    """Where each query attends: inside its own mask, or everywhere if that is empty.

    A probability of at least one half is a logit of at least 0.

    Args:
        mask_embedding: float (B, Q, mask_dim).
        features: float (B, mask_dim, N), mask features at the positions of a memory.

    Returns:
        bool (B, 1, Q, N).
    """
    inside = torch.bmm(mask_embedding, features) >= 0
    return (inside | ~inside.any(-1, keepdim=True))[:, None]


@TRANSFORMER_DECODER_REGISTRY.register()
class MultiTaskTransformerDecoder(nn.Module):
    """Learned queries attend to the image inside their own predicted masks, layer by layer.

    Args:
        in_channels: channels of the memories.
        num_classes: K, without "no object".
        spec: subcategories; without any this is the published decoder.
        channels: C, width of the queries.
        num_queries: Q.
        num_heads: heads of the attentions.
        feedforward_dim: inner width of the feed-forward blocks.
        num_layers: number of decoder layers, one less than that of the supervised predictions.
        pre_norm: whether norms come before the blocks instead of after the sums.
        mask_dim: channels of the mask features.
        enforce_input_proj: whether memories are projected even where the widths agree.

    Source: Mask2Former, section 3.2. Differences: subcategory heads; the mask features are resized
    once per scale instead of every mask (resizing and the product with the embedding commute).

    Raises:
        ValueError: no classes.
    """

    num_memories = 3

    @configurable
    def __init__(
        self,
        *,
        in_channels: int,
        num_classes: int,
        spec: SubcategorySpec,
        channels: int,
        num_queries: int,
        num_heads: int,
        feedforward_dim: int,
        num_layers: int,
        pre_norm: bool,
        mask_dim: int,
        enforce_input_proj: bool,
    ) -> None:
        super().__init__()
        if num_classes < 1:
            raise ValueError(
                f"MODEL.SEM_SEG_HEAD.NUM_CLASSES must be at least 1, got {num_classes}; name a "
                "training dataset or set it"
            )
        attention = {"channels": channels, "num_heads": num_heads, "pre_norm": pre_norm}
        self.transformer_cross_attention_layers = nn.ModuleList(
            CrossAttention(**attention) for _ in range(num_layers)
        )
        self.transformer_self_attention_layers = nn.ModuleList(
            SelfAttention(**attention) for _ in range(num_layers)
        )
        self.transformer_ffn_layers = nn.ModuleList(
            FeedForward(channels=channels, hidden_channels=feedforward_dim, pre_norm=pre_norm)
            for _ in range(num_layers)
        )
        for name, parameter in self.named_parameters():
            if parameter.dim() > 1 and "in_proj" not in name:
                nn.init.xavier_uniform_(parameter)
        self.decoder_norm = nn.LayerNorm(channels)
        self.query_feat = nn.Embedding(num_queries, channels)
        self.query_embed = nn.Embedding(num_queries, channels)
        self.level_embed = nn.Embedding(self.num_memories, channels)
        self.input_proj = nn.ModuleList()
        for _ in range(self.num_memories):
            if in_channels != channels or enforce_input_proj:
                projection = Conv2d(in_channels, channels, kernel_size=1)
                nn.init.kaiming_uniform_(projection.weight, a=1)
                nn.init.zeros_(projection.bias)
            else:
                projection = nn.Sequential()
            self.input_proj.append(projection)
        self.class_embed = nn.Linear(channels, num_classes + 1)
        self.mask_embed = MLP(
            in_channels=channels, hidden_channels=channels, out_channels=mask_dim, num_layers=3
        )
        self.subcategory_embed = SubcategoryHeads(channels=channels, spec=spec)

    @classmethod
    def from_config(cls, cfg, in_channels: int) -> dict:
        former, subcategory = cfg.MODEL.MASK_FORMER, cfg.MODEL.SUBCATEGORY
        return {
            "in_channels": in_channels,
            "num_classes": cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES,
            "spec": SubcategorySpec.from_counts(subcategory.NAMES, subcategory.NUM_CLASSES),
            "channels": former.HIDDEN_DIM,
            "num_queries": former.NUM_OBJECT_QUERIES,
            "num_heads": former.NHEADS,
            "feedforward_dim": former.DIM_FEEDFORWARD,
            "num_layers": former.DEC_LAYERS - 1,
            "pre_norm": former.PRE_NORM,
            "mask_dim": cfg.MODEL.SEM_SEG_HEAD.MASK_DIM,
            "enforce_input_proj": former.ENFORCE_INPUT_PROJ,
        }

    def forward(
        self, memories: Sequence[torch.Tensor], mask_features: torch.Tensor
    ) -> DecoderOutput:
        """Decodes.

        Args:
            memories: L maps (B, in_channels, h, w), coarse to fine.
            mask_features: (B, mask_dim, H/4, W/4).

        Returns:
            The last layer's predictions. In training mode `aux_outputs` holds those before it, the
            learned queries' own first.

        Raises:
            ValueError: another number of memories.
        """
        if len(memories) != self.num_memories:
            raise ValueError(f"{self.num_memories} memories are needed, got {len(memories)}")
        B = mask_features.shape[0]
        keys, values, small_features = [], [], []
        for level, memory in enumerate(memories):
            h, w = memory.shape[-2:]
            value = self.input_proj[level](memory).flatten(2).transpose(1, 2)
            value = value + self.level_embed.weight[level]
            pos = sine_position_encoding(
                h, w, value.shape[-1], device=value.device, dtype=value.dtype
            )
            values.append(value)
            keys.append(value + pos.flatten(2).transpose(1, 2))
            # They are only thresholded, never differentiated.
            small_features.append(
                F.interpolate(
                    mask_features.detach(), size=(h, w), mode="bilinear", align_corners=False
                ).flatten(2)
            )

        queries = self.query_feat.weight.expand(B, -1, -1)
        query_pos = self.query_embed.weight
        outputs = []
        for index, (cross, attend, feed_forward) in enumerate(
            zip(
                self.transformer_cross_attention_layers,
                self.transformer_self_attention_layers,
                self.transformer_ffn_layers,
                strict=True,
            )
        ):
            normed = self.decoder_norm(queries)
            mask_embedding = self.mask_embed(normed)
            if self.training:
                outputs.append(self._predict(normed, mask_embedding, mask_features))
            level = index % self.num_memories
            queries = cross(
                queries,
                keys[level],
                values[level],
                query_pos=query_pos,
                attend_mask=attend_mask(mask_embedding.detach(), small_features[level]),
            )
            queries = feed_forward(attend(queries, query_pos))
        normed = self.decoder_norm(queries)
        return self._predict(normed, self.mask_embed(normed), mask_features, aux_outputs=outputs)

    def _predict(
        self,
        normed: torch.Tensor,
        mask_embedding: torch.Tensor,
        mask_features: torch.Tensor,
        aux_outputs: Sequence[DecoderOutput] = (),
    ) -> DecoderOutput:
        return DecoderOutput(
            pred_logits=self.class_embed(normed),
            pred_masks=MaskFactors(mask_embedding, mask_features),
            pred_subcategories=self.subcategory_embed(normed),
            aux_outputs=aux_outputs,
        )


@TRANSFORMER_DECODER_REGISTRY.register()
class MultiScaleMaskedTransformerDecoder(MultiTaskTransformerDecoder):
    """The published name of the same decoder."""


def build_transformer_decoder(cfg, in_channels: int) -> nn.Module:
    """The decoder that `MODEL.MASK_FORMER.TRANSFORMER_DECODER_NAME` names."""
    name = cfg.MODEL.MASK_FORMER.TRANSFORMER_DECODER_NAME
    return TRANSFORMER_DECODER_REGISTRY.get(name)(cfg, in_channels)
