#!/usr/bin/env python3
"""Trains a config, or reuses what is trained, predicts on some pictures and prints the figures."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path

from detectron2.data import DatasetCatalog

from mask2former_mt.dataset.catalog import register_dataset_files, spec_of
from mask2former_mt.engine.main import main as train
from mask2former_mt.engine.setup import at_least_one, errors_named, load_config
from mask2former_mt.evaluation.report.report import REPORT_FILE
from mask2former_mt.evaluation.summary import format_table
from mask2former_mt.predict.job import predict_files
from mask2former_mt.predict.overlays import OverlayOptions
from mask2former_mt.predict.predictor import build_predictor


def read_metrics(file: Path) -> dict[str, float]:
    """The figures of a training, null being NaN.

    Raises:
        ValueError: something else.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is no JSON: {error}; remove it to train again") from error
    if not isinstance(content, dict) or "train/seconds" not in content:
        raise ValueError(f"{file} has no 'train/seconds' of a training; remove it to train again")
    return {key: math.nan if value is None else value for key, value in content.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="demo.py", description=__doc__)
    parser.add_argument(
        "--config-file", required=True, help="has an OUTPUT_DIR and one dataset in DATASETS.TEST"
    )
    parser.add_argument(
        "--pictures", type=at_least_one, default=12, help="validation pictures to show"
    )
    args = parser.parse_args(arguments)

    with errors_named():
        cfg = load_config(args.config_file)
        if len(cfg.DATASETS.TEST) != 1:
            raise ValueError(
                f"DATASETS.TEST must name one dataset to show, got {list(cfg.DATASETS.TEST)}"
            )
        register_dataset_files(cfg.DATASETS.FILES)
    output = Path(cfg.OUTPUT_DIR)
    metrics_file, weights = output / "metrics.json", output / "model_final.pth"
    if metrics_file.is_file() and weights.is_file():
        print(f"{weights} is trained already; remove {output} to train again")
    else:
        # In this process alone, whatever the number of GPUs: the demo's batch fits one. An
        # interrupted training goes on from its last checkpoint.
        train(args.config_file, resume=True)
    with errors_named():
        metrics = read_metrics(metrics_file)
    (dataset,) = cfg.DATASETS.TEST
    files = [Path(record["file_name"]) for record in DatasetCatalog.get(dataset)[: args.pictures]]
    with errors_named():
        predict_files(
            build_predictor(load_config(str(output / "config.yaml")), weights),
            files,
            output / "predictions",
            overlays=OverlayOptions(ground_truth=dataset),
            sheet=output / "predictions.png",
            overwrite=True,  # the model may be another than the last time
        )
    print(f"\n{dataset}, {metrics['train/seconds']:.0f} s of training")
    print(format_table(metrics, spec_of(dataset)))
    print(f"\nfigures      {metrics_file}")
    print(f"model        {weights}")
    print(f"report       {output / 'inference' / REPORT_FILE}")
    print(f"pictures     {output / 'predictions'}/*.png")
    print(f"all in one   {output / 'predictions.png'} (ground truth beside prediction)")


if __name__ == "__main__":
    main()
