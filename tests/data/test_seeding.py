"""A sample's randomness is its own: the same numbers give the same, and nothing else is moved."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from mask2former_mt.data.seeding import seeded

# What is seeded are the global generators.
# ruff: noqa: NPY002


def _drawn() -> tuple[float, float, float]:
    return np.random.uniform(), random.random(), torch.rand(()).item()


def test_the_same_numbers_give_the_same_and_others_do_not():
    drawn = {}
    for numbers in [(1, 2), (1, 3), (2, 1), (1, 2, 0), (1, 2)]:
        with seeded(*numbers):
            found = _drawn()
        assert drawn.setdefault(numbers, found) == found
    # Four different ones, in each of the three generators.
    assert [len(set(column)) for column in zip(*drawn.values(), strict=True)] == [4, 4, 4]


def test_what_was_before_goes_on_after_even_after_an_error():
    np.random.seed(5)
    random.seed(5)
    torch.manual_seed(5)
    expected = [_drawn(), _drawn()]
    np.random.seed(5)
    random.seed(5)
    torch.manual_seed(5)
    first = _drawn()

    def draw_and_fail():
        with seeded(7, 7):
            _drawn()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        draw_and_fail()
    assert [first, _drawn()] == expected


def test_numbers_beyond_32_bits_count_and_negative_ones_are_refused():
    with seeded(1, 2**40):
        large = _drawn()
    with seeded(1, 2**40 % 2**32):
        assert _drawn() != large
    with pytest.raises(ValueError, match=r"must be at least 0, got \(1, -1\)"), seeded(1, -1):
        pass
