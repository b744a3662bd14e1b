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


def test_a_fresh_module_has_no_bias():
    attention = MultiheadAttention(channels=C, num_heads=M)
    assert not attention.in_proj_bias.any()
    assert not attention.out_proj.bias.any()
    assert attention.in_proj_weight.abs().min() > 0


def test_no_images_and_no_queries():
    attention = MultiheadAttention(channels=C, num_heads=M)
    assert attention(torch.zeros(0, Q, C), *[torch.zeros(0, N, C)] * 2).shape == (0, Q, C)
    assert attention(torch.zeros(B, 0, C), *[torch.zeros(B, N, C)] * 2).shape == (B, 0, C)


def test_memory_layout_does_not_matter(pair):
    ours, _ = pair
    strided = [t.transpose(0, 1).contiguous().transpose(0, 1) for t in tensors()]
    mask = attend_mask().transpose(2, 3).contiguous().transpose(2, 3)
    assert not any(t.is_contiguous() for t in (*strided, mask))
    torch.testing.assert_close(ours(*strided, mask), ours(*tensors(), attend_mask()))


def test_heads_that_do_not_divide_the_channels_are_refused():
    message = r"channels \(10\) must be a multiple of num_heads \(4\)"
    with pytest.raises(ValueError, match=message):
        MultiheadAttention(channels=10, num_heads=4)


def parts(block_type, pre_norm):
    torch.manual_seed(1)
    block = block_type(channels=C, num_heads=M, pre_norm=pre_norm).double()
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.copy_(torch.randn_like(parameter))
    return block


@pytest.mark.parametrize("pre_norm", [False, True])
def test_self_attention_is_residual_with_its_norm_before_or_after(pre_norm):
    block, (queries, *_) = parts(SelfAttention, pre_norm), tensors()
    pos = tensors(1)[0]
    x = block.norm(queries) if pre_norm else queries
    # The values carry no position; the residual is the input itself.
    expected = queries + block.self_attn(x + pos, x + pos, x)
    torch.testing.assert_close(block(queries, pos), expected if pre_norm else block.norm(expected))


@pytest.mark.parametrize("pre_norm", [False, True])
def test_self_attention_does_not_know_the_order_of_the_queries(pre_norm):
    block, (queries, *_) = parts(SelfAttention, pre_norm), tensors()
    # One set of positions for all images.
    pos = tensors(1)[0][:1]
    order = [2, 0, 1]
    torch.testing.assert_close(
        block(queries[:, order], pos[:, order]), block(queries, pos)[:, order]
    )


@pytest.mark.parametrize("pre_norm", [False, True])
def test_cross_attention_is_residual_with_its_norm_before_or_after(pre_norm):
    block, (queries, key, value) = parts(CrossAttention, pre_norm), tensors()
    pos, mask = tensors(1)[0], attend_mask()
    x = block.norm(queries) if pre_norm else queries
    expected = queries + block.multihead_attn(x + pos, key, value, mask)
    torch.testing.assert_close(
        block(queries, key, value, query_pos=pos, attend_mask=mask),
        expected if pre_norm else block.norm(expected),
    )


@pytest.mark.parametrize("pre_norm", [False, True])
def test_cross_attention_does_not_see_what_is_shut(pre_norm):
    block, (queries, key, value) = parts(CrossAttention, pre_norm), tensors()
    pos = tensors(1)[0]
    # Position 3 is shut for query 0 of image 0 alone.
    mask = torch.ones(B, 1, Q, N, dtype=torch.bool)
    mask[0, 0, 0, 3] = False
    key.requires_grad_()
    value.requires_grad_()
    output = block(queries, key, value, query_pos=pos, attend_mask=mask)
    output[0, 0].square().sum().backward(retain_graph=True)
    assert not key.grad[0, 3].any()
    assert not value.grad[0, 3].any()
    assert value.grad[0, 2].any()
    # Images do not see each other.
    assert not value.grad[1].any()
    value.grad = None
    output[0, 1].square().sum().backward()
    assert value.grad[0, 3].any()
