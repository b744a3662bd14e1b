"""Sine position encoding of a feature map."""

from __future__ import annotations

import math

import torch

from mask2former_mt.layers.shape_cache import made_once


@made_once
def sine_position_encoding(
    height: int,
    width: int,
    channels: int,
    *,
    device: torch.device | None = None,
    dtype: torch.dtype = torch.float32,
) -> torch.Tensor:
    """The fixed encoding of every position of a map without padding, normalised to [0, 2 pi].

    It is computed once per size. Treat the result as read-only.

    Args:
        height, width: size of the map, in positions.
        channels: C, a multiple of 4; the first half encodes y, the second half x.
        device, dtype: those of the result; computed in float32, as published, or in float64.

    Returns:
        (1, C, height, width).

    Raises:
        ValueError: channels that are not a multiple of 4.

    Source: DETR, appendix A.4; positions count from 1 and are divided by the last one, as
    published.
    """
    if channels % 4:
        raise ValueError(f"channels must be a multiple of 4, got {channels}")
    half = channels // 2
    exact = torch.float64 if dtype == torch.float64 else torch.float32
    # Both halves of each sine/cosine pair share a wavelength.
    exponent = 2 * torch.div(torch.arange(half, device=device), 2, rounding_mode="floor")
    wavelength = 10000.0 ** (exponent.to(exact) / half)

    def encode(length: int) -> torch.Tensor:
        position = torch.arange(1, length + 1, device=device, dtype=exact)
        angle = (position / (length + 1e-6) * (2 * math.pi))[:, None] / wavelength
        pairs = torch.stack((angle[:, 0::2].sin(), angle[:, 1::2].cos()), dim=2)
        return pairs.flatten(1)

    y = encode(height)[:, None, :].expand(height, width, half)
    x = encode(width)[None, :, :].expand(height, width, half)
    return torch.cat((y, x), dim=2).permute(2, 0, 1)[None].to(dtype).contiguous()
