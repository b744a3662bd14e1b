"""Predictions of one image as results JSON, and back."""

import json
import math

import numpy as np
import pytest
import torch
from detectron2.structures import Instances
from pycocotools import mask as mask_utils

from mask2former_mt.evaluation.results import instances_to_results
from mask2former_mt.structures import SubcategorySpec

SPEC = SubcategorySpec.from_json(
    [
        {"name": "style", "values": ["photo", "cartoon"]},
        {"name": "ripeness", "values": ["ripe", "unripe"]},
    ]
)
HEIGHT, WIDTH = 5, 7
CATEGORY_IDS = [3, 8]  # of the contiguous classes 0 and 1


def predictions(**changed):
    """Two instances; the second one has no ripeness."""
    masks_NHW = torch.zeros(2, HEIGHT, WIDTH, dtype=torch.bool)
    masks_NHW[0, 1:3, 2:6] = True  # x 2..5, y 1..2
    masks_NHW[1, 4, 6] = True
    fields = {
        "pred_masks": masks_NHW,
        "scores": torch.tensor([0.75, 0.5]),
        "pred_classes": torch.tensor([1, 0]),
        "pred_subcategories": torch.tensor([[0, 1], [1, 2]]),
        "subcategory_scores": torch.tensor([[0.875, 0.25], [0.5, 0.625]]),
    } | changed
    return Instances((HEIGHT, WIDTH), **{k: v for k, v in fields.items() if v is not None})


def convert(instances, spec=SPEC):
    return instances_to_results(instances, 42, spec=spec, category_ids=CATEGORY_IDS)


def test_an_entry_holds_dataset_ids_names_and_scores():
    first, second = convert(predictions())
    assert (first["image_id"], first["category_id"], first["score"]) == (42, 8, 0.75)
    assert first["subcategories"] == {
        "style": {"value": "photo", "score": 0.875},
        "ripeness": {"value": "unripe", "score": 0.25},
    }
    # 4 pixels wide from x = 2, 2 high from y = 1.
    assert first["bbox"] == [2, 1, 4, 2]
    assert second["category_id"] == 3
    # K_s = 2 is none.
    assert second["subcategories"]["ripeness"] == {"value": None, "score": 0.625}
    assert second["bbox"] == [6, 4, 1, 1]


def test_entries_survive_json_with_their_masks():
    instances = predictions()
    results = json.loads(json.dumps(convert(instances)))
    for result, mask_HW in zip(results, instances.pred_masks, strict=True):
        np.testing.assert_array_equal(mask_utils.decode(result["segmentation"]), mask_HW.numpy())


def test_no_instances():
    assert convert(predictions()[torch.tensor([], dtype=torch.int64)]) == []


def test_an_empty_mask_is_kept():
    result = convert(predictions(pred_masks=torch.zeros(2, HEIGHT, WIDTH, dtype=torch.bool)))[0]
    assert result["bbox"] == [0, 0, 0, 0]
    assert mask_utils.area(result["segmentation"]) == 0


def test_without_subcategories_the_fields_are_not_needed():
    plain = predictions(pred_subcategories=None, subcategory_scores=None)
    assert [r["subcategories"] for r in convert(plain, SubcategorySpec())] == [{}, {}]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"scores": None}, "image 42: the predictions have no field 'scores'"),
        ({"pred_subcategories": None}, "image 42: .* no field 'pred_subcategories'"),
        (
            {"pred_masks": torch.zeros(2, WIDTH, HEIGHT) > 0},
            r"must be \(2, 5, 7\), got \(2, 7, 5\)",
        ),
        ({"pred_masks": torch.zeros(2, HEIGHT, WIDTH)}, r"bool \(N, H, W\), got torch.float32"),
        ({"pred_classes": torch.tensor([0, 2])}, r"instance 1: pred_classes .* \[0, 1\], got 2"),
        ({"pred_classes": torch.tensor([-1, 0])}, r"instance 0: pred_classes .* got -1"),
        (
            {"pred_subcategories": torch.zeros(2, 3, dtype=torch.int64)},
            r"pred_subcategories must be \(2, 2\).*\['style', 'ripeness'\], got \(2, 3\)",
        ),
        ({"subcategory_scores": torch.zeros(2, 1)}, r"subcategory_scores must be \(2, 2\)"),
        (
            {"pred_subcategories": torch.tensor([[0, 0], [3, 0]])},
            r"'style': index must be in \[0, 2\], got 3",
        ),
        (
            {"pred_subcategories": torch.tensor([[-1, 0], [0, 0]])},
            r"'style': index must be in \[0, 2\], got -1",
        ),
        ({"scores": torch.tensor([0.5, math.nan])}, "instance 1: scores must be finite, got nan"),
        (
            {"subcategory_scores": torch.tensor([[0.5, math.nan], [0.5, 0.5]])},
            "image 42, instance 0: scores must be finite",
        ),
    ],
)
def test_predictions_that_do_not_fit_are_named(changed, message):
    with pytest.raises(ValueError, match=message):
        convert(predictions(**changed))
