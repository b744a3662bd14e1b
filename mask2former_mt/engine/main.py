"""The program behind `tools/train_net.py`."""

from __future__ import annotations

import logging
import pathlib
import sys
from collections.abc import Iterable, Mapping, Sequence

import torch
from detectron2.config import CfgNode
from detectron2.engine import default_argument_parser, launch
from detectron2.utils import comm
from torch.multiprocessing import ProcessExitedException

from mask2former_mt.dataset.catalog import check_registered, spec_of
from mask2former_mt.engine.checkpoint import MultiTaskCheckpointer, read_labels
from mask2former_mt.engine.setup import (
    errors_named,
    fill_from_datasets,
    labels_of_run,
    load_config,
    log_to_console,
    prepare_run,
    save_config,
    tell_of_labels,
)
from mask2former_mt.engine.trainer import MultiTaskTrainer
from mask2former_mt.evaluation.summary import flat_metrics, format_table, write_metrics
from mask2former_mt.label_lists import Labels

LOGGER = logging.getLogger("mask2former_mt")


def launch_training(arguments: Sequence[str] | None = None) -> None:
    """Parses the command line and runs `main` on each GPU, or once on the CPU."""
    args = default_argument_parser().parse_args(arguments)
    if not args.config_file:
        raise SystemExit("error: --config-file FILE is needed")
    _check_machines(args.num_gpus, args.num_machines, args.machine_rank)
    try:
        launch(
            main,
            args.num_gpus,
            num_machines=args.num_machines,
            machine_rank=args.machine_rank,
            dist_url=args.dist_url,
            args=(args.config_file, args.opts, args.resume, args.eval_only),
        )
    except ProcessExitedException as error:
        # Which has said why.
        sys.exit(f"error: a process of the training ended with exit code {error.exit_code}")
    except KeyboardInterrupt:
        # As a shell counts a program that was interrupted.
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def _check_machines(num_gpus: int, num_machines: int, machine_rank: int) -> None:
    """Ends the program where the options are of another machine than this one."""
    seen = torch.cuda.device_count()
    if num_gpus < 0 or num_gpus > max(1, seen):
        sys.exit(
            f"error: --num-gpus must be at most the number of GPUs that PyTorch sees, {seen}, got "
            f"{num_gpus}; without a GPU, leave it out"
        )
    if not 0 <= machine_rank < num_machines:
        sys.exit(
            f"error: --machine-rank must be in [0, {num_machines}), as --num-machines says, got "
            f"{machine_rank}"
        )


def main(
    config_file: str, opts: Sequence[str] = (), resume: bool = False, eval_only: bool = False
) -> dict[str, float]:
    """Trains and evaluates, or evaluates only, in one process; ends it where input is at fault.

    Args:
        config_file, opts: as for `load_config`.
        resume: whether a training goes on from the last checkpoint in OUTPUT_DIR, if there is one.
        eval_only: whether nothing is trained.

    Returns:
        The flat metrics, empty on processes that evaluate nothing.
    """
    log_to_console()
    with errors_named():
        cfg = load_config(config_file, opts)
        if eval_only and not cfg.DATASETS.TEST:
            raise ValueError("DATASETS.TEST is empty: name a dataset")
        labels = read_labels(_weights_of(cfg)) if eval_only else None
        cfg = fill_from_datasets(cfg, for_training=not eval_only, checkpoint=labels)
        if eval_only:
            return evaluate(cfg, config_file, labels)
        return train(cfg, config_file, resume=resume)


def train(cfg: CfgNode, config_file: str, *, resume: bool) -> dict[str, float]:
    """Trains, evaluates, and writes checkpoints, config.yaml and metrics.json into OUTPUT_DIR.

    Args:
        cfg: result of `fill_from_datasets`.
        config_file: where `cfg` is from, for the log.
        resume: as for `main`.

    Returns:
        The flat metrics, empty on processes that evaluate nothing.
    """
    if not cfg.DATASETS.TRAIN:
        raise ValueError("DATASETS.TRAIN is empty: name a dataset")
    _check_datasets([*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST], cfg.INPUT.DEPTH_RANGE)
    prepare_run(cfg, config_file)
    tell_of_labels(labels_of_run(cfg), train=cfg.DATASETS.TRAIN, test=cfg.DATASETS.TEST)
    trainer = MultiTaskTrainer(cfg)
    trainer.resume_or_load(resume=resume)
    if not resume:
        trainer.checkpointer.forget_last()
    save_config(cfg)
    trainer.train()
    return _report(cfg, trainer.results, {"train/seconds": trainer.train_seconds})


def evaluate(cfg: CfgNode, config_file: str, labels: Labels | None) -> dict[str, float]:
    """Evaluates MODEL.WEIGHTS, or else OUTPUT_DIR/model_final.pth; writes metrics.json.

    Args:
        cfg: result of `fill_from_datasets`.
        config_file: where `cfg` is from, for the log.
        labels: what the checkpoint says of its labels; None: they are the datasets', by number.

    Returns:
        The flat metrics, empty on processes that evaluate nothing.
    """
    _check_datasets(cfg.DATASETS.TEST, cfg.INPUT.DEPTH_RANGE)
    labels = labels or labels_of_run(cfg)
    model = MultiTaskTrainer.build_model(cfg)
    checkpointer = MultiTaskCheckpointer(model, labels=labels, strict=True)
    checkpoint = checkpointer.load(_weights_of(cfg))
    prepare_run(cfg, config_file)
    tell_of_labels(labels, test=cfg.DATASETS.TEST)
    evaluators = [
        MultiTaskTrainer.build_evaluator(cfg, dataset, labels) for dataset in cfg.DATASETS.TEST
    ]
    results = MultiTaskTrainer.test(cfg, model, evaluators)
    # The metrics.json that is replaced may be the training's, which knows how long it took.
    seconds = checkpoint.get("trainer", {}).get("train_seconds")
    return _report(cfg, results, {} if seconds is None else {"train/seconds": seconds})


def _weights_of(cfg: CfgNode) -> str:
    return cfg.MODEL.WEIGHTS or str(pathlib.Path(cfg.OUTPUT_DIR) / "model_final.pth")


def _check_datasets(names: Iterable[str], depth_range: Sequence[float]) -> None:
    """Refuses unusable annotations and pictures before anything is written."""
    for name in names:
        for line in check_registered(name, depth_range):
            LOGGER.info(f"{name}: {line}")


def _report(cfg: CfgNode, results: Mapping, metrics: dict[str, float]) -> dict[str, float]:
    """Prints the tables of the test `results`, and writes all figures after those of `metrics`."""
    if not comm.is_main_process():
        return {}
    several = len(cfg.DATASETS.TEST) > 1
    for dataset in cfg.DATASETS.TEST:
        flat = flat_metrics(results[dataset] if several else results)
        print(f"\n{dataset}\n{format_table(flat, spec_of(dataset))}\n")
        metrics |= {f"{dataset}/{k}": v for k, v in flat.items()} if several else flat
    LOGGER.info(f"wrote {write_metrics(metrics, cfg.OUTPUT_DIR)}")
    return metrics
