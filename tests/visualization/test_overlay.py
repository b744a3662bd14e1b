"""Instances drawn over their picture: colours, outlines, labels that fit."""

import cv2
import numpy as np
import pytest
from visualization_tools import NAMES, NO_SPEC, SPEC, any_overlap, box_masks, grey, inside, lines_of

from mask2former_mt.structures import Subcategory, SubcategorySpec
from mask2former_mt.visualization import (
    class_colour,
    draw_instances,
    label_parts,
    labels,
    regions,
)


class TestLabelParts:
    def test_scores_none_and_unknown(self):
        # 2 is ink's index of none (two values), -1 is unknown
        parts = label_parts("7", SPEC, [1, 0], score=0.98, subcategory_scores=[0.99, 0.91])
        assert parts == ["7 .98", "ink red .99", "size small .91"]
        assert label_parts("7", SPEC, [2, -1]) == ["7", "ink –", "size ?"]

    @pytest.mark.parametrize(
        ("score", "shown"),
        [(0.999, ".99"), (1.0, "1.00"), (0.0, ".00"), (np.float32(0.29), ".29"), (1.25, "1.25")],
    )
    def test_scores_are_rounded_down(self, score: float, shown: str):
        assert label_parts("a", NO_SPEC, [], score=score) == [f"a {shown}"]

    def test_nan_score_is_refused(self):
        with pytest.raises(ValueError, match="a score must be a finite number, got nan"):
            label_parts("a", NO_SPEC, [], score=float("nan"))

    def test_value_out_of_range_is_refused(self):
        with pytest.raises(ValueError, match=r"'ink': index must be in \[0, 2\], got 3"):
            label_parts("a", SPEC, [3, 0])


class TestClassColour:
    def test_stable_and_distinct(self):
        colours = [class_colour(i) for i in range(20)]
        assert len(set(colours)) == 20
        assert colours == [class_colour(i) for i in range(20)]
        # Even the nearest two of twenty are told apart: 25 in CIELAB is a plain difference.
        rgb = np.array([colours], dtype=np.float32) / 255
        lab = cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB)[0]
        distance = np.linalg.norm(lab[:, None] - lab[None], axis=-1) + 1e3 * np.eye(20)
        assert distance.min() > 25

    def test_more_classes_than_colours(self):
        assert class_colour(1202) == class_colour(1202 % 128)


class TestDrawInstances:
    def draw(self, image=None, boxes=((20, 30, 60, 80),), **overrides):
        image = grey(192, 192) if image is None else image
        count = len(boxes)
        arguments = {
            "masks": box_masks(*image.shape[:2], list(boxes)),
            "classes": [7] * count,
            "class_names": NAMES,
            "spec": SPEC,
            "subcategories": np.tile([1, -1], (count, 1)),
        }
        return draw_instances(image, **{**arguments, **overrides})

    def test_mask_is_tinted_and_outlined_and_the_rest_stays(self):
        picture = self.draw(grey(600, 600), boxes=[(100, 100, 400, 400)], min_side=0)
        # A fifth of the class's colour over grey, away from outline, label and pointer.
        expected = np.round(0.8 * 128 + 0.2 * np.array(class_colour(7)))
        np.testing.assert_array_equal(picture[250, 250], expected)
        np.testing.assert_array_equal(picture[300, 399], class_colour(7))
        np.testing.assert_array_equal(picture[590, 590], [128, 128, 128])

    def test_input_is_not_changed(self):
        image = grey(600, 700)
        self.draw(image, min_side=0)
        np.testing.assert_array_equal(image, grey(600, 700))

    def test_view_with_negative_strides(self):
        bgr = grey(600, 600)
        bgr[..., 0] = 10  # blue in BGR
        picture = self.draw(bgr[:, :, ::-1])
        np.testing.assert_array_equal(picture[590, 590], [128, 128, 10])

    def test_small_picture_is_enlarged(self):
        # the shorter side, 192, becomes 512: 256 * 512 / 192 = 682.67
        assert self.draw(grey(192, 256)).shape == (512, 683, 3)
        assert self.draw(grey(192, 256), min_side=0).shape == (192, 256, 3)
        assert self.draw(grey(600, 800)).shape == (600, 800, 3)

    def test_strip_is_not_enlarged_without_bound(self):
        # the longer side becomes at most 4 * 512
        assert self.draw(grey(2, 1000), boxes=[(0, 0, 9, 2)]).shape == (4, 2048, 3)

    def test_no_instances(self):
        for subcategories in (None, np.zeros((0, 2), dtype=np.int64)):
            picture = self.draw(boxes=[], subcategories=subcategories, min_side=0)
            np.testing.assert_array_equal(picture, grey(192, 192))

    def test_no_subcategories(self, drawn):
        self.draw(spec=NO_SPEC, subcategories=None, scores=[0.5])
        assert lines_of(drawn) == ["7 .50"]

    def test_empty_mask_gets_no_label(self, drawn):
        picture = self.draw(boxes=[(5, 5, 5, 5)], min_side=0)
        assert drawn == []
        np.testing.assert_array_equal(picture, grey(192, 192))

    @pytest.mark.parametrize(
        "size", [(192, 192), (64, 512), (512, 64), (24, 24), (6, 6), (1, 1), (1, 900), (32, 8)]
    )
    @pytest.mark.parametrize("min_side", [0, 512])
    def test_text_never_leaves_the_picture(self, drawn, size, min_side):
        height, width = size
        corners = [
            (0, 0, 4, 4),
            (width - 4, 0, width, 4),
            (0, height - 4, 4, height),
            (width - 4, height - 4, width, height),
            (0, 0, width, height),
        ]
        corners = [tuple(max(0, v) for v in box) for box in corners]
        long_names = [name * 40 for name in NAMES]
        picture = self.draw(grey(*size), boxes=corners, class_names=long_names, min_side=min_side)
        assert all(inside(box, picture.shape) for _, box, _ in drawn), drawn
        if min(picture.shape[:2]) >= 192:
            assert drawn

    @pytest.mark.parametrize(
        "name", ["e\u0301\u0308" * 9, "two\nlines", "果物" * 50, "\ud800", "مرحبا", "x" * 9999]
    )
    def test_no_name_draws_outside_its_label(self, drawn, name):
        arguments = {"boxes": [(90, 90, 100, 100)], "spec": NO_SPEC, "subcategories": None}
        picture = self.draw(grey(600, 600), class_names=[name] * 10, min_side=0, **arguments)
        ((_, (x0, y0, x1, y1), _),) = drawn
        # Grey but for the label, and the mask with its pointer, which reach 90 +- 30 at most.
        picture[y0:y1, x0:x1] = 128
        picture[60:130, 60:130] = 128
        assert (picture == 128).all()
        assert x1 - x0 <= 300

    def test_labels_of_neighbours_do_not_overlap(self, drawn):
        # Eight digits in a dense block.
        boxes = [
            (40 + 28 * i, 60 + 40 * j, 64 + 28 * i, 95 + 40 * j) for i in range(4) for j in range(2)
        ]
        count = len(boxes)
        self.draw(boxes=boxes, scores=[0.5] * count, subcategory_scores=np.full((count, 2), 0.5))
        assert len(lines_of(drawn)) == 3 * count
        assert not any_overlap(drawn)

    def test_a_crowd_has_the_picture_enlarged_and_shorter_labels(self, drawn):
        # A label of three lines takes up about 95 x 56 pixels at the usual text size, 14: a
        # hundred of them 0.53 million, twice a picture of 512 x 512.
        boxes = [(i * 19, j * 19, i * 19 + 15, j * 19 + 15) for i in range(10) for j in range(10)]
        arguments = {"scores": [0.5] * 100, "subcategory_scores": np.full((100, 2), 0.5)}
        picture = self.draw(boxes=boxes, **arguments)
        assert 1024 < picture.shape[0] <= 2048
        assert len(drawn) == 100
        assert not any_overlap(drawn)
        # Where the size must stay, the labels get shorter.
        drawn.clear()
        picture = self.draw(
            grey(192, 192),
            boxes=boxes[::9],
            min_side=0,
            class_names=["c"] * 10,
            subcategories=np.tile([1, -1], (12, 1)),
        )
        assert picture.shape == (192, 192, 3)
        assert {len(lines) for lines, _, _ in drawn} >= {1}
        assert len(drawn) == 12

    def test_label_of_a_mask_in_pieces_stands_at_the_largest(self, drawn):
        masks = box_masks(600, 900, [(20, 20, 120, 120)])
        masks[0, 580:590, 880:890] = True
        self.draw(grey(600, 900), boxes=[(0, 0, 1, 1)], masks=masks)
        ((_, box, _),) = drawn
        assert box[2] < 300
        assert box[3] < 300

    def test_pointer_goes_to_the_largest_part(self):
        picture = grey(200, 600)
        mask = box_masks(200, 600, [(400, 50, 500, 150)])[0]
        mask[95:105, 200:210] = True  # a crumb on the way
        region = regions.region_of(mask, (200, 600))
        labels._paint_pointer(picture, np.array([0, 80, 60, 120]), region, class_colour(7), 14)
        painted = np.flatnonzero((picture != 128).any(axis=(0, 2)))
        # From the label's rim to a little into the part that is large, 8 pixels and a dot.
        assert painted[0] in range(55, 60)
        assert 405 <= painted[-1] <= 415

    def test_large_picture_is_reduced(self):
        # 300 x 900 to a longer side of 600: 200 x 600; a single pixel is not lost
        picture = self.draw(grey(300, 900), boxes=[(30, 30, 31, 31)], min_side=0, max_side=600)
        assert picture.shape == (200, 600, 3)
        assert (picture[15:26, 15:26] != 128).any()

    def test_outline_grows_with_the_picture(self):
        # A 300th of the shorter side: 900 / 300 = 3 pixels, 2000 / 300 = 6.7, that is 7.
        for side, width in ((900, 3), (2000, 7)):
            box = (side // 4, side // 4, side // 2, side // 2)
            picture = self.draw(grey(side, side), boxes=[box], min_side=0)
            edge = picture[side // 4 + 50 : side // 2 - 50, : side // 3]
            widths = (edge == class_colour(7)).all(axis=2).sum(axis=1)
            # Smoothing adds up to a pixel on either side; the label may lie across some rows.
            assert width <= np.median(widths) <= width + 2

    def test_many_subcategories_are_joined_to_fewer_lines(self, drawn):
        spec = SubcategorySpec(tuple(Subcategory(f"s{i}", ("v",)) for i in range(12)))
        self.draw(spec=spec, subcategories=np.zeros((1, 12), dtype=np.int64))
        lines = lines_of(drawn)
        # a third of 512 pixels holds 9 lines of 18: 1 + 12 / 2 of them
        assert lines[:2] == ["7", "s0 v | s1 v"]
        assert len(lines) == 7

    def test_wrong_input_is_refused(self):
        with pytest.raises(ValueError, match=r"uint8 RGB \(H, W, 3\), got float32"):
            self.draw(grey(9, 9).astype(np.float32), boxes=[])
        with pytest.raises(ValueError, match=r"masks must be \(1, 192, 192\), got \(1, 64, 192\)"):
            self.draw(masks=np.zeros((1, 64, 192), dtype=bool))
        with pytest.raises(ValueError, match=r"masks must be \(2, 192, 192\), got \(1, 192, 192\)"):
            self.draw(classes=[1, 2])
        with pytest.raises(ValueError, match=r"subcategories must be \(1, 2\), got \(1, 3\)"):
            self.draw(subcategories=np.zeros((1, 3), dtype=np.int64))
        with pytest.raises(ValueError, match=r"subcategories must be \(1, 2\), got None"):
            self.draw(subcategories=None)
        with pytest.raises(ValueError, match=r"subcategory_scores must be \(1, 2\), got \(2, 2\)"):
            self.draw(subcategory_scores=np.zeros((2, 2)))
        with pytest.raises(ValueError, match=r"scores must have 1 entries, one per class, got 2"):
            self.draw(scores=[0.5, 0.5])
        with pytest.raises(ValueError, match="class 7 has no name: class_names has 3 entries"):
            self.draw(class_names=["a", "b", "c"])
