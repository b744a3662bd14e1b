"""AdamW with few parameter groups, and the published full-model gradient clipping."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

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


def scales_gradients(cfg: CfgNode) -> bool:
    """Whether mixed precision needs scaled gradients; bfloat16 has the range of float32."""
    return cfg.SOLVER.AMP.ENABLED and cfg.SOLVER.AMP.DTYPE != "bfloat16"


def _adamw(groups: list[dict], cfg: CfgNode) -> torch.optim.Optimizer:
    # A gradient scaler leaves unscaling to fused optimizers, inside their step: the clipping of
    # `build_optimizer`, which runs before it, would measure gradients thousands of times too long.
    kind = {"foreach": True} if scales_gradients(cfg) else {"fused": True}
    return torch.optim.AdamW(groups, lr=cfg.SOLVER.BASE_LR, **kind)


def _sgd(groups: list[dict], cfg: CfgNode) -> torch.optim.Optimizer:
    solver = cfg.SOLVER
    return torch.optim.SGD(
        groups, lr=solver.BASE_LR, momentum=solver.MOMENTUM, nesterov=solver.NESTEROV
    )


OPTIMIZERS = {"ADAMW": _adamw, "SGD": _sgd}


def _clip_full_model(parameters: list[nn.Parameter], clip: CfgNode) -> None:
    nn.utils.clip_grad_norm_(parameters, clip.CLIP_VALUE, clip.NORM_TYPE)


def _clip_each_norm(parameters: list[nn.Parameter], clip: CfgNode) -> None:
    for parameter in parameters:
        nn.utils.clip_grad_norm_([parameter], clip.CLIP_VALUE, clip.NORM_TYPE)


def _clip_values(parameters: list[nn.Parameter], clip: CfgNode) -> None:
    nn.utils.clip_grad_value_(parameters, clip.CLIP_VALUE)


# By the norm over all parameters, by the norm of each parameter, or each number by itself.
CLIPPERS = {"full_model": _clip_full_model, "norm": _clip_each_norm, "value": _clip_values}


def build_optimizer(cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
    """The optimizer of SOLVER.OPTIMIZER; clips before each step as SOLVER.CLIP_GRADIENTS says."""
    groups = parameter_groups(cfg, model)
    optimizer = OPTIMIZERS[cfg.SOLVER.OPTIMIZER](groups, cfg)
    clip = cfg.SOLVER.CLIP_GRADIENTS
    if clip.ENABLED and clip.CLIP_VALUE > 0:
        clip_gradients = CLIPPERS[clip.CLIP_TYPE]
        parameters = [p for group in groups for p in group["params"]]
        # By then a gradient scaler has unscaled the gradients of an optimizer that is not fused.
        optimizer.register_step_pre_hook(lambda *_: clip_gradients(parameters, clip))
    return optimizer


def check_state(saved: Mapping, own: Mapping) -> None:
    """Refuses the state of a training whose optimizer was another.

    Args:
        saved, own: states of detectron2's trainers, with the optimizer's under "optimizer" and,
            where gradients are scaled, the scaler's under "grad_scaler".

    Raises:
        ValueError: names the config keys that must be as they were.
    """
    remedy = "set them as in the config.yaml saved beside the checkpoint, or train anew from it"
    groups, own_groups = saved["optimizer"]["param_groups"], own["optimizer"]["param_groups"]
    kinds = ["ADAMW" if "betas" in of[0] else "SGD" for of in (groups, own_groups)]
    if kinds[0] != kinds[1]:
        raise ValueError(
            f"the checkpoint was trained with SOLVER.OPTIMIZER {kinds[0]!r}, got {kinds[1]!r}; "
            f"{remedy} (MODEL.WEIGHTS)"
        )
    sizes, own_sizes = ([len(group["params"]) for group in of] for of in (groups, own_groups))
    if sizes != own_sizes:
        raise ValueError(
            f"the checkpoint's optimizer has groups of {sizes} parameters, this config makes "
            f"{own_sizes}: MODEL.BACKBONE.FREEZE_AT, SOLVER.BACKBONE_MULTIPLIER and SOLVER."
            f"WEIGHT_DECAY* make the groups; {remedy} (MODEL.WEIGHTS)"
        )
    if ("grad_scaler" in saved) != ("grad_scaler" in own):
        raise ValueError(
            f"the checkpoint was trained {'with' if 'grad_scaler' in saved else 'without'} "
            f"gradients scaled for float16; SOLVER.AMP and MODEL.DEVICE decide that: {remedy} "
            "(MODEL.WEIGHTS)"
        )


def match_memory_layout(optimizer: torch.optim.Optimizer) -> None:
    """Gives the optimizer's state the memory layout of its parameters.

    Fused AdamW ignores strides and pairs numbers by their place in memory. A checkpoint of a model
    that was not yet channels-last holds its moments in another order.
    """
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if (
                isinstance(value, torch.Tensor)
                and value.shape == parameter.shape
                and value.stride() != parameter.stride()
            ):
                state[name] = torch.empty_like(parameter).copy_(value)
