#!/usr/bin/env python3
"""Predicts on pictures and videos: overlays, a line of JSON for each, and one COCO-style JSON."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from mask2former_mt.config.config_rules import POSITIVE, at_least, between
from mask2former_mt.dataset.catalog import labels_of, register_dataset_files
from mask2former_mt.engine.memory import keep_large_blocks
from mask2former_mt.engine.setup import at_least_one, errors_named, load_config, number
from mask2former_mt.postprocess.mask_nms import NMS_KINDS
from mask2former_mt.postprocess.selection import RANKINGS
from mask2former_mt.predict.input_files import count_left_out, find_inputs, left_out_text
from mask2former_mt.predict.job import predict_files
from mask2former_mt.predict.overlays import MAX_SIDE, SHEET_CELLS, OverlayOptions, check_output
from mask2former_mt.predict.predictor import build_predictor

probability = number(float, between(0, 1))
count = number(int, at_least(0))
TEST = "MODEL.MASK_FORMER.TEST"  # where the config has the filters


def probabilities(text: str) -> list[float]:
    return [probability(part) for part in text.split(",")]


def filter_overrides(args: argparse.Namespace) -> list[str]:
    """The filters given on the command line as config overrides: KEY, VALUE, KEY, VALUE, ..."""
    filters = {f"{TEST}.SCORE_THRESHOLD": args.score_threshold}
    filters.update((key, value) for key, value in vars(args).items() if key.startswith(TEST))
    given = [(key, str(value)) for key, value in filters.items() if value is not None]
    return [text for pair in given for text in pair]


def add_filters(parser: argparse.ArgumentParser) -> None:
    """Adds the options whose values become config keys."""
    group = parser.add_argument_group("filters", "as the config says unless given")

    def add(option: str, key: str, **arguments: object) -> None:
        group.add_argument(option, dest=f"{TEST}.{key}", **arguments)

    switch = argparse.BooleanOptionalAction
    add(
        "--class-threshold",
        "CLASS_THRESHOLD",
        type=probability,
        metavar="P",
        help="least probability of the class",
    )
    add(
        "--subcategory-thresholds",
        "SUBCATEGORY_THRESHOLDS",
        type=probabilities,
        metavar="P[,P...]",
        help="least probability of the predicted values: one for all or one per subcategory",
    )
    add(
        "--drop-none",
        "DROP_NONE",
        action=switch,
        help="leave out instances that are predicted to have no value where the dataset says "
        '"none": false',
    )
    add("--min-area", "MIN_AREA", type=count, metavar="PIXELS", help="least area of a mask")
    add(
        "--nms",
        "NMS",
        choices=NMS_KINDS,
        help="masks that overlap better ones: leave them out (hard), or lower their scores "
        "(linear, gaussian)",
    )
    add(
        "--nms-threshold",
        "NMS_THRESHOLD",
        type=probability,
        metavar="IOU",
        help="for hard: leave out masks that overlap by a larger IoU",
    )
    add(
        "--nms-sigma",
        "NMS_SIGMA",
        type=number(float, POSITIVE),
        metavar="NMS_SIGMA",
        help="for gaussian: the larger, the less scores are lowered",
    )
    add(
        "--nms-class-aware",
        "NMS_CLASS_AWARE",
        action=switch,
        help="compare only masks of the same class",
    )
    add(
        "--top-k",
        "KEEP_TOP_K",
        type=count,
        metavar="N",
        help="keep the N best instances of each picture",
    )
    add(
        "--one-class-per-query",
        "ONE_CLASS_PER_QUERY",
        action=switch,
        help="give each mask its best class only",
    )
    add(
        "--ranking",
        "RANKING",
        choices=RANKINGS,
        help="the score is that of the class, the class times the subcategories (joint), or their "
        "mean (sum)",
    )


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
        type=at_least_one,
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
        help=f"also write the first pictures (at most {SHEET_CELLS}) as one PNG",
    )
    parser.add_argument(
        "--max-side",
        type=count,
        default=MAX_SIDE,
        metavar="PIXELS",
        help=f"reduce overlays with a longer side to it, default {MAX_SIDE}; 0 never",
    )
    add_filters(parser)
    parser.add_argument(
        "opts",
        nargs="*",
        metavar="KEY VALUE",
        help="config keys to change; they win over the filters",
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
            keep_large_blocks(one_for_all=True)
        assumed = None
        if args.ground_truth:
            register_dataset_files(cfg.DATASETS.FILES)
            assumed = labels_of(args.ground_truth)
        written = predict_files(
            build_predictor(cfg, args.weights, assumed),
            files,
            args.output,
            score_threshold=args.score_threshold,
            batch_size=args.batch,
            overlays=OverlayOptions(args.ground_truth, args.only_disagreements, args.max_side),
            sheet=args.contact_sheet,
            overwrite=args.overwrite,
        )
    for line in written.conversions:
        print(line)
    if left_out := count_left_out(args.input):
        print(left_out_text(left_out))
    before = f" ({written.num_known} of them before)" if written.num_known else ""
    sheet = f", contact sheet {written.sheet}" if written.sheet else ""
    print(
        f"{written.num_images} pictures{before}, {written.num_instances} instances with score >= "
        f"{args.score_threshold:g}: overlays in {args.output}, {written.results}{sheet}"
    )
    if written.failures:
        more = ["..."] if len(written.failures) > 10 else []
        heading = f"{len(written.failures)} of {len(files)} inputs could not be read to their end:"
        sys.exit("\n  ".join([f"error: {heading}", *written.failures[:10], *more]))


if __name__ == "__main__":
    main()
