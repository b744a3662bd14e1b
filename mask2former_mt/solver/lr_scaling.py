"""Learning rate and schedule for another batch size than the config was stated for."""

from __future__ import annotations

import math
from collections.abc import Collection

from detectron2.config import CfgNode

# The learning rate's factor by the ratio of the batch sizes. None: nothing is scaled.
LR_SCALINGS = {"linear": lambda ratio: ratio, "sqrt": math.sqrt, "none": None}

# Counted in iterations, so stretched when an iteration sees fewer images.
_SCHEDULE_KEYS = (
    "SOLVER.MAX_ITER",
    "SOLVER.STEPS",
    "SOLVER.WARMUP_ITERS",
    "SOLVER.CHECKPOINT_PERIOD",
    "TEST.EVAL_PERIOD",
)


def scale_for_batch_size(
    cfg: CfgNode, explicit: Collection[str] = ()
) -> dict[str, tuple[object, object]]:
    """Scales LR and schedule from REFERENCE_IMS_PER_BATCH to IMS_PER_BATCH, in place.

    The number of images seen stays. Afterwards the reference is the batch used, so that a second
    call, or a run from the saved config, changes nothing.

    Args:
        cfg: not frozen, checked.
        explicit: keys that the command line set; they are taken literally.

    Returns:
        Value before and after, by the key that changed: BASE_LR first, then the schedule.

    Source: linear: Goyal et al., "Accurate, Large Minibatch SGD", section 2.1; sqrt: Krizhevsky,
    "One weird trick", section 5.
    """
    solver = cfg.SOLVER
    factor_of = LR_SCALINGS[solver.LR_SCALING]
    ratio = solver.IMS_PER_BATCH / solver.REFERENCE_IMS_PER_BATCH
    if ratio == 1 or factor_of is None:
        return {}
    changes = {}
    for key in ("SOLVER.BASE_LR", *_SCHEDULE_KEYS):
        section, name = key.split(".")
        before = cfg[section][name]
        is_rate = key == "SOLVER.BASE_LR"
        after = before * factor_of(ratio) if is_rate else _stretch(before, ratio)
        if key not in explicit and after != before:
            cfg[section][name] = after
            changes[key] = (before, after)
    solver.REFERENCE_IMS_PER_BATCH = solver.IMS_PER_BATCH
    return changes


def _stretch(count: int | tuple[int, ...], ratio: float) -> int | tuple[int, ...]:
    if isinstance(count, (tuple, list)):
        return tuple(_stretch(c, ratio) for c in count)
    # 0 switches a period off; anything else stays at least one iteration.
    return max(1, round(count / ratio)) if count > 0 else count
