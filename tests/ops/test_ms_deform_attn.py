"""The deformable attention op, compiled and in PyTorch, against its equation in plain loops."""

import functools

import pytest
import torch
from compiled_ops import IMPLEMENTATIONS

from mask2former_mt.ops import native
from mask2former_mt.ops.implementation import Implementation
from mask2former_mt.ops.ms_deform_attn import ms_deform_attn

# B images, S positions, M heads, D channels per head, Q queries, L levels, P points

SHAPES = {
    "one level": [(3, 4)],
    "two levels": [(2, 5), (3, 3)],
    "three levels": [(4, 3), (2, 2), (1, 1)],
    "a row and a column": [(1, 6), (6, 1)],
    "one pixel": [(1, 1)],
}


@pytest.fixture(params=IMPLEMENTATIONS)
def op(request):
    """The public op with one implementation."""
    return functools.partial(ms_deform_attn, implementation=request.param)


def arguments(shapes, *, B=2, Q=3, M=2, D=3, P=2, low=0.0, high=1.0, dtype=torch.float64):
    """Random value, locations uniform in [low, high], and weights that sum to 1 over L x P."""
    generator = torch.Generator().manual_seed(0)
    S, L = sum(h * w for h, w in shapes), len(shapes)
    value = torch.randn(B, S, M, D, generator=generator, dtype=dtype)
    locations = torch.rand(B, Q, M, L, P, 2, generator=generator, dtype=dtype)
    weights = torch.rand(B, Q, M, L * P, generator=generator, dtype=dtype)
    weights = (weights / weights.sum(-1, keepdim=True)).view(B, Q, M, L, P)
    return value, shapes, low + (high - low) * locations, weights


def by_the_equation(value, shapes, locations, weights):
    """Deformable DETR, eq. 3: sum over levels and points of A_mlqk * x_l(phi_l(p) + dp).

    The bilinear kernel of a pixel centre at distance (dx, dy) is max(0, 1-|dx|) max(0, 1-|dy|):
    what lies outside the map has no pixel, hence counts as zero.
    """
    B, _, M, D = value.shape
    _, Q, _, L, P, _ = locations.shape
    output = torch.zeros(B, Q, M, D, dtype=value.dtype)
    for b in range(B):
        for q in range(Q):
            for m in range(M):
                start = 0
                for level in range(L):
                    h, w = shapes[level]
                    for p in range(P):
                        x, y = locations[b, q, m, level, p].tolist()
                        for row in range(h):
                            for column in range(w):
                                kernel = max(0.0, 1 - abs(x * w - (column + 0.5))) * max(
                                    0.0, 1 - abs(y * h - (row + 0.5))
                                )
                                if kernel:
                                    pixel = value[b, start + row * w + column, m]
                                    output[b, q, m] += weights[b, q, m, level, p] * kernel * pixel
                    start += h * w
    return output.flatten(2)


@pytest.mark.parametrize("shapes", SHAPES.values(), ids=SHAPES.keys())
@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-0.6, 1.6)], ids=["inside", "also outside"])
def test_it_is_the_equation(op, shapes, low, high):
    call = arguments(shapes, low=low, high=high)
    expected = by_the_equation(*call)
    actual = op(*call)
    # B = 2, Q = 3, M*D = 2*3.
    assert actual.shape == (2, 3, 6)
    assert actual.is_contiguous()
    torch.testing.assert_close(actual, expected, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("shapes", SHAPES.values(), ids=SHAPES.keys())
def test_samples_on_the_border_are_the_equation(op, shapes):
    # Every pair of: the map's edge (0 and 1), its middle, far outside.
    places = torch.tensor([0.0, 0.5, 1.0, -3.0, 4.0], dtype=torch.float64)
    xy = torch.cartesian_prod(places, places)
    value, _, _, weights = arguments(shapes, Q=len(xy), P=1)
    locations = xy[None, :, None, None, None].expand(*weights.shape, 2)
    call = value, shapes, locations, weights
    torch.testing.assert_close(op(*call), by_the_equation(*call), atol=1e-12, rtol=1e-12)


def test_a_hand_computed_sample(op):
    # One 1x2 level with the pixels 10 and 20, whose centres are at x = 0.25 and 0.75.
    value = torch.tensor([10.0, 20.0]).view(1, 2, 1, 1)
    places = {
        0.25: 10.0,  # on the left centre
        0.5: 15.0,  # half way
        0.375: 12.5,  # a quarter of the way: 0.75 * 10 + 0.25 * 20
        0.0: 5.0,  # the left edge, half a pixel off the centre: 0.5 * 10 + 0.5 * 0
        1.0: 10.0,  # the right edge: 0.5 * 20
        -0.25: 0.0,  # a whole pixel off the left centre
        1.25: 0.0,
    }
    locations = torch.tensor([[x, 0.5] for x in places]).view(1, -1, 1, 1, 1, 2)
    weights = torch.ones(1, len(places), 1, 1, 1)
    output = op(value, [(1, 2)], locations, weights)
    torch.testing.assert_close(output[0, :, 0], torch.tensor(list(places.values())))


def test_levels_and_points_add_up_with_their_weights(op):
    # Levels 1x1 with the values 8 and 100; both points of a level sit on its centre.
    value = torch.tensor([8.0, 100.0]).view(1, 2, 1, 1)
    locations = torch.full((1, 1, 1, 2, 2, 2), 0.5)
    weights = torch.tensor([[0.25, 0.5], [0.125, 0.125]]).view(1, 1, 1, 2, 2)
    output = op(value, [(1, 1), (1, 1)], locations, weights)
    # (0.25 + 0.5) * 8 + (0.125 + 0.125) * 100 = 6 + 25
    torch.testing.assert_close(output, torch.tensor([[[31.0]]]))


def test_gradients_of_all_three_tensors(op):
    value, shapes, locations, weights = arguments(
        [(3, 2), (1, 1)], B=1, Q=2, D=2, low=-0.2, high=1.2
    )
    # Bilinear sampling has a kink on every pixel centre: keep a step's distance from it.
    for level, (h, w) in enumerate(shapes):
        pixels = locations[:, :, :, level] * torch.tensor([w, h]) - 0.5
        assert (pixels - pixels.round()).abs().min() > 1e-4
    inputs = [t.requires_grad_() for t in (value, locations, weights)]
    assert torch.autograd.gradcheck(
        lambda value, locations, weights: op(value, shapes, locations, weights), inputs
    )


@pytest.mark.parametrize(("B", "Q"), [(0, 3), (2, 0)], ids=["no images", "no queries"])
def test_nothing_gives_nothing(op, B, Q):
    assert op(*arguments([(2, 3), (1, 1)], B=B, Q=Q)).shape == (B, Q, 6)


def test_memory_layout_does_not_matter(op):
    value, shapes, locations, weights = arguments([(2, 3), (2, 2)])
    strided = [t.transpose(0, 1).contiguous().transpose(0, 1) for t in (value, locations, weights)]
    assert not any(t.is_contiguous() for t in strided)
    assert torch.equal(
        op(strided[0], shapes, *strided[1:]),
        op(value, shapes, locations, weights),
    )


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_the_choice_of_the_implementation(kind):
    device, compiled = torch.device(kind), native.is_available(kind)
    assert not Implementation.TORCH.is_native(device)
    assert Implementation.AUTO.is_native(device) == compiled
    # A GPU's kernel loads four channels at a time; the CPU's takes any number.
    assert Implementation.AUTO.is_native(device, channels=6) == (compiled and kind == "cpu")
    if compiled and kind == "cuda":
        with pytest.raises(ValueError, match=r"a multiple of 4 channels per head .* got 6 and 1"):
            Implementation.NATIVE.is_native(device, channels=6)


def test_an_implementation_that_is_not_there_or_unknown_is_refused():
    with pytest.raises(ValueError, match=r"no compiled ms_deform_attn for device xpu: pip install"):
        Implementation.NATIVE.is_native(torch.device("xpu"))
    with pytest.raises(ValueError, match="must be 'auto', 'native' or 'torch', got 'fast'"):
        ms_deform_attn(*arguments([(1, 1)]), implementation="fast")


def changed(**what):
    """Good arguments for shapes 2x3 and 1x1 (S = 7), some of them replaced."""
    value, shapes, locations, weights = arguments([(2, 3), (1, 1)], dtype=torch.float32)
    call = {
        "value": value,
        "spatial_shapes": shapes,
        "sampling_locations": locations,
        "attention_weights": weights,
    }
    return call | {name: make(call[name]) for name, make in what.items()}


HALF = torch.bfloat16


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ({"value": lambda t: t.flatten(2)}, r"^value must be \(B, S, M, D\), got \(2, 7, 6\)"),
        ({"value": lambda t: t[:, :6]}, r"sum\(H\*W\) = 7 positions .* \[\(2, 3\), .* got 6"),
        (
            {"value": lambda t: t[:, :6], "spatial_shapes": lambda _: [(2, 3), (0, 4)]},
            r"spatial_shapes must be positive, got \[\(2, 3\), \(0, 4\)\]",
        ),
        # Another number of levels: 7 positions could be one level of 7x1.
        ({"spatial_shapes": lambda _: [(7, 1)]}, r"must be \(2, 3, 2, 1, 2, 2\) as value"),
        (
            {"sampling_locations": lambda t: t.flatten(3, 4)},
            r"sampling_locations must be \(B, Q, M, L, P, 2\), got \(2, 3, 2, 4, 2\)",
        ),
        (
            {"sampling_locations": lambda t: torch.cat((t, t[..., :1]), dim=-1)},
            r"sampling_locations must be \(B, Q, M, L, P, 2\), got \(2, 3, 2, 2, 2, 3\)",
        ),
        # Another number of images than value has.
        (
            {"sampling_locations": lambda t: t[:1]},
            r"must be \(2, 3, 2, 2, 2, 2\) as value and spatial_shapes say, got \(1, 3, 2, 2, 2, 2",
        ),
        (
            {"attention_weights": lambda t: t.flatten(3)},
            r"attention_weights must be \(2, 3, 2, 2, 2\), got \(2, 3, 2, 4\)",
        ),
        ({"sampling_locations": lambda t: t.double()}, r"float32 as value is, got torch\.float64"),
        ({"attention_weights": lambda t: t.half()}, r"float32 as value is, got torch\.float16"),
        (
            {"value": lambda t: t.to(HALF), "sampling_locations": lambda t: t.half()},
            r"must be torch\.bfloat16 as value is, or torch\.float32, got torch\.float16",
        ),
        (
            {"value": lambda t: t.to(HALF), "attention_weights": lambda t: t.to(HALF)},
            r"torch\.float32 as sampling_locations are, got torch\.bfloat16",
        ),
        ({"sampling_locations": lambda t: t.to("meta")}, "sampling_locations must be on cpu as"),
        ({"attention_weights": lambda t: t.to("meta")}, "must be on cpu as value is, got meta"),
    ],
)
def test_arguments_that_do_not_go_together_are_refused(op, what, message):
    with pytest.raises(ValueError, match=message):
        op(**changed(**what))
