"""Each config key of inference changes the options of inference."""

from __future__ import annotations

import pytest
from config_tools import changed, rows, tiny_config

from mask2former_mt.modeling.inference import Inference, build_inference
from mask2former_mt.structures import SubcategorySpec

TEST = "MODEL.MASK_FORMER.TEST."


def built(cfg) -> Inference:
    names = SubcategorySpec.from_counts(
        cfg.MODEL.SUBCATEGORY.NAMES, cfg.MODEL.SUBCATEGORY.NUM_CLASSES
    )
    return build_inference(cfg, names)


# Key, new value, what to look at in what is built, and what it must be then.
INFERENCE_ROWS = [
    (TEST + "RANKING", "joint", lambda i: i.instances.ranking, "joint"),
    (TEST + "RANKING_GAMMA", 0.5, lambda i: i.instances.gamma, 0.5),
    (TEST + "ONE_CLASS_PER_QUERY", True, lambda i: i.instances.one_class_per_query, True),
    (TEST + "MASK_RESIZE", "direct", lambda i: i.instances.mask_resize, "direct"),
    (TEST + "SCORE_THRESHOLD", 0.4, lambda i: i.instances.filters.score, 0.4),
    (TEST + "CLASS_THRESHOLD", 0.4, lambda i: i.instances.filters.class_score, 0.4),
    (
        TEST + "SUBCATEGORY_THRESHOLDS",
        [0.4],
        lambda i: i.instances.filters.subcategory_scores,
        (0.4, 0.4),
    ),
    (TEST + "MIN_AREA", 7, lambda i: i.instances.filters.min_area, 7),
    (TEST + "NMS", "linear", lambda i: i.instances.filters.nms, "linear"),
    (TEST + "NMS_THRESHOLD", 0.7, lambda i: i.instances.filters.nms_threshold, 0.7),
    (TEST + "NMS_SIGMA", 0.7, lambda i: i.instances.filters.nms_sigma, 0.7),
    (TEST + "NMS_CLASS_AWARE", False, lambda i: i.instances.filters.nms_class_aware, False),
    (TEST + "KEEP_TOP_K", 7, lambda i: i.instances.filters.keep, 7),
    (TEST + "SEMANTIC_ON", True, lambda i: i.semantic is not None, True),
    (TEST + "PANOPTIC_ON", True, lambda i: i.panoptic is not None, True),
    ("TEST.DETECTIONS_PER_IMAGE", 7, lambda i: i.instances.top_k, 7),
    ("MODEL.MS_DEFORM_ATTN_IMPL", "torch", lambda i: i.implementation.value, "torch"),
]
# The same with panoptic output on.
PANOPTIC_ROWS = [
    (TEST + "OBJECT_MASK_THRESHOLD", 0.8, lambda i: i.panoptic.object_mask_threshold, 0.8),
    (TEST + "OVERLAP_THRESHOLD", 0.8, lambda i: i.panoptic.overlap_threshold, 0.8),
    (TEST + "STUFF_CLASSES", [2], lambda i: i.panoptic.stuff_classes, (2,)),
    (TEST + "MASK_RESIZE", "direct", lambda i: i.panoptic.mask_resize, "direct"),
    (TEST + "INSTANCE_ON", False, lambda i: i.instances, None),
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


def test_none_is_dropped_where_the_dataset_has_none():
    def needs_value(**keys) -> tuple[bool, ...]:
        cfg = tiny_config()
        cfg.MODEL.SUBCATEGORY.WITHOUT_NONE = keys.get("without_none", [])
        cfg.MODEL.MASK_FORMER.TEST.DROP_NONE = keys.get("drop_none", False)
        return built(cfg).instances.filters.needs_value

    assert needs_value() == (False, False)
    assert needs_value(without_none=["finish"]) == (False, False)
    assert needs_value(drop_none=True) == (False, False)
    assert needs_value(drop_none=True, without_none=["finish"]) == (False, True)
    assert built(tiny_config()).instances.filters.num_values == (2, 3)


def test_a_threshold_per_subcategory_or_one_for_all():
    cfg = changed(TEST + "SUBCATEGORY_THRESHOLDS", [0.4, 0.2])
    assert built(cfg).instances.filters.subcategory_scores == (0.4, 0.2)
    with pytest.raises(
        ValueError, match=r"SUBCATEGORY_THRESHOLDS must hold 1 number .* \(2\), got"
    ):
        built(changed(TEST + "SUBCATEGORY_THRESHOLDS", [0.4, 0.2, 0.1]))


def test_semantic_masks_are_resized_first_where_other_outputs_need_them():
    def first(**keys) -> bool:
        cfg = tiny_config()
        cfg.MODEL.MASK_FORMER.TEST.update({"SEMANTIC_ON": True, "INSTANCE_ON": False, **keys})
        return built(cfg).semantic.resize_masks_first

    assert not first()
    assert first(SEM_SEG_POSTPROCESSING_BEFORE_INFERENCE=True)
    assert first(INSTANCE_ON=True)
    assert first(PANOPTIC_ON=True)
