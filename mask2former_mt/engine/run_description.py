"""Facts of a run for its report."""

from __future__ import annotations

import datetime
import shlex
import sys
from collections.abc import Sequence

from detectron2.config import CfgNode
from detectron2.utils.events import get_event_storage, has_event_storage

from mask2former_mt.collect_env import collect_env
from mask2former_mt.evaluation.report.report import Run


def describe_run(cfg: CfgNode) -> Run:
    """Command, date, seed, config, versions; while training the iteration, else the weights."""
    facts = [*_command_and_date(), ("seed", cfg.SEED if cfg.SEED >= 0 else "none (random)")]
    if has_event_storage():
        # After an iteration, `iter` is its number, from 0; after the last one it is MAX_ITER.
        done = min(get_event_storage().iter + 1, cfg.SOLVER.MAX_ITER)
        facts.append(("iteration", f"{done} of {cfg.SOLVER.MAX_ITER}"))
    else:
        facts.append(("weights", cfg.MODEL.WEIGHTS or f"{cfg.OUTPUT_DIR}/model_final.pth"))
    return Run(
        facts=facts,
        versions=collect_env(),
        config=cfg.dump(),
        depth_range=cfg.INPUT.DEPTH_RANGE,
    )


def describe_offline(
    predictions: str,
    dataset_file: str,
    split: str,
    engine: str,
    depth_range: Sequence[float] = (),
) -> Run:
    """Command, date, versions and inputs of an evaluation without a model."""
    facts = [
        *_command_and_date(),
        ("predictions", predictions),
        ("dataset", f"{dataset_file}, {split}"),
        ("matching", engine),
    ]
    return Run(facts=facts, versions=collect_env(), depth_range=depth_range)


def _command_and_date() -> list[tuple[str, str]]:
    now = datetime.datetime.now(datetime.timezone.utc)
    return [("command", shlex.join(sys.argv)), ("date", f"{now:%Y-%m-%d %H:%M} UTC")]
