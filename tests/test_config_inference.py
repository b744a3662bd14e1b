"""Each config key of inference changes the options of inference."""

from __future__ import annotations

import pytest
from config_tools import changed, rows, tiny_config

from mask2former_mt.modeling.inference import Inference, build_inference
from mask2former_mt.structures import SubcategorySpec

TEST = "MODEL.MASK_FORMER.TEST."


def built(cfg) -> Inference:
    return build_inference(cfg, SubcategorySpec.from_config(cfg.MODEL.SUBCATEGORY))


# The classes 0 to 2: the first subcategory is of class 1.
LIMITS = [[1], []]
LIMITED = ((False, True), (True, True), (False, True))


# See `config_tools.rows`.
INFERENCE_ROWS = [
    (TEST + "RANKING", "joint", "instances.ranking"),
    (TEST + "RANKING_GAMMA", 0.5, "instances.gamma"),
    (TEST + "ONE_CLASS_PER_QUERY", True, "instances.one_class_per_query"),
    (TEST + "MASK_RESIZE", "direct", "instances.mask_resize"),
    (TEST + "SCORE_THRESHOLD", 0.4, "instances.filters.score"),
    (TEST + "CLASS_THRESHOLD", 0.4, "instances.filters.class_score"),
    (TEST + "SUBCATEGORY_THRESHOLDS", [0.4], "instances.filters.subcategory_scores", (0.4, 0.4)),
    (TEST + "SUBCATEGORY_THRESHOLDS", [1, 0.2], "instances.filters.subcategory_scores", (1, 0.2)),
    (TEST + "MIN_AREA", 7, "instances.filters.min_area"),
    (TEST + "NMS", "linear", "instances.filters.nms"),
    (TEST + "NMS_THRESHOLD", 0.7, "instances.filters.nms_threshold"),
    (TEST + "NMS_SIGMA", 0.7, "instances.filters.nms_sigma"),
    (TEST + "NMS_CLASS_AWARE", False, "instances.filters.nms_class_aware"),
    (TEST + "KEEP_TOP_K", 7, "instances.filters.keep"),
    ("MODEL.SUBCATEGORY.APPLIES_TO", LIMITS, "instances.applies", LIMITED),
    (TEST + "SEMANTIC_ON", True, lambda i: i.semantic is not None),
    (TEST + "PANOPTIC_ON", True, lambda i: i.panoptic is not None),
    ("TEST.DETECTIONS_PER_IMAGE", 7, "instances.top_k"),
    ("MODEL.MS_DEFORM_ATTN_IMPL", "torch", "implementation.value"),
]
# The same with panoptic output on.
PANOPTIC_ROWS = [
    (TEST + "OBJECT_MASK_THRESHOLD", 0.8, "panoptic.object_mask_threshold"),
    (TEST + "OVERLAP_THRESHOLD", 0.8, "panoptic.overlap_threshold"),
    (TEST + "STUFF_CLASSES", [2], "panoptic.stuff_classes", (2,)),
    (TEST + "MASK_RESIZE", "direct", "panoptic.mask_resize"),
    ("MODEL.SUBCATEGORY.APPLIES_TO", LIMITS, "panoptic.applies", LIMITED),
    (TEST + "INSTANCE_ON", False, "instances", None),
]


@rows(INFERENCE_ROWS)
def test_a_key_changes_the_inference(key, value, look, expected):
    assert look(built(tiny_config())) != expected
    assert look(built(changed(key, value))) == expected


@rows(PANOPTIC_ROWS)
def test_a_key_changes_the_panoptic_inference(key, value, look, expected):
    panoptic = changed(TEST + "PANOPTIC_ON", True)
    assert look(built(panoptic)) != expected
    assert look(built(changed(key, value, panoptic))) == expected


def test_filters_are_off_by_default():
    filters = built(tiny_config()).instances.filters
    assert not filters.of_labels
    assert (filters.min_area, filters.keep, filters.nms) == (0, 0, "none")


@pytest.mark.parametrize(
    ("drop_none", "without_none", "needs_value"),
    [
        (False, [], (False, False)),
        (False, ["finish"], (False, False)),
        (True, [], (False, False)),
        (True, ["finish"], (False, True)),
    ],
)
def test_none_is_dropped_where_the_dataset_has_none(drop_none, without_none, needs_value):
    cfg = changed("MODEL.SUBCATEGORY.WITHOUT_NONE", without_none)
    filters = built(changed(TEST + "DROP_NONE", drop_none, cfg)).instances.filters
    assert filters.needs_value == needs_value
    assert filters.num_values == (2, 3)


def test_thresholds_are_one_per_subcategory_or_one_for_all():
    with pytest.raises(
        ValueError, match=r"SUBCATEGORY_THRESHOLDS must hold 1 number .* \(2\), got"
    ):
        built(changed(TEST + "SUBCATEGORY_THRESHOLDS", [0.4, 0.2, 0.1]))


@pytest.mark.parametrize(
    ("keys", "first"),
    [
        ({}, False),
        ({"SEM_SEG_POSTPROCESSING_BEFORE_INFERENCE": True}, True),
        ({"INSTANCE_ON": True}, True),
        ({"PANOPTIC_ON": True}, True),
    ],
)
def test_semantic_masks_are_resized_first_where_other_outputs_need_them(keys, first):
    cfg = tiny_config()
    cfg.MODEL.MASK_FORMER.TEST.update({"SEMANTIC_ON": True, "INSTANCE_ON": False, **keys})
    assert built(cfg).semantic.resize_masks_first == first
