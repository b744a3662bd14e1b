"""Learning rate and schedule for another batch size than the config was stated for."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection

from detectron2.config import CfgNode

# Counted in iterations, so stretched when an iteration sees fewer images.
_SCHEDULE_KEYS = (
    "SOLVER.MAX_ITER",
    "SOLVER.STEPS",
    "SOLVER.WARMUP_ITERS",
    "SOLVER.CHECKPOINT_PERIOD",
    "TEST.EVAL_PERIOD",
)


@dataclasses.dataclass(frozen=True)
class Change:
    """One key that scaling changed."""

    key: str
    before: object
    after: object

    def __str__(self) -> str:
        return f"{self.key}: {self.before} -> {self.after}"


def scale_for_batch_size(cfg: CfgNode, explicit: Collection[str] = ()) -> list[Change]:
    """Scales LR and schedule from REFERENCE_IMS_PER_BATCH to IMS_PER_BATCH, in place.

    The number of images seen stays. Afterwards the reference is the batch used, so that a second
    call, or a run from the saved config, changes nothing.

    Args:
        cfg: not frozen.
        explicit: keys that the command line set; they are taken literally.

    Returns:
        What changed, in the order BASE_LR, then the schedule.

    Raises:
        ValueError: an unknown SOLVER.LR_SCALING.

    Source: linear: Goyal et al., "Accurate, Large Minibatch SGD", section 2.1; sqrt: Krizhevsky,
    "One weird trick", section 5.
    """
    solver = cfg.SOLVER
    if solver.LR_SCALING not in ("linear", "sqrt", "none"):
        raise ValueError(
            f"SOLVER.LR_SCALING must be 'linear', 'sqrt' or 'none', got {solver.LR_SCALING!r}"
        )
    ratio = solver.IMS_PER_BATCH / solver.REFERENCE_IMS_PER_BATCH
    if ratio == 1 or solver.LR_SCALING == "none":
        return []
    changes = []

    def change(key: str, scale) -> None:
        if key in explicit:
            return
        section, name = key.split(".")
        before = cfg[section][name]
        after = scale(before)
        if after != before:
            cfg[section][name] = after
            changes.append(Change(key, before, after))

    change(
        "SOLVER.BASE_LR",
        lambda lr: lr * (ratio if solver.LR_SCALING == "linear" else math.sqrt(ratio)),
    )
    for key in _SCHEDULE_KEYS:
        change(key, lambda count: _stretch(count, ratio))
    solver.REFERENCE_IMS_PER_BATCH = solver.IMS_PER_BATCH
    return changes


def _stretch(count: int | tuple[int, ...], ratio: float) -> int | tuple[int, ...]:
    if isinstance(count, (tuple, list)):
        return tuple(_stretch(c, ratio) for c in count)
    # 0 switches a period off; anything else stays at least one iteration.
    return max(1, round(count / ratio)) if count > 0 else count
