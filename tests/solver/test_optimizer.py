"""Parameter groups of the optimizer, and its part in clipping and resuming."""

from __future__ import annotations

import pytest
import torch
from detectron2.config import CfgNode, get_cfg
from torch import nn

from mask2former_mt.config import add_mask2former_mt_config
from mask2former_mt.solver.optimizer import (
    build_optimizer,
    match_memory_layout,
    parameter_groups,
)


class Model(nn.Module):
    """One parameter of each kind in the backbone and outside of it."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.ModuleDict(
            {"conv": nn.Conv2d(1, 2, 1), "norm": nn.BatchNorm2d(2), "place": nn.Embedding(3, 2)}
        )
        self.head = nn.ModuleDict(
            {"linear": nn.Linear(2, 3), "norm": nn.LayerNorm(3), "query": nn.Embedding(4, 2)}
        )
        self.shared = self.head["linear"]


def config(**solver) -> CfgNode:
    cfg = get_cfg()
    add_mask2former_mt_config(cfg)
    cfg.SOLVER.BASE_LR = 0.01
    cfg.SOLVER.BACKBONE_MULTIPLIER = 0.1
    cfg.SOLVER.WEIGHT_DECAY = 0.05
    cfg.SOLVER.WEIGHT_DECAY_NORM = 0.02
    cfg.SOLVER.WEIGHT_DECAY_EMBED = 0.03
    for key, value in solver.items():
        node, *rest = key.split("__")
        if rest:
            cfg.SOLVER[node][rest[0]] = value
        else:
            cfg.SOLVER[node] = value
    return cfg


def settings(model: nn.Module, cfg: CfgNode) -> dict[str, tuple[float, float]]:
    """Learning rate and weight decay of each parameter by name."""
    by_id = {
        id(p): (group["lr"], group["weight_decay"])
        for group in parameter_groups(cfg, model)
        for p in group["params"]
    }
    return {name: by_id[id(p)] for name, p in model.named_parameters() if id(p) in by_id}


def test_each_kind_of_parameter_has_its_rate_and_decay():
    model = Model()
    slow = pytest.approx(0.001)  # 0.01 * 0.1
    assert settings(model, config()) == {
        "backbone.conv.weight": (slow, 0.05),
        "backbone.conv.bias": (slow, 0.05),
        "backbone.norm.weight": (slow, 0.02),
        "backbone.norm.bias": (slow, 0.02),
        "backbone.place.weight": (slow, 0.03),
        "head.linear.weight": (0.01, 0.05),
        "head.linear.bias": (0.01, 0.05),
        "head.norm.weight": (0.01, 0.02),
        "head.norm.bias": (0.01, 0.02),
        "head.query.weight": (0.01, 0.03),
    }


def test_groups_are_few_and_hold_each_trained_parameter_once():
    model = Model()
    groups = parameter_groups(config(), model)
    assert len(groups) == 6  # 2 rates times 3 decays
    held = [id(p) for group in groups for p in group["params"]]
    # The shared layer counts once.
    assert sorted(held) == sorted(id(p) for p in model.parameters())
    # Norms and embeddings that decay alike share a group: 2 rates times 2 decays.
    assert len(parameter_groups(config(WEIGHT_DECAY_EMBED=0.02), model)) == 4
    model.backbone["conv"].requires_grad_(False)
    names = {name for name, _ in model.named_parameters()}
    frozen = {"backbone.conv.weight", "backbone.conv.bias"}
    assert set(settings(model, config())) == names - frozen


@pytest.mark.parametrize("amp", [False, True])
def test_clipping_with_a_gradient_scaler_measures_unscaled_gradients(amp):
    """A scaler leaves unscaling to fused optimizers: inside their step, after the clipping."""
    cfg = config(
        AMP__ENABLED=amp,
        CLIP_GRADIENTS__ENABLED=True,
        CLIP_GRADIENTS__CLIP_TYPE="full_model",
        CLIP_GRADIENTS__CLIP_VALUE=1.0,
    )
    layer = nn.Linear(2, 1, bias=False)
    optimizer = build_optimizer(cfg, layer)
    seen = []
    # Hooks run in the order of registration: this one sees what the step is given.
    optimizer.register_step_pre_hook(lambda *_: seen.append(layer.weight.grad.clone()))
    loss = layer(torch.tensor([[0.3, 0.4]])).sum()  # its gradient is [0.3, 0.4], of norm 0.5
    if amp:
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
    else:
        loss.backward()
        optimizer.step()
    torch.testing.assert_close(seen[0], torch.tensor([[0.3, 0.4]]))


def test_moments_of_another_memory_layout_are_rearranged():
    def convolution(memory_format):
        torch.manual_seed(0)
        return torch.nn.Conv2d(3, 4, 3, bias=False).to(memory_format=memory_format)

    def step(conv, optimizer):
        optimizer.zero_grad()
        generator = torch.Generator().manual_seed(1)
        conv(torch.randn(2, 3, 8, 8, generator=generator)).square().sum().backward()
        optimizer.step()

    weights = {}
    for memory_format in (torch.contiguous_format, torch.channels_last):
        conv = convolution(torch.contiguous_format)
        optimizer = torch.optim.AdamW(conv.parameters(), lr=0.1, fused=True)
        step(conv, optimizer)
        # A run that goes on with the weights, and the moments, of the first one.
        other = convolution(memory_format)
        other.load_state_dict(conv.state_dict())
        resumed = torch.optim.AdamW(other.parameters(), lr=0.1, fused=True)
        resumed.load_state_dict(optimizer.state_dict())
        match_memory_layout(resumed)
        moment = resumed.state[other.weight]["exp_avg"]
        assert moment.stride() == other.weight.stride()
        torch.testing.assert_close(moment, optimizer.state[conv.weight]["exp_avg"])
        step(other, resumed)
        weights[memory_format] = other.weight.detach()
    torch.testing.assert_close(*weights.values(), atol=1e-5, rtol=1e-5)
