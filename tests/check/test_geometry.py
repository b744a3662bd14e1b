"""Areas and crossings of outlines, against arithmetic and against the clock."""

import time

import numpy as np
import pytest

from mask2former_mt.check.geometry import read_outline, united_area


def outline(*points):
    return read_outline(np.array(points, dtype=np.float64))


@pytest.mark.parametrize(
    ("points", "area", "crossing"),
    [
        ([(0, 0), (10, 0), (10, 5), (0, 5)], 50, None),
        # Closed by its first point again, and a point twice.
        ([(0, 0), (10, 0), (10, 0), (10, 5), (0, 5), (0, 0)], 50, None),
        # Two triangles of base 10 and height 5: 2 * 25.
        ([(0, 0), (10, 10), (10, 0), (0, 10)], 50, (5, 5)),
        # The same, but the place where it crosses is a point of it, twice.
        ([(0, 0), (5, 5), (10, 10), (10, 0), (5, 5), (0, 10)], 50, (5, 5)),
        # A frame: 100 less its hole of 36, joined to it by a seam.
        (
            [(0, 0), (10, 0), (10, 10), (0, 10), (0, 0), (2, 2), (2, 8), (8, 8), (8, 2), (2, 2)],
            64,
            None,
        ),
        # Two squares that touch in a corner, both turning the same way.
        ([(0, 0), (4, 0), (4, 4), (8, 4), (8, 8), (4, 8), (4, 4), (0, 4)], 32, None),
        ([(5, 5), (5, 5), (5, 5)], 0, None),
        ([(0, 0), (5, 5), (10, 10), (3, 3)], 0, None),
    ],
)
def test_area_and_crossing(points, area, crossing):
    found = outline(*points)
    assert found.area == pytest.approx(area, rel=0.02)
    if crossing is None:
        assert found.crossing is None
    else:
        assert found.crossing == pytest.approx(crossing)


def test_parts_that_overlap_are_counted_once():
    a = outline((0, 0), (10, 0), (10, 10), (0, 10))
    b = outline((5, 0), (15, 0), (15, 10), (5, 10))
    apart = outline((20, 0), (21, 0), (21, 10), (20, 10))
    assert united_area([a, b]) == pytest.approx(150, rel=0.02)
    assert united_area([a, apart]) == 110


@pytest.mark.parametrize("count", [1000, 5000])
def test_a_knot_of_thousands_of_edges_does_not_hang(count):
    points = np.random.default_rng(0).random((count, 2)) * 600
    start = time.perf_counter()
    assert read_outline(points).crossing is not None
    assert time.perf_counter() - start < 10
