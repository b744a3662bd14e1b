"""Each config key of solver and input changes the optimizer, the schedule, the augmentation."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from config_tools import changed, looking, tiny_config
from detectron2.data import transforms as T
from detectron2.solver import build_lr_scheduler
from torch import nn

from mask2former_mt.data.augment import build_test_augmentations, build_train_augmentations
from mask2former_mt.data.mapper import MultiTaskInstanceMapper
from mask2former_mt.solver.optimizer import build_optimizer
from mask2former_mt.structures import SubcategorySpec


def optimized(cfg):
    """The optimizer, and a model with the names and kinds of modules that it distinguishes."""
    model = nn.ModuleDict(
        {
            "backbone": nn.Linear(2, 2),
            "head": nn.Linear(2, 2),
            "norm": nn.LayerNorm(2),
            "embed": nn.Embedding(2, 2),
        }
    )
    return build_optimizer(cfg, model), model


def setting(module: str, name: str) -> Callable:
    """Looks at what the optimizer does with the weight of a module."""

    def look(built) -> float:
        optimizer, model = built
        weight = model[module].weight
        (group,) = [g for g in optimizer.param_groups if any(p is weight for p in g["params"])]
        return group[name]

    return look


def used_gradient(built) -> list[float]:
    """The head's gradients [[3, 4], [0, 0]] and [1, 0] after clipping, as one list."""
    optimizer, model = built
    head = model["head"]
    head.weight.grad = torch.tensor([[3.0, 4.0], [0.0, 0.0]])
    head.bias.grad = torch.tensor([1.0, 0.0])
    optimizer.step()
    return [round(float(x), 4) for p in (head.weight, head.bias) for x in p.grad.flatten()]


def rates(cfg) -> list[float]:
    """The learning rate of the head's weight over six iterations, as a share of BASE_LR."""
    optimizer, model = optimized(cfg)
    scheduler = build_lr_scheduler(cfg, optimizer)
    shares = []
    for _ in range(6):
        lr = setting("head", "lr")((optimizer, model))
        shares.append(round(lr / cfg.SOLVER.BASE_LR, 4))
        optimizer.step()
        scheduler.step()
    return shares


def kinds(augmentations) -> list[str]:
    return [type(a).__name__ for a in augmentations]


def of_the(kind: type, name: str) -> Callable:
    return lambda augmentations: next(
        getattr(a, name) for a in augmentations if isinstance(a, kind)
    )


def mapper(cfg) -> MultiTaskInstanceMapper:
    return MultiTaskInstanceMapper(cfg, is_train=True, spec=SubcategorySpec())


# Key, new value, what to look at in what is built, and what it must be then.
OPTIMIZER_ROWS = [
    ("SOLVER.OPTIMIZER", "SGD", lambda b: type(b[0]).__name__, "SGD"),
    ("SOLVER.OPTIMIZER", "SGD", lambda b: b[0].defaults.get("momentum"), 0.9),
    ("SOLVER.OPTIMIZER", "SGD", lambda b: b[0].defaults.get("nesterov"), False),
    ("SOLVER.BASE_LR", 0.5, setting("head", "lr"), 0.5),
    # BASE_LR is 0.001.
    ("SOLVER.BACKBONE_MULTIPLIER", 0.5, setting("backbone", "lr"), 0.0005),
    ("SOLVER.WEIGHT_DECAY", 0.5, setting("head", "weight_decay"), 0.5),
    ("SOLVER.WEIGHT_DECAY_NORM", 0.5, setting("norm", "weight_decay"), 0.5),
    ("SOLVER.WEIGHT_DECAY_EMBED", 0.5, setting("embed", "weight_decay"), 0.5),
    ("SOLVER.AMP.ENABLED", True, lambda b: b[0].defaults["fused"], None),
    # The gradients' norm is sqrt(9 + 16 + 1) = 5.099; CLIP_VALUE is 1.
    ("SOLVER.CLIP_GRADIENTS.ENABLED", False, used_gradient, [3, 4, 0, 0, 1, 0]),
    ("SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "norm", used_gradient, [0.6, 0.8, 0, 0, 1, 0]),
    ("SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "value", used_gradient, [1, 1, 0, 0, 1, 0]),
    ("SOLVER.CLIP_GRADIENTS.CLIP_VALUE", 0.0, used_gradient, [3, 4, 0, 0, 1, 0]),  # off
    ("SOLVER.CLIP_GRADIENTS.CLIP_VALUE", 6.0, used_gradient, [3, 4, 0, 0, 1, 0]),
    # 2 / 5.099 = 0.39223 times each.
    ("SOLVER.CLIP_GRADIENTS.CLIP_VALUE", 2.0, used_gradient, [1.1767, 1.5689, 0, 0, 0.3922, 0]),
    # The 1-norm is 3 + 4 + 1 = 8.
    ("SOLVER.CLIP_GRADIENTS.NORM_TYPE", 1.0, used_gradient, [0.375, 0.5, 0, 0, 0.125, 0]),
]
# With SOLVER.OPTIMIZER SGD.
SGD_ROWS = [
    ("SOLVER.NESTEROV", True, lambda b: b[0].defaults["nesterov"]),
    ("SOLVER.MOMENTUM", 0.5, lambda b: b[0].defaults["momentum"]),
]
# MAX_ITER 100, constant otherwise.
SCHEDULE_ROWS = [
    ("SOLVER.STEPS", (2, 4), list, [1, 1, 0.1, 0.1, 0.01, 0.01]),
    ("SOLVER.WARMUP_ITERS", 2, list, [0.001, 0.5005, 1, 1, 1, 1]),
    (
        *("SOLVER.LR_SCHEDULER_NAME", "WarmupCosineLR"),
        *(list, [1, 0.9998, 0.999, 0.9978, 0.9961, 0.9938]),
    ),
]
TRAIN_ROWS = [
    ("INPUT.DATASET_MAPPER_NAME", "coco_instance_lsj", kinds, ["ResizeScale", "FixedSizeCrop"]),
    ("INPUT.COLOR_AUG_SSD", True, len, 4),  # three of colour beside the resize
    ("INPUT.RANDOM_FLIP", "horizontal", kinds, ["ResizeShortestEdge", "RandomFlip"]),
    ("INPUT.MIN_SIZE_TRAIN", (40, 50), of_the(T.ResizeShortestEdge, "short_edge_length"), (40, 50)),
    ("INPUT.MAX_SIZE_TRAIN", 90, of_the(T.ResizeShortestEdge, "max_size"), 90),
    (
        "INPUT.AUGMENTATIONS",
        [{"name": "flip"}, {"name": "crop", "size": 50}],
        kinds,
        ["RandomFlip", "FixedSizeCrop"],
    ),
]
LSJ_ROWS = [
    ("INPUT.IMAGE_SIZE", 96, of_the(T.FixedSizeCrop, "crop_size"), (96, 96)),
    ("INPUT.MIN_SCALE", 0.5, of_the(T.ResizeScale, "min_scale"), 0.5),
    ("INPUT.MAX_SCALE", 1.5, of_the(T.ResizeScale, "max_scale"), 1.5),
]
TEST_ROWS = [
    ("INPUT.MIN_SIZE_TEST", 40, of_the(T.ResizeShortestEdge, "short_edge_length"), (40, 40)),
    ("INPUT.MAX_SIZE_TEST", 90, of_the(T.ResizeShortestEdge, "max_size"), 90),
]
MAPPER_ROWS = [
    ("INPUT.FORMAT", "BGR", "image_format", "BGR"),
    ("INPUT.SIZE_DIVISIBILITY", 32, "size_divisibility", 32),
    ("INPUT.MIN_VISIBLE", 0.3, "targets.min_visible", 0.3),
    ("INPUT.MASK_OVERLAP", "last", "targets.mask_overlap", "last"),
    ("SEED", 17, "seed", 17),
]
# What is built, the key that is set beforehand, and the rows.
BUILT = (
    (optimized, (), OPTIMIZER_ROWS),
    (optimized, ("SOLVER.OPTIMIZER", "SGD"), [(*row, row[1]) for row in SGD_ROWS]),
    (rates, ("SOLVER.MAX_ITER", 100), SCHEDULE_ROWS),
    (build_train_augmentations, (), TRAIN_ROWS),
    (build_train_augmentations, ("INPUT.DATASET_MAPPER_NAME", "coco_instance_lsj"), LSJ_ROWS),
    (build_test_augmentations, (), TEST_ROWS),
    (mapper, (), MAPPER_ROWS),
)
TRAINING_ROWS = [row for _, _, rows in BUILT for row in rows]


@pytest.mark.parametrize(
    ("build", "before", "key", "value", "look", "expected"),
    [(build, before, *row) for build, before, rows in BUILT for row in rows],
    ids=[row[0] for row in TRAINING_ROWS],
)
def test_a_key_changes_what_is_built(build, before, key, value, look, expected):
    cfg, look = changed(*before) if before else tiny_config(), looking(look)
    assert look(build(cfg)) != expected
    assert look(build(changed(key, value, cfg))) == expected
