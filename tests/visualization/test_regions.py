"""Regions of masks: extent, largest part, and size."""

import numpy as np
import pytest
from visualization_tools import mask_of

from mask2former_mt.visualization.regions import PackedRegion, packed, region_of


def test_extent_area_and_membership():
    region = region_of(mask_of((50, 80), (10, 20, 14, 23), (13, 22, 16, 25)))
    assert region.box == (10, 20, 16, 25)
    # 4 * 3 + 3 * 3 - 1 shared
    assert region.area == 20
    x, y = np.array([10, 9, 15, 15, 79]), np.array([20, 20, 24, 20, 49])
    assert region.contains(x, y).tolist() == [True, False, True, False, False]


def test_largest_part_and_its_heart():
    region = region_of(mask_of((90, 90), (0, 0, 5, 5), (40, 50, 61, 57)))
    assert region.main_part.box == (40, 50, 61, 57)
    x, y = region.main_part.heart
    # Row 53 is the middle of 50..56, where the rim is four pixels off.
    assert y == 53
    assert 43 <= x <= 57


def test_heart_of_a_ring_is_on_it():
    ring = mask_of((40, 40), (5, 5, 35, 35))
    ring[12:28, 12:28] = False
    x, y = region_of(ring).heart
    assert ring[y, x]


def test_empty_mask_and_view_that_is_not_contiguous():
    assert region_of(mask_of((9, 9))).resized((9, 9), (90, 90)).mask.shape == (0, 0)
    whole = mask_of((60, 60), (10, 20, 30, 40))
    assert region_of(whole[::2, ::-2]).area == 100


@pytest.mark.parametrize(
    ("size", "box"), [((80, 80), (20, 20, 40, 60)), ((20, 20), (5, 5, 10, 15))]
)
def test_resized(size, box):
    assert region_of(mask_of((40, 40), (10, 10, 20, 30))).resized((40, 40), size).box == box


def test_thin_line_is_not_lost_when_reduced():
    line = region_of(mask_of((900, 900), (450, 0, 451, 900)))
    region = line.resized((900, 900), (90, 90))
    assert region.area >= 1
    assert region.left == 45


def test_packed_it_is_the_same():
    region = region_of(np.random.default_rng(0).random((301, 407)) < 0.6)
    smaller = packed(region)
    assert isinstance(smaller, PackedRegion)
    np.testing.assert_array_equal(smaller.mask, region.mask)
    for name in ("area", "box", "heart"):
        assert getattr(smaller, name) == getattr(region, name)
    assert smaller.main_part.box == region.main_part.box
    small = region_of(region.mask[:9])
    assert packed(small) is small
