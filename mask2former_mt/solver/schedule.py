"""Learning-rate schedules: detectron2's, and the published polynomial one."""

from __future__ import annotations

import logging

import torch
from detectron2.config import CfgNode
from detectron2.solver import LRMultiplier
from detectron2.solver import build_lr_scheduler as build_by_detectron2
from detectron2.solver.lr_scheduler import LRScheduler
from fvcore.common.param_scheduler import ParamScheduler

LOGGER = logging.getLogger("mask2former_mt")

# Of SOLVER.LR_SCHEDULER_NAME; detectron2 implements all but the last.
SCHEDULES = (
    "WarmupMultiStepLR",
    "WarmupCosineLR",
    "WarmupStepWithFixedGammaLR",
    "WarmupPolyLR",
)


class WarmupPoly(ParamScheduler):
    """Polynomial decay to zero, times a factor that rises to 1 at the beginning.

    Args:
        power: exponent of the share of the training that is left.
        constant_ending: after the warm-up the factor falls no further than this; 0: to zero.
        warmup_length: share of the training, in [0, 1], in which the factor rises.
        warmup_factor: factor at the beginning.
        warmup_method: "linear", or "constant": `warmup_factor` until the warm-up ends.

    Source: Mask2Former's published settings for ADE20K and Cityscapes (WarmupPolyLR of DeepLab).
    """

    def __init__(
        self,
        *,
        power: float,
        constant_ending: float,
        warmup_length: float,
        warmup_factor: float,
        warmup_method: str,
    ) -> None:
        self.power = power
        self.constant_ending = constant_ending
        self.warmup_length = warmup_length
        self.warmup_factor = warmup_factor
        self.warmup_method = warmup_method

    def __call__(self, where: float) -> float:
        """Factor on the base learning rate at `where`, the share of the training done in [0, 1]."""
        decayed = (1 - where) ** self.power
        if where >= self.warmup_length:
            return max(decayed, self.constant_ending)
        done = where / self.warmup_length if self.warmup_method == "linear" else 0.0
        return decayed * (self.warmup_factor * (1 - done) + done)


def build_lr_scheduler(cfg: CfgNode, optimizer: torch.optim.Optimizer) -> LRScheduler:
    """The schedule that SOLVER.LR_SCHEDULER_NAME names, one of `SCHEDULES`.

    Steps that coincide count once, and those behind MAX_ITER not at all: a schedule that is scaled
    for a larger batch may have both.
    """
    solver = cfg.SOLVER
    if solver.LR_SCHEDULER_NAME != "WarmupPolyLR":
        cfg = cfg.clone()
        cfg.defrost()
        cfg.SOLVER.STEPS = tuple(sorted({n for n in solver.STEPS if n < solver.MAX_ITER}))
        if tuple(solver.STEPS) != cfg.SOLVER.STEPS:
            LOGGER.warning(
                f"SOLVER.STEPS {tuple(solver.STEPS)} are {cfg.SOLVER.STEPS} in a training of "
                f"SOLVER.MAX_ITER {solver.MAX_ITER} iterations"
            )
        return build_by_detectron2(cfg, optimizer)
    multiplier = WarmupPoly(
        power=solver.POLY_LR_POWER,
        constant_ending=solver.POLY_LR_CONSTANT_ENDING,
        warmup_length=min(solver.WARMUP_ITERS / solver.MAX_ITER, 1.0),
        warmup_factor=solver.WARMUP_FACTOR,
        warmup_method=solver.WARMUP_METHOD,
    )
    return LRMultiplier(optimizer, multiplier, max_iter=solver.MAX_ITER)
