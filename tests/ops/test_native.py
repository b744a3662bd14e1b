"""The compiled operator as PyTorch sees it: built, traceable, deterministic."""

import shlex
import shutil
import sysconfig

import pytest
import torch
from compiled_ops import needs_native

from mask2former_mt.ops import native
from mask2former_mt.ops.ms_deform_attn import ms_deform_attn

SHAPES = [(6, 5), (3, 2)]


def arguments(dtype=torch.float64, B=2, Q=7, M=4, D=8):
    generator = torch.Generator().manual_seed(0)
    positions = sum(h * w for h, w in SHAPES)
    value = torch.randn(B, positions, M, D, generator=generator, dtype=dtype)
    locations = torch.rand(B, Q, M, 2, 3, 2, generator=generator, dtype=dtype) * 1.2 - 0.1
    weights = torch.rand(B, Q, M, 2, 3, generator=generator, dtype=dtype)
    return [tensor.requires_grad_() for tensor in (value, locations, weights)]


def test_it_is_compiled_where_there_is_a_compiler():
    compiler = shlex.split(sysconfig.get_config_var("CXX") or "c++")[0]
    if shutil.which(compiler) is None:
        pytest.skip(f"no C++ compiler ({compiler})")
    assert native.is_available(), native.BUILD_COMMAND


@needs_native
def test_pytorch_finds_nothing_wrong_with_the_operator():
    value, locations, weights = arguments()
    sizes = [size for shape in SHAPES for size in shape]
    # Schema, autograd registration, fake kernels, and AOT dispatch with dynamic shapes.
    torch.library.opcheck(
        torch.ops.mask2former_mt.ms_deform_attn, (value, sizes, locations, weights)
    )


@needs_native
def test_the_bits_do_not_depend_on_the_number_of_threads():
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            value, locations, weights = arguments(torch.float32, Q=301)
            output = ms_deform_attn(value, SHAPES, locations, weights, implementation="native")
            output.square().sum().backward()
            results.append((output.detach(), value.grad, locations.grad, weights.grad))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))
