"""Frozen norms of timm models folded into their convolutions: the same function and names."""

from __future__ import annotations

import copy
import logging

import pytest
import timm
import torch
from timm.layers import Conv2dSame, FrozenBatchNormAct2d, freeze_batch_norm_2d
from torch import nn
from torchvision.ops.misc import FrozenBatchNorm2d

from mask2former_mt.modeling.backbone.folded_timm import (
    FoldedAwayNormAct,
    FoldedTimmConv2d,
    FoldedTimmConv2dSame,
    fold_timm_norms,
)


def random_norms(module: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    for part in module.modules():
        if hasattr(part, "running_var"):
            for buffer in (part.weight, part.bias, part.running_mean):
                buffer.copy_(0.1 * torch.randn(buffer.shape, generator=generator))
            part.weight.add_(1.0)
            part.running_var.copy_(torch.rand(part.running_var.shape, generator=generator) + 0.5)
    return module


def picture(side: int) -> torch.Tensor:
    return torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(1)).double()


# RepVGG has 61 norms, of which some come after a sum or after no convolution.
@pytest.mark.parametrize(
    ("name", "count"), [("tf_efficientnet_lite0", 48), ("resnet18", 20), ("repvgg_a0", 44)]
)
def test_whole_models_give_the_same_maps_and_gradients(name, count):
    torch.manual_seed(0)
    plain = freeze_batch_norm_2d(timm.create_model(name, features_only=True))
    plain = random_norms(plain).double().eval()
    ours = copy.deepcopy(plain)
    assert fold_timm_norms(ours) == count
    assert fold_timm_norms(ours) == 0  # a second time there is nothing to do
    assert list(ours.state_dict()) == list(plain.state_dict())
    assert dict(ours.named_modules()).keys() == dict(plain.named_modules()).keys()
    results = []
    for module in (plain, ours, copy.deepcopy(ours)):
        maps = module(picture(65))  # odd: TensorFlow's padding is not the same on both sides
        sum(m.square().mean() for m in maps).backward()
        results.append([*maps, *(p.grad for p in module.parameters())])
    for other in results[1:]:
        for expected, got in zip(results[0], other, strict=True):
            torch.testing.assert_close(got, expected, rtol=1e-8, atol=1e-10)
    assert results[0][0].abs().max() > 0


class Block(nn.Module):
    """Convolutions whose norms can be folded, and others whose cannot."""

    def __init__(self) -> None:
        super().__init__()
        self.first = Conv2dSame(3, 4, 3, stride=2)
        self.first_norm = FrozenBatchNormAct2d(4)
        self.shared = nn.Conv2d(4, 4, 1)
        self.norms = nn.ModuleList(FrozenBatchNorm2d(4) for _ in range(2))
        self.seen = nn.Conv2d(4, 4, 1)
        self.seen_norm = FrozenBatchNorm2d(4)
        self.reflecting = nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect")
        self.reflecting_norm = FrozenBatchNorm2d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first_norm(self.first(x))
        for norm in self.norms:
            x = norm(self.shared(x))
        seen = self.seen(x)
        x = seen + self.seen_norm(seen)
        return self.reflecting_norm(self.reflecting(x))


def test_only_what_stands_alone_is_folded():
    plain = random_norms(Block()).double()
    ours = copy.deepcopy(plain)
    assert fold_timm_norms(ours) == 1
    assert type(ours.first) is FoldedTimmConv2dSame
    assert type(ours.first_norm) is FoldedAwayNormAct
    assert not any(isinstance(part, FoldedTimmConv2d) for part in list(ours.children())[2:])
    torch.testing.assert_close(ours(picture(9)), plain(picture(9)), rtol=1e-10, atol=1e-10)


def test_a_model_that_cannot_be_followed_runs_as_it_is(caplog):
    class Choosing(nn.Sequential):
        def forward(self, x):
            return super().forward(x) if x.sum() > 0 else x

    module = Choosing(nn.Conv2d(3, 4, 1), FrozenBatchNorm2d(4))
    with caplog.at_level(logging.INFO, logger="mask2former_mt"):
        assert fold_timm_norms(module) == 0
    assert "slower" in caplog.text
    assert type(module[0]) is nn.Conv2d


def test_it_compiles():
    ours = random_norms(nn.Sequential(nn.Conv2d(3, 4, 1), FrozenBatchNorm2d(4))).double()
    fold_timm_norms(ours)
    expected = ours(picture(5))
    compiled = torch.compile(ours, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(picture(5)), expected)
