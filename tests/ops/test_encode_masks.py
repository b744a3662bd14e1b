"""Masks as COCO's run lengths: the compiled encoder and the fallback, against pycocotools."""

import functools

import numpy as np
import pytest
import torch
from compiled_ops import IMPLEMENTATIONS
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as mask_utils

from mask2former_mt.ops import native
from mask2former_mt.ops.encode_masks import encode_masks


@pytest.fixture(params=IMPLEMENTATIONS)
def encode(request):
    """The function with one implementation."""
    return functools.partial(encode_masks, implementation=request.param)


def expected(masks_NHW):
    rles = [
        mask_utils.encode(np.asfortranarray(mask_HW.astype(np.uint8)))
        for mask_HW in masks_NHW.numpy()
    ]
    return [{"size": rle["size"], "counts": rle["counts"].decode("ascii")} for rle in rles]


def test_a_mask_by_hand(encode):
    # Columns 01, 11, 00: run lengths 1, 3, 2; each below 16, so one character from '0' on.
    masks = torch.tensor([[[0, 1, 0], [1, 1, 0]]], dtype=torch.bool)
    assert encode(masks) == [{"size": [2, 3], "counts": "132"}]
    # From the first pixel on: a run of no zeros comes first, 0, 1, 3, 2; the fourth is written as
    # its difference to the second, 1.
    assert encode(~masks) == [{"size": [2, 3], "counts": "0131"}]


def test_long_runs_and_differences(encode):
    # Runs 40, 1, 1, 1, 57 of 100: 40 = 8 + 1 * 32: '0' + 8 + 32 = 'X', then '1'; the fourth and
    # fifth are differences to the second and third: 0, and 56 = 24 + 1 * 32: 'h1'.
    masks = torch.zeros(1, 100, 1, dtype=torch.bool)
    masks[0, [40, 42]] = True
    assert encode(masks) == [{"size": [100, 1], "counts": "X1110h1"}]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.tuples(st.integers(0, 4), st.integers(1, 70), st.integers(1, 70)),
    share=st.sampled_from([0, 0.02, 0.5, 0.98, 1]),
    scale=st.tuples(st.integers(1, 12), st.integers(1, 12)),
)
def test_like_pycocotools(seed, size, share, scale):
    masks = torch.rand(size, generator=torch.Generator().manual_seed(seed)) < share
    masks = masks.repeat_interleave(scale[0], 1).repeat_interleave(scale[1], 2)
    for implementation in ("torch", "native") if native.is_available() else ("torch",):
        assert encode_masks(masks, implementation=implementation) == expected(masks)


def test_strided_masks(encode):
    generator = torch.Generator().manual_seed(0)
    masks = (torch.rand(9, 37, 13, generator=generator) > 0.5).permute(1, 2, 0)
    assert not masks.is_contiguous()
    assert encode(masks) == expected(masks)


def test_a_large_mask(encode):
    masks = torch.zeros(2, 3000, 2000, dtype=torch.bool)
    masks[1, 10:2990, 5:1990] = True
    assert encode(masks) == expected(masks)


@pytest.mark.parametrize("size", [(0, 4, 5), (2, 0, 5), (2, 4, 0)])
def test_no_masks_and_no_pixels(encode, size):
    rles = encode(torch.zeros(size, dtype=torch.bool))
    assert rles == [{"size": list(size[1:]), "counts": "0"}] * size[0]


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        (torch.zeros(2, 3, 4), r"bool \(N, H, W\), got torch.float32 \(2, 3, 4\)"),
        (torch.zeros(3, 4, dtype=torch.bool), r"got torch.bool \(3, 4\)"),
    ],
)
def test_other_tensors_than_bool_masks_are_refused(encode, masks, message):
    with pytest.raises(ValueError, match=message):
        encode(masks)
