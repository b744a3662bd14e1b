"""The published polynomial schedule, number by number."""

import pytest
import torch
from detectron2.config import get_cfg

from mask2former_mt.config import add_mask2former_mt_config
from mask2former_mt.solver.schedule import build_lr_scheduler


def rates(iterations, **solver) -> dict[int, float]:
    """Learning rate at these iterations of 100, from a base of 2."""
    cfg = get_cfg()
    add_mask2former_mt_config(cfg)
    cfg.SOLVER.LR_SCHEDULER_NAME, cfg.SOLVER.MAX_ITER, cfg.SOLVER.BASE_LR = "WarmupPolyLR", 100, 2.0
    for key, value in solver.items():
        cfg.SOLVER[key] = value
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    scheduler = build_lr_scheduler(cfg, optimizer)
    rate = {}
    for iteration in range(max(iterations) + 1):
        rate[iteration] = optimizer.param_groups[0]["lr"]
        optimizer.step()
        scheduler.step()
    return {iteration: rate[iteration] for iteration in iterations}


def test_the_published_values_decay_to_zero_from_the_first_iteration():
    # 2 * (1 - i / 100) ** 0.9
    assert rates((0, 36, 75, 99), WARMUP_ITERS=0) == pytest.approx(
        {0: 2.0, 36: 2 * 0.64**0.9, 75: 2 * 0.25**0.9, 99: 2 * 0.01**0.9}
    )


def test_warm_up_is_a_factor_on_the_decay():
    # Half-way through ten iterations from 0.2 the factor is 0.2 + 0.8 / 2 = 0.6.
    linear = rates((0, 5, 10), WARMUP_ITERS=10, WARMUP_FACTOR=0.2, POLY_LR_POWER=1.0)
    assert linear == pytest.approx({0: 2 * 0.2, 5: 2 * 0.6 * 0.95, 10: 2 * 0.9})
    constant = rates(
        (5, 10), WARMUP_ITERS=10, WARMUP_FACTOR=0.2, POLY_LR_POWER=1.0, WARMUP_METHOD="constant"
    )
    assert constant == pytest.approx({5: 2 * 0.2 * 0.95, 10: 2 * 0.9})


def test_the_ending_may_be_constant():
    ending = rates((0, 60, 90), WARMUP_ITERS=0, POLY_LR_POWER=1.0, POLY_LR_CONSTANT_ENDING=0.3)
    assert ending == pytest.approx({0: 2.0, 60: 2 * 0.4, 90: 2 * 0.3})


@pytest.mark.parametrize(
    ("steps", "used", "is_told"),
    [((30, 60), (30, 60), False), ((30, 30, 100, 200), (30,), True), ((100,), (), True)],
)
def test_steps_that_fall_together_or_behind_the_end_are_told(steps, used, is_told, caplog):
    with caplog.at_level("WARNING", logger="mask2former_mt"):
        rate = rates(
            (0, 29, 30, 99), LR_SCHEDULER_NAME="WarmupMultiStepLR", STEPS=steps, WARMUP_ITERS=0
        )
    # A tenth after each step.
    expected = {i: 2 * 0.1 ** sum(i >= step for step in used) for i in (0, 29, 30, 99)}
    assert rate == pytest.approx(expected)
    assert len(caplog.messages) == is_told
