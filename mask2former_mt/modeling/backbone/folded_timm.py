"""Frozen norms of timm models, folded into the convolutions before them."""

from __future__ import annotations

import logging

import torch
import torch.nn.functional as F
from torch import fx, nn
from torchvision.ops.misc import FrozenBatchNorm2d

from mask2former_mt.modeling.backbone.folded_norm import FoldedNorm

LOGGER = logging.getLogger("mask2former_mt")


class FoldedTimmConv2d(FoldedNorm, nn.Conv2d):
    """A convolution with the frozen norm that comes after it."""

    def frozen_norm(self) -> nn.Module:
        # In a tuple, so that it is no part of this module: it is one of its own already.
        return self._norm[0]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Convolves and normalises: float (B, C_in, H, W) to (B, C_out, H', W')."""
        return self._conv_forward(x, *self.weight_and_bias())


class FoldedTimmConv2dSame(FoldedTimmConv2d):
    """The same of timm's convolution that pads as TensorFlow does, by the size of its input."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pads, convolves and normalises: float (B, C_in, H, W) to (B, C_out, H', W')."""
        from timm.layers import pad_same

        x = pad_same(x, self.kernel_size, self.stride, self.dilation)
        return F.conv2d(x, *self.weight_and_bias(), self.stride, 0, self.dilation, self.groups)


class FoldedAwayNorm(nn.Module):
    """A frozen norm whose convolution does its work; its buffers stay for it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x as it is: float (B, C, H, W)."""
        return x


class FoldedAwayNormAct(FoldedAwayNorm):
    """What is left of a frozen norm with an activation."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x activated: float (B, C, H, W)."""
        return self.act(self.drop(x))


def fold_timm_norms(body: nn.Module) -> int:
    """Has convolutions and the frozen norms behind them be computed as one, wherever a norm is all
    that sees a convolution's output.

    Args:
        body: a timm model; changed in place: the classes of these modules, nothing else of them.

    Returns:
        How many there were.
    """
    from timm.layers import Conv2dSame, FrozenBatchNormAct2d

    convolutions = {nn.Conv2d: FoldedTimmConv2d, Conv2dSame: FoldedTimmConv2dSame}
    norms = {FrozenBatchNorm2d: FoldedAwayNorm, FrozenBatchNormAct2d: FoldedAwayNormAct}
    modules = dict(body.named_modules())
    # Only the exact classes: another one may compute otherwise.
    if not any(type(module) in norms for module in modules.values()):
        return 0

    class Tracer(fx.Tracer):
        def is_leaf_module(self, module: nn.Module, name: str) -> bool:
            known = type(module) in convolutions or type(module) in norms
            return known or super().is_leaf_module(module, name)

    try:
        graph = Tracer().trace(body)
    # Whatever its code does that cannot be followed: it runs as it is.
    except Exception as error:
        LOGGER.info(f"frozen norms stay apart from their convolutions, which is slower: {error}")
        return 0
    calls = [node for node in graph.nodes if node.op == "call_module"]
    targets = [node.target for node in calls]
    count = 0
    for node in calls:
        norm, before = modules[node.target], node.args[0]
        if type(norm) not in norms or before.op != "call_module" or len(before.users) > 1:
            continue
        convolution = modules[before.target]
        if type(convolution) not in convolutions or convolution.padding_mode != "zeros":
            continue
        # One that is used in several places has norms that differ, or none.
        if targets.count(node.target) > 1 or targets.count(before.target) > 1:
            continue
        convolution.__class__ = convolutions[type(convolution)]
        convolution._norm = (norm,)
        norm.__class__ = norms[type(norm)]
        count += 1
    return count
