"""Fills the labels of a model into its config, where the config leaves their numbers open."""

from __future__ import annotations

import logging

from detectron2.config import CfgNode

from mask2former_mt.config.detectron2_keys import is_of
from mask2former_mt.label_lists import Labels, shown_names
from mask2former_mt.modeling.mask_rcnn import MultiTaskRCNN

LOGGER = logging.getLogger("mask2former_mt")


def fill_labels(cfg: CfgNode, labels: Labels, owner: str) -> None:
    """Fills in the numbers of classes and values where the config leaves them to the labels.

    Args:
        cfg: changed in place.
        labels: of the model.
        owner: whose they are, for the message.

    Raises:
        ValueError: the config says something else.
    """
    head, subcategory = cfg.MODEL.SEM_SEG_HEAD, cfg.MODEL.SUBCATEGORY
    num_classes, spec = len(labels.class_names), labels.spec
    head.NUM_CLASSES = head.NUM_CLASSES or num_classes
    if num_classes != head.NUM_CLASSES:
        raise ValueError(
            f"MODEL.SEM_SEG_HEAD.NUM_CLASSES is {head.NUM_CLASSES}, but {owner} has {num_classes} "
            f"classes {shown_names(labels.class_names)}; set it to 0 to take those"
        )
    if is_of(cfg, MultiTaskRCNN):
        # detectron2's default, 80, says nothing.
        cfg.MODEL.ROI_HEADS.NUM_CLASSES = num_classes
    if not subcategory.NAMES:
        subcategory.NAMES, subcategory.NUM_CLASSES = list(spec.names), list(spec.num_classes)
    ours = dict(zip(subcategory.NAMES, subcategory.NUM_CLASSES, strict=True))
    theirs = dict(zip(spec.names, spec.num_classes, strict=True))
    if list(ours.items()) != list(theirs.items()):
        raise ValueError(
            f"MODEL.SUBCATEGORY says {ours}, but {owner} has {theirs}; leave NAMES and NUM_CLASSES "
            "empty to take those"
        )
    for key in ("LOSS_WEIGHTS", "MATCH_COSTS"):
        if len(subcategory[key]) > 1:
            # They are in the order of the lists, which may be another than was thought.
            pairs = zip(spec.names, subcategory[key], strict=False)
            LOGGER.info(f"MODEL.SUBCATEGORY.{key}: {dict(pairs)}")
    if not subcategory.WITHOUT_NONE:
        subcategory.WITHOUT_NONE = list(spec.without_none)
    limits = spec.class_indices(labels.class_names)
    if not subcategory.APPLIES_TO:
        subcategory.APPLIES_TO = limits
    if list(map(list, subcategory.APPLIES_TO)) != limits:
        raise ValueError(
            f"MODEL.SUBCATEGORY.APPLIES_TO is {subcategory.APPLIES_TO}, but {owner} has {limits}; "
            "leave it empty to take those, or change 'applies_to' in the dataset JSON"
        )
