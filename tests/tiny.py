"""A model small enough that a test builds it and runs it in a fraction of a second."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import build_model
from detectron2.structures import Instances
from torch import nn
from training_files import CONFIG

from mask2former_mt.config import add_mask2former_mt_config, check_config
from mask2former_mt.structures import GT_CLASSES, GT_MASKS, GT_SUBCATEGORIES, SubcategorySpec

NUM_CLASSES = 3
# K_s by name: the heads have one output more.
SUBCATEGORIES = {"colour": 4, "fill": 2}
SPEC = SubcategorySpec.from_counts(list(SUBCATEGORIES), list(SUBCATEGORIES.values()))
CHANNELS = CONFIG["MODEL"]["MASK_FORMER"]["HIDDEN_DIM"]
NUM_QUERIES = CONFIG["MODEL"]["MASK_FORMER"]["NUM_OBJECT_QUERIES"]
_LEVELS = ["p2", "p3", "p4", "p5"]
# Keys that make a small Mask R-CNN of it.
RCNN = {
    "MODEL.META_ARCHITECTURE": "MultiTaskRCNN",
    "MODEL.BACKBONE.NAME": "build_timm_fpn_backbone",
    "MODEL.FPN.IN_FEATURES": ["res2", "res3", "res4", "res5"],
    "MODEL.FPN.OUT_CHANNELS": 16,
    "MODEL.ANCHOR_GENERATOR.SIZES": [[16], [32], [64], [128], [256]],
    "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS": [[0.5, 1.0, 2.0]],
    "MODEL.RPN.IN_FEATURES": [*_LEVELS, "p6"],
    "MODEL.RPN.POST_NMS_TOPK_TRAIN": 50,
    "MODEL.RPN.POST_NMS_TOPK_TEST": 20,
    "MODEL.ROI_HEADS.NAME": "MultiTaskROIHeads",
    "MODEL.ROI_HEADS.IN_FEATURES": _LEVELS,
    "MODEL.ROI_HEADS.NUM_CLASSES": 3,
    "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": 32,
    "MODEL.ROI_HEADS.SCORE_THRESH_TEST": 0.0,
    "MODEL.ROI_BOX_HEAD.NAME": "FastRCNNConvFCHead",
    "MODEL.ROI_BOX_HEAD.NUM_FC": 1,
    "MODEL.ROI_BOX_HEAD.FC_DIM": 32,
    "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION": 7,
    "MODEL.ROI_MASK_HEAD.NAME": "MaskRCNNConvUpsampleHead",
    "MODEL.ROI_MASK_HEAD.NUM_CONV": 1,
    "MODEL.ROI_MASK_HEAD.CONV_DIM": 16,
    "MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION": 14,
    "MODEL.MASK_ON": True,
}


def tiny_cfg(
    *,
    num_classes: int = NUM_CLASSES,
    subcategories: Mapping[str, int] = SUBCATEGORIES,
    opts: Mapping[str, object] | None = None,
) -> CfgNode:
    """The config of `training_files` for K classes and S subcategories, with trained norms.

    Args:
        num_classes: K.
        subcategories: K_s by name; {} for plain Mask2Former.
        opts: further keys, set last: `{"MODEL.MASK_FORMER.DEC_LAYERS": 4}`.
    """
    cfg = get_cfg()
    add_mask2former_mt_config(cfg)
    cfg.merge_from_other_cfg(CfgNode(CONFIG))
    small = {
        "MODEL.TIMM.NORM": "BN",
        "MODEL.SEM_SEG_HEAD.NUM_CLASSES": num_classes,
        "MODEL.SEM_SEG_HEAD.DEFORMABLE_TRANSFORMER_ENCODER_DIM_FEEDFORWARD": 64,
        "MODEL.MASK_FORMER.DIM_FEEDFORWARD": 64,
        "MODEL.SUBCATEGORY.NAMES": list(subcategories),
        "MODEL.SUBCATEGORY.NUM_CLASSES": list(subcategories.values()),
        "TEST.DETECTIONS_PER_IMAGE": 10,
    }
    for key, value in {**small, **(opts or {})}.items():
        cfg.merge_from_list([key, value])
    check_config(cfg)
    return cfg


def tiny_model(cfg: CfgNode | None = None, *, seed: int = 0) -> nn.Module:
    """The model of a config, by default `tiny_cfg()`, with random weights of this seed."""
    torch.manual_seed(seed)
    return build_model(tiny_cfg() if cfg is None else cfg)


def random_image(height: int, width: int, *, seed: int = 0) -> torch.Tensor:
    """uint8 (3, H, W)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=generator)


def rectangles(height: int, width: int, boxes: list[tuple[int, int, int, int]]) -> torch.Tensor:
    """bool (N, H, W) from boxes (left, top, right, bottom) in pixels, right and bottom outside."""
    masks = torch.zeros(len(boxes), height, width, dtype=torch.bool)
    for mask, (left, top, right, bottom) in zip(masks, boxes, strict=True):
        mask[top:bottom, left:right] = True
    return masks


def ground_truth(
    masks: torch.Tensor, classes: list[int], subcategories: list[list[int]] | None
) -> Instances:
    """What the mapper puts under "instances": N masks (N, H, W), N classes, N lists of S labels.

    None leaves the subcategories out; N may be 0.
    """
    instances = Instances(tuple(masks.shape[1:]))
    instances.set(GT_CLASSES, torch.tensor(classes, dtype=torch.int64))
    instances.set(GT_MASKS, masks)
    if subcategories is not None:
        num_columns = len(subcategories[0]) if subcategories else len(SPEC)
        labels = torch.tensor(subcategories, dtype=torch.int64).reshape(len(classes), num_columns)
        instances.set(GT_SUBCATEGORIES, labels)
    return instances
