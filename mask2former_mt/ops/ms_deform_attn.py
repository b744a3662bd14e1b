"""The multi-scale deformable attention op: compiled where possible, else in PyTorch."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from mask2former_mt.ops.implementation import Implementation
from mask2former_mt.ops.ms_deform_attn_ref import ms_deform_attn_ref


def check_arguments(
    value: torch.Tensor,
    spatial_shapes: Sequence[tuple[int, int]],
    sampling_locations: torch.Tensor,
    attention_weights: torch.Tensor,
) -> None:
    """Checks that shapes, dtypes and devices of the arguments of `ms_deform_attn` fit together.

    Raises:
        ValueError: they do not; it names the argument, what was expected and what it is.
    """
    if value.dim() != 4:
        raise ValueError(f"value must be (B, S, M, D), got {tuple(value.shape)}")
    B, S, M, _ = value.shape
    if any(h < 1 or w < 1 for h, w in spatial_shapes):
        raise ValueError(
            f"spatial_shapes must be positive, got {[tuple(s) for s in spatial_shapes]}"
        )
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
        # Half precision cannot hold a location to a fraction of a pixel: float32 goes with it.
        half = value.dtype in (torch.float16, torch.bfloat16)
        if tensor.dtype != value.dtype and not (half and tensor.dtype == torch.float32):
            or_exact = ", or torch.float32" if half else ""
            raise ValueError(
                f"{name} must be {value.dtype} as value is{or_exact}, got {tensor.dtype}"
            )
    if attention_weights.dtype != sampling_locations.dtype:
        raise ValueError(
            f"attention_weights must be {sampling_locations.dtype} as sampling_locations are, "
            f"got {attention_weights.dtype}"
        )


def ms_deform_attn(
    value: torch.Tensor,
    spatial_shapes: Sequence[tuple[int, int]],
    sampling_locations: torch.Tensor,
    attention_weights: torch.Tensor,
    *,
    implementation: Implementation | str = Implementation.AUTO,
) -> torch.Tensor:
    """Multi-scale deformable attention.

    Arguments, result and source are those of `ms_deform_attn_ref`, which runs where the compiled
    operator does not.

    Args:
        implementation: the choice or its name.

    Raises:
        ValueError: arguments that do not fit together, or an implementation that cannot run.
    """
    check_arguments(value, spatial_shapes, sampling_locations, attention_weights)
    implementation = Implementation(implementation)
    if not implementation.is_native(
        value.device, channels=value.shape[-1], levels=len(spatial_shapes)
    ):
        return ms_deform_attn_ref(value, spatial_shapes, sampling_locations, attention_weights)
    sizes = [size for shape in spatial_shapes for size in shape]
    return torch.ops.mask2former_mt.ms_deform_attn(
        value, sizes, sampling_locations, attention_weights
    )
