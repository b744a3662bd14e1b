"""Constants of shapes are made once, except while tracing."""

import torch

from mask2former_mt.layers.position_encoding import sine_position_encoding
from mask2former_mt.layers.shape_cache import made_once


def test_a_result_is_made_once_and_is_no_inference_tensor():
    calls = []

    @made_once
    def ones(size, *, dtype=torch.float32):
        calls.append(size)
        return torch.ones(size, dtype=dtype)

    with torch.inference_mode():
        first = ones(3)
    assert ones(3) is first
    assert not first.is_inference()
    ones(3, dtype=torch.float64), ones(4)
    assert calls == [3, 3, 4]


def test_an_export_leaves_no_traced_constant_behind():
    class Module(torch.nn.Module):
        def forward(self, x):
            return x + sine_position_encoding(5, 7, 8)

    x = torch.zeros(1, 8, 5, 7)
    program = torch.export.export(Module(), (x,), strict=False)
    # The same shape again, now for real numbers.
    encoding = sine_position_encoding(5, 7, 8)
    assert type(encoding) is torch.Tensor
    torch.testing.assert_close(program.module()(x), encoding)
