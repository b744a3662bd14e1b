"""The filter options of the prediction program become config keys with that meaning."""

from __future__ import annotations

import argparse

import pytest
from config_tools import tiny_config

from mask2former_mt.config import check_config
from mask2former_mt.modeling.inference import build_inference
from mask2former_mt.predict.options import (
    add_filter_arguments,
    filter_overrides,
    probability,
)
from mask2former_mt.structures import SubcategorySpec


def parsed(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    # As the program's own.
    parser.add_argument("--score-threshold", type=probability)
    add_filter_arguments(parser)
    return parser.parse_args(arguments)


def test_nothing_given_changes_nothing():
    assert filter_overrides(parsed()) == []


def test_a_program_without_a_score_threshold():
    parser = argparse.ArgumentParser()
    add_filter_arguments(parser)
    assert filter_overrides(parser.parse_args(["--top-k", "3"])) == [
        "MODEL.MASK_FORMER.TEST.KEEP_TOP_K",
        "3",
    ]


@pytest.mark.parametrize(
    ("arguments", "field", "expected"),
    [
        # Whole numbers too: the config wants what it has, a float.
        (["--score-threshold", "1"], "score", 1.0),
        (["--class-threshold", "0.25"], "class_score", 0.25),
        (["--subcategory-thresholds", "0.5"], "subcategory_scores", (0.5, 0.5)),
        (["--subcategory-thresholds", "0.5,1"], "subcategory_scores", (0.5, 1.0)),
        (["--drop-none"], "needs_value", (False, True)),
        (["--min-area", "30"], "min_area", 30),
        (["--nms", "hard"], "nms", "hard"),
        (["--nms-threshold", "1"], "nms_threshold", 1.0),
        (["--nms-sigma", "2"], "nms_sigma", 2.0),
        (["--no-nms-class-aware"], "nms_class_aware", False),
        (["--top-k", "3"], "keep", 3),
    ],
)
def test_an_option_reaches_the_filter(arguments, field, expected):
    overrides = filter_overrides(parsed(*arguments))
    cfg = tiny_config()
    cfg.MODEL.SUBCATEGORY.WITHOUT_NONE = ["finish"]
    spec = SubcategorySpec.from_counts(["tint", "finish"], [2, 3])
    assert getattr(build_inference(cfg, spec).instances.filters, field) != expected
    cfg.merge_from_list(overrides)
    check_config(cfg)
    assert getattr(build_inference(cfg, spec).instances.filters, field) == expected


def test_options_that_are_no_filters():
    cfg = tiny_config()
    cfg.merge_from_list(filter_overrides(parsed("--ranking", "joint", "--one-class-per-query")))
    instances = build_inference(cfg, SubcategorySpec()).instances
    assert (instances.ranking, instances.one_class_per_query) == ("joint", True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--class-threshold", "1.5"], r"must be in [0, 1], got 1.5"),
        (["--subcategory-thresholds", "0.5,2"], r"must be in [0, 1], got 2"),
        (["--min-area", "-1"], "must not be negative, got -1"),
        (["--nms-sigma", "0"], "must be positive, got 0"),
        (["--nms", "soft"], "invalid choice: 'soft'"),
    ],
)
def test_what_cannot_be_is_refused(arguments, message, capsys):
    with pytest.raises(SystemExit):
        parsed(*arguments)
    assert message in capsys.readouterr().err
