"""Mask logits to masks at the original size, compiled and in PyTorch."""

import functools

import pytest
import torch
from compiled_ops import IMPLEMENTATIONS, needs_native
from postprocess_tools import image_sizes
from tiny import rectangles

from mask2former_mt.ops.resize_masks import (
    CHUNK_ELEMENTS,
    MASK_RESIZES,
    mask_extents,
    resize_masks,
    upsampled_chunks,
)


@pytest.fixture(params=IMPLEMENTATIONS)
def op(request):
    """The op with one implementation."""
    return functools.partial(resize_masks, implementation=request.param)


def resize(op, logits, *, padded, image=None, original=None):
    masks, scores, extents = op(torch.tensor(logits)[None], image_sizes(padded, image, original))
    assert torch.equal(extents, mask_extents(masks))
    return masks, scores


def test_masks_are_upsampled_bilinearly_and_cut_at_0(op):
    # 1 x 2 to 1 x 8: pixel i has its centre at (i + .5) / 4 - .5 of the grid. Pixel 3: .375, so
    # 3 * .625 - 1 * .375 = 1.5; pixel 4: .625, 3 * .375 - .625 = .5; pixel 5: .875, -.5; outside
    # the centres the edge is repeated.
    masks, scores = resize(op, [[3.0, -1.0]], padded=(1, 8))
    logits = torch.tensor([3, 3, 2.5, 1.5, 0.5, -0.5, -1, -1])
    assert masks.dtype == torch.bool
    assert masks[0, 0].tolist() == (logits > 0).tolist()
    # The mean probability of the five pixels inside.
    torch.testing.assert_close(scores, logits[:5].sigmoid().mean()[None])


def test_a_logit_of_0_is_outside(op):
    masks, scores = resize(op, [[0.0, 0.0]], padded=(1, 2))
    assert not masks.any()
    assert scores.tolist() == [0.0]


def test_padding_is_cut_off_before_the_resize_to_the_original(op):
    # Padded to 4 x 8 on a grid of 1 x 2; the image is its left 4 x 4. If the right cell, which is
    # padding, were not cut off, it would be in the picture.
    masks, _ = resize(op, [[5.0, -5.0]], padded=(4, 8), image=(4, 4), original=(6, 10))
    assert masks.shape == (1, 6, 10)
    assert masks.all()
    masks, _ = resize(op, [[-5.0, 5.0]], padded=(4, 8), image=(4, 4), original=(6, 10))
    assert not masks.any()


@pytest.mark.parametrize("mode", MASK_RESIZES)
def test_chunks_change_nothing(monkeypatch, mode):
    logits = torch.randn(7, 6, 5, generator=torch.Generator().manual_seed(0))
    sizes = image_sizes((24, 20), (23, 17), (40, 31))
    whole = resize_masks(logits, sizes, mode=mode, implementation="torch")
    # 40 * 31 = 1240 is the larger size: 3 masks at a time, the last chunk with one; and a mask
    # larger than the bound still goes through, alone.
    for bound in (3 * 1240, 1):
        monkeypatch.setitem(CHUNK_ELEMENTS, "cpu", bound)
        chunked = resize_masks(logits, sizes, mode=mode, implementation="torch")
        for one, other in zip(chunked, whole, strict=True):
            torch.testing.assert_close(one, other)


@needs_native
@pytest.mark.parametrize(
    ("grid", "padded", "image", "original"),
    [
        ((24, 40), (96, 160), (96, 160), (96, 160)),
        ((24, 40), (96, 160), (90, 131), (90, 131)),
        ((24, 40), (96, 160), (90, 131), (207, 301)),
        ((24, 40), (96, 160), (90, 131), (45, 17)),
        ((24, 40), (96, 160), (96, 160), (1, 1)),
        ((3, 1), (96, 32), (96, 17), (5, 400)),
    ],
)
def test_both_implementations_agree(grid, padded, image, original):
    generator = torch.Generator().manual_seed(0)
    # Logits from faint to certain; some masks nearly empty, one empty, one full.
    logits = torch.randn(9, *grid, generator=generator) * torch.logspace(-2, 2.5, 9)[:, None, None]
    logits[3] -= 2 * logits[3].std()
    logits[4], logits[5] = -1.0, 50.0
    sizes = image_sizes(padded, image, original)
    masks, scores, extents = resize_masks(logits, sizes)
    wanted, wanted_scores, _ = resize_masks(logits, sizes, implementation="torch")
    # A logit of nearly 0 may fall on either side.
    assert (masks != wanted).float().mean() < 1e-4
    torch.testing.assert_close(scores, wanted_scores, atol=2e-4, rtol=1e-5)
    assert torch.equal(extents, mask_extents(masks))
    assert extents.dtype == torch.int64


def test_a_logit_that_is_nan_is_outside_and_leaves_the_others_alone(op):
    # One row: NaN in its first cell, 5 in the others. Pixels 4 to 15 lie in those cells.
    masks, scores = resize(op, [[float("nan"), 5.0, 5.0, 5.0]], padded=(4, 16))
    assert masks[0, :, 6:].all()
    assert not masks[0, :, :2].any()
    torch.testing.assert_close(scores, torch.tensor([5.0]).sigmoid())
    masks, scores = resize(op, [[float("nan")] * 2] * 2, padded=(8, 8), original=(9, 9))
    assert not masks.any()
    assert not scores.any()


def test_no_masks_give_none(op):
    masks, scores, extents = op(torch.zeros(0, 4, 4), image_sizes((16, 16), (9, 16), (18, 32)))
    assert masks.shape == (0, 18, 32)
    assert masks.dtype == torch.bool
    assert scores.shape == (0,)
    assert extents.shape == (0, 4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_any_float_dtype_gives_bool_masks_and_float32_scores(op, dtype):
    masks, scores, _ = op(torch.tensor([[[4.0, -4.0]]], dtype=dtype), image_sizes((4, 8)))
    assert masks[0, :, :4].all()
    assert not masks[0, :, 4:].any()
    assert scores.dtype == torch.float32


# --- in one step ---------------------------------------------------------------------------------


def test_a_direct_resize_takes_the_grid_where_the_pixels_of_the_original_lie():
    # 1 x 2 cells for 4 x 8 padded pixels, of which 4 x 6 are the picture; the original has half of
    # them, 2 x 3. Its pixel i has its centre at (i + .5) * 2 padded pixels, which is
    # (i + .5) * 2 / 4 - .5 cells: -.25, .25, .75. Beyond the first centre its value holds.
    sizes = image_sizes((4, 8), (4, 6), (2, 3))
    logits = torch.tensor([[[6.0, -2.0]]])
    (chunk,) = upsampled_chunks(logits, sizes, mode="direct")
    # 6; 6 * .75 - 2 * .25 = 4; 6 * .25 - 2 * .75 = 0.
    expected = torch.tensor([[6.0, 4.0, 0.0]] * 2)[None]
    torch.testing.assert_close(chunk[1], expected)
    masks, scores, extents = resize_masks(logits, sizes, mode="direct")
    assert torch.equal(masks, expected > 0)
    torch.testing.assert_close(scores, torch.tensor([6.0, 4.0]).sigmoid().mean()[None])
    assert extents.tolist() == [[0, 0, 2, 2]]


@pytest.mark.parametrize("image", [(96, 160), (90, 131), (1, 1)])
def test_at_the_networks_size_both_modes_are_the_same(image):
    logits = 3 * torch.randn(4, 24, 40, generator=torch.Generator().manual_seed(0))
    sizes = image_sizes((96, 160), image)
    one, other = (list(upsampled_chunks(logits, sizes, mode=mode)) for mode in MASK_RESIZES)
    torch.testing.assert_close(
        torch.cat([part for _, part in one]), torch.cat([part for _, part in other])
    )


@pytest.mark.parametrize("original", [(90, 131), (207, 301), (45, 66), (1, 1), (300, 20)])
def test_both_modes_give_nearly_the_same_masks(original):
    # A disc; between the steps only its edge can move, and by less than a pixel.
    y, x = torch.meshgrid(torch.arange(24), torch.arange(40), indexing="ij")
    logits = (9 - torch.hypot(y - 11.0, x - 15.0))[None]
    sizes = image_sizes((96, 160), (90, 131), original)
    (one, score, _), (other, other_score, _) = (
        resize_masks(logits, sizes, mode=mode, implementation="torch") for mode in MASK_RESIZES
    )
    assert one.any()
    assert (one & other).sum() / (one | other).sum() > 0.98
    torch.testing.assert_close(score, other_score, atol=5e-3, rtol=0)


def test_another_mode_is_refused():
    with pytest.raises(
        ValueError, match=r"mode of \['parity', 'direct'\], got 'nearest'; see MODEL"
    ):
        resize_masks(torch.zeros(1, 2, 2), image_sizes((8, 8)), mode="nearest")


# --- boxes ---------------------------------------------------------------------------------------


def test_boxes_are_the_extents_of_the_masks():
    masks = rectangles(5, 9, [(2, 1, 7, 3), (0, 0, 1, 1), (8, 4, 9, 5), (0, 0, 0, 0), (0, 0, 9, 5)])
    # A second part far away widens the first one's box to the right and downwards.
    masks[0, 4, 8] = True
    assert mask_extents(masks).tolist() == [
        [2, 1, 9, 5],
        [0, 0, 1, 1],
        [8, 4, 9, 5],
        [0, 0, 0, 0],
        [0, 0, 9, 5],
    ]
