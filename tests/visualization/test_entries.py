"""Predictions, results and annotations drawn, on hand-made masks."""

import json

import numpy as np
import pycocotools.mask as mask_util
import pytest
import torch
from detectron2.structures import Boxes, Instances
from visualization_tools import (
    NAMES,
    NO_SPEC,
    SPEC,
    box_masks,
    grey,
    lines_of,
)

from mask2former_mt.evaluation.results import instances_to_results
from mask2former_mt.visualization import (
    draw_ground_truth,
    draw_predictions,
    draw_results,
)


class TestDrawPredictions:
    def instances(self) -> Instances:
        masks = torch.from_numpy(box_masks(192, 192, [(20, 30, 60, 80), (90, 90, 150, 150)]))
        return Instances(
            (192, 192),
            pred_masks=masks,
            pred_boxes=Boxes(torch.zeros(2, 4)),
            pred_classes=torch.tensor([3, 4]),
            scores=torch.tensor([0.9, 0.5]),
            pred_subcategories=torch.tensor([[0, 3], [2, 1]]),
            subcategory_scores=torch.tensor([[0.8, 0.7], [0.6, 0.5]]),
        )

    @pytest.mark.parametrize(("threshold", "count"), [(0.0, 2), (0.5, 2), (0.51, 1), (0.95, 0)])
    def test_threshold(self, drawn, threshold, count):
        draw_predictions(
            grey(192, 192),
            self.instances(),
            class_names=NAMES,
            spec=SPEC,
            score_threshold=threshold,
        )
        assert len(lines_of(drawn)) == 3 * count

    def test_words(self, drawn):
        draw_predictions(
            grey(192, 192), self.instances(), class_names=NAMES, spec=SPEC, score_threshold=0.6
        )
        assert lines_of(drawn) == ["3 .90", "ink black .80", "size – .70"]

    def test_without_subcategories(self, drawn):
        instances = self.instances()
        instances.remove("pred_subcategories")
        instances.remove("subcategory_scores")
        draw_predictions(
            grey(192, 192), instances, class_names=NAMES, spec=NO_SPEC, score_threshold=0.6
        )
        assert lines_of(drawn) == ["3 .90"]

    @pytest.mark.parametrize("spec", [SPEC, NO_SPEC])
    def test_their_results_draw_the_same(self, spec):
        instances = self.instances()
        entries = instances_to_results(instances, 1, spec=spec, category_ids=range(10, 20))
        entries = json.loads(json.dumps(entries))
        np.testing.assert_array_equal(
            draw_results(
                grey(192, 192), entries, class_names=NAMES, category_ids=range(10, 20), spec=spec
            ),
            draw_predictions(
                grey(192, 192), instances, class_names=NAMES, spec=spec, score_threshold=0
            ),
        )

    def test_result_of_another_dataset_is_refused(self):
        entries = instances_to_results(self.instances(), 1, spec=SPEC, category_ids=range(10))
        with pytest.raises(ValueError, match=r"category_id must be one of \[1, 2\], got 3"):
            draw_results(
                grey(192, 192), entries, class_names=["a", "b"], category_ids=[1, 2], spec=SPEC
            )

    def test_another_images_instances_are_refused(self):
        with pytest.raises(ValueError, match=r"masks must be \(2, 100, 192\), got \(2, 192, 192\)"):
            draw_predictions(
                grey(100, 192), self.instances(), class_names=NAMES, spec=SPEC, score_threshold=0
            )


class TestDrawGroundTruth:
    def draw(self, annotations):
        return draw_ground_truth(
            grey(600, 600), annotations, class_names=NAMES, spec=SPEC, min_side=0
        )

    def test_polygons_and_both_kinds_of_rle_draw_the_same(self):
        mask = np.asfortranarray(box_masks(600, 600, [(100, 200, 300, 500)])[0].astype(np.uint8))
        # Runs of a column-major mask: 100 empty columns and 200 pixels, then 300 in each of 200
        # columns with 300 between, then 100 below the last and the 300 empty columns.
        runs = [100 * 600 + 200] + [300, 300] * 199 + [300, 100 + 300 * 600]
        pictures = [
            self.draw([{"segmentation": shape, "category_id": 2, "subcategories": [0, -1]}])
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
        square = [[100, 100, 200, 100, 200, 200, 100, 200]]
        self.draw(
            [
                {"segmentation": square, "category_id": 2, "subcategories": [2, -1]},
                {
                    "segmentation": [[300, 300, 500, 300, 500, 500]],
                    "category_id": 5,
                    "subcategories": [1, 1],
                    "iscrowd": 1,
                },
            ]
        )
        assert lines_of(drawn) == [
            *("2", "ink –", "size ?"),
            *("5 crowd", "ink red", "size medium"),
        ]

    def test_no_annotations(self):
        np.testing.assert_array_equal(self.draw([]), grey(600, 600))

    def test_rle_of_another_size_is_refused(self):
        rle = {"size": [10, 20], "counts": [200]}
        with pytest.raises(ValueError, match=r"\(600, 600\), got an RLE of \(10, 20\)"):
            self.draw([{"segmentation": rle, "category_id": 0, "subcategories": [0, 0]}])

    def test_other_segmentation_is_refused(self):
        with pytest.raises(ValueError, match="polygons or an RLE with size and counts, got str"):
            self.draw([{"segmentation": "mask.png", "category_id": 0, "subcategories": [0, 0]}])
