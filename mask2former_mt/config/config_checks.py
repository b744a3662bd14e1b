"""Refuses configs that could only fail later, and warns of keys that have no effect."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import torch
from detectron2.config import CfgNode, get_cfg

from mask2former_mt.config.config_nodes import value_of
from mask2former_mt.config.config_rules import MOST_PIXELS, Rule, count, rule_of_kind, up_to
from mask2former_mt.config.detectron2_keys import READ, keys_without_effect, predicts_by_queries
from mask2former_mt.config.mask2former_keys import KEYS, add_mask2former_mt_config

LOGGER = logging.getLogger("mask2former_mt")


def rules() -> Iterator[tuple[str, Rule]]:
    """The full name of each key that is read, and the rule that its values keep."""
    for section, keys in KEYS.items():
        for name, default, rule in keys:
            yield f"{section}.{name}", rule or rule_of_kind(default)
    for section, rule_of_name in READ.items():
        for name, rule in rule_of_name.items():
            yield f"{section}.{name}" if section else name, rule


def may_hold(key: str, value: object) -> bool:
    """Whether a key is read and `check_config` lets it hold a value."""
    rule = dict(rules()).get(key)
    return rule is not None and rule.holds(value)


def check_config(cfg: CfgNode) -> None:
    """Refuses what could only fail later, or would silently do something else.

    Raises:
        ValueError: names the key, what was expected and what it holds.
    """
    for key, rule in rules():
        value = value_of(cfg, key)
        if not rule.holds(value):
            raise ValueError(f"{key} must be {rule.expected}, got {value!r}")
    _check_model(cfg)
    _check_input(cfg)
    _check_solver(cfg)
    _check_subcategories(cfg)


def _check_model(cfg: CfgNode) -> None:
    former, head = cfg.MODEL.MASK_FORMER, cfg.MODEL.SEM_SEG_HEAD
    if not (former.TEST.INSTANCE_ON or former.TEST.SEMANTIC_ON or former.TEST.PANOPTIC_ON):
        raise ValueError(
            "one of MODEL.MASK_FORMER.TEST.{INSTANCE_ON, SEMANTIC_ON, PANOPTIC_ON} must be True, "
            "else nothing is predicted; got False for all of them"
        )
    if former.HIDDEN_DIM % former.NHEADS:
        raise ValueError(
            f"MODEL.MASK_FORMER.HIDDEN_DIM must be a multiple of NHEADS ({former.NHEADS}), got "
            f"{former.HIDDEN_DIM}"
        )
    if predicts_by_queries(cfg) and head.NAME == "SemSegFPNHead":
        raise ValueError(
            "MODEL.SEM_SEG_HEAD.NAME must be 'MaskFormerHead', or one that predicts as it does, "
            "got 'SemSegFPNHead', detectron2's default"
        )
    num_heads = head.DEFORMABLE_TRANSFORMER_ENCODER_N_HEADS
    if predicts_by_queries(cfg) and head.CONVS_DIM % num_heads:
        raise ValueError(
            "MODEL.SEM_SEG_HEAD.CONVS_DIM must be a multiple of "
            f"DEFORMABLE_TRANSFORMER_ENCODER_N_HEADS ({num_heads}), got {head.CONVS_DIM}"
        )
    if head.NORM == "GN" and head.CONVS_DIM % 32:
        raise ValueError(
            "MODEL.SEM_SEG_HEAD.CONVS_DIM must be a multiple of 32, the groups of MODEL."
            f"SEM_SEG_HEAD.NORM 'GN', got {head.CONVS_DIM}"
        )


def _check_input(cfg: CfgNode) -> None:
    sizes = cfg.INPUT
    if sizes.MIN_SIZE_TRAIN_SAMPLING == "range" and len(sizes.MIN_SIZE_TRAIN) != 2:
        raise ValueError(
            "INPUT.MIN_SIZE_TRAIN must be the smallest and the largest size where INPUT."
            f"MIN_SIZE_TRAIN_SAMPLING is 'range', got {list(sizes.MIN_SIZE_TRAIN)}"
        )
    crop = sizes.CROP
    of_pixels = crop.TYPE in ("absolute", "absolute_range")
    size_rule = count(1, MOST_PIXELS) if of_pixels else up_to(1)
    if not all(map(size_rule.holds, crop.SIZE)):
        raise ValueError(
            f"INPUT.CROP.SIZE must be [height, width], each {size_rule.expected}, where INPUT.CROP."
            f"TYPE is {crop.TYPE!r}, got {list(crop.SIZE)}"
        )
    if crop.TYPE == "absolute_range" and crop.SIZE[0] > crop.SIZE[1]:
        raise ValueError(
            "INPUT.CROP.SIZE must be the smallest and the largest side where INPUT.CROP.TYPE is "
            f"'absolute_range', got {list(crop.SIZE)}"
        )
    if sizes.MIN_SCALE > sizes.MAX_SCALE:
        raise ValueError(
            f"INPUT.MIN_SCALE must be at most INPUT.MAX_SCALE ({sizes.MAX_SCALE}), got "
            f"{sizes.MIN_SCALE}"
        )


def _check_solver(cfg: CfgNode) -> None:
    solver, schedule = cfg.SOLVER, cfg.SOLVER.LR_SCHEDULER_NAME
    if schedule == "WarmupCosineLR" and (
        solver.BASE_LR == 0 or solver.BASE_LR_END > solver.BASE_LR
    ):
        raise ValueError(
            "SOLVER.BASE_LR must be positive and SOLVER.BASE_LR_END at most that, got "
            f"{solver.BASE_LR} and {solver.BASE_LR_END}"
        )
    if schedule == "WarmupStepWithFixedGammaLR" and solver.NUM_DECAYS >= solver.MAX_ITER:
        raise ValueError(
            f"SOLVER.NUM_DECAYS must be less than SOLVER.MAX_ITER ({solver.MAX_ITER}), got "
            f"{solver.NUM_DECAYS}"
        )
    if solver.NESTEROV and solver.MOMENTUM == 0:
        raise ValueError("SOLVER.MOMENTUM must be above 0 where SOLVER.NESTEROV is True, got 0")


def _check_subcategories(cfg: CfgNode) -> None:
    subcategory, num_classes = cfg.MODEL.SUBCATEGORY, cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES
    names, counts = list(subcategory.NAMES), list(subcategory.NUM_CLASSES)
    if len(names) != len(counts):
        raise ValueError(
            f"MODEL.SUBCATEGORY.NAMES and NUM_CLASSES must be equally long, got {names} and "
            f"{counts}"
        )
    unknown = [name for name in subcategory.WITHOUT_NONE if name not in names]
    if names and unknown:
        raise ValueError(
            f"MODEL.SUBCATEGORY.WITHOUT_NONE must hold some of NAMES {names}, got {unknown[0]!r}"
        )
    limits = list(subcategory.APPLIES_TO)
    if names and limits and len(limits) != len(names):
        raise ValueError(
            f"MODEL.SUBCATEGORY.APPLIES_TO must be empty, or a list of classes for each of NAMES "
            f"{names}, got {limits}"
        )
    beyond = [k for classes in limits for k in classes if k >= num_classes > 0]
    if beyond:
        raise ValueError(
            f"MODEL.SUBCATEGORY.APPLIES_TO must hold class indices below MODEL.SEM_SEG_HEAD."
            f"NUM_CLASSES ({num_classes}), got {beyond[0]}"
        )


def require_device(cfg: CfgNode) -> None:
    """Refuses a GPU that PyTorch does not see, for callers that compute.

    Raises:
        ValueError: MODEL.DEVICE is "cuda" or "cuda:N", and there is no such GPU.
    """
    device, seen = torch.device(cfg.MODEL.DEVICE), torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= seen:
        raise ValueError(
            f"MODEL.DEVICE must be one of the {seen} GPUs that PyTorch sees, got "
            f"{cfg.MODEL.DEVICE!r}; 'auto' takes what there is, 'cpu' does without; "
            "python -m mask2former_mt.collect_env says more"
        )


def require_instances(cfg: CfgNode) -> None:
    """Refuses a config whose model predicts no instances, for callers that need them.

    Raises:
        ValueError: INSTANCE_ON is False.
    """
    if not cfg.MODEL.MASK_FORMER.TEST.INSTANCE_ON:
        raise ValueError(
            "MODEL.MASK_FORMER.TEST.INSTANCE_ON must be True: pictures are of instances; semantic "
            "and panoptic output may be on beside them"
        )


def say_what_has_no_effect(cfg: CfgNode) -> None:
    """Warns of keys that a checked config sets and nothing reads."""
    defaults = get_cfg()
    add_mask2former_mt_config(defaults)
    for text in keys_without_effect(cfg, defaults):
        LOGGER.warning(text)
