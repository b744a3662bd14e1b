"""The multi-layer perceptron of the heads and the feed-forward block."""

import pytest
import torch

from mask2former_mt.layers.mlp import MLP, FeedForward


def set_linear(linear, weight, bias):
    with torch.no_grad():
        linear.weight.copy_(torch.tensor(weight))
        linear.bias.copy_(torch.tensor(bias))


def mlp(num_layers, **changed):
    widths = {"in_channels": 3, "hidden_channels": 5, "out_channels": 2} | changed
    return MLP(**widths, num_layers=num_layers)


def test_mlp_hand_computed():
    model = mlp(2, in_channels=1, hidden_channels=2, out_channels=1)
    set_linear(model.layers[0], [[2.0], [-1.0]], [1.0, 0.0])
    set_linear(model.layers[1], [[10.0, 100.0]], [-50.0])
    # x = 3: hidden (2*3 + 1, -3) = (7, -3), ReLU (7, 0); 10*7 + 100*0 - 50 = 20.
    # x = -2: hidden (-3, 2), ReLU (0, 2); 0 + 200 - 50 = 150.
    # x = -0.5: hidden (0, 0.5); 0 + 50 - 50 = 0.
    # The last layer has no ReLU: x = 0 gives hidden (1, 0), 10 - 50 = -40.
    x = torch.tensor([[3.0], [-2.0], [-0.5], [0.0]])
    torch.testing.assert_close(model(x), torch.tensor([[20.0], [150.0], [0.0], [-40.0]]))
    # Images and queries before the channels; there may be none.
    assert mlp(1)(torch.randn(0, 7, 3)).shape == (0, 7, 2)
    assert mlp(4)(torch.randn(4, 7, 3)).shape == (4, 7, 2)


def block(**changed):
    """Two channels; the hidden unit is relu(x0), which is added to channel 1."""
    arguments = {"channels": 2, "hidden_channels": 1, "pre_norm": False} | changed
    model = FeedForward(**arguments)
    set_linear(model.linear1, [[1.0, 0.0]], [0.0])
    set_linear(model.linear2, [[0.0], [1.0]], [0.0, 0.0])
    return model


@pytest.mark.parametrize(
    ("pre_norm", "x", "expected"),
    [
        # Hidden 3, sum (3, 1 + 3 = 4); the norm of two numbers a < b is (-1, 1), up to eps: mean
        # 3.5, deviation 0.5, (3 - 3.5)/sqrt(0.25 + 1e-5) = -0.99998.
        (False, [3.0, 1.0], [-0.99998, 0.99998]),
        # Hidden relu(-3) = 0, so that the sum is x itself: mean -1, deviation 2,
        # (-2, 2)/sqrt(4 + 1e-5).
        (False, [-3.0, 1.0], [-1.0, 1.0]),
        # Norm (1, -1) * 1/sqrt(1 + 1e-5), hidden 0.999995, and x itself goes past the norm.
        (True, [3.0, 1.0], [3.0, 1.999995]),
    ],
)
def test_feed_forward_hand_computed(pre_norm, x, expected):
    output = block(pre_norm=pre_norm)(torch.tensor([x]))
    torch.testing.assert_close(output, torch.tensor([expected]), atol=2e-6, rtol=0)
