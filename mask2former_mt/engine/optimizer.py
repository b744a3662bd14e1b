"""AdamW with few parameter groups, and the published full-model gradient clipping."""

from __future__ import annotations

from collections import defaultdict

import torch
from detectron2.config import CfgNode
from torch import nn

_NORMS = (nn.LayerNorm, nn.GroupNorm, nn.BatchNorm1d, nn.BatchNorm2d, nn.SyncBatchNorm)


def parameter_groups(cfg: CfgNode, model: nn.Module) -> list[dict]:
    """Groups trainable parameters by learning rate and weight decay.

    Backbone parameters learn at BASE_LR * BACKBONE_MULTIPLIER; norms decay by WEIGHT_DECAY_NORM,
    embeddings by WEIGHT_DECAY_EMBED, everything else by WEIGHT_DECAY.

    Returns:
        Groups for a torch optimizer, at most six.

    Source: Mask2Former's published training settings.
    """
    solver = cfg.SOLVER
    groups, seen = defaultdict(list), set()
    for module_name, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad or parameter in seen:
                continue
            seen.add(parameter)
            full_name = f"{module_name}.{name}"
            lr = solver.BASE_LR
            if "backbone" in full_name.split("."):
                lr *= solver.BACKBONE_MULTIPLIER
            decay = solver.WEIGHT_DECAY
            if isinstance(module, _NORMS):
                decay = solver.WEIGHT_DECAY_NORM
            elif isinstance(module, nn.Embedding):
                decay = solver.WEIGHT_DECAY_EMBED
            elif "relative_position_bias_table" in name or "absolute_pos_embed" in name:
                decay = 0.0
            groups[lr, decay].append(parameter)
    return [
        {"params": parameters, "lr": lr, "weight_decay": decay}
        for (lr, decay), parameters in groups.items()
    ]


def build_optimizer(cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
    """The optimizer of `SOLVER.OPTIMIZER`, clipping gradients as `SOLVER.CLIP_GRADIENTS` says.

    Clipping runs before each step, by the norm over all parameters ("full_model"), or per
    parameter ("norm", "value").

    Raises:
        ValueError: an unknown optimizer or clip type.
    """
    solver = cfg.SOLVER
    groups = parameter_groups(cfg, model)
    if solver.OPTIMIZER == "ADAMW":
        # A gradient scaler leaves unscaling to fused optimizers, inside their step: the clipping
        # below, which runs before it, would measure gradients that are thousands of times too long.
        scaled = solver.AMP.ENABLED and solver.AMP.DTYPE != "bfloat16"
        kind = {"foreach": True} if scaled else {"fused": True}
        optimizer = torch.optim.AdamW(groups, lr=solver.BASE_LR, **kind)
    elif solver.OPTIMIZER == "SGD":
        optimizer = torch.optim.SGD(groups, lr=solver.BASE_LR, momentum=solver.MOMENTUM)
    else:
        raise ValueError(f"SOLVER.OPTIMIZER must be 'ADAMW' or 'SGD', got {solver.OPTIMIZER!r}")
    clip = solver.CLIP_GRADIENTS
    if clip.ENABLED and clip.CLIP_VALUE > 0:
        parameters = [p for group in groups for p in group["params"]]
        clippers = {
            "full_model": lambda: nn.utils.clip_grad_norm_(
                parameters, clip.CLIP_VALUE, clip.NORM_TYPE
            ),
            "norm": lambda: [
                nn.utils.clip_grad_norm_([p], clip.CLIP_VALUE, clip.NORM_TYPE) for p in parameters
            ],
            "value": lambda: nn.utils.clip_grad_value_(parameters, clip.CLIP_VALUE),
        }
        if clip.CLIP_TYPE not in clippers:
            raise ValueError(
                f"SOLVER.CLIP_GRADIENTS.CLIP_TYPE must be one of {sorted(clippers)}, "
                f"got {clip.CLIP_TYPE!r}"
            )
        clipper = clippers[clip.CLIP_TYPE]
        # By then a gradient scaler has unscaled the gradients (see above).
        optimizer.register_step_pre_hook(lambda *_: _discard(clipper()))
    return optimizer


def match_memory_layout(optimizer: torch.optim.Optimizer) -> None:
    """Lays the optimizer's state out in memory as its parameters are.

    Fused AdamW goes through memory as it lies, whatever the strides say; a checkpoint that was made
    before a model went channels-last has its moments in another order.
    """
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if (
                isinstance(value, torch.Tensor)
                and value.shape == parameter.shape
                and value.stride() != parameter.stride()
            ):
                state[name] = torch.empty_like(parameter).copy_(value)


def _discard(_: object) -> None:
    """A step hook's result would replace the step's arguments."""
