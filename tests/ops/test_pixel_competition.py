"""Which mask a pixel goes to, compiled and in PyTorch."""

import functools
import math

import pytest
import torch
from compiled_ops import IMPLEMENTATIONS, needs_native
from postprocess_tools import image_sizes

from mask2former_mt.ops.pixel_competition import compete_for_pixels
from mask2former_mt.ops.resize_masks import MASK_RESIZES


@pytest.fixture(params=IMPLEMENTATIONS)
def op(request):
    """The op with one implementation."""
    return functools.partial(compete_for_pixels, implementation=request.param)


def test_the_largest_weight_times_probability_wins(op):
    # Pixel by pixel: 0.9 * 0.8 = 0.72 beats 0.5 * 0.9 = 0.45; 0.9 * 0.4 = 0.36 beats 0.5 * 0.6 =
    # 0.3, but is itself below one half; 0.5 * 0.8 = 0.4 beats 0.9 * 0.1 = 0.09.
    masks = torch.tensor([[[0.8, 0.4, 0.1]], [[0.9, 0.6, 0.8]]]).logit()
    winner, inside, areas, sums = op(masks, torch.tensor([0.9, 0.5]), image_sizes((1, 3)))
    assert winner.tolist() == [[0, 0, 1]]
    assert inside.tolist() == [[True, False, True]]
    assert areas.tolist() == [1, 3]
    torch.testing.assert_close(sums, torch.tensor([0.8, 0.9 + 0.6 + 0.8]))


def test_of_equal_masks_the_first_wins_and_nan_is_outside(op):
    masks = torch.tensor([torch.nan, 2.0, 2.0, -30.0])[:, None, None].expand(4, 2, 2)
    winner, inside, areas, sums = op(masks, torch.ones(4), image_sizes((5, 7)))
    assert (winner == 1).all()
    assert inside.all()
    assert areas.tolist() == [0, 35, 35, 0]
    probability = 35 / (1 + math.exp(-2))
    torch.testing.assert_close(sums, torch.tensor([0, probability, probability, 0]))


def test_a_logit_of_0_is_a_half_and_inside(op):
    winner, inside, areas, sums = op(torch.zeros(1, 2, 2), torch.ones(1), image_sizes((2, 2)))
    assert winner.tolist() == [[0, 0], [0, 0]]
    assert inside.all()
    assert (areas.item(), sums.item()) == (4, 2.0)


@needs_native
@pytest.mark.parametrize("mode", MASK_RESIZES)
@pytest.mark.parametrize(
    ("grid", "padded", "image", "original"),
    [
        ((24, 40), (96, 160), (96, 160), (96, 160)),
        ((24, 40), (96, 160), (90, 131), (90, 131)),
        ((24, 40), (96, 160), (90, 131), (207, 301)),
        ((24, 40), (96, 160), (90, 131), (31, 17)),
        ((1, 1), (4, 4), (3, 2), (1, 1)),
    ],
    ids=["whole", "padded", "larger", "smaller", "one pixel"],
)
def test_the_compiled_operator_agrees_with_pytorch(mode, grid, padded, image, original):
    generator = torch.Generator().manual_seed(0)
    masks = 3 * torch.randn(7, *grid, generator=generator)
    weights = torch.rand(7, generator=generator)
    sizes = image_sizes(padded, image, original)
    ours, theirs = (
        compete_for_pixels(masks, weights, sizes, mode=mode, implementation=implementation)
        for implementation in ("native", "torch")
    )
    # A pixel where two masks are within rounding of each other, or one of one half, may differ.
    for native, reference in zip(ours[:2], theirs[:2], strict=True):
        assert native.dtype == reference.dtype
        assert (native != reference).sum() <= native.numel() / 10_000
    assert (ours[2] - theirs[2]).abs().max() <= 1 + theirs[2].max() / 10_000
    torch.testing.assert_close(ours[3], theirs[3], rtol=1e-4, atol=1e-4)


@needs_native
def test_the_sums_do_not_depend_on_the_number_of_threads():
    masks = torch.randn(5, 60, 40, generator=torch.Generator().manual_seed(0))
    threads, results = torch.get_num_threads(), []
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            results.append(compete_for_pixels(masks, torch.ones(5), image_sizes((240, 160))))
    finally:
        torch.set_num_threads(threads)
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other)
