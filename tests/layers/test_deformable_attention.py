"""The deformable attention module: where it looks, and what it returns."""

import pytest
import torch
from torch import nn

from mask2former_mt.layers.deformable_attention import MSDeformAttn
from mask2former_mt.ops.ms_deform_attn import ms_deform_attn

# B images, Q queries, S memory positions, C channels, M heads, L levels, P points


def module(*, channels=8, num_levels=2, num_heads=4, num_points=3, dtype=torch.float32):
    torch.manual_seed(0)
    return MSDeformAttn(
        channels=channels, num_levels=num_levels, num_heads=num_heads, num_points=num_points
    ).to(dtype)


def looking_at_its_reference(*, num_levels=1, num_heads=1, channels=1):
    """One point, no offset, identity projections: samples the memory at the reference point."""
    attention = module(channels=channels, num_levels=num_levels, num_heads=num_heads, num_points=1)
    with torch.no_grad():
        attention.sampling_offsets.bias.zero_()
        for projection in (attention.value_proj, attention.output_proj):
            projection.weight.copy_(torch.eye(channels))
    return attention


def test_each_head_starts_with_its_own_direction():
    # 8 heads, 45 degrees apart, the larger of |x| and |y| made 1; point p at p + 1 pixels.
    attention = module(num_heads=8, num_points=2)
    bias = attention.sampling_offsets.bias.detach().view(8, 2, 2, 2)
    directions = [(1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1)]
    expected = torch.tensor(directions, dtype=torch.float32)
    for level in range(2):
        torch.testing.assert_close(bias[:, level, 0], expected, atol=1e-5, rtol=0)
        torch.testing.assert_close(bias[:, level, 1], 2 * expected, atol=1e-5, rtol=0)
    for parameter in (
        attention.sampling_offsets.weight,
        attention.attention_weights.weight,
        attention.attention_weights.bias,
        attention.value_proj.bias,
        attention.output_proj.bias,
    ):
        assert not parameter.any()


def test_offsets_are_pixels_of_their_level():
    attention = looking_at_its_reference(num_levels=2)
    with torch.no_grad():
        # Level 0 one pixel to the right, level 1 one pixel down.
        attention.sampling_offsets.bias.copy_(torch.tensor([1.0, 0.0, 0.0, 1.0]))
    shapes = [(2, 4), (4, 2)]
    memory = torch.arange(16.0).view(1, 16, 1)
    # The centre of pixel (row 0, column 1) of the 2x4 level: x = 1.5/4, y = 0.5/2. On the 4x2
    # level the centre of row 2, column 0: x = 0.5/2, y = 2.5/4.
    reference = torch.tensor([[1.5 / 4, 0.5 / 2], [0.5 / 2, 2.5 / 4]]).view(1, 1, 2, 2)
    output = attention(torch.zeros(1, 1, 1), reference, memory, shapes)
    # One to the right: row 0, column 2 = 2. One down: row 3, column 0 = 8 + 3*2 = 14.
    # Equal weights: (2 + 14) / 2 = 8.
    torch.testing.assert_close(output, torch.tensor([[[8.0]]]))


@pytest.mark.parametrize("shared", [False, True], ids=["own points", "shared points"])
def test_it_is_the_op_between_its_projections(shared):
    attention = module(dtype=torch.float64)
    for parameter in attention.parameters():
        nn.init.normal_(parameter)
    B, Q, shapes = 2, 5, [(3, 4), (2, 2)]
    query = torch.randn(B, Q, 8, dtype=torch.float64)
    memory = torch.randn(B, 16, 8, dtype=torch.float64)
    # One reference point may serve all images and levels.
    shape = (1, Q, 1, 2) if shared else (B, Q, 2, 2)
    reference = torch.rand(shape, dtype=torch.float64)
    points = reference.expand(B, Q, 2, 2)
    offsets = attention.sampling_offsets(query).view(B, Q, 4, 2, 3, 2)
    locations = torch.empty_like(offsets)
    for level, (h, w) in enumerate(shapes):
        size = torch.tensor([w, h])
        locations[:, :, :, level] = points[:, :, None, level, None] + offsets[:, :, :, level] / size
    # The softmax runs over levels and points together.
    weights = attention.attention_weights(query).view(B, Q, 4, 6).softmax(-1).view(B, Q, 4, 2, 3)
    value = attention.value_proj(memory).view(B, 16, 4, 2)
    expected = attention.output_proj(ms_deform_attn(value, shapes, locations, weights))
    torch.testing.assert_close(attention(query, reference, memory, shapes), expected)


def test_half_precision_does_not_shift_the_samples():
    # Pixel 128 of 256 has its centre at 128.5/256 = 0.501953125. bfloat16 holds 0.5 and 0.50390625
    # there, which are pixels 127.5 and 128.5. Whole numbers to 256 it holds exactly.
    attention = looking_at_its_reference()
    memory = torch.arange(256.0).view(1, 256, 1)
    reference = torch.tensor([128.5 / 256, 0.5]).view(1, 1, 1, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = attention(torch.zeros(1, 1, 1), reference, memory, [(1, 256)])
    assert output.dtype == torch.bfloat16
    assert output.item() == 128.0
    whole = attention.to(torch.bfloat16)
    output = whole(
        torch.zeros(1, 1, 1, dtype=torch.bfloat16), reference, memory.bfloat16(), [(1, 256)]
    )
    assert output.dtype == torch.bfloat16
    assert output.item() == 128.0


def test_heads_that_do_not_divide_the_channels_are_refused():
    with pytest.raises(ValueError, match=r"channels \(8\) must be a multiple of num_heads \(3\)"):
        module(num_heads=3)
