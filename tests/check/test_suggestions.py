"""The rules behind the suggested settings, and the bound on what is under way."""

from __future__ import annotations

import concurrent.futures
import threading

import numpy as np
import pytest

from mask2former_mt.check.check import in_order
from mask2former_mt.check.pictures import Picture
from mask2former_mt.check.statistics import Measure, SplitStatistics
from mask2former_mt.check.suggestions import suggest
from mask2former_mt.dataset.document import Header
from mask2former_mt.structures import SubcategorySpec

HEADER = Header((1,), ("cat",), SubcategorySpec())


def settings_of(counts, *, side=20.0, size=(480, 640)):
    """Suggestions for pictures with so many objects, each of side x side pixels."""
    statistics = SplitStatistics(HEADER)
    picture = Picture(size, 1, np.full(3, 100.0), np.full(3, 100.0**2 + 50**2))
    for count in counts:
        statistics.add(picture, [Measure(0, (), side**2, False)] * count)
    found = {}
    for suggestion in suggest(statistics):
        found.update(suggestion.settings)
    return found


@pytest.mark.parametrize(
    ("counts", "queries"),
    [
        ([4] * 1000, 10),  # twice 4 is 8
        ([4] * 1000 + [23], 30),  # 99 % have 4, but the busiest has 23
        ([40] * 1000, 80),
        ([0] * 10 + [1], 10),
    ],
)
def test_queries(counts, queries):
    assert settings_of(counts)["MODEL.MASK_FORMER.NUM_OBJECT_QUERIES"] == queries


@pytest.mark.parametrize(
    ("side", "size", "expected"),
    [
        # 4 cells of 4 pixels are 16: at 20 of 480 pixels, 480 * 16 / 20 = 384.
        (20, (480, 640), 384),
        (20, (640, 480), 384),  # the short side, whichever it is
        (10, (480, 640), 768),
        (2, (480, 640), 960),  # at most twice the picture's own
        (200, (480, 640), 256),  # and at least half of it: 240, rounded up to 32s
    ],
)
def test_input_size(side, size, expected):
    found = settings_of([1] * 10, side=side, size=size)
    assert found["INPUT.MIN_SIZE_TEST"] == expected
    assert found["INPUT.MIN_SIZE_TRAIN"] == [expected]


def test_colours():
    found = settings_of([1])
    assert found["MODEL.PIXEL_MEAN"] == [100.0] * 3
    assert found["MODEL.PIXEL_STD"] == [50.0] * 3


def test_nothing_is_suggested_from_nothing():
    assert suggest(SplitStatistics(None)) == []


def test_few_items_are_under_way_and_come_in_order():
    taken = []
    gate = threading.Event()

    def items():
        for i in range(1000):
            taken.append(i)
            yield i

    def work(item):
        gate.wait(10)
        return item

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        results = in_order(pool, 2, work, items())
        threading.Timer(0.2, gate.set).start()
        assert next(results) == 0
        # Eight for each of two threads.
        assert len(taken) == 16
        assert list(results) == list(range(1, 1000))
