"""The places that labels find."""

import numpy as np
import pytest
from visualization_tools import inside, mask_of, overlap

from mask2former_mt.visualization.label_placing import LabelPlaces
from mask2former_mt.visualization.regions import Region, region_of


class TestLabelPlaces:
    def places(self, *masks: np.ndarray) -> tuple[LabelPlaces, list[Region]]:
        regions = [region_of(mask) for mask in masks]
        return LabelPlaces(masks[0].shape, regions, 40 * 20), regions

    def test_beside_its_mask_and_clear_of_it(self):
        places, (region,) = self.places(mask_of((200, 200), (90, 90, 110, 110)))
        version, (x0, y0, x1, y1) = places.choose(region, [(40, 20)])
        assert version == 0
        assert (x1 - x0, y1 - y0) == (40, 20)
        # Ground all around: at most a few pixels of a corner are hidden, or left between.
        assert overlap((x0, y0, x1, y1), (90, 90, 110, 110)) <= 8
        assert max(90 - x1, x0 - 110, 90 - y1, y0 - 110) <= 3

    def test_shorter_version_where_the_full_one_would_hide_a_label(self):
        mask = mask_of((60, 100), (40, 20, 60, 30))
        places, (first, second) = self.places(mask, mask)
        places.taken = np.array([[0, 0, 100, 20], [0, 31, 100, 60]])
        version, (x0, y0, x1, y1) = places.choose(first, [(30, 30), (30, 10), (10, 10)])
        # Between the rows that are taken 11 pixels are free: the second version has 10.
        assert version == 1
        assert (y0, y1) in ((20, 30), (21, 31))
        assert (x1 - x0) == 30
        # Where nothing fits, a label still has a place in the picture.
        places.taken = np.array([[0, 0, 100, 60]])
        _, box = places.choose(second, [(30, 30)])
        assert inside(box, (60, 100))

    def test_the_one_free_place_among_many_labels(self):
        places, (region,) = self.places(mask_of((400, 400), (0, 0, 20, 20)))
        # Labels in all cells of 40 x 20 but one, far away.
        corners = [(x, y) for x in range(0, 400, 40) for y in range(0, 400, 20)]
        corners.remove((360, 240))
        places.taken = np.array([(x, y, x + 40, y + 20) for x, y in corners])
        _, box = places.choose(region, [(36, 12)])
        # Places are 400 / 32 = 12 pixels apart: (360, 240) is one of them.
        assert box.tolist() == [360, 240, 396, 252]

    def test_label_prefers_the_ground_to_another_mask(self):
        mask, other = mask_of((200, 300), (100, 90, 120, 110)), mask_of((200, 300), (0, 0, 300, 88))
        places, (region, _) = self.places(mask, other)
        _, (_, y0, _, _) = places.choose(region, [(40, 20)])
        assert y0 >= 88

    @pytest.mark.parametrize("size", [(5000, 300), (1, 4000)])
    def test_large_and_long_pictures(self, size):
        mask = mask_of(size, (0, 0, 30, 30))
        places, (region,) = self.places(mask)
        block = (20, min(20, size[0]))
        _, box = places.choose(region, [block])
        assert inside(box, size)
