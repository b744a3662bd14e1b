"""The sine position encoding against values worked out by hand."""

import math

import pytest
import torch

from mask2former_mt.layers.position_encoding import sine_position_encoding


def test_shape_type_and_contiguity():
    encoding = sine_position_encoding(3, 5, 16)
    assert encoding.shape == (1, 16, 3, 5)
    assert encoding.is_contiguous()
    assert encoding is sine_position_encoding(3, 5, 16), "it is computed once per size"
    # Half precision is rounded at the end only.
    rounded = sine_position_encoding(3, 5, 16, dtype=torch.bfloat16)
    assert torch.equal(rounded, encoding.to(torch.bfloat16))
    # float32 arithmetic errs near 1e-6 at angles up to 2 pi; more than 0 shows it is not reused.
    fine = sine_position_encoding(3, 5, 16, dtype=torch.float64)
    assert 0 < (fine - encoding).abs().max() < 1e-5
    assert sine_position_encoding(0, 3, 8).shape == (1, 8, 0, 3)


def test_hand_computed_values():
    encoding = sine_position_encoding(1, 4, 8, dtype=torch.float64)[0, :, 0]
    # Of 8 channels 4 encode y, 4 encode x: sine and cosine at the wavelengths 10000^(0/4) = 1 and
    # 10000^(2/4) = 100. Positions 1..4 of 4 are the angles pi/2, pi, 3 pi/2, 2 pi.
    angles = torch.tensor([0.5, 1.0, 1.5, 2.0], dtype=torch.float64) * math.pi
    x = encoding[4:]
    # The published 1e-6 in the denominator moves the angles by at most 2 pi * 1e-6 / 4.
    near = {"atol": 2e-6, "rtol": 0}
    torch.testing.assert_close(x[0], torch.tensor([1.0, 0, -1, 0], dtype=torch.float64), **near)
    torch.testing.assert_close(x[1], torch.tensor([0.0, -1, 0, 1], dtype=torch.float64), **near)
    torch.testing.assert_close(x[2], (angles / 100).sin(), **near)
    torch.testing.assert_close(x[3], (angles / 100).cos(), **near)
    # One row: its angle is 1/1 * 2 pi in every column. Here the 1e-6 weighs 2 pi * 1e-6.
    y = [0.0, 1.0, math.sin(2 * math.pi / 100), math.cos(2 * math.pi / 100)]
    expected = torch.tensor(y, dtype=torch.float64)[:, None].expand(4, 4)
    torch.testing.assert_close(encoding[:4], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("channels", [2, 6, 255])
def test_channels_that_do_not_split_into_four_are_refused(channels):
    with pytest.raises(ValueError, match=f"channels must be a multiple of 4, got {channels}"):
        sine_position_encoding(3, 4, channels)
