"""Feed-forward parts: the multi-layer perceptron of the heads and the transformer's block."""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import nn


class MLP(nn.Module):
    """Linear layers with ReLU between them.

    Args:
        in_channels, hidden_channels, out_channels: widths.
        num_layers: number of linear layers, at least 1.
    """

    def __init__(
        self, *, in_channels: int, hidden_channels: int, out_channels: int, num_layers: int
    ) -> None:
        super().__init__()
        widths = [in_channels, *[hidden_channels] * (num_layers - 1), out_channels]
        self.layers = nn.ModuleList(nn.Linear(n, k) for n, k in itertools.pairwise(widths))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., in_channels) -> (..., out_channels)."""
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        return self.layers[-1](x)


class FeedForward(nn.Module):
    """The residual feed-forward block of a transformer layer with its norm.

    Args:
        channels: width of input and output.
        hidden_channels: width inside.
        pre_norm: whether the norm comes before the block instead of after the sum.
    """

    def __init__(self, *, channels: int, hidden_channels: int, pre_norm: bool) -> None:
        super().__init__()
        self.linear1 = nn.Linear(channels, hidden_channels)
        self.linear2 = nn.Linear(hidden_channels, channels)
        self.norm = nn.LayerNorm(channels)
        self.pre_norm = pre_norm

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., channels) -> (..., channels)."""
        hidden = F.relu(self.linear1(self.norm(x) if self.pre_norm else x))
        x = x + self.linear2(hidden)
        return x if self.pre_norm else self.norm(x)
