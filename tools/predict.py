#!/usr/bin/env python3
"""Predicts on pictures and videos: overlays, a line of JSON for each, and one COCO-style JSON."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from mask2former_mt.dataset.catalog import register_dataset_files
from mask2former_mt.engine.memory import keep_large_blocks
from mask2former_mt.engine.setup import errors_named, load_config
from mask2former_mt.predict.job import MAX_SIDE, predict_files
from mask2former_mt.predict.media import find_inputs
from mask2former_mt.predict.options import (
    add_filter_arguments,
    filter_overrides,
    probability,
)
from mask2former_mt.predict.outputs import check_output
from mask2former_mt.predict.predictor import Predictor


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {text}")
    return value


def pixels(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"must not be negative, got {text}")
    return value


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="predict.py", description=__doc__)
    parser.add_argument("--config-file", required=True, help="the config.yaml of the training")
    parser.add_argument("--weights", required=True, help="the checkpoint, such as model_final.pth")
    parser.add_argument(
        "--input",
        required=True,
        nargs="+",
        help="pictures, videos, folders, quoted globs; follow it with another option, such as "
        "--output",
    )
    parser.add_argument(
        "--output",
        required=True,
        help="folder to write to, not one of the inputs'; what the same command has finished there "
        "is not done again",
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="predict all anew, also where the folder holds another model's predictions",
    )
    parser.add_argument(
        "--batch",
        type=positive,
        default=1,
        metavar="N",
        help="pictures that the model takes at a time, default 1; of different sizes, they are "
        "padded to the largest",
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
        "--only-disagreements",
        action="store_true",
        help="draw only what differs from the ground truth: wrong class, wrong subcategory, "
        "missed, spurious",
    )
    parser.add_argument(
        "--contact-sheet",
        metavar="FILE",
        help="also write the first pictures (at most 24) as one PNG",
    )
    parser.add_argument(
        "--max-side",
        type=pixels,
        default=MAX_SIDE,
        metavar="PIXELS",
        help=f"larger overlays are reduced to it, default {MAX_SIDE}; 0 never",
    )
    add_filter_arguments(parser)
    parser.add_argument(
        "opts", nargs="*", metavar="KEY VALUE", help="config keys to change, last of all"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    parser = build_parser()
    args = parser.parse_args(arguments)
    if args.only_disagreements and not args.ground_truth:
        parser.error("--only-disagreements needs --ground-truth DATASET")
    try:
        files = find_inputs(args.input)
        check_output(files, args.output, args.contact_sheet)
    except (ValueError, FileNotFoundError) as error:
        parser.error(str(error))
    with errors_named():
        cfg = load_config(args.config_file, [*filter_overrides(args), *args.opts])
        if cfg.MODEL.DEVICE == "cpu":
            keep_large_blocks()
        if args.ground_truth:
            register_dataset_files(cfg.DATASETS.FILES)
        written = predict_files(
            Predictor(cfg, args.weights),
            files,
            args.output,
            score_threshold=args.score_threshold,
            ground_truth=args.ground_truth,
            only_disagreements=args.only_disagreements,
            sheet=args.contact_sheet,
            batch_size=args.batch,
            max_side=args.max_side,
            overwrite=args.overwrite,
        )
    before = f" ({written['known']} of them before)" if written["known"] else ""
    sheet = f", contact sheet {written['sheet']}" if written["sheet"] else ""
    print(
        f"{written['images']} pictures{before}, {written['instances']} instances with score >= "
        f"{args.score_threshold:g}: overlays in {args.output}, {written['results']}{sheet}"
    )
    failures = written["failures"]
    if failures:
        sys.exit(
            f"error: {len(failures)} of {len(files)} inputs could not be read to their end:"
            + "".join(f"\n  {line}" for line in [*failures[:10], *["..."] * bool(failures[10:])])
        )


if __name__ == "__main__":
    main()
