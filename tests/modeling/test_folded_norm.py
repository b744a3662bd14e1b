"""A frozen norm folded into its convolution: the same function, gradient and names."""

from __future__ import annotations

import copy

import pytest
import torch
from detectron2.config import get_cfg
from detectron2.layers import Conv2d, FrozenBatchNorm2d, ShapeSpec
from detectron2.modeling import build_resnet_backbone
from torch import nn

from mask2former_mt.modeling.backbone.folded_norm import FoldedConv2d, fold_frozen_norms


def convolution(*, bias=False, activation=None, seed=0) -> Conv2d:
    generator = torch.Generator().manual_seed(seed)
    norm = FrozenBatchNorm2d(4)
    for buffer in (norm.weight, norm.bias, norm.running_mean):
        buffer.copy_(torch.randn(4, generator=generator))
    norm.running_var.copy_(torch.rand(4, generator=generator) + 0.5)
    torch.manual_seed(seed)
    return Conv2d(3, 4, 3, padding=1, bias=bias, norm=norm, activation=activation).double()


def folded(module: nn.Module) -> nn.Module:
    module = copy.deepcopy(module)
    assert fold_frozen_norms(module) == 1
    return module


def picture() -> torch.Tensor:
    return torch.randn(2, 3, 5, 6, generator=torch.Generator().manual_seed(1)).double()


def test_a_value_by_hand():
    norm = FrozenBatchNorm2d(1, eps=0.0)
    norm.weight.fill_(3.0), norm.bias.fill_(1.0), norm.running_mean.fill_(4.0)
    norm.running_var.fill_(0.25)
    module = Conv2d(1, 1, 1, bias=False, norm=norm)
    module.weight.data.fill_(2.0)
    # 5 * 2 = 10; (10 - 4) / sqrt(0.25) * 3 + 1 = 37
    x = torch.full((1, 1, 1, 1), 5.0)
    torch.testing.assert_close(folded(module)(x), torch.full((1, 1, 1, 1), 37.0))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("activation", [None, torch.relu])
def test_output_and_gradients_stay(bias, activation):
    plain = convolution(bias=bias, activation=activation)
    ours = folded(plain)
    x = picture()
    results = []
    for module in (plain, ours):
        pixels = x.clone().requires_grad_()
        output = module(pixels)
        output.square().sum().backward()
        results.append([output, pixels.grad, *(p.grad for p in module.parameters())])
    for expected, got in zip(*results, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-10)
    with torch.inference_mode():
        torch.testing.assert_close(ours(x), plain(x), rtol=1e-10, atol=1e-10)


def test_what_is_kept_follows_the_parameters():
    ours = folded(convolution()).eval()
    x = picture()

    def check():
        expected = copy.deepcopy(ours)
        expected.__class__ = Conv2d
        with torch.no_grad():
            torch.testing.assert_close(ours(x), expected(x), rtol=1e-6, atol=1e-6)

    @torch.no_grad()
    def folded_weight():
        return ours.weight_and_bias()[0]

    with torch.inference_mode():
        ours(x)
    kept = folded_weight()
    check()
    assert folded_weight() is kept
    # As an optimizer, a checkpoint and a change of precision do it.
    with torch.no_grad():
        ours.weight.add_(1.0)
    check()
    ours.load_state_dict(convolution(seed=5).state_dict())
    check()
    ours.float()
    x = x.float()
    check()
    assert folded_weight().dtype == torch.float32
    ours.norm.running_mean.add_(2.0)
    check()
    # A weight that is not trained is folded once, also where gradients are.
    ours.weight.requires_grad_(False)
    assert ours.weight_and_bias()[0] is folded_weight()
    # Training does not keep what only inference uses.
    kept = folded_weight()
    ours.train()
    assert folded_weight() is not kept


def test_names_and_classes_of_the_others_stay():
    module = nn.Sequential(
        convolution(),
        Conv2d(4, 4, 1, norm=nn.BatchNorm2d(4)),
        Conv2d(4, 4, 1),
        nn.Conv2d(4, 4, 1),
    )
    names = list(module.state_dict())
    assert fold_frozen_norms(module) == 1
    assert [type(part) for part in module] == [FoldedConv2d, Conv2d, Conv2d, nn.Conv2d]
    assert list(module.state_dict()) == names
    # A second time there is nothing to do.
    assert fold_frozen_norms(module) == 0


def test_a_resnet_50_is_folded_whole():
    cfg = get_cfg()
    cfg.MODEL.RESNETS.NORM = "FrozenBN"
    cfg.MODEL.RESNETS.OUT_FEATURES = ["res2", "res5"]
    plain = build_resnet_backbone(cfg, ShapeSpec(channels=3)).eval()
    ours = copy.deepcopy(plain)
    # 1 in the stem, 3 + 4 + 6 + 3 blocks of 3, 4 shortcuts.
    assert fold_frozen_norms(ours) == 1 + 16 * 3 + 4
    x = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected, got = plain(x), ours(x)
    for name in expected:
        torch.testing.assert_close(got[name], expected[name], rtol=1e-4, atol=1e-4)
        assert got[name].abs().max() > 0


def test_it_compiles():
    ours = folded(convolution())
    x = picture()
    expected = ours(x)
    compiled = torch.compile(ours, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), expected)
    with torch.no_grad():
        torch.testing.assert_close(compiled(x), expected)
