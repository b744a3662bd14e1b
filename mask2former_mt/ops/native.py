"""The compiled operator: where it is, whether it is there, and what autograd and tracing need."""

from __future__ import annotations

import functools
import logging
import pathlib

import torch

LOGGER = logging.getLogger("mask2former_mt")

BUILD_COMMAND = "pip install --no-build-isolation -e ."
_PACKAGE = pathlib.Path(__file__).resolve().parent.parent


def library_file() -> pathlib.Path | None:
    """The compiled library that the installation left beside the package; None without one."""
    return next(iter(sorted(_PACKAGE.glob("_native*.so"))), None)


@functools.cache
def is_available() -> bool:
    """Whether the compiled operator can be used; loads it at the first call, and logs which it is.

    A library that is there but cannot be loaded raises: it would otherwise only be slow.
    """
    path = library_file()
    if path is None:
        LOGGER.info(
            "ms_deform_attn: the PyTorch implementation, which is slower: nothing is compiled; "
            f"with a C++ compiler, {BUILD_COMMAND}"
        )
        return False
    torch.ops.load_library(str(path))
    _register()
    LOGGER.info(f"ms_deform_attn: the compiled operator, {path.name}")
    return True


def _register() -> None:
    """What PyTorch must know to differentiate and trace the operator."""

    @torch.library.register_fake("mask2former_mt::ms_deform_attn")
    def _(value, spatial_shapes, sampling_locations, attention_weights):
        B, _, M, D = value.shape
        return value.new_empty(B, sampling_locations.shape[1], M * D)

    @torch.library.register_fake("mask2former_mt::ms_deform_attn_backward")
    def _(grad_output, value, spatial_shapes, sampling_locations, attention_weights):
        return tuple(torch.empty_like(t) for t in (value, sampling_locations, attention_weights))

    def setup_context(ctx, inputs, output):
        value, spatial_shapes, sampling_locations, attention_weights = inputs
        ctx.save_for_backward(value, sampling_locations, attention_weights)
        ctx.spatial_shapes = spatial_shapes

    def backward(ctx, grad_output):
        value, sampling_locations, attention_weights = ctx.saved_tensors
        grad_value, grad_locations, grad_weights = torch.ops.mask2former_mt.ms_deform_attn_backward(
            grad_output.contiguous(),
            value,
            ctx.spatial_shapes,
            sampling_locations,
            attention_weights,
        )
        return grad_value, None, grad_locations, grad_weights

    torch.library.register_autograd(
        "mask2former_mt::ms_deform_attn", backward, setup_context=setup_context
    )
