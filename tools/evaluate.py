#!/usr/bin/env python3
"""Evaluates a file of predictions again, without a model: the numbers of the run that wrote it.

    python tools/evaluate.py --predictions output/inference/coco_instances_results.json \\
        --dataset datasets/digits/digits.yaml --split val --output output/again
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from mask2former_mt.dataset.catalog import read_dataset_file, register_dataset_files
from mask2former_mt.engine.run_description import describe_offline
from mask2former_mt.engine.setup import at_least_one, errors_named
from mask2former_mt.evaluation.coco import ENGINES
from mask2former_mt.evaluation.evaluator import evaluate_file
from mask2former_mt.evaluation.matching import MAX_DETS
from mask2former_mt.evaluation.report.report import REPORT_FILE
from mask2former_mt.evaluation.summary import METRICS_FILE, format_table


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="evaluate.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--predictions",
        required=True,
        metavar="FILE",
        help="results JSON, as an evaluation or predict.py --ground-truth writes it",
    )
    parser.add_argument("--dataset", required=True, metavar="YAML", help="the dataset's file")
    parser.add_argument("--split", default="val", help="split of the dataset, default val")
    parser.add_argument("--output", required=True, help="folder for the results")
    parser.add_argument(
        "--engine",
        choices=ENGINES,
        default="own",
        help="what matches predictions with objects, default own; both give the same numbers, "
        "own is faster",
    )
    parser.add_argument(
        "--max-detections",
        type=at_least_one,
        default=MAX_DETS,
        metavar="N",
        help="detections that count of each picture and class, default COCO's %(default)s; give "
        "the run's TEST.DETECTIONS_PER_IMAGE where that is more",
    )
    parser.add_argument(
        "--depth-range",
        type=float,
        nargs=2,
        default=(),
        metavar=("LOW", "HIGH"),
        help="INPUT.DEPTH_RANGE of the training: how the report draws pictures of more than 8 bits",
    )
    parser.add_argument("--no-report", action="store_true", help="write no report.html")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    args = build_parser().parse_args(arguments)
    with errors_named():
        dataset = read_dataset_file(args.dataset)
        if args.split not in dataset.entries:
            raise ValueError(
                f"{args.dataset} has no split {args.split!r}, it has {list(dataset.entries)}"
            )
        name = f"{dataset.name}_{args.split}"
        register_dataset_files([args.dataset], needed=[name])
        run = describe_offline(
            args.predictions, args.dataset, args.split, args.engine, args.depth_range
        )
        evaluation = evaluate_file(
            args.predictions,
            name,
            args.output,
            engine=args.engine,
            max_dets=args.max_detections,
            run=None if args.no_report else run,
        )
    print(f"{name}\n{format_table(evaluation.metrics, evaluation.truth.spec)}\n")
    print(f"wrote {args.output}/{METRICS_FILE}")
    if not args.no_report:
        print(f"wrote {args.output}/{REPORT_FILE}")


if __name__ == "__main__":
    main()
