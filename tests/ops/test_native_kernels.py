"""The compiled kernels, on the CPU and on a GPU, against the reference, over all their shapes."""

import shlex
import shutil
import sysconfig

import pytest
import torch
from compiled_ops import needs_native

from mask2former_mt.ops import native
from mask2former_mt.ops.ms_deform_attn import ms_deform_attn
from mask2former_mt.ops.ms_deform_attn_ref import ms_deform_attn_ref

# B images, M heads, D channels per head, Q queries, L levels, P points

LEVELS = [(5, 7), (3, 4), (1, 1), (2, 1)]


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def device(request):
    """Where the kernel runs; the reference runs there too."""
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    if not native.is_available(request.param):
        pytest.skip(f"nothing is compiled for {request.param}: {native.BUILD_COMMAND}")
    return torch.device(request.param)


def arguments(device, *, B=2, Q=9, M=2, D=32, L=3, P=4, spread=1.3, dtype=torch.float64):
    """Random value, locations in [0.5 - spread / 2, 0.5 + spread / 2], random weights."""
    generator = torch.Generator().manual_seed(L * 1000 + P * 100 + D)
    shapes = LEVELS[:L]
    value = torch.randn(B, sum(h * w for h, w in shapes), M, D, generator=generator)
    locations = 0.5 + spread * (torch.rand(B, Q, M, L, P, 2, generator=generator) - 0.5)
    weights = torch.rand(B, Q, M, L, P, generator=generator)
    tensors = [t.to(device, dtype) for t in (value, locations, weights)]
    return tensors[0], shapes, *tensors[1:]


def run(function, call, grad_output):
    """Output and the gradients of value, locations and weights."""
    value, shapes, *others = call
    inputs = [t.detach().requires_grad_() for t in (value, *others)]
    output = function(inputs[0], shapes, *inputs[1:])
    output.backward(grad_output)
    return [output.detach(), *(t.grad for t in inputs)]


def native_op(*call):
    return ms_deform_attn(*call, implementation="native")


def assert_agree(call, **tolerance):
    value, _, locations, _ = call
    grad_output = torch.randn(
        value.shape[0], locations.shape[1], value.shape[2] * value.shape[3], dtype=torch.float64
    ).to(value)
    expected = run(ms_deform_attn_ref, call, grad_output)
    for actual, wanted in zip(run(native_op, call, grad_output), expected, strict=True):
        assert actual.dtype == wanted.dtype
        torch.testing.assert_close(actual, wanted, **tolerance)


@pytest.mark.parametrize("D", [8, 16, 32, 48, 64, 4, 12, 132])
@pytest.mark.parametrize("L", [1, 2, 3, 4])
def test_any_number_of_levels_and_channels(device, L, D):
    assert_agree(arguments(device, L=L, D=D), atol=1e-11, rtol=1e-11)


@pytest.mark.parametrize("D", [4, 32, 64, 132, 260])
def test_float32(device, D):
    # Sums of some dozen products of the order of 1; gradients of locations times a level's side.
    assert_agree(arguments(device, D=D, dtype=torch.float32), atol=2e-4, rtol=1e-4)


def test_a_sample_a_whole_pixel_off_the_border_has_the_references_gradient(device):
    # On one pixel, location -0.5 is pixel coordinate -1: the value there is 0, the slope is not.
    value = torch.randn(1, 1, 1, 8, dtype=torch.float64).to(device)
    locations = torch.full((1, 1, 1, 1, 1, 2), 0.5, dtype=torch.float64, device=device)
    weights = torch.ones(1, 1, 1, 1, 1, dtype=torch.float64, device=device)
    for axis in (0, 1):
        moved = locations.clone()
        moved[..., axis] = -0.5
        call = value, [(1, 1)], moved, weights
        _, _, gradient, _ = run(native_op, call, torch.ones(1, 1, 8).to(value))
        torch.testing.assert_close(gradient.flatten()[axis], value.sum())
        assert_agree(call, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("P", range(1, 9))
def test_any_number_of_points(device, P):
    assert_agree(arguments(device, P=P), atol=1e-11, rtol=1e-11)


def test_more_samples_than_are_located_at_once(device):
    # 4 levels of 40 points: 160 samples, the CPU locates 64 and the GPU 4 to 16 at a time.
    assert_agree(arguments(device, L=4, P=40), atol=1e-11, rtol=1e-11)


@pytest.mark.parametrize("B", [0, 1, 3])
@pytest.mark.parametrize("Q", [0, 1, 70])
def test_any_number_of_images_and_queries(device, B, Q):
    # 70 queries: more than one block of the CPU's 64.
    assert_agree(arguments(device, B=B, Q=Q), atol=1e-11, rtol=1e-11)


@pytest.mark.parametrize("spread", [0.0, 1.0, 5.0, 1e6, 1e30])
def test_samples_far_outside(device, spread):
    call = arguments(device, spread=spread)
    output = native_op(*call)
    # Beyond what the reference's frame holds to a pixel, nearly all samples are outside.
    if spread <= 1e6:
        assert_agree(call, atol=1e-9, rtol=1e-9)
    assert output.isfinite().all()
    assert spread < 1e30 or not output.any()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_location_that_is_not_finite_spoils_its_own_result_alone(device, bad):
    value, shapes, locations, weights = arguments(device, dtype=torch.float32)
    expected = native_op(value, shapes, locations, weights)
    locations[1, 4, 1, 2, 3, 0] = bad
    # Query 4 of image 1, head 1 of D = 32 channels.
    poisoned = torch.zeros_like(expected, dtype=torch.bool)
    poisoned[1, 4, 32:] = True
    output, grad_value, grad_locations, grad_weights = run(
        native_op, (value, shapes, locations, weights), torch.ones_like(expected)
    )
    assert torch.equal(output.isnan(), poisoned)
    torch.testing.assert_close(output[~poisoned], expected[~poisoned])
    # Its sample is nowhere: no pixel of value takes part in it.
    assert grad_value.isfinite().all()
    assert grad_locations[1, 4, 1, 2, 3].isnan().all()
    assert grad_locations.isnan().sum() == 2
    assert grad_weights.isnan().sum() == 1


# Half precision rounds value and result to 8 (bfloat16) or 11 bits (float16); the sums between are
# of float32, so that what is lost does not grow with L * P. Gradients of locations are scaled by
# the level's size.
HALF = {torch.bfloat16: 2e-2, torch.float16: 3e-3}


@pytest.mark.parametrize("D", [32, 12])
@pytest.mark.parametrize("exact_locations", [True, False])
@pytest.mark.parametrize("dtype", HALF)
def test_half_precision(device, dtype, exact_locations, D):
    value, shapes, locations, weights = arguments(device, dtype=torch.float32, D=D)
    # What half precision holds, so that the reference in float32 sees the same numbers.
    value = value.to(dtype)
    if not exact_locations:
        locations, weights = locations.to(dtype), weights.to(dtype)
    grad_output = torch.randn(2, 9, 2 * D).to(device, dtype)
    expected = run(
        ms_deform_attn_ref,
        (value.float(), shapes, locations.float(), weights.float()),
        grad_output.float(),
    )
    actual = run(native_op, (value, shapes, locations, weights), grad_output)
    assert [t.dtype for t in actual] == [dtype, dtype, locations.dtype, weights.dtype]
    for one, other in zip(actual, expected, strict=True):
        tolerance = HALF[dtype]
        torch.testing.assert_close(
            one.float(), other, rtol=tolerance, atol=tolerance * float(other.abs().max())
        )


def test_a_view_that_starts_anywhere(device):
    # 128-bit loads need an address that is a multiple of 16 bytes; this one is not.
    value, shapes, locations, weights = arguments(device, dtype=torch.float32)
    flat = torch.cat([value.new_zeros(1), value.flatten()])
    shifted = flat[1:].view(value.shape)
    assert shifted.is_contiguous()
    torch.testing.assert_close(
        native_op(shifted, shapes, locations, weights),
        ms_deform_attn_ref(value, shapes, locations, weights),
    )


def test_autocast_keeps_locations_exact(device):
    value, shapes, locations, weights = arguments(device, dtype=torch.float32)
    expected = native_op(value, shapes, locations, weights)
    with torch.autocast(device.type, dtype=torch.bfloat16):
        output = native_op(value.bfloat16(), shapes, locations, weights)
        assert native_op(value, shapes, locations, weights).dtype == torch.float32
    # Cast up, not down: bfloat16 locations would be off by a good part of a pixel.
    assert output.dtype == torch.float32
    torch.testing.assert_close(output, expected, atol=2e-2, rtol=2e-2)


def test_compiled_without_a_graph_break(device):
    call = arguments(device, dtype=torch.float32)
    function = torch.compile(lambda v, s, a: native_op(v, call[1], s, a) * 2, fullgraph=True)
    value, _, locations, weights = (
        t.requires_grad_() if isinstance(t, torch.Tensor) else t for t in call
    )
    output = function(value, locations, weights)
    torch.testing.assert_close(output, 2 * native_op(*call))
    output.sum().backward()
    assert value.grad.abs().sum() > 0


def test_exported(device):
    class Module(torch.nn.Module):
        def forward(self, value, locations, weights):
            return native_op(value, LEVELS[:3], locations, weights)

    value, _, locations, weights = arguments(device, dtype=torch.float32)
    program = torch.export.export(Module(), (value, locations, weights))
    assert any("ms_deform_attn" in str(node.target) for node in program.graph.nodes)
    torch.testing.assert_close(
        program.module()(value, locations, weights),
        ms_deform_attn_ref(value, LEVELS[:3], locations, weights),
    )


@pytest.mark.cuda
def test_determinism_asked_for_on_a_gpu_is_refused():
    if not torch.cuda.is_available() or not native.is_available("cuda"):
        pytest.skip("no CUDA device, or nothing is compiled for it")
    value, shapes, locations, weights = arguments(torch.device("cuda"), dtype=torch.float32)
    output = native_op(value.requires_grad_(), shapes, locations, weights)
    torch.use_deterministic_algorithms(True)
    try:
        with pytest.raises(RuntimeError, match="ms_deform_attn adds with atomics on a GPU"):
            output.sum().backward()
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.cuda
def test_it_runs_on_the_current_stream():
    if not torch.cuda.is_available() or not native.is_available("cuda"):
        pytest.skip("no CUDA device, or nothing is compiled for it")
    call = arguments(torch.device("cuda"), dtype=torch.float32)
    expected = native_op(*call)
    stream = torch.cuda.Stream()
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        # Long enough that another stream's kernel would overtake it.
        torch.cuda._sleep(50_000_000)
        call[0].mul_(2)
        output = native_op(*call)
    stream.synchronize()
    torch.testing.assert_close(output, 2 * expected)


# --- as PyTorch sees them ------------------------------------------------------------------------


def test_they_are_compiled_where_there_is_a_compiler():
    compiler = shlex.split(sysconfig.get_config_var("CXX") or "c++")[0]
    if shutil.which(compiler) is None:
        pytest.skip(f"no C++ compiler ({compiler})")
    assert native.is_available(), native.BUILD_COMMAND


@needs_native
def test_pytorch_finds_nothing_wrong_with_the_operator():
    value, shapes, *others = arguments("cpu", D=8)
    tensors = [t.requires_grad_() for t in (value, *others)]
    sizes = [size for shape in shapes for size in shape]
    # Schema, autograd registration, fake kernels, and AOT dispatch with dynamic shapes.
    call = (tensors[0], sizes, *tensors[1:])
    torch.library.opcheck(torch.ops.mask2former_mt.ms_deform_attn, call)


@needs_native
def test_the_bits_do_not_depend_on_the_number_of_threads():
    before = torch.get_num_threads()
    call = arguments("cpu", Q=301, dtype=torch.float32)
    results = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(run(native_op, call, torch.ones(2, 301, 64)))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))
