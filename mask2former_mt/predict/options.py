"""Options of the prediction program that choose which instances are left out."""

from __future__ import annotations

import argparse

TEST = "MODEL.MASK_FORMER.TEST."


def probability(text: str) -> float:
    """A number in [0, 1] of the command line."""
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"must be in [0, 1], got {text}")
    return value


def _probabilities(text: str) -> list[float]:
    return [probability(part) for part in text.split(",")]


def _count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"must not be negative, got {text}")
    return value


def _positive(text: str) -> float:
    value = float(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"must be positive, got {text}")
    return value


def add_filter_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the filters to a program; what is not given stays as the config says.

    `--score-threshold` is the program's own: its value, where it has one, is a filter too.
    """
    group = parser.add_argument_group("filters", "each as the config says unless given")
    group.add_argument(
        "--class-threshold", type=probability, metavar="P", help="least probability of the class"
    )
    group.add_argument(
        "--subcategory-thresholds",
        type=_probabilities,
        metavar="P[,P...]",
        help="least probability of the predicted values: one for all or one per subcategory",
    )
    group.add_argument(
        "--drop-none",
        action=argparse.BooleanOptionalAction,
        help='leave out what is predicted to have no value where the dataset says "none": false',
    )
    group.add_argument("--min-area", type=_count, metavar="PIXELS", help="least area of a mask")
    group.add_argument(
        "--nms",
        choices=["none", "hard", "linear", "gaussian"],
        help="masks that overlap better ones: leave them out, or lower their scores",
    )
    group.add_argument(
        "--nms-threshold", type=probability, metavar="IOU", help="hard: an IoU above it is too much"
    )
    group.add_argument(
        "--nms-sigma", type=_positive, help="gaussian: the larger, the less is lowered"
    )
    group.add_argument(
        "--nms-class-aware",
        action=argparse.BooleanOptionalAction,
        help="only masks of the same class stand in each other's way",
    )
    group.add_argument("--top-k", type=_count, metavar="N", help="the N best of each picture")
    group.add_argument(
        "--one-class-per-query",
        action=argparse.BooleanOptionalAction,
        help="a mask comes with its best class only",
    )
    group.add_argument(
        "--ranking",
        choices=["class", "joint", "sum"],
        help="what the score is made of: the class, the class times the subcategories, their mean",
    )


# Destination of the option, and the key below TEST.
_KEYS = {
    "score_threshold": "SCORE_THRESHOLD",
    "class_threshold": "CLASS_THRESHOLD",
    "subcategory_thresholds": "SUBCATEGORY_THRESHOLDS",
    "drop_none": "DROP_NONE",
    "min_area": "MIN_AREA",
    "nms": "NMS",
    "nms_threshold": "NMS_THRESHOLD",
    "nms_sigma": "NMS_SIGMA",
    "nms_class_aware": "NMS_CLASS_AWARE",
    "top_k": "KEEP_TOP_K",
    "one_class_per_query": "ONE_CLASS_PER_QUERY",
    "ranking": "RANKING",
}


def filter_overrides(args: argparse.Namespace) -> list[str]:
    """The options as config overrides, to come before those that the user writes out.

    Args:
        args: parsed by a parser of `add_filter_arguments`.

    Returns:
        KEY, VALUE, KEY, VALUE, ... of what was given.
    """
    given = {key: getattr(args, name, None) for name, key in _KEYS.items()}
    return [
        text
        for key, value in given.items()
        if value is not None
        for text in (TEST + key, str(value))
    ]
