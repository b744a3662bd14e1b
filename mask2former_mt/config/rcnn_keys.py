"""The rules of detectron2's config keys that Mask R-CNN reads."""

from __future__ import annotations

from detectron2.modeling import (
    ANCHOR_GENERATOR_REGISTRY,
    ROI_BOX_HEAD_REGISTRY,
    ROI_HEADS_REGISTRY,
    ROI_MASK_HEAD_REGISTRY,
)
from detectron2.modeling.proposal_generator.build import PROPOSAL_GENERATOR_REGISTRY
from detectron2.modeling.proposal_generator.rpn import RPN_HEAD_REGISTRY

from mask2former_mt.config.config_rules import (
    BELOW_ONE,
    MOST_CHANNELS,
    MOST_CLASSES,
    MOST_PIXELS,
    NAME,
    NORM,
    SWITCH,
    WEIGHT,
    Rule,
    ascending,
    between,
    count,
    each,
    list_of,
    one_of,
    only,
    registered_in,
    some,
    up_to,
)

_SHARE = between(0, 1)
_BOX_LOSS = one_of(("smooth_l1", "giou", "diou", "ciou"))
_SCALES_OF_BOXES = list_of(4, up_to(1000))
_REGIONS = count(1, 1_000_000)
_POOLER = {
    "POOLER_RESOLUTION": count(1, 1024),
    # Samples of a bin along each side; 0: as many as it has cells.
    "POOLER_SAMPLING_RATIO": count(0, 64),
    # The older kinds are shifted by half a cell, or compiled with detectron2 alone.
    "POOLER_TYPE": one_of(("ROIAlignV2", "ROIAlign")),
}

RCNN_KEYS: dict[str, dict[str, Rule]] = {
    "MODEL.ANCHOR_GENERATOR": {
        "NAME": registered_in("ANCHOR_GENERATOR_REGISTRY", ANCHOR_GENERATOR_REGISTRY),
        "SIZES": some(some(up_to(MOST_PIXELS))),
        "ASPECT_RATIOS": some(some(up_to(1000))),
        "OFFSET": BELOW_ONE,
    },
    "MODEL.PROPOSAL_GENERATOR": {
        "NAME": registered_in("PROPOSAL_GENERATOR_REGISTRY", PROPOSAL_GENERATOR_REGISTRY),
        "MIN_SIZE": between(0, MOST_PIXELS),
    },
    "MODEL.RPN": {
        "HEAD_NAME": registered_in("RPN_HEAD_REGISTRY", RPN_HEAD_REGISTRY),
        "IN_FEATURES": some(NAME),
        "BOUNDARY_THRESH": between(-1, MOST_PIXELS),
        "IOU_THRESHOLDS": ascending(_SHARE),
        "IOU_LABELS": each(one_of((-1, 0, 1))),
        "BATCH_SIZE_PER_IMAGE": _REGIONS,
        "POSITIVE_FRACTION": _SHARE,
        "BBOX_REG_LOSS_TYPE": _BOX_LOSS,
        "BBOX_REG_LOSS_WEIGHT": WEIGHT,
        "BBOX_REG_WEIGHTS": _SCALES_OF_BOXES,
        "SMOOTH_L1_BETA": WEIGHT,
        "LOSS_WEIGHT": WEIGHT,
        "PRE_NMS_TOPK_TRAIN": _REGIONS,
        "PRE_NMS_TOPK_TEST": _REGIONS,
        "POST_NMS_TOPK_TRAIN": _REGIONS,
        "POST_NMS_TOPK_TEST": _REGIONS,
        "NMS_THRESH": _SHARE,
        # -1: as many as the features have.
        "CONV_DIMS": some(count(-1, MOST_CHANNELS)),
    },
    "MODEL.ROI_HEADS": {
        "NAME": registered_in("ROI_HEADS_REGISTRY", ROI_HEADS_REGISTRY),
        "NUM_CLASSES": count(1, MOST_CLASSES),
        "IN_FEATURES": some(NAME),
        "IOU_THRESHOLDS": ascending(_SHARE),
        "IOU_LABELS": each(one_of((-1, 0, 1))),
        "BATCH_SIZE_PER_IMAGE": _REGIONS,
        "POSITIVE_FRACTION": _SHARE,
        "SCORE_THRESH_TEST": _SHARE,
        "NMS_THRESH_TEST": _SHARE,
        "PROPOSAL_APPEND_GT": SWITCH,
    },
    "MODEL.ROI_BOX_HEAD": {
        # Empty where detectron2's other heads have none.
        "NAME": Rule(
            "a name in ROI_BOX_HEAD_REGISTRY",
            lambda x: x == "" or (isinstance(x, str) and x in ROI_BOX_HEAD_REGISTRY),
        ),
        "BBOX_REG_LOSS_TYPE": _BOX_LOSS,
        "BBOX_REG_LOSS_WEIGHT": WEIGHT,
        "BBOX_REG_WEIGHTS": _SCALES_OF_BOXES,
        "SMOOTH_L1_BETA": WEIGHT,
        **_POOLER,
        "NUM_FC": count(0, 100),
        "FC_DIM": count(1, MOST_CHANNELS),
        "NUM_CONV": count(0, 100),
        "CONV_DIM": count(1, MOST_CHANNELS),
        "NORM": NORM,
        "CLS_AGNOSTIC_BBOX_REG": SWITCH,
        "TRAIN_ON_PRED_BOXES": SWITCH,
        "USE_FED_LOSS": only(False, "it needs image counts of LVIS's classes"),
        "USE_SIGMOID_CE": SWITCH,
    },
    "MODEL.ROI_MASK_HEAD": {
        "NAME": registered_in("ROI_MASK_HEAD_REGISTRY", ROI_MASK_HEAD_REGISTRY),
        **_POOLER,
        "NUM_CONV": count(0, 100),
        "CONV_DIM": count(1, MOST_CHANNELS),
        "NORM": NORM,
        "CLS_AGNOSTIC_MASK": SWITCH,
    },
}
