"""Learning rate and schedule at another batch size; failure 4: left at batch 16."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import yaml
from detectron2.config import CfgNode
from training_files import write_config

from mask2former_mt.engine.setup import load_config, prepare_run, save_config

# The published schedule, stated for 16 images.
STATED = {
    "SOLVER.REFERENCE_IMS_PER_BATCH": 16,
    "SOLVER.BASE_LR": 1e-4,
    "SOLVER.MAX_ITER": 368750,
    "SOLVER.STEPS": (327778, 355092),
    "SOLVER.WARMUP_ITERS": 10,
    "SOLVER.CHECKPOINT_PERIOD": 5000,
    "TEST.EVAL_PERIOD": 2500,
}
# An iteration of 2 images sees an eighth of what one of 16 sees: everything times 16 / 2 = 8.
STRETCHED = {
    "SOLVER.MAX_ITER": 2950000,
    "SOLVER.STEPS": (2622224, 2840736),
    "SOLVER.WARMUP_ITERS": 80,
    "SOLVER.CHECKPOINT_PERIOD": 40000,
    "TEST.EVAL_PERIOD": 20000,
}


def get(cfg: CfgNode, key: str) -> object:
    section, name = key.split(".")
    return cfg[section][name]


def plain(cfg: CfgNode) -> dict:
    """The config as a file holds it: YAML has no tuples."""
    return yaml.safe_load(cfg.dump())


@pytest.fixture
def stated(tmp_path: Path) -> str:
    """A config file that states everything for 16 images and trains on 2."""
    changes = {**STATED, "SOLVER.IMS_PER_BATCH": 2}
    return str(write_config(tmp_path / "stated.yaml", changes=changes))


@pytest.mark.parametrize(
    ("rule", "lr"),
    [
        ("linear", 1.25e-5),  # 1e-4 * 2/16
        ("sqrt", 3.5355339e-5),  # 1e-4 * sqrt(2/16) = 1e-4 * 0.35355339
    ],
)
def test_failure_4_learning_rate_and_schedule_follow_the_batch(stated, rule, lr):
    cfg = load_config(stated, ["SOLVER.LR_SCALING", rule])
    assert pytest.approx(lr, rel=1e-6) == cfg.SOLVER.BASE_LR
    assert {key: get(cfg, key) for key in STRETCHED} == STRETCHED
    assert cfg.SOLVER.REFERENCE_IMS_PER_BATCH == 2


def test_failure_4_no_scaling_where_none_is_asked_for(stated):
    cfg = load_config(stated, ["SOLVER.LR_SCALING", "none"])
    assert {key: get(cfg, key) for key in STATED} == STATED


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("SOLVER.BASE_LR", "0.003", 0.003),
        ("SOLVER.MAX_ITER", "7", 7),
        ("SOLVER.STEPS", "(5,6)", (5, 6)),
        ("SOLVER.WARMUP_ITERS", "3", 3),
        ("SOLVER.CHECKPOINT_PERIOD", "4", 4),
        ("TEST.EVAL_PERIOD", "2", 2),
    ],
)
def test_failure_4_what_the_command_line_sets_is_literal(stated, key, text, value):
    cfg = load_config(stated, [key, text])
    assert get(cfg, key) == value
    assert cfg.SOLVER.REFERENCE_IMS_PER_BATCH == 2  # so the saved config is not scaled again
    # Everything else is scaled all the same.
    others = {k: v for k, v in {**STRETCHED, "SOLVER.BASE_LR": 1.25e-5}.items() if k != key}
    assert {k: get(cfg, k) for k in others} == others


def test_failure_4_the_batch_of_the_command_line_counts(tmp_path):
    changes = {**STATED, "SOLVER.IMS_PER_BATCH": 16}
    file = str(write_config(tmp_path / "c.yaml", changes=changes))
    assert load_config(file).SOLVER.BASE_LR == 1e-4
    cfg = load_config(file, ["SOLVER.IMS_PER_BATCH", "2"])
    assert pytest.approx(1.25e-5) == cfg.SOLVER.BASE_LR
    assert cfg.SOLVER.MAX_ITER == 2950000


def test_failure_4_resume_does_not_scale_again(stated, tmp_path):
    first = load_config(stated)
    prepare_run(first, stated)
    save_config(first)
    saved = tmp_path / "output" / "config.yaml"
    # From the config that the run saved, with and without the batch named again ...
    for options in ((), ("SOLVER.IMS_PER_BATCH", "2")):
        again = load_config(str(saved), options)
        assert plain(again) == plain(first)
    # ... and from the config that the run started from.
    assert plain(load_config(stated)) == plain(first)
    # Another batch is scaled from the one that was used: 4 / 2 doubles the rate.
    doubled = load_config(str(saved), ["SOLVER.IMS_PER_BATCH", "4"])
    assert pytest.approx(2.5e-5) == doubled.SOLVER.BASE_LR
    assert doubled.SOLVER.MAX_ITER == 1475000  # 2950000 * 2 / 4


def test_a_larger_batch_shortens_the_schedule(tmp_path):
    changes = {
        **STATED,
        "SOLVER.IMS_PER_BATCH": 32,
        "SOLVER.STEPS": (31, 90),
        "SOLVER.WARMUP_ITERS": 1,
        "TEST.EVAL_PERIOD": 0,
    }
    cfg = load_config(str(write_config(tmp_path / "c.yaml", changes=changes)))
    assert pytest.approx(2e-4) == cfg.SOLVER.BASE_LR
    # 31 / 2 = 15.5, rounded to the even 16; one iteration of warm-up stays one.
    assert (cfg.SOLVER.MAX_ITER, cfg.SOLVER.STEPS, cfg.SOLVER.WARMUP_ITERS) == (184375, (16, 45), 1)
    assert cfg.SOLVER.CHECKPOINT_PERIOD == 2500
    assert cfg.TEST.EVAL_PERIOD == 0  # switched off, and stays so


def test_the_log_says_before_and_after(stated, caplog):
    with caplog.at_level(logging.INFO, logger="mask2former_mt"):
        load_config(stated)
    assert "scaled (linear) for a batch of 2" in caplog.text
    assert "SOLVER.BASE_LR: 0.0001 -> 1.25e-05" in caplog.text
    assert "SOLVER.MAX_ITER: 368750 -> 2950000" in caplog.text
