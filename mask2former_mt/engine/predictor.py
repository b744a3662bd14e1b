"""A trained model applied to one picture at a time."""

from __future__ import annotations

import logging
import os
import pickle
from collections.abc import Mapping

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import transforms as T
from detectron2.modeling import build_model
from detectron2.structures import Instances

from mask2former_mt.data.augmentation import build_test_augmentations
from mask2former_mt.engine.checkpoint import MultiTaskCheckpointer
from mask2former_mt.structures import SubcategorySpec

logger = logging.getLogger(__name__)


class Predictor:
    """A trained model with the names of what it predicts.

    Args:
        cfg: of the model. Numbers of classes and values that it leaves open are the checkpoint's.
        weights: a checkpoint that holds every parameter of that model.

    Attributes:
        class_names: K names.
        category_ids: the dataset's category id of each of the K classes.
        spec: the S subcategories.

    Raises:
        FileNotFoundError: no such checkpoint.
        ValueError: a checkpoint that cannot be read, or of another model.
    """

    def __init__(self, cfg: CfgNode, weights: str | os.PathLike) -> None:
        weights = os.fspath(weights)
        record = _read_dataset_record(weights)
        cfg = _with_label_counts(cfg, record, weights)
        if record is None:
            self.spec = SubcategorySpec.from_counts(
                cfg.MODEL.SUBCATEGORY.NAMES, cfg.MODEL.SUBCATEGORY.NUM_CLASSES
            )
            self.category_ids = list(range(cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES))
            self.class_names = [str(i) for i in self.category_ids]
            logger.warning(
                "%s does not say what its classes are called; they are named by their numbers",
                weights,
            )
        else:
            self.spec = SubcategorySpec.from_json(record["subcategories"])
            self.category_ids = list(record["category_ids"])
            self.class_names = list(record["thing_classes"])
        self.image_format = cfg.INPUT.FORMAT
        self.augmentations = T.AugmentationList(build_test_augmentations(cfg))
        self.model = build_model(cfg).eval()
        # A parameter left as initialised would make the predictions random.
        MultiTaskCheckpointer(self.model, strict=True).load(weights)

    @torch.inference_mode()
    def __call__(self, image: np.ndarray) -> Instances:
        """What the model sees in one picture.

        Args:
            image: uint8 RGB (H, W, 3).

        Returns:
            Instances on the CPU, at the picture's size, with the prediction fields of `structures`.
        """
        height, width = image.shape[:2]
        if self.image_format == "BGR":
            image = image[:, :, ::-1]
        aug_input = T.AugInput(image)
        self.augmentations(aug_input)
        # The augmentations leave views with negative strides, which torch does not take.
        tensor = torch.from_numpy(np.ascontiguousarray(aug_input.image.transpose(2, 0, 1)))
        (output,) = self.model([{"image": tensor, "height": height, "width": width}])
        return output["instances"].to("cpu")


def _read_dataset_record(weights: str) -> Mapping | None:
    """What a checkpoint says of its dataset; None for one that was not trained by this package."""
    if not os.path.isfile(weights):
        raise FileNotFoundError(f"weights {weights} do not exist; expected a checkpoint file")
    if weights.endswith(".pkl"):
        return None  # the published models' format has no such record
    try:
        checkpoint = torch.load(weights, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise ValueError(
            f"weights {weights} cannot be read, the file may be cut short or no checkpoint at all: "
            f"{error}"
        ) from error
    return checkpoint.get("dataset") if isinstance(checkpoint, Mapping) else None


def _with_label_counts(cfg: CfgNode, record: Mapping | None, weights: str) -> CfgNode:
    """The config with the numbers of classes and values that it left to the dataset.

    Raises:
        ValueError: config and checkpoint contradict each other, or neither knows the numbers.
    """
    cfg = cfg.clone()
    cfg.defrost()
    head, subcategory = cfg.MODEL.SEM_SEG_HEAD, cfg.MODEL.SUBCATEGORY
    if record is not None:
        spec = SubcategorySpec.from_json(record["subcategories"])
        if head.NUM_CLASSES == 0 and not subcategory.NAMES:
            head.NUM_CLASSES = len(record["thing_classes"])
            subcategory.NAMES = list(spec.names)
            subcategory.NUM_CLASSES = list(spec.num_classes)
        for key, got, expected in (
            ("SEM_SEG_HEAD.NUM_CLASSES", head.NUM_CLASSES, len(record["thing_classes"])),
            ("SUBCATEGORY.NAMES", list(subcategory.NAMES), list(spec.names)),
            ("SUBCATEGORY.NUM_CLASSES", list(subcategory.NUM_CLASSES), list(spec.num_classes)),
        ):
            if got != expected:
                raise ValueError(
                    f"MODEL.{key} must be {expected}, as {weights} was trained with, got {got}; "
                    "use the config.yaml saved beside the weights"
                )
    if head.NUM_CLASSES == 0:
        raise ValueError(
            f"MODEL.SEM_SEG_HEAD.NUM_CLASSES is 0 (the training dataset's) and {weights} does not "
            "say how many classes that has; set it, and MODEL.SUBCATEGORY.NAMES and NUM_CLASSES"
        )
    cfg.freeze()
    return cfg
