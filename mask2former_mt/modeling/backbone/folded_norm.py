"""Convolutions with their frozen norms folded into the weights, which saves two passes per map."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from detectron2.layers import Conv2d, FrozenBatchNorm2d
from torch import nn


class FoldedNorm:
    """A mixin for convolutions that multiplies their frozen norm into weight and bias.

    A frozen norm is `scale * x + shift` per channel, so that the convolution with `scale * weight`
    and `shift` as bias is the same function, with the same gradient of `weight`, up to rounding.
    Parameters, buffers and their names are those of the convolution and the norm.
    """

    # Scale and shift of the norm; and, while they are not trained, the folded weight and bias. Each
    # is kept with the state of the tensors that it was made from.
    _affine: tuple[tuple, tuple[torch.Tensor, torch.Tensor]] | None = None
    _folded: tuple[tuple, tuple[torch.Tensor, torch.Tensor]] | None = None

    def frozen_norm(self) -> nn.Module:
        """The norm, which has `weight`, `bias`, `running_mean`, `running_var` and `eps`."""
        raise NotImplementedError

    def weight_and_bias(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Weight and bias of the folded convolution."""
        if torch.compiler.is_compiling():
            return self._fold(*self._scale_and_shift())
        norm = self.frozen_norm()
        buffers = (norm.weight, norm.bias, norm.running_mean, norm.running_var)
        self._affine = _kept(self._affine, buffers, self._scale_and_shift)
        scale, shift = self._affine[1]
        trained = [p for p in (self.weight, self.bias) if p is not None]
        if torch.is_grad_enabled() and any(p.requires_grad for p in trained):
            return self._fold(scale, shift)
        sources = (*trained, scale, shift)
        self._folded = _kept(self._folded, sources, lambda: self._fold(scale, shift))
        return self._folded[1]

    def _scale_and_shift(self) -> tuple[torch.Tensor, torch.Tensor]:
        norm = self.frozen_norm()
        scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
        return scale, norm.bias - norm.running_mean * scale

    def _fold(self, scale: torch.Tensor, shift: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if self.bias is not None:
            shift = shift + self.bias * scale
        return self.weight * scale.view(-1, 1, 1, 1), shift

    def train(self, mode: bool = True):
        self._folded = None
        return super().train(mode)


def _kept(
    kept: tuple[tuple, tuple] | None, sources: Iterable[torch.Tensor], make: Callable[[], tuple]
) -> tuple[tuple, tuple]:
    """`kept`, or what `make` returns if the sources have changed since; with the sources' state."""
    # The version counts changes in place, as an optimizer or a checkpoint makes them.
    state = tuple((t.data_ptr(), t._version, t.dtype, t.device) for t in sources)
    if kept is not None and kept[0] == state:
        return kept
    # Made inside inference_mode, the tensors could not be used outside.
    with torch.inference_mode(False), torch.no_grad():
        return state, make()


class FoldedConv2d(FoldedNorm, Conv2d):
    """detectron2's convolution with its `FrozenBatchNorm2d`."""

    def frozen_norm(self) -> nn.Module:
        return self.norm

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Convolves, normalises and activates.

        Args:
            x: float (B, C_in, H, W).

        Returns:
            float (B, C_out, H', W').
        """
        weight, bias = self.weight_and_bias()
        x = F.conv2d(x, weight, bias, self.stride, self.padding, self.dilation, self.groups)
        return x if self.activation is None else self.activation(x)


def fold_frozen_norms(module: nn.Module) -> int:
    """Folds the frozen norm of every detectron2 convolution that has one.

    Args:
        module: model, changed in place: the classes of such convolutions and nothing else.

    Returns:
        Number of folded convolutions.
    """
    count = 0
    for part in module.modules():
        # Only these very classes: a subclass may compute something else.
        if type(part) is Conv2d and type(part.norm) is FrozenBatchNorm2d:
            # detectron2's blocks construct their convolutions themselves, so the class is changed.
            part.__class__ = FoldedConv2d
            count += 1
    return count
