"""The filter options of tools/predict.py become config keys with that meaning."""

import operator

import pytest
from config_tools import tiny_config

from mask2former_mt.config import check_config
from mask2former_mt.modeling.inference import build_inference
from mask2former_mt.structures import SubcategorySpec

SCORE_THRESHOLD = "MODEL.MASK_FORMER.TEST.SCORE_THRESHOLD"
REQUIRED = ["--config-file", "c", "--weights", "w", "--input", "i", "--output", "o"]


@pytest.fixture
def overrides_of(program):
    def overrides_of(*options: str) -> list[str]:
        return program.filter_overrides(program.build_parser().parse_args([*REQUIRED, *options]))

    return overrides_of


def test_only_the_score_threshold_has_a_default(overrides_of):
    assert overrides_of() == [SCORE_THRESHOLD, "0.5"]


@pytest.mark.parametrize(
    ("options", "field", "expected"),
    [
        # The config wants floats, also where the user writes whole numbers.
        (["--score-threshold", "1"], "filters.score", 1.0),
        (["--class-threshold", "0.25"], "filters.class_score", 0.25),
        (["--subcategory-thresholds", "0.5"], "filters.subcategory_scores", (0.5, 0.5)),
        (["--subcategory-thresholds", "0.5,1"], "filters.subcategory_scores", (0.5, 1.0)),
        (["--drop-none"], "filters.needs_value", (False, True)),
        (["--min-area", "30"], "filters.min_area", 30),
        (["--nms", "hard"], "filters.nms", "hard"),
        (["--nms-threshold", "1"], "filters.nms_threshold", 1.0),
        (["--nms-sigma", "2"], "filters.nms_sigma", 2.0),
        (["--no-nms-class-aware"], "filters.nms_class_aware", False),
        (["--top-k", "3"], "filters.keep", 3),
        (["--ranking", "joint"], "ranking", "joint"),
        (["--one-class-per-query"], "one_class_per_query", True),
    ],
)
def test_an_option_reaches_the_model(overrides_of, options, field, expected):
    cfg = tiny_config()
    cfg.MODEL.SUBCATEGORY.WITHOUT_NONE = ["finish"]
    spec = SubcategorySpec.from_counts(["tint", "finish"], [2, 3])
    value_of = operator.attrgetter(f"instances.{field}")
    assert value_of(build_inference(cfg, spec)) != expected
    cfg.merge_from_list(overrides_of(*options))
    check_config(cfg)
    assert value_of(build_inference(cfg, spec)) == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--score-threshold", "50"], "must be in [0, 1], got 50"),
        (["--class-threshold", "1.5"], "must be in [0, 1], got 1.5"),
        (["--subcategory-thresholds", "0.5,2"], "must be in [0, 1], got 2"),
        (["--min-area", "-1"], "must be at least 0, got -1"),
        (["--max-side", "-1"], "must be at least 0, got -1"),
        (["--batch", "0"], "must be at least 1, got 0"),
        (["--nms-sigma", "0"], "must be positive, got 0"),
        (["--nms", "soft"], "invalid choice: 'soft'"),
    ],
)
def test_values_out_of_range_are_refused(overrides_of, options, message, capsys):
    with pytest.raises(SystemExit) as caught:
        overrides_of(*options)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err
