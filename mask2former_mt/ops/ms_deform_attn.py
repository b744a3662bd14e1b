"""The multi-scale deformable attention op: the one place where its implementation is chosen."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from mask2former_mt.ops.ms_deform_attn_ref import ms_deform_attn_ref


def check_arguments(
    value: torch.Tensor,
    spatial_shapes: Sequence[tuple[int, int]],
    sampling_locations: torch.Tensor,
    attention_weights: torch.Tensor,
) -> None:
    """Refuses arguments whose shapes, types or devices do not go together.

    Raises:
        ValueError: names the argument, what was expected and what it is.
    """
    if value.dim() != 4:
        raise ValueError(f"value must be (B, S, M, D), got {tuple(value.shape)}")
    B, S, M, _ = value.shape
    positions = sum(h * w for h, w in spatial_shapes)
    if positions != S:
        raise ValueError(
            f"value must have sum(H*W) = {positions} positions for spatial_shapes "
            f"{[tuple(s) for s in spatial_shapes]}, got {S}"
        )
    if sampling_locations.dim() != 6 or sampling_locations.shape[-1] != 2:
        raise ValueError(
            f"sampling_locations must be (B, Q, M, L, P, 2), got {tuple(sampling_locations.shape)}"
        )
    _, Q, _, _, P, _ = sampling_locations.shape
    expected = (B, Q, M, len(spatial_shapes), P)
    if tuple(sampling_locations.shape[:-1]) != expected:
        raise ValueError(
            f"sampling_locations must be {(*expected, 2)} as value and spatial_shapes say, "
            f"got {tuple(sampling_locations.shape)}"
        )
    if tuple(attention_weights.shape) != expected:
        raise ValueError(
            f"attention_weights must be {expected}, got {tuple(attention_weights.shape)}"
        )
    for name, tensor in (
        ("sampling_locations", sampling_locations),
        ("attention_weights", attention_weights),
    ):
        if tensor.device != value.device:
            raise ValueError(f"{name} must be on {value.device} as value is, got {tensor.device}")
        if tensor.dtype != value.dtype:
            raise ValueError(f"{name} must be {value.dtype} as value is, got {tensor.dtype}")


def ms_deform_attn(
    value: torch.Tensor,
    spatial_shapes: Sequence[tuple[int, int]],
    sampling_locations: torch.Tensor,
    attention_weights: torch.Tensor,
) -> torch.Tensor:
    """Multi-scale deformable attention; arguments, result and source as of `ms_deform_attn_ref`.

    Raises:
        ValueError: see `check_arguments`.
    """
    check_arguments(value, spatial_shapes, sampling_locations, attention_weights)
    return ms_deform_attn_ref(value, spatial_shapes, sampling_locations, attention_weights)
