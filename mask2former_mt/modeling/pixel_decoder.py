"""The pixel decoder: deformable attention over three scales, and the stride-4 mask features."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from detectron2.config import configurable
from detectron2.layers import Conv2d, ShapeSpec, get_norm
from detectron2.modeling import SEM_SEG_HEADS_REGISTRY
from torch import nn

from mask2former_mt.layers.deformable_attention import MSDeformAttn
from mask2former_mt.layers.position_encoding import sine_position_encoding
from mask2former_mt.layers.shape_cache import made_once
from mask2former_mt.ops.implementation import Implementation

# B images, S positions over all levels, C channels, L levels


@made_once
def reference_points(
    spatial_shapes: tuple[tuple[int, int], ...], device: torch.device, dtype: torch.dtype
) -> torch.Tensor:
    """The centre of every position, (1, S, 1, 2), xy in [0, 1] of the padded image.

    One centre serves all levels, since all of them cover the padded image.
    """
    points = []
    for height, width in spatial_shapes:
        y = (torch.arange(height, device=device, dtype=dtype) + 0.5) / height
        x = (torch.arange(width, device=device, dtype=dtype) + 0.5) / width
        grid = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], dim=-1)
        points.append(grid.reshape(-1, 2))
    return torch.cat(points)[None, :, None, :]


class EncoderLayer(nn.Module):
    """Deformable self-attention over all scales and a feed-forward block, norms after the sums."""

    def __init__(
        self, *, self_attn: MSDeformAttn, channels: int, hidden_channels: int, dropout: float
    ) -> None:
        super().__init__()
        self.self_attn = self_attn
        self.norm1 = nn.LayerNorm(channels)
        self.linear1 = nn.Linear(channels, hidden_channels)
        self.linear2 = nn.Linear(hidden_channels, channels)
        self.norm2 = nn.LayerNorm(channels)
        self.dropout = dropout

    def forward(
        self,
        features: torch.Tensor,
        pos: torch.Tensor,
        points: torch.Tensor,
        spatial_shapes: Sequence[tuple[int, int]],
    ) -> torch.Tensor:
        """features (B, S, C), pos (1, S, C), points as of `reference_points` -> (B, S, C)."""

        def drop(x: torch.Tensor) -> torch.Tensor:
            return F.dropout(x, self.dropout, self.training)

        attended = self.self_attn(features + pos, points, features, spatial_shapes)
        features = self.norm1(features + drop(attended))
        hidden = drop(F.relu(self.linear1(features)))
        return self.norm2(features + drop(self.linear2(hidden)))


class DeformableTransformer(nn.Module):
    """Level embeddings and the encoder, named as in published checkpoints."""

    def __init__(self, *, num_levels: int, channels: int, layers: Sequence[EncoderLayer]) -> None:
        super().__init__()
        self.level_embed = nn.Parameter(torch.empty(num_levels, channels))
        self.encoder = nn.Module()
        self.encoder.layers = nn.ModuleList(layers)
        nn.init.normal_(self.level_embed)
        for name, parameter in self.encoder.named_parameters():
            if parameter.dim() > 1 and ".self_attn." not in f".{name}":
                nn.init.xavier_uniform_(parameter)

    def forward(self, features: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """L maps (B, C, H, W) -> L maps of the same shapes, each encoded with a view of all."""
        shapes = tuple((int(f.shape[-2]), int(f.shape[-1])) for f in features)
        device, dtype, channels = features[0].device, features[0].dtype, features[0].shape[1]
        pos = torch.cat(
            [
                sine_position_encoding(h, w, channels, device=device, dtype=dtype)
                .flatten(2)
                .transpose(1, 2)
                + embed
                for (h, w), embed in zip(shapes, self.level_embed, strict=True)
            ],
            dim=1,
        )
        flat = torch.cat([f.flatten(2).transpose(1, 2) for f in features], dim=1)
        # Half precision cannot hold a position to a fraction of a pixel.
        half = dtype in (torch.float16, torch.bfloat16)
        points = reference_points(shapes, device, torch.float32 if half else dtype)
        for layer in self.encoder.layers:
            flat = layer(flat, pos, points, shapes)
        return [
            part.transpose(1, 2).unflatten(2, shape)
            for part, shape in zip(
                flat.split([h * w for h, w in shapes], dim=1), shapes, strict=True
            )
        ]


@SEM_SEG_HEADS_REGISTRY.register()
class MSDeformAttnPixelDecoder(nn.Module):
    """Backbone features -> per-pixel mask features at stride 4 and three coarser memories.

    Args:
        input_shape: channels and stride of each backbone feature, by name.
        transformer_in_features: names of the features that enter the encoder.
        conv_dim: C, channels inside.
        mask_dim: channels of the mask features.
        norm: norm of the FPN convolutions, as of detectron2's `get_norm`; "" for none.
        common_stride: stride of the mask features; finer features enter by an FPN.
        num_encoder_layers, num_heads, num_points, feedforward_dim, dropout: of the encoder.
        implementation: of the op of its attention.

    Raises:
        ValueError: an input feature is missing, or no stride fits `common_stride`.

    Source: Mask2Former, section 3.2.2; Deformable DETR, section 4.2.
    """

    # Scales that the transformer decoder reads.
    num_memories = 3

    @configurable
    def __init__(
        self,
        input_shape: Mapping[str, ShapeSpec],
        *,
        transformer_in_features: Sequence[str],
        conv_dim: int,
        mask_dim: int,
        norm: str,
        common_stride: int,
        num_encoder_layers: int,
        num_heads: int,
        num_points: int,
        feedforward_dim: int,
        dropout: float,
        implementation: Implementation = Implementation.AUTO,
    ) -> None:
        super().__init__()
        missing = sorted(set(transformer_in_features) - set(input_shape))
        if missing:
            raise ValueError(
                f"the backbone gives {sorted(input_shape)}, not {missing[0]!r}, which "
                "MODEL.SEM_SEG_HEAD.DEFORMABLE_TRANSFORMER_ENCODER_IN_FEATURES asks for"
            )
        by_stride = sorted(input_shape, key=lambda name: input_shape[name].stride)
        encoded = [name for name in by_stride if name in set(transformer_in_features)]
        # Coarse to fine.
        self.encoder_features = encoded[::-1]
        finest = input_shape[encoded[0]].stride
        num_fpn = int(math.log2(finest) - math.log2(common_stride))
        # Fine to coarse; the numbering of adapter_ and layer_ follows it.
        self.fpn_features = by_stride[:num_fpn]
        strides = [input_shape[name].stride for name in self.fpn_features]
        expected = [common_stride * 2**i for i in range(num_fpn)]
        if strides != expected:
            raise ValueError(
                f"mask features at stride {common_stride} need backbone features of strides "
                f"{expected}, got {strides}; set MODEL.SEM_SEG_HEAD.COMMON_STRIDE or IN_FEATURES"
            )

        # A list of (convolution, norm): the published names.
        self.input_proj = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(input_shape[name].channels, conv_dim, kernel_size=1),
                nn.GroupNorm(32, conv_dim),
            )
            for name in self.encoder_features
        )
        for projection in self.input_proj:
            nn.init.xavier_uniform_(projection[0].weight)
            nn.init.zeros_(projection[0].bias)
        num_levels = len(self.encoder_features)
        layers = [
            EncoderLayer(
                self_attn=MSDeformAttn(
                    channels=conv_dim,
                    num_levels=num_levels,
                    num_heads=num_heads,
                    num_points=num_points,
                    implementation=implementation,
                ),
                channels=conv_dim,
                hidden_channels=feedforward_dim,
                dropout=dropout,
            )
            for _ in range(num_encoder_layers)
        ]
        self.transformer = DeformableTransformer(
            num_levels=num_levels, channels=conv_dim, layers=layers
        )

        def normed(in_channels: int, **convolution) -> Conv2d:
            norm_layer = get_norm(norm, conv_dim)
            return Conv2d(in_channels, conv_dim, bias=norm == "", norm=norm_layer, **convolution)

        for number, name in enumerate(self.fpn_features, start=1):
            adapter = normed(input_shape[name].channels, kernel_size=1)
            layer = normed(conv_dim, kernel_size=3, padding=1, activation=F.relu)
            self.add_module(f"adapter_{number}", adapter)
            self.add_module(f"layer_{number}", layer)
        self.mask_features = Conv2d(conv_dim, mask_dim, kernel_size=1)
        for module in self.modules():
            if isinstance(module, Conv2d):
                nn.init.kaiming_uniform_(module.weight, a=1)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    @classmethod
    def from_config(cls, cfg, input_shape: Mapping[str, ShapeSpec]) -> dict:
        head = cfg.MODEL.SEM_SEG_HEAD
        return {
            "input_shape": {k: v for k, v in input_shape.items() if k in head.IN_FEATURES},
            "transformer_in_features": head.DEFORMABLE_TRANSFORMER_ENCODER_IN_FEATURES,
            "conv_dim": head.CONVS_DIM,
            "mask_dim": head.MASK_DIM,
            "norm": head.NORM,
            "common_stride": head.COMMON_STRIDE,
            "num_encoder_layers": head.TRANSFORMER_ENC_LAYERS,
            "num_heads": head.DEFORMABLE_TRANSFORMER_ENCODER_N_HEADS,
            "num_points": head.DEFORMABLE_TRANSFORMER_ENCODER_N_POINTS,
            "feedforward_dim": head.DEFORMABLE_TRANSFORMER_ENCODER_DIM_FEEDFORWARD,
            "dropout": cfg.MODEL.MASK_FORMER.DROPOUT,
            "implementation": Implementation(cfg.MODEL.MS_DEFORM_ATTN_IMPL),
        }

    def forward(
        self, features: Mapping[str, torch.Tensor]
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Decodes.

        Args:
            features: maps (B, C_i, H_i, W_i) of the backbone by name.

        Returns:
            mask features (B, mask_dim, H/4, W/4), and three memories (B, C, h, w), coarse to fine.
        """
        maps = self.transformer(
            [
                projection(features[name])
                for name, projection in zip(self.encoder_features, self.input_proj, strict=True)
            ]
        )
        for number in range(len(self.fpn_features), 0, -1):
            lateral = getattr(self, f"adapter_{number}")(features[self.fpn_features[number - 1]])
            upsampled = F.interpolate(
                maps[-1], size=lateral.shape[-2:], mode="bilinear", align_corners=False
            )
            fused = lateral + upsampled
            wide = self.training and fused.device.type == "cpu"
            if wide:
                # oneDNN computes the weights' gradient of wide 3x3 convolutions twice as fast in
                # this memory layout.
                fused = fused.contiguous()
            fused = getattr(self, f"layer_{number}")(fused)
            maps.append(fused.contiguous(memory_format=torch.channels_last) if wide else fused)
        return self.mask_features(maps[-1]), maps[: self.num_memories]
