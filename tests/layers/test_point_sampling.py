"""Sampling of masks at points, and the choice of uncertain points."""

import pytest
import torch
import torch.nn.functional as F
from compiled_ops import IMPLEMENTATIONS

from mask2former_mt.layers.point_sampling import (
    sample_binary_masks,
    sample_binary_masks_alike,
    sample_logits,
    sample_maps,
    uncertain_points,
)

# N masks, P points

# Inside, on the four edges and corners, a pixel's width and far outside.
BORDERS = torch.cartesian_prod(
    *[torch.tensor([0.0, 0.03, 0.5, 0.97, 1.0, -0.05, 1.05, -2.0, 3.0], dtype=torch.float64)] * 2
)


def random_masks(N, H, W, seed=0):
    return torch.rand(N, H, W, generator=torch.Generator().manual_seed(seed)) < 0.5


def by_grid_sample(masks, points):
    """What PyTorch samples from a float copy of the masks."""
    grid = (2 * points - 1)[:, None]
    return F.grid_sample(
        masks.to(points.dtype)[:, None], grid, mode="bilinear", align_corners=False
    )[:, 0, 0]


def test_sample_logits_hand_computed():
    # Pixel centres of a 1x2 map lie at x = 0.25 and 0.75.
    logits = torch.tensor([[[2.0, 6.0]]])
    points = torch.tensor([[[0.25, 0.5], [0.5, 0.5], [0.625, 0.5], [0.0, 0.5], [2.0, 0.5]]])
    # On the first; half way (2 + 6)/2; 0.25 * 2 + 0.75 * 6 = 5; the edge, half a pixel from the
    # first and half a pixel from the zeros outside: 1; outside.
    expected = torch.tensor([[2.0, 4.0, 5.0, 1.0, 0.0]])
    torch.testing.assert_close(sample_logits(logits, points), expected)


def test_sample_logits_shape_type_and_gradient():
    logits = torch.randn(3, 4, 6, dtype=torch.float64, requires_grad=True)
    # Points may be of less precision than the logits.
    sampled = sample_logits(logits, torch.full((3, 2, 2), 0.5))
    assert sampled.shape == (3, 2)
    assert sampled.dtype == torch.float64
    sampled[1].sum().backward()
    # Mask 1 alone; x = 0.5 of 6 lies between columns 2 and 3, y = 0.5 of 4 between rows 1 and 2:
    # four pixels of weight 0.25, for each of the two points.
    expected = torch.zeros(3, 4, 6, dtype=torch.float64)
    expected[1, 1:3, 2:4] = 0.5
    torch.testing.assert_close(logits.grad, expected)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_maps_are_sampled_as_masks_are(implementation):
    maps = torch.randn(2, 3, 6, 7, dtype=torch.float64)
    points = torch.cat((torch.rand(2, 40, 2, dtype=torch.float64), BORDERS.expand(2, -1, -1)), 1)
    sampled = sample_maps(maps, points, implementation=implementation)
    assert sampled.shape == (2, 3, points.shape[1])
    for channel in range(3):
        torch.testing.assert_close(sampled[:, channel], sample_logits(maps[:, channel], points))


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8])
def test_binary_masks_hand_computed(dtype):
    # Only the right pixel of 1x2 is set.
    masks = torch.tensor([[[0, 1]]], dtype=dtype)
    points = torch.tensor([[[0.25, 0.5], [0.5, 0.5], [0.75, 0.5], [1.0, 0.5], [1.0, 1.0]]])
    # Left centre 0; half way 0.5; right centre 1; right edge 0.5; its corner 0.5 * 0.5.
    sampled = sample_binary_masks(masks, points)
    torch.testing.assert_close(sampled, torch.tensor([[0.0, 0.5, 1.0, 0.5, 0.25]]))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize(("H", "W"), [(7, 5), (1, 9), (9, 1), (1, 1), (32, 20)])
def test_binary_masks_equal_grid_sample(H, W, dtype, tolerance):
    masks = random_masks(4, H, W)
    inside = torch.rand(4, 50, 2, dtype=dtype)
    # Pixel centres and the seams between pixels, from half a pixel outside to half a pixel outside.
    seams = torch.cartesian_prod(
        *(torch.arange(-1, 2 * side + 2, dtype=torch.float64) / (2 * side) for side in (W, H))
    )
    points = torch.cat([inside, *(p.to(dtype).expand(4, -1, -1) for p in (BORDERS, seams))], dim=1)
    expected = by_grid_sample(masks, points)
    assert expected.std() > 0
    torch.testing.assert_close(sample_binary_masks(masks, points), expected, atol=tolerance, rtol=0)


def test_rows_say_which_mask_is_sampled():
    masks = random_masks(3, 7, 5)
    # Twice mask 2, never mask 1, more rows than masks.
    rows = torch.tensor([2, 0, 2, 0])
    points = torch.cat((torch.rand(4, 20, 2).double(), BORDERS.expand(4, -1, -1)), dim=1)
    torch.testing.assert_close(
        sample_binary_masks(masks, points, rows),
        by_grid_sample(masks[rows], points),
        atol=1e-12,
        rtol=0,
    )


@pytest.mark.parametrize("N", [0, 1, 3])
def test_the_same_points_for_all_masks(N):
    masks = random_masks(3, 7, 5)[:N]
    points = torch.cat((torch.rand(20, 2).double(), BORDERS))
    copies = points.expand(N, -1, -1)
    assert torch.equal(sample_binary_masks_alike(masks, points), sample_binary_masks(masks, copies))


def test_no_masks_and_no_rows_of_some_masks():
    points = torch.rand(0, 4, 2)
    assert sample_binary_masks(torch.zeros(0, 7, 5, dtype=torch.bool), points).shape == (0, 4)
    rows = torch.empty(0, dtype=torch.int64)
    assert sample_binary_masks(random_masks(3, 7, 5), points, rows).shape == (0, 4)
    assert sample_logits(torch.zeros(0, 7, 5), points).shape == (0, 4)
    assert draw(torch.zeros(0, 8, 8), P=5).shape == (0, 5, 2)


def test_memory_layout_does_not_matter():
    masks = random_masks(3, 7, 5)
    strided = masks.permute(2, 1, 0).contiguous().permute(2, 1, 0)
    assert not strided.is_contiguous()
    points = torch.rand(2, 3, 20).transpose(0, 1).transpose(1, 2)
    assert not points.is_contiguous()
    assert torch.equal(
        sample_binary_masks(strided, points), sample_binary_masks(masks, points.contiguous())
    )
    assert torch.equal(
        sample_logits(strided.float(), points), sample_logits(masks.float(), points.contiguous())
    )
    assert torch.equal(draw(strided.float(), P=20), draw(masks.float(), P=20))


# --- uncertain points ---------------------------------------------------------------------------


def ramp(N=1, W=64):
    """Logits that rise with x and cross 0 in the middle, at x = 0.5."""
    return (torch.arange(W) + 0.5 - W / 2).expand(N, 16, W)


def draw(logits, *, P=2000, importance=0.75):
    torch.manual_seed(0)
    return uncertain_points(
        logits, num_points=P, oversample_ratio=3.0, importance_sample_ratio=importance
    )


# The share of the points in the middle quarter of the width. 0.75 P of 3 P candidates are taken,
# the nearest quarter: they fill the middle quarter. Of the other 0.25 P a quarter falls there by
# chance: 0.75 + 0.25 * 0.25 = 0.8125. The bounds are five standard deviations of 2000 draws.
@pytest.mark.parametrize(("importance", "share"), [(0.75, 0.8125), (0.0, 0.25)])
def test_uncertain_points_crowd_where_the_logit_is_near_zero(importance, share):
    points = draw(ramp(2), importance=importance)
    assert points.shape == (2, 2000, 2)
    assert 0 <= points.min() <= points.max() < 1
    in_the_middle = (points[..., 0] - 0.5).abs() < 0.125
    assert in_the_middle.float().mean().item() == pytest.approx(share, abs=0.05)


def test_importance_ratio_1_takes_exactly_the_most_uncertain_candidates():
    logits = torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(5))
    points = draw(logits, P=40, importance=1.0)
    # The candidates are the first random numbers: 3 * 40 per mask.
    candidates = torch.rand(3, 120, 2, generator=torch.Generator().manual_seed(0))
    certainty = sample_logits(logits, candidates).abs().sort(dim=1).values
    torch.testing.assert_close(
        sample_logits(logits, points).abs().sort(dim=1).values, certainty[:, :40]
    )


def test_points_carry_no_gradient_and_follow_the_dtype():
    # 0.75 * 7 = 5.25: 5 uncertain ones, 2 anywhere.
    points = draw(ramp().double().requires_grad_(), P=7)
    assert points.shape == (1, 7, 2)
    assert points.dtype == torch.float64
    assert not points.requires_grad
