"""The multi-scale deformable attention op: the one place where its implementation is chosen."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from mask2former_mt.ops import native
from mask2former_mt.ops.ms_deform_attn_ref import ms_deform_attn_ref

# Which implementation of an operator runs: "auto" takes the compiled one where there is one for
# the device, "native" insists on it, "torch" takes the one in PyTorch.
IMPLEMENTATIONS = ("auto", "native", "torch")


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


def choose_implementation(
    implementation: str, device: torch.device, *, channels: int = 4, levels: int = 1
) -> str:
    """Decides which implementation runs, by what is compiled and not by what fails.

    Args:
        implementation: "auto", "native" or "torch".
        device: of the tensors.
        channels: D, per head; a GPU's kernel needs a multiple of 4.
        levels: L; a GPU's kernel takes up to 16.

    Returns:
        "native" or "torch".

    Raises:
        ValueError: another word, or "native" where nothing is compiled for the device.
    """
    if implementation not in IMPLEMENTATIONS:
        raise ValueError(
            f"the implementation must be 'auto', 'native' or 'torch', got {implementation!r}"
        )
    if implementation == "torch":
        return "torch"
    # Nothing runs on meta tensors; they take the way that the CPU's would.
    usable = native.is_available("cpu" if device.type == "meta" else device.type)
    if usable and device.type == "cuda" and (channels % 4 or levels > 16):
        if implementation == "native":
            raise ValueError(
                "value must have a multiple of 4 channels per head on a GPU and at most 16 levels, "
                f"got {channels} and {levels}; set MODEL.MS_DEFORM_ATTN_IMPL to 'auto'"
            )
        usable = False
    if implementation == "native" and not usable:
        raise ValueError(
            f"no compiled ms_deform_attn for device {device}: {native.BUILD_COMMAND}, or set "
            "MODEL.MS_DEFORM_ATTN_IMPL to 'auto'"
        )
    return "native" if usable else "torch"


def ms_deform_attn(
    value: torch.Tensor,
    spatial_shapes: Sequence[tuple[int, int]],
    sampling_locations: torch.Tensor,
    attention_weights: torch.Tensor,
    *,
    implementation: str = "auto",
) -> torch.Tensor:
    """Multi-scale deformable attention; arguments, result and source as of `ms_deform_attn_ref`.

    Args:
        implementation: "auto" takes the compiled operator where there is one for the device,
            "native" insists on it, "torch" takes the PyTorch reference.

    Raises:
        ValueError: see `check_arguments` and `choose_implementation`.
    """
    check_arguments(value, spatial_shapes, sampling_locations, attention_weights)
    chosen = choose_implementation(
        implementation, value.device, channels=value.shape[-1], levels=len(spatial_shapes)
    )
    if chosen == "torch":
        return ms_deform_attn_ref(value, spatial_shapes, sampling_locations, attention_weights)
    sizes = [size for shape in spatial_shapes for size in shape]
    return torch.ops.mask2former_mt.ms_deform_attn(
        value, sizes, sampling_locations, attention_weights
    )
