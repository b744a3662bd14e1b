"""The program behind `tools/train_net.py`."""

from __future__ import annotations

import argparse
import logging
import pathlib
import sys
from collections.abc import Sequence

from detectron2.data import DatasetCatalog
from detectron2.engine import default_argument_parser, launch
from detectron2.utils import comm

from mask2former_mt.data.bad_samples import TooManyBadSamplesError
from mask2former_mt.dataset.catalog import spec_of
from mask2former_mt.engine.checkpoint import MultiTaskCheckpointer
from mask2former_mt.engine.setup import (
    errors_named,
    fill_from_datasets,
    load_config,
    log_to_console,
    prepare_run,
    save_config,
)
from mask2former_mt.engine.trainer import MultiTaskTrainer
from mask2former_mt.evaluation.summary import flat_metrics, format_table, write_metrics

LOGGER = logging.getLogger("mask2former_mt")


def launch_training(arguments: Sequence[str] | None = None) -> None:
    """Parses the command line and runs `main` on each GPU, or once on the CPU."""
    args = default_argument_parser().parse_args(arguments)
    if not args.config_file:
        raise SystemExit("error: --config-file FILE is needed")
    launch(
        main,
        args.num_gpus,
        num_machines=args.num_machines,
        machine_rank=args.machine_rank,
        dist_url=args.dist_url,
        args=(args,),
    )


def main(args: argparse.Namespace) -> dict[str, float]:
    """Trains and evaluates, or evaluates only, in one process.

    Args:
        args: of detectron2's argument parser.

    Returns:
        The flat metrics, empty on processes that evaluate nothing.
    """
    log_to_console()
    with errors_named():
        cfg = fill_from_datasets(load_config(args.config_file, args.opts))
        needed = "TEST" if args.eval_only else "TRAIN"
        if not cfg.DATASETS[needed]:
            raise ValueError(f"DATASETS.{needed} is empty: name a dataset")
        # Before anything is written: every annotation is read and checked.
        datasets = (
            cfg.DATASETS.TEST if args.eval_only else [*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST]
        )
        for dataset in datasets:
            DatasetCatalog.get(dataset)
        if args.eval_only:
            model = MultiTaskTrainer.build_model(cfg)
            weights = cfg.MODEL.WEIGHTS or str(pathlib.Path(cfg.OUTPUT_DIR) / "model_final.pth")
            checkpoint = MultiTaskCheckpointer(model, strict=True).load(weights)
            prepare_run(cfg, args.config_file)
            metrics = {}
            # The metrics.json of the training may be the one that is replaced.
            if "train_seconds" in checkpoint.get("trainer", {}):
                metrics["train/seconds"] = checkpoint["trainer"]["train_seconds"]
        else:
            prepare_run(cfg, args.config_file)
            trainer = MultiTaskTrainer(cfg)
            trainer.resume_or_load(resume=args.resume)
            save_config(cfg)
    if args.eval_only:
        results = MultiTaskTrainer.test(cfg, model)
    else:
        try:
            trainer.train()
        except TooManyBadSamplesError as error:
            # The files are at fault, and the message names them.
            sys.exit(f"error: {error}")
        metrics = {"train/seconds": trainer.train_seconds}
        results = trainer._last_eval_results
    if not comm.is_main_process():
        return {}
    return _report(cfg, results, metrics)


def _report(cfg, results, metrics: dict[str, float]) -> dict[str, float]:
    """Prints the tables and writes metrics.json."""
    several = len(cfg.DATASETS.TEST) > 1
    for dataset in cfg.DATASETS.TEST:
        flat = flat_metrics(results[dataset] if several else results)
        print(f"\n{dataset}\n{format_table(flat, spec_of(dataset))}\n")
        metrics.update({f"{dataset}/{k}": v for k, v in flat.items()} if several else flat)
    path = write_metrics(metrics, cfg.OUTPUT_DIR)
    LOGGER.info(f"wrote {path}")
    return metrics
