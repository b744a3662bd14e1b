"""The decoder's attention blocks against torch.nn.MultiheadAttention and by hand."""

import math

import pytest
import torch
from torch import nn

from mask2former_mt.layers.attention import CrossAttention, MultiheadAttention, SelfAttention

# B images, Q queries, N memory positions, C channels, M heads
B, Q, N, C, M = 2, 3, 5, 8, 4


def tensors(seed=0, dtype=torch.float64):
    """Random query (B, Q, C), key and value (B, N, C)."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(B, length, C, generator=generator, dtype=dtype) for length in (Q, N, N)]


def attend_mask():
    """Two positions of each row shut, never all."""
    mask = torch.ones(B, 1, Q, N, dtype=torch.bool)
    for b in range(B):
        for q in range(Q):
            mask[b, 0, q, [(b + q) % N, (b + q + 2) % N]] = False
    return mask


@pytest.fixture
def pair():
    """Ours and PyTorch's with the same random weights, in float64."""
    torch.manual_seed(0)
    theirs = nn.MultiheadAttention(C, M, batch_first=True).double()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.copy_(torch.randn_like(parameter))
    ours = MultiheadAttention(channels=C, num_heads=M).double()
    # Strict: the names are the same.
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


@pytest.mark.parametrize("masked", [False, True])
def test_equals_pytorchs(pair, masked):
    ours, theirs = pair
    # PyTorch's mask is True where a query may not look, one per head.
    shut = ~attend_mask().expand(B, M, Q, N).flatten(0, 1) if masked else None
    expected, _ = theirs(*tensors(), attn_mask=shut, need_weights=False)
    actual = ours(*tensors(), attend_mask() if masked else None)
    torch.testing.assert_close(actual, expected, atol=1e-12, rtol=1e-12)


def test_a_hand_computed_value():
    attention = MultiheadAttention(channels=1, num_heads=1)
    with torch.no_grad():
        attention.in_proj_weight.fill_(1.0)
        attention.out_proj.weight.fill_(1.0)
    query = torch.tensor([[[1.0]]])
    key = torch.tensor([[[0.0], [math.log(3)]]])
    value = torch.tensor([[[4.0], [8.0]]])
    # Scores 1 * (0, ln 3) / sqrt(1): softmax (1, 3)/4; 4/4 + 8*3/4 = 7.
    torch.testing.assert_close(attention(query, key, value), torch.tensor([[[7.0]]]))
    # Only the first position open: its value.
    first = torch.tensor([True, False]).view(1, 1, 1, 2)
    torch.testing.assert_close(attention(query, key, value, first), torch.tensor([[[4.0]]]))


def test_no_images_and_no_queries():
    attention = MultiheadAttention(channels=C, num_heads=M)
    assert attention(torch.zeros(0, Q, C), *[torch.zeros(0, N, C)] * 2).shape == (0, Q, C)
    assert attention(torch.zeros(B, 0, C), *[torch.zeros(B, N, C)] * 2).shape == (B, 0, C)


@pytest.mark.parametrize("pre_norm", [False, True])
@pytest.mark.parametrize("block_type", [SelfAttention, CrossAttention])
def test_blocks_are_residual_with_their_norm_before_or_after(block_type, pre_norm):
    torch.manual_seed(1)
    block = block_type(channels=C, num_heads=M, pre_norm=pre_norm).double()
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.copy_(torch.randn_like(parameter))
    (queries, key, value), mask = tensors(), attend_mask()
    # One set of positions for all images.
    pos = tensors(1)[0][:1]
    x = block.norm(queries) if pre_norm else queries
    # The values carry no position; the residual is the input itself.
    if block_type is SelfAttention:
        actual = block(queries, pos)
        expected = queries + block.self_attn(x + pos, x + pos, x)
    else:
        actual = block(queries, key, value, query_pos=pos, attend_mask=mask)
        expected = queries + block.multihead_attn(x + pos, key, value, mask)
    torch.testing.assert_close(actual, expected if pre_norm else block.norm(expected))
