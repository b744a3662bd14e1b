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
        # In a tuple, since the norm is registered in the model already and not part of this module.
        return self._norm[0]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Convolves and normalises: float (B, C_in, H, W) to (B, C_out, H', W')."""
        return self._conv_forward(x, *self.weight_and_bias())


class FoldedTimmConv2dSame(FoldedTimmConv2d):
    """A folded convolution of the timm class that pads as TensorFlow does, by the input's size."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pads, convolves and normalises: float (B, C_in, H, W) to (B, C_out, H', W')."""
        from timm.layers import pad_same

        x = pad_same(x, self.kernel_size, self.stride, self.dilation)
        return F.conv2d(x, *self.weight_and_bias(), self.stride, 0, self.dilation, self.groups)


class FoldedAwayNorm(nn.Module):
    """A frozen norm that is folded into its convolution, which reads its buffers."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Returns x, float (B, C, H, W), unchanged."""
        return x


class FoldedAwayNormAct(FoldedAwayNorm):
    """A folded frozen norm of which the activation is left."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Activates x, float (B, C, H, W)."""
        return self.act(self.drop(x))


def fold_timm_norms(body: nn.Module) -> int:
    """Folds frozen norms into the convolutions whose output goes to the norm alone.

    Args:
        body: a timm model, changed in place: the classes of these modules and nothing else.

    Returns:
        Number of folded norms.
    """
    from timm.layers import Conv2dSame, FrozenBatchNormAct2d

    convolutions = {nn.Conv2d: FoldedTimmConv2d, Conv2dSame: FoldedTimmConv2dSame}
    norms = {FrozenBatchNorm2d: FoldedAwayNorm, FrozenBatchNormAct2d: FoldedAwayNormAct}
    modules = dict(body.named_modules())
    # Only these very classes: a subclass may compute something else.
    if not any(type(module) in norms for module in modules.values()):
        return 0

    class Tracer(fx.Tracer):
        def is_leaf_module(self, module: nn.Module, name: str) -> bool:
            known = type(module) in convolutions or type(module) in norms
            return known or super().is_leaf_module(module, name)

    try:
        graph = Tracer().trace(body)
    # The model's code may do anything that cannot be traced: then it runs unfolded.
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
        # A module that is used in several places may need another norm, or none, in each.
        if targets.count(node.target) > 1 or targets.count(before.target) > 1:
            continue
        convolution.__class__ = convolutions[type(convolution)]
        convolution._norm = (norm,)
        norm.__class__ = norms[type(norm)]
        count += 1
    return count
