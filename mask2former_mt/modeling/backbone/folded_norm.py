"""Convolutions whose frozen norm is part of their weights: two passes over every map less."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from detectron2.layers import Conv2d, FrozenBatchNorm2d
from torch import nn


class FoldedConv2d(Conv2d):
    """detectron2's convolution, its `FrozenBatchNorm2d` multiplied into weight and bias.

    A frozen norm is `scale * x + shift` per channel, so that the convolution with `scale * weight`
    and `shift` as bias is the same function, with the same gradient of `weight`, up to rounding.
    Parameters, buffers and their names are those of the convolution and the norm.
    """

    # What the folded tensors were made from, and they; for as long as nothing is trained.
    _folded: tuple[tuple, tuple[torch.Tensor, torch.Tensor]] | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Convolves, normalises and activates.

        Args:
            x: float (B, C_in, H, W).

        Returns:
            float (B, C_out, H', W').
        """
        weight, bias = self._weight_and_bias()
        x = F.conv2d(x, weight, bias, self.stride, self.padding, self.dilation, self.groups)
        return x if self.activation is None else self.activation(x)

    def _weight_and_bias(self) -> tuple[torch.Tensor, torch.Tensor]:
        if torch.is_grad_enabled() or torch.compiler.is_compiling():
            return self._fold()
        norm = self.norm
        sources = (self.weight, norm.weight, norm.bias, norm.running_mean, norm.running_var)
        # The version counts changes in place, as an optimizer or a checkpoint makes them.
        state = tuple((t.data_ptr(), t._version, t.dtype, t.device) for t in sources)
        if self._folded is None or self._folded[0] != state:
            # Inside inference_mode these would be of no use outside it.
            with torch.inference_mode(False), torch.no_grad():
                self._folded = (state, self._fold())
        return self._folded[1]

    def _fold(self) -> tuple[torch.Tensor, torch.Tensor]:
        norm = self.norm
        scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
        shift = norm.bias - norm.running_mean * scale
        if self.bias is not None:
            shift = shift + self.bias * scale
        return self.weight * scale.view(-1, 1, 1, 1), shift

    def train(self, mode: bool = True) -> FoldedConv2d:
        self._folded = None
        return super().train(mode)


def fold_frozen_norms(module: nn.Module) -> int:
    """Has every convolution with a frozen norm in `module` compute both as one.

    Args:
        module: changed in place: the class of such convolutions, nothing else of them.

    Returns:
        How many there were.
    """
    count = 0
    for part in module.modules():
        # Only the exact classes: another one may compute otherwise.
        if type(part) is Conv2d and type(part.norm) is FrozenBatchNorm2d:
            # The blocks of detectron2 make their convolutions themselves: there is no other way in.
            part.__class__ = FoldedConv2d
            count += 1
    return count
