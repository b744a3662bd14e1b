"""What `make demo` does after the data are there: train, evaluate, predict, show."""

from __future__ import annotations

import json
import logging
import math
import pathlib

from detectron2.data import DatasetCatalog
from detectron2.engine import default_argument_parser

from mask2former_mt.dataset.catalog import register_dataset_files, spec_of
from mask2former_mt.engine.main import main as train
from mask2former_mt.engine.setup import errors_named, load_config
from mask2former_mt.evaluation.report.report import REPORT_FILE
from mask2former_mt.evaluation.summary import format_table
from mask2former_mt.predict.job import predict_files
from mask2former_mt.predict.predictor import Predictor

LOGGER = logging.getLogger("mask2former_mt")


def run_demo(config_file: str, num_pictures: int) -> dict[str, float]:
    """Trains unless that is done, predicts on validation pictures, prints table and places.

    An interrupted training goes on where its last checkpoint was made.

    Args:
        config_file: with OUTPUT_DIR, one dataset in DATASETS.TEST.
        num_pictures: the first so many validation pictures are shown.

    Returns:
        The flat metrics.
    """
    with errors_named():
        cfg = load_config(config_file)
        register_dataset_files(cfg.DATASETS.FILES)
    output = pathlib.Path(cfg.OUTPUT_DIR)
    metrics_file, weights = output / "metrics.json", output / "model_final.pth"
    if metrics_file.is_file() and weights.is_file():
        print(f"{weights} is trained already; remove {output} to train again")
    else:
        # On this process alone, whatever the number of GPUs: the demo's batch fits one.
        arguments = ["--config-file", config_file, "--resume"]
        train(default_argument_parser().parse_args(arguments))
    metrics = {
        key: math.nan if value is None else value
        for key, value in json.loads(metrics_file.read_text(encoding="utf-8")).items()
    }
    (dataset,) = cfg.DATASETS.TEST
    files = [pathlib.Path(d["file_name"]) for d in DatasetCatalog.get(dataset)[:num_pictures]]
    with errors_named():
        predict_files(
            Predictor(load_config(str(output / "config.yaml")), str(weights)),
            files,
            str(output / "predictions"),
            ground_truth=dataset,
            sheet=str(output / "predictions.png"),
            overwrite=True,  # the model may be another than the last time
        )
    print(f"\n{dataset}, {metrics['train/seconds']:.0f} s of training")
    print(format_table(metrics, spec_of(dataset)))
    print(f"\nfigures      {metrics_file}")
    print(f"model        {weights}")
    print(f"report       {output / 'inference' / REPORT_FILE}")
    print(f"pictures     {output / 'predictions'}/*.png")
    print(f"all in one   {output / 'predictions.png'} (ground truth beside prediction)")
    return metrics
