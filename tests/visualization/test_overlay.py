"""Instances drawn over their picture: colours, outlines, labels that fit."""

import json

import cv2
import numpy as np
import pycocotools.mask as mask_util
import pytest
import torch
from detectron2.structures import Boxes, Instances
from visualization_tools import (
    CLASSES,
    NAMES,
    NO_SPEC,
    OWN_SIZE,
    SPEC,
    any_overlap,
    box_masks,
    grey,
    inside,
    lines_of,
)

from mask2former_mt.evaluation.results_json import instances_to_results
from mask2former_mt.structures import Subcategory, SubcategorySpec
from mask2former_mt.visualization import (
    Label,
    LabelNames,
    SizeLimits,
    draw_ground_truth,
    draw_instances,
    draw_results,
    regions,
)
from mask2former_mt.visualization.colours import class_colour
from mask2former_mt.visualization.instance_painting import DEFAULT_LIMITS
from mask2former_mt.visualization.label_painting import paint_pointer

PLAIN = Label(7, [1, -1])
SCORED = Label(7, [1, -1], score=0.5, value_scores=[0.5, 0.5])


def draw(
    image: np.ndarray,
    boxes: list[tuple[int, int, int, int]],
    label: Label = PLAIN,
    *,
    names: LabelNames = NAMES,
    limits: SizeLimits = DEFAULT_LIMITS,
) -> np.ndarray:
    masks = box_masks(*image.shape[:2], boxes)
    return draw_instances(image, masks, [label] * len(boxes), names, limits)


def test_class_colours_are_stable_and_distinct():
    colours = [class_colour(i) for i in range(20)]
    assert colours == [class_colour(i) for i in range(20)]
    assert class_colour(1202) == class_colour(1202 % 128)
    # Even the nearest two of twenty are told apart: 25 in CIELAB is a plain difference.
    rgb = np.array([colours], dtype=np.float32) / 255
    lab = cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB)[0]
    distance = np.linalg.norm(lab[:, None] - lab[None], axis=-1) + 1e3 * np.eye(20)
    assert distance.min() > 25


class TestDrawInstances:
    def test_mask_is_tinted_and_outlined_and_the_rest_stays(self):
        image = grey(600, 600)
        picture = draw(image, [(100, 100, 400, 400)], limits=OWN_SIZE)
        # A fifth of the class's colour over grey, away from outline, label and pointer.
        expected = np.round(0.8 * 128 + 0.2 * np.array(class_colour(7)))
        np.testing.assert_array_equal(picture[250, 250], expected)
        np.testing.assert_array_equal(picture[300, 399], class_colour(7))
        np.testing.assert_array_equal(picture[590, 590], [128, 128, 128])
        np.testing.assert_array_equal(image, grey(600, 600))

    def test_view_with_negative_strides(self):
        bgr = grey(600, 600)
        bgr[..., 0] = 10  # blue in BGR
        picture = draw(bgr[:, :, ::-1], [(20, 30, 60, 80)])
        np.testing.assert_array_equal(picture[590, 590], [128, 128, 10])

    @pytest.mark.parametrize(
        ("size", "limits", "drawn_size"),
        [
            # the shorter side, 192, becomes 512: 256 * 512 / 192 = 682.67
            ((192, 256), DEFAULT_LIMITS, (512, 683)),
            ((192, 256), OWN_SIZE, (192, 256)),
            ((600, 800), DEFAULT_LIMITS, (600, 800)),
            # the longer side of a strip becomes at most 4 * 512
            ((2, 1000), DEFAULT_LIMITS, (4, 2048)),
            # the longer side becomes 600
            ((300, 900), SizeLimits(min_side=0, max_side=600), (200, 600)),
        ],
    )
    def test_size_of_the_picture(self, size, limits, drawn_size):
        assert draw(grey(*size), [(0, 0, 9, 2)], limits=limits).shape == (*drawn_size, 3)

    def test_a_pixel_is_not_lost_in_a_reduced_picture(self):
        limits = SizeLimits(min_side=0, max_side=600)
        picture = draw(grey(300, 900), [(30, 30, 31, 31)], limits=limits)
        assert (picture[15:26, 15:26] != 128).any()

    @pytest.mark.parametrize("boxes", [[], [(5, 5, 5, 5)]], ids=["no instances", "empty mask"])
    def test_nothing_to_draw(self, drawn, boxes):
        picture = draw(grey(192, 192), boxes, limits=OWN_SIZE)
        assert drawn == []
        np.testing.assert_array_equal(picture, grey(192, 192))

    @pytest.mark.parametrize(
        "size", [(192, 192), (64, 512), (512, 64), (24, 24), (6, 6), (1, 1), (1, 900), (32, 8)]
    )
    @pytest.mark.parametrize("min_side", [0, 512])
    def test_text_never_leaves_the_picture(self, drawn, size, min_side):
        height, width = size
        right, bottom = max(0, width - 4), max(0, height - 4)
        boxes = [(x, y, x + 4, y + 4) for x in (0, right) for y in (0, bottom)]
        boxes.append((0, 0, width, height))
        names = LabelNames([name * 40 for name in CLASSES], SPEC)
        picture = draw(grey(*size), boxes, names=names, limits=SizeLimits(min_side=min_side))
        assert all(inside(box, picture.shape) for _, box, _ in drawn), drawn
        if min(picture.shape[:2]) >= 192:
            assert drawn

    @pytest.mark.parametrize(
        "name", ["e\u0301\u0308" * 9, "two\nlines", "果物" * 50, "\ud800", "مرحبا", "x" * 9999]
    )
    def test_no_name_draws_outside_its_label(self, drawn, name):
        names = LabelNames([name], NO_SPEC)
        box = (90, 90, 100, 100)
        picture = draw(grey(600, 600), [box], Label(0), names=names, limits=OWN_SIZE)
        ((_, (x0, y0, x1, y1), _),) = drawn
        # Grey but for the label, and the mask with its pointer, which reach 90 +- 30 at most.
        picture[y0:y1, x0:x1] = 128
        picture[60:130, 60:130] = 128
        assert (picture == 128).all()
        assert x1 - x0 <= 300

    def test_many_instances_have_the_picture_enlarged_or_shorter_labels(self, drawn):
        # A label of three lines takes up about 95 x 56 pixels at the usual text size, 14: a
        # hundred of them 0.53 million, twice a picture of 512 x 512.
        boxes = [(i * 19, j * 19, i * 19 + 15, j * 19 + 15) for i in range(10) for j in range(10)]
        picture = draw(grey(192, 192), boxes, SCORED)
        assert 1024 < picture.shape[0] <= 2048
        assert len(lines_of(drawn)) == 3 * 100
        assert not any_overlap(drawn)
        # Where the size must stay, the labels get shorter.
        drawn.clear()
        draw(grey(192, 192), boxes[::9], limits=OWN_SIZE)
        assert len(drawn) == 12
        assert min(len(lines) for lines, _, _ in drawn) == 1

    def test_label_of_a_mask_in_pieces_stands_at_the_largest(self, drawn):
        masks = box_masks(600, 900, [(20, 20, 120, 120)])
        masks[0, 580:590, 880:890] = True
        draw_instances(grey(600, 900), masks, [SCORED], NAMES)
        ((_, (_, _, right, bottom), _),) = drawn
        assert max(right, bottom) < 300

    def test_pointer_goes_to_the_largest_part(self):
        picture = grey(200, 600)
        mask = box_masks(200, 600, [(400, 50, 500, 150)])[0]
        mask[95:105, 200:210] = True  # a crumb on the way
        region = regions.region_of(mask)
        paint_pointer(picture, np.array([0, 80, 60, 120]), region, class_colour(7), 14)
        painted = np.flatnonzero((picture != 128).any(axis=(0, 2)))
        # From the label's rim to a little into the part that is large, 8 pixels and a dot.
        assert painted[0] in range(55, 60)
        assert 405 <= painted[-1] <= 415

    # A 300th of the shorter side: 900 / 300 = 3 pixels, 2000 / 300 = 6.7, that is 7.
    @pytest.mark.parametrize(("side", "width"), [(900, 3), (2000, 7)])
    def test_outline_grows_with_the_picture(self, side, width):
        picture = draw(grey(side, side), [(side // 4, side // 4, side // 2, side // 2)])
        edge = picture[side // 4 + 50 : side // 2 - 50, : side // 3]
        widths = (edge == class_colour(7)).all(axis=2).sum(axis=1)
        # Smoothing adds up to a pixel on either side; the label may lie across some rows.
        assert width <= np.median(widths) <= width + 2

    def test_many_subcategories_are_joined_to_fewer_lines(self, drawn):
        spec = SubcategorySpec(tuple(Subcategory(f"s{i}", ("v",)) for i in range(12)))
        label = Label(7, [0] * 12)
        draw(grey(192, 192), [(20, 30, 60, 80)], label, names=LabelNames(CLASSES, spec))
        lines = lines_of(drawn)
        # a third of 512 pixels holds 9 lines of 18: 1 + 12 / 2 of them
        assert lines[:2] == ["7", "s0 v | s1 v"]
        assert len(lines) == 7

    def test_wrong_input_is_refused(self):
        with pytest.raises(ValueError, match=r"uint8 RGB \(H, W, 3\), got float32"):
            draw(grey(9, 9).astype(np.float32), [])
        masks = box_masks(64, 192, [(0, 0, 9, 9)])
        with pytest.raises(ValueError, match=r"at the image's size \(192, 192\), got \(64, 192\)"):
            draw_instances(grey(192, 192), masks, [SCORED], NAMES)
        with pytest.raises(ValueError, match="each mask needs a label: got 1 masks, 2 labels"):
            draw_instances(grey(64, 192), masks, [SCORED] * 2, NAMES)


@pytest.mark.parametrize("names", [NAMES, LabelNames(CLASSES, NO_SPEC, range(10, 20))])
def test_results_of_a_models_instances(drawn, names):
    masks = box_masks(192, 192, [(20, 30, 60, 80), (90, 90, 150, 150)])
    instances = Instances(
        (192, 192),
        pred_masks=torch.from_numpy(masks),
        pred_boxes=Boxes(torch.zeros(2, 4)),
        pred_classes=torch.tensor([3, 4]),
        scores=torch.tensor([0.9, 0.5]),
        pred_subcategories=torch.tensor([[0, 3], [2, 1]]),
        subcategory_scores=torch.tensor([[0.8, 0.7], [0.6, 0.5]]),
    )
    results = instances_to_results(
        instances, 1, spec=names.spec, category_ids=list(names.category_ids)
    )
    picture = draw_results(grey(192, 192), json.loads(json.dumps(results)), names)
    first = ["3 .90", "ink black .80", "size – .70"]
    second = ["4 .50", "ink – .60", "size medium .50"]
    count = 1 + len(names.spec)
    # The smaller mask's label first.
    assert lines_of(drawn) == [*first[:count], *second[:count]]
    labels = [Label(3, [0, 3], 0.9, [0.8, 0.7]), Label(4, [2, 1], 0.5, [0.6, 0.5])]
    if not names.spec.names:
        labels = [Label(label.class_index, score=label.score) for label in labels]
    np.testing.assert_array_equal(picture, draw_instances(grey(192, 192), masks, labels, names))


class TestDrawGroundTruth:
    def draw(self, *annotations: dict) -> np.ndarray:
        return draw_ground_truth(grey(600, 600), annotations, NAMES, OWN_SIZE)

    def test_polygons_and_both_kinds_of_rle_draw_the_same(self):
        mask = np.asfortranarray(box_masks(600, 600, [(100, 200, 300, 500)])[0].astype(np.uint8))
        # Runs of a column-major mask: 100 empty columns and 200 pixels, then 300 in each of 200
        # columns with 300 between, then 100 below the last and the 300 empty columns.
        runs = [100 * 600 + 200] + [300, 300] * 199 + [300, 100 + 300 * 600]
        pictures = [
            self.draw({"segmentation": shape, "category_id": 2, "subcategories": [0, -1]})
            for shape in (
                [[100, 200, 300, 200, 300, 500, 100, 500]],
                mask_util.encode(mask),
                {"size": [600, 600], "counts": runs},
            )
        ]
        np.testing.assert_array_equal(pictures[0], pictures[1])
        np.testing.assert_array_equal(pictures[0], pictures[2])
        assert (pictures[0] != 128).any()

    def test_words(self, drawn):
        square, triangle = [100, 100, 200, 100, 200, 200, 100, 200], [300, 300, 500, 300, 500, 500]
        self.draw(
            {"segmentation": [square], "category_id": 2, "subcategories": [2, -1]},
            {"segmentation": [triangle], "category_id": 5, "subcategories": [1, 1], "iscrowd": 1},
        )
        assert lines_of(drawn) == ["2", "ink –", "size ?", "5 crowd", "ink red", "size medium"]

    def test_no_polygons_are_an_empty_mask(self, drawn):
        picture = self.draw({"segmentation": [], "category_id": 2})
        np.testing.assert_array_equal(picture, grey(600, 600))
        assert drawn == []

    @pytest.mark.parametrize(
        ("segmentation", "message"),
        [
            ({"size": [10, 20], "counts": [200]}, r"\(600, 600\), got an RLE of \(10, 20\)"),
            ("mask.png", "polygons or an RLE with size and counts, got str"),
        ],
    )
    def test_wrong_segmentation_is_refused(self, segmentation, message):
        with pytest.raises(ValueError, match=message):
            self.draw({"segmentation": segmentation, "category_id": 0})
