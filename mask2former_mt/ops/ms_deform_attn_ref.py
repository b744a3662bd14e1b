"""Multi-scale deformable attention in plain PyTorch: the oracle, used without a native op."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

# B images, S positions (sum of H*W over levels), M heads, D channels per head, Q queries,
# L levels, P points


def ms_deform_attn_ref(
    value: torch.Tensor,
    spatial_shapes: Sequence[tuple[int, int]],
    sampling_locations: torch.Tensor,
    attention_weights: torch.Tensor,
) -> torch.Tensor:
    """Samples `value` at L x P places per query and head, and sums with the attention weights.

    Args:
        value: float (B, S, M, D), the levels one after another, each row by row; of the dtype of
            the others, or half precision beside their float32.
        spatial_shapes: L pairs (H, W) of Python ints; the sum of H*W is S.
        sampling_locations: float (B, Q, M, L, P, 2), xy in [0, 1] of each level, (0, 0) top-left
            corner of the top-left pixel; outside counts as zero, bilinear in between.
        attention_weights: float (B, Q, M, L, P).

    Returns:
        float (B, Q, M*D), of value's dtype.

    Source: Deformable DETR, eq. 3.
    """
    B, _, M, D = value.shape
    _, Q, _, L, P, _ = sampling_locations.shape
    exact = sampling_locations.dtype
    # grid_sample's frame is [-1, 1].
    grids = (2.0 * sampling_locations - 1.0).transpose(1, 2).flatten(0, 1)
    sampled = []
    levels = value.to(exact).split([h * w for h, w in spatial_shapes], dim=1)
    for index, ((h, w), level_BNMD) in enumerate(zip(spatial_shapes, levels, strict=True)):
        maps = level_BNMD.permute(0, 2, 3, 1).reshape(B * M, D, h, w)
        sampled.append(
            F.grid_sample(
                maps, grids[:, :, index], mode="bilinear", padding_mode="zeros", align_corners=False
            )
        )
    weights = attention_weights.transpose(1, 2).reshape(B * M, 1, Q, L * P)
    output = (torch.stack(sampled, dim=-2).flatten(-2) * weights).sum(-1)
    return output.view(B, M * D, Q).transpose(1, 2).contiguous().to(value.dtype)
