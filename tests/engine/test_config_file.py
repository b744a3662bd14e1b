"""Merging config files and overrides: types, sections, unknown keys, in words of the config."""

from __future__ import annotations

import re

import pytest
from config_tools import tiny_config

from mask2former_mt.config.config_nodes import value_of
from mask2former_mt.engine.config_file import merge_file, merge_overrides


@pytest.mark.parametrize(
    ("content", "key", "value"),
    [
        # A whole number is a number.
        ("MODEL: {MASK_FORMER: {CLASS_WEIGHT: 2}}", "MODEL.MASK_FORMER.CLASS_WEIGHT", 2.0),
        # YAML reads it as a text.
        ("SOLVER: {BASE_LR: 1e-3}", "SOLVER.BASE_LR", 0.001),
        ('SOLVER: {STEPS: "(1, 2)"}', "SOLVER.STEPS", (1, 2)),
        ("INPUT: {MIN_SIZE_TRAIN: [64]}", "INPUT.MIN_SIZE_TRAIN", (64,)),
        ('OUTPUT_DIR: "2024"', "OUTPUT_DIR", "2024"),
        ("SOLVER: {WEIGHT_DECAY_BIAS: 0.1}", "SOLVER.WEIGHT_DECAY_BIAS", 0.1),
        ("SOLVER: {WEIGHT_DECAY_BIAS: null}", "SOLVER.WEIGHT_DECAY_BIAS", None),
        ("VERSION: 2\n_BASE_: [base.yaml]", "SEED", 5),
    ],
)
def test_values_take_the_type_of_their_key(tmp_path, content, key, value):
    (tmp_path / "base.yaml").write_text("SEED: 5")
    (tmp_path / "c.yaml").write_text(content)
    cfg = tiny_config()
    merge_file(cfg, str(tmp_path / "c.yaml"))
    merged = value_of(cfg, key)
    assert type(merged) is type(value)
    assert merged == value


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        ("SOLVER: {MAX_ITER: null}", ValueError, "SOLVER.MAX_ITER must be an integer, got None"),
        ("SOLVER: {MAX_ITER: true}", ValueError, "SOLVER.MAX_ITER must be an integer, got True"),
        ("SOLVER: {MAX_ITER: 2.5}", ValueError, "SOLVER.MAX_ITER must be an integer, got 2.5"),
        ("SOLVER: {BASE_LR: .nan}", ValueError, "SOLVER.BASE_LR must be a number, got nan"),
        (f"SOLVER: {{BASE_LR: 1{'0' * 400}}}", ValueError, "SOLVER.BASE_LR must be a number"),
        ("SOLVER: {STEPS: 3}", ValueError, "SOLVER.STEPS must be a list, got 3"),
        ("DATASETS: {TRAIN: shapes}", ValueError, "DATASETS.TRAIN must be a list, got 'shapes'"),
        ("OUTPUT_DIR: 2024", ValueError, "OUTPUT_DIR must be a text, got 2024"),
        ("OUTPUT_DIR: 2024-01-01", ValueError, "OUTPUT_DIR must be a text, got datetime.date"),
        ("SOLVER: 3", ValueError, "SOLVER is a section with keys such as SOLVER.LR_SCHEDULER_NAME"),
        ("SEED: {A: 3}", ValueError, "SEED must be an integer, got {'A': 3}"),
        ("NHEADS: 2", KeyError, "no config key NHEADS; did you mean MODEL.MASK_FORMER.NHEADS?"),
        (
            "SOLVER: {MAX_ITR: 2}",
            KeyError,
            "no config key SOLVER.MAX_ITR; did you mean SOLVER.MAX_",
        ),
        ("1: 2", KeyError, "no config key 1"),
        ("VERSION: 3", ValueError, "VERSION must be 2, as detectron2's, got 3"),
        ("VERSION: two", ValueError, "VERSION must be an integer, got 'two'"),
        ("_BASE_: 5", ValueError, "is not valid YAML"),
        ("_BASE_: c.yaml", ValueError, "is not valid YAML: maximum recursion"),
        ("OUTPUT_DIR: 2024-99-99", ValueError, "is not valid YAML: month must be in"),
        ("\0", ValueError, "is not valid YAML"),
    ],
)
def test_a_value_that_does_not_fit_is_named(tmp_path, content, error, message):
    (tmp_path / "c.yaml").write_text(content)
    cfg = tiny_config()
    with pytest.raises(error, match=f"config file .*c.yaml.*{re.escape(message)}"):
        merge_file(cfg, str(tmp_path / "c.yaml"))


def test_a_folder_is_no_config_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="is a folder; expected a YAML file"):
        merge_file(tiny_config(), str(tmp_path))


def test_overrides_are_merged_as_files_are():
    cfg = tiny_config()
    merge_overrides(cfg, ["SOLVER.BASE_LR", "1", "OUTPUT_DIR", "7", "DATASETS.TEST", "('a',)"])
    assert (cfg.SOLVER.BASE_LR, cfg.OUTPUT_DIR, cfg.DATASETS.TEST) == (1.0, "7", ("a",))
    with pytest.raises(ValueError, match=r"the command line: DATASETS\.TEST must be a list, got"):
        merge_overrides(cfg, ["DATASETS.TEST", "a"])
