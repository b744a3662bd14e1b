"""The compiled operators: loading them, and what autograd and tracing must know of them."""

from __future__ import annotations

import ctypes
import functools
import logging
import pathlib

import torch

LOGGER = logging.getLogger("mask2former_mt")

BUILD_COMMAND = "pip install --no-build-isolation -e ."
# All that the CPU library defines.
OPERATORS = (
    *("ms_deform_attn", "ms_deform_attn_backward"),
    *("resize_masks", "compete_for_pixels", "encode_masks"),
)
_PACKAGE = pathlib.Path(__file__).resolve().parent.parent


def library_file(device_type: str = "cpu") -> pathlib.Path | None:
    """The compiled library in the package's folder; None where the installation built none."""
    name = "_native_cuda" if device_type == "cuda" else "_native"
    return next(iter(sorted(_PACKAGE.glob(f"{name}.*so"))), None)


# For torch.compile the answer is a constant; how it is found is not traced.
@torch.compiler.assume_constant_result
def is_available(device_type: str = "cpu") -> bool:
    """Whether the compiled operators can be used on a type of device, "cpu" or "cuda".

    The first call loads them and logs which implementation will run. A library that is there but
    cannot be loaded raises an error: without it everything would only be slower.

    Raises:
        RuntimeError: the library is of another version of this package.
        OSError: it cannot be loaded.
    """
    return device_type in ("cpu", "cuda") and _load(device_type)


@functools.cache
def _load(device_type: str) -> bool:
    path = library_file(device_type)
    # The CUDA library adds to what the CPU library defines.
    if path is None or (device_type == "cuda" and not _load("cpu")):
        LOGGER.info(
            f"ms_deform_attn on {device_type}: the PyTorch implementation, which is slower: "
            f"nothing is compiled (python -m mask2former_mt.collect_env says why); {BUILD_COMMAND}"
        )
        return False
    torch.ops.load_library(str(path))
    if device_type == "cpu":
        missing = [n for n in OPERATORS if not hasattr(torch.ops.mask2former_mt, n)]
        if missing:
            raise RuntimeError(
                f"{path} is of another version of this package, it has no operator "
                f"{missing[0]!r}: {BUILD_COMMAND}"
            )
        _register()
    LOGGER.info(f"ms_deform_attn on {device_type}: the compiled operator, {path.name}")
    return True


def description(device_type: str) -> str:
    """What was compiled: the CPU's instruction set in use, or nvcc's version and architectures."""
    if not is_available(device_type):
        return "not compiled"
    library = ctypes.CDLL(str(library_file(device_type)))
    name = {"cpu": "mask2former_mt_instruction_set", "cuda": "mask2former_mt_cuda_build"}
    function = getattr(library, name[device_type])
    function.restype = ctypes.c_char_p
    return function().decode()


def _register() -> None:
    """Registers gradients, shapes for tracing, and the dtype under autocast."""

    @torch.library.register_fake("mask2former_mt::ms_deform_attn")
    def _(value, spatial_shapes, sampling_locations, attention_weights):
        B, _, M, D = value.shape
        return value.new_empty(B, sampling_locations.shape[1], M * D)

    @torch.library.register_fake("mask2former_mt::resize_masks")
    def _(mask_logits, padded_size, image_size, original_size):
        N = mask_logits.shape[0]
        return (
            mask_logits.new_empty((N, *original_size), dtype=torch.bool),
            mask_logits.new_empty(N),
            mask_logits.new_empty((N, 4), dtype=torch.int64),
        )

    @torch.library.register_fake("mask2former_mt::compete_for_pixels")
    def _(mask_logits, weights, padded_size, image_size, original_size):
        N = mask_logits.shape[0]
        return (
            mask_logits.new_empty(tuple(original_size), dtype=torch.int32),
            mask_logits.new_empty(N, dtype=torch.int64),
            mask_logits.new_empty(N),
        )

    @torch.library.register_fake("mask2former_mt::ms_deform_attn_backward")
    def _(grad_output, value, spatial_shapes, sampling_locations, attention_weights):
        return tuple(
            torch.empty_like(t, memory_format=torch.contiguous_format)
            for t in (value, sampling_locations, attention_weights)
        )

    def setup_context(ctx, inputs, output):
        value, spatial_shapes, sampling_locations, attention_weights = inputs
        ctx.save_for_backward(value, sampling_locations, attention_weights)
        ctx.spatial_shapes = spatial_shapes

    def backward(ctx, grad_output):
        value, sampling_locations, attention_weights = ctx.saved_tensors
        if value.device.type == "cuda" and torch.are_deterministic_algorithms_enabled():
            _refuse_or_warn_of_nondeterminism()
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
    # Half precision cannot hold a location to a fraction of a pixel. Within `MSDeformAttn`, which
    # keeps locations in float32 itself, autocast is off and value may be in half precision.
    for device_type in ("cpu", "cuda"):
        torch.library.register_autocast(
            "mask2former_mt::ms_deform_attn", device_type, torch.float32
        )


def _refuse_or_warn_of_nondeterminism() -> None:
    message = (
        "the backward of ms_deform_attn adds with atomics on a GPU: its last bits differ between "
        "runs. For the same bits, train on the CPU; else torch.use_deterministic_algorithms(False)"
    )
    if not torch.is_deterministic_algorithms_warn_only_enabled():
        raise RuntimeError(message)
    LOGGER.warning(message)
