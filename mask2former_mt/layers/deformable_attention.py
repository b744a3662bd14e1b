"""The module around the deformable attention op: projections, sampling locations, weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext

import torch
from torch import nn

from mask2former_mt.layers.shape_cache import made_once
from mask2former_mt.ops.implementation import Implementation
from mask2former_mt.ops.ms_deform_attn import ms_deform_attn

# B images, Q queries, S memory positions, C channels, M heads, L levels, P points


@made_once
def pixel_sizes(
    spatial_shapes: tuple[tuple[int, int], ...], device: torch.device, dtype: torch.dtype
) -> torch.Tensor:
    """A pixel's width and height on each level, (L, 1, 2), in [0, 1] of the padded image.

    Made once per set of shapes: else every layer would wait for a copy to the GPU.
    """
    sizes = torch.tensor([(w, h) for h, w in spatial_shapes], device=device, dtype=dtype)
    return sizes.reciprocal()[:, None, :]


class MSDeformAttn(nn.Module):
    """Multi-scale deformable attention with its projections.

    Args:
        channels: C, a multiple of num_heads.
        num_levels: L.
        num_heads: M.
        num_points: P, samples per head and level.
        implementation: of the op.

    Source: Deformable DETR, section 4.1.
    """

    def __init__(
        self,
        *,
        channels: int,
        num_levels: int,
        num_heads: int,
        num_points: int,
        implementation: Implementation = Implementation.AUTO,
    ) -> None:
        super().__init__()
        if channels % num_heads:
            raise ValueError(f"channels ({channels}) must be a multiple of num_heads ({num_heads})")
        self.num_levels = num_levels
        self.num_heads = num_heads
        self.num_points = num_points
        self.implementation = implementation
        samples = num_heads * num_levels * num_points
        self.sampling_offsets = nn.Linear(channels, samples * 2)
        self.attention_weights = nn.Linear(channels, samples)
        self.value_proj = nn.Linear(channels, channels)
        self.output_proj = nn.Linear(channels, channels)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Starts each head with offsets in a direction of its own, point p at p+1 pixels."""
        nn.init.zeros_(self.sampling_offsets.weight)
        angle = torch.arange(self.num_heads) * (2.0 * math.pi / self.num_heads)
        direction = torch.stack((angle.cos(), angle.sin()), dim=-1)
        direction = direction / direction.abs().amax(-1, keepdim=True)
        steps = torch.arange(1, self.num_points + 1, dtype=torch.float32)
        offsets = direction[:, None, None, :] * steps[None, None, :, None]
        with torch.no_grad():
            self.sampling_offsets.bias.copy_(offsets.expand(-1, self.num_levels, -1, -1).flatten())
        nn.init.zeros_(self.attention_weights.weight)
        nn.init.zeros_(self.attention_weights.bias)
        for projection in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(projection.weight)
            nn.init.zeros_(projection.bias)

    def forward(
        self,
        query: torch.Tensor,
        reference_points: torch.Tensor,
        memory: torch.Tensor,
        spatial_shapes: Sequence[tuple[int, int]],
    ) -> torch.Tensor:
        """Attends.

        Args:
            query: (B, Q, C), position encoding included.
            reference_points: (1 or B, Q, 1 or L, 2), xy in [0, 1] of the padded image.
            memory: (B, S, C), the levels one after another, each row by row.
            spatial_shapes: L pairs (H, W) of Python ints.

        Returns:
            (B, Q, C).
        """
        B, Q, _ = query.shape
        shape = (B, Q, self.num_heads, self.num_levels, self.num_points)
        value = self.value_proj(memory).unflatten(-1, (self.num_heads, -1))
        # Half precision cannot hold a location to a fraction of a pixel, and autocast gives the
        # softmax in float32 beside a half-precision value.
        half = value.dtype in (torch.float16, torch.bfloat16)
        exact = torch.float32 if half else value.dtype
        # Offsets are in pixels of their level.
        pixels = pixel_sizes(tuple(map(tuple, spatial_shapes)), query.device, exact)
        offsets = self.sampling_offsets(query).view(*shape, 2).to(exact) * pixels
        locations = reference_points.to(exact)[:, :, None, :, None, :] + offsets
        # Over levels and points together.
        logits = self.attention_weights(query).view(shape).flatten(3)
        weights = logits.softmax(-1, dtype=exact).view(shape)
        # Autocast would turn value into float32: no better here, and twice as much to read.
        untouched = torch.autocast(value.device.type, enabled=False) if half else nullcontext()
        with untouched:
            attended = ms_deform_attn(
                value, spatial_shapes, locations, weights, implementation=self.implementation
            )
        return self.output_proj(attended)
