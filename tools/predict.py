#!/usr/bin/env python3
"""Predicts on pictures: overlays and one COCO-style JSON with the subcategories."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from mask2former_mt.data.catalog import register_dataset_files
from mask2former_mt.engine.predict_files import check_output, find_images, predict_files
from mask2former_mt.engine.predictor import Predictor
from mask2former_mt.engine.setup import errors_named, load_config


def probability(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"must be in [0, 1], got {text}")
    return value


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="predict.py", description=__doc__)
    parser.add_argument("--config-file", required=True, help="the config.yaml of the training")
    parser.add_argument("--weights", required=True, help="the checkpoint, such as model_final.pth")
    parser.add_argument(
        "--input",
        required=True,
        nargs="+",
        help="pictures, folders, quoted globs; follow it with another option, such as --output",
    )
    parser.add_argument(
        "--output", required=True, help="folder to write to; not one of the inputs'"
    )
    parser.add_argument(
        "--score-threshold",
        type=probability,
        default=0.5,
        help="leave out instances with a lower score, default 0.5",
    )
    parser.add_argument(
        "--ground-truth",
        metavar="DATASET",
        help="a dataset of DATASETS.FILES, such as digits_val, to draw beside the predictions",
    )
    parser.add_argument(
        "--contact-sheet",
        metavar="FILE",
        help="also write the first overlays (at most 24) as one PNG",
    )
    parser.add_argument(
        "opts", nargs="*", metavar="KEY VALUE", help="config keys to change, last of all"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    parser = build_parser()
    args = parser.parse_args(arguments)
    try:
        files = find_images(args.input)
        check_output(files, args.output, args.contact_sheet)
    except (ValueError, FileNotFoundError) as error:
        parser.error(str(error))
    with errors_named():
        cfg = load_config(args.config_file, args.opts)
        if args.ground_truth:
            register_dataset_files(cfg.DATASETS.FILES)
        written = predict_files(
            Predictor(cfg, args.weights),
            files,
            args.output,
            score_threshold=args.score_threshold,
            ground_truth=args.ground_truth,
            sheet=args.contact_sheet,
        )
    sheet = f", contact sheet {args.contact_sheet}" if args.contact_sheet else ""
    print(
        f"{len(files)} pictures, {written['instances']} instances with score >= "
        f"{args.score_threshold:g}: overlays in {args.output}, {written['results']}{sheet}"
    )


if __name__ == "__main__":
    main()
