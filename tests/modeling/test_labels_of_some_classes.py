"""Subcategories of some classes only, in both models: what is taught, and what is predicted."""

from __future__ import annotations

import pytest
import torch
from tiny import RCNN, ground_truth, random_image, rectangles, tiny_cfg, tiny_model

from mask2former_mt.modeling.mapped_targets import checked_labels
from mask2former_mt.structures import SubcategorySpec

SIZE = (96, 128)
# Colour (none is 4) is of class 1, fill (none is 2) of all.
LIMITS = [[1], []]


def labels_of(spec: SubcategorySpec) -> list[list[int]]:
    masks = rectangles(*SIZE, [(0, 0, 9, 9)] * 4)
    # Objects of classes 0 and 2 have no colour; one of class 1 may have none, too.
    instances = ground_truth(masks, [0, 1, 1, 2], [[4, 2], [3, 0], [4, 1], [4, -1]])
    _, labels = checked_labels(instances, 0, num_classes=3, spec=spec)
    # What the mapper gave stays as it was.
    assert instances.gt_subcategories[0].tolist() == [4, 2]
    return labels.tolist()


def test_none_by_definition_is_not_taught_and_costs_nothing():
    counts = (["colour", "fill"], [4, 2])
    limited = SubcategorySpec.from_counts(*counts, LIMITS)
    assert labels_of(limited) == [[-1, 2], [3, 0], [4, 1], [-1, -1]]
    assert labels_of(SubcategorySpec.from_counts(*counts)) == [[4, 2], [3, 0], [4, 1], [4, -1]]


@pytest.mark.parametrize("opts", [{}, RCNN], ids=["queries", "regions"])
def test_only_instances_of_the_class_have_a_value(opts):
    image = {"image": random_image(*SIZE), "height": SIZE[0], "width": SIZE[1]}
    limits = {"MODEL.SUBCATEGORY.APPLIES_TO": LIMITS}
    with torch.no_grad():
        plain, limited = (
            tiny_model(tiny_cfg(opts={**opts, **extra})).eval()([image])[0]["instances"]
            for extra in ({}, limits)
        )
    # The same weights find the same instances.
    assert limited.pred_classes.tolist() == plain.pred_classes.tolist()
    assert torch.equal(limited.scores, plain.scores)
    is_limited = limited.pred_classes != 1
    assert is_limited.any()
    assert set(limited.pred_subcategories[is_limited, 0].tolist()) == {4}
    assert set(limited.subcategory_scores[is_limited, 0].tolist()) == {1.0}
    assert torch.equal(limited.pred_subcategories[:, 1], plain.pred_subcategories[:, 1])
    free = ~is_limited
    assert torch.equal(limited.pred_subcategories[free], plain.pred_subcategories[free])
    assert torch.equal(limited.subcategory_scores[free], plain.subcategory_scores[free])
