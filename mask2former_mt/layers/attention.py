"""Residual attention blocks of the transformer decoder, on scaled_dot_product_attention."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

# B images, Q queries, N memory positions, C channels, M heads


class MultiheadAttention(nn.Module):
    """Multi-head attention with the parameter names of `torch.nn.MultiheadAttention`.

    Batch comes first, the mask is shared by the heads, and no attention weights are returned, so
    that scaled_dot_product_attention can choose its fused kernels.

    Args:
        channels: C, a multiple of num_heads.
        num_heads: M.
    """

    def __init__(self, *, channels: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * channels, channels))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * channels))
        self.out_proj = nn.Linear(channels, channels)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.xavier_uniform_(self.out_proj.weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attend_mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Attends.

        Args:
            query: (B, Q, C).
            key, value: (B, N, C).
            attend_mask: bool (B, 1, Q, N), True where a query may look; None for everywhere.
                Every query must be allowed at least one position.

        Returns:
            (B, Q, C).
        """
        weights = self.in_proj_weight.chunk(3)
        biases = self.in_proj_bias.chunk(3)
        heads = [
            F.linear(x, weight, bias).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for x, weight, bias in zip((query, key, value), weights, biases, strict=True)
        ]
        output_BMQD = F.scaled_dot_product_attention(*heads, attn_mask=attend_mask)
        return self.out_proj(output_BMQD.transpose(1, 2).flatten(2))


class SelfAttention(nn.Module):
    """Attention among the queries, residual; `pre_norm` puts its norm before instead of after."""

    def __init__(self, *, channels: int, num_heads: int, pre_norm: bool) -> None:
        super().__init__()
        self.self_attn = MultiheadAttention(channels=channels, num_heads=num_heads)
        self.norm = nn.LayerNorm(channels)
        self.pre_norm = pre_norm

    def forward(self, queries: torch.Tensor, query_pos: torch.Tensor) -> torch.Tensor:
        """queries (B, Q, C), query_pos broadcastable to it -> (B, Q, C)."""
        x = self.norm(queries) if self.pre_norm else queries
        with_pos = x + query_pos
        queries = queries + self.self_attn(with_pos, with_pos, x)
        return queries if self.pre_norm else self.norm(queries)


class CrossAttention(nn.Module):
    """Masked attention of the queries to image positions, residual; `pre_norm` as of SelfAttention.

    Source: Mask2Former, eq. 2.
    """

    def __init__(self, *, channels: int, num_heads: int, pre_norm: bool) -> None:
        super().__init__()
        self.multihead_attn = MultiheadAttention(channels=channels, num_heads=num_heads)
        self.norm = nn.LayerNorm(channels)
        self.pre_norm = pre_norm

    def forward(
        self,
        queries: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        *,
        query_pos: torch.Tensor,
        attend_mask: torch.Tensor,
    ) -> torch.Tensor:
        """queries (B, Q, C), the rest as of `MultiheadAttention.forward` -> (B, Q, C)."""
        x = self.norm(queries) if self.pre_norm else queries
        queries = queries + self.multihead_attn(x + query_pos, key, value, attend_mask)
        return queries if self.pre_norm else self.norm(queries)
