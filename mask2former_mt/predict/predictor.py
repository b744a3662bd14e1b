"""A trained model applied to pictures, one at a time or in batches."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import pickle
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import transforms as T
from detectron2.modeling import build_model
from detectron2.structures import Instances

from mask2former_mt.data.augment import build_test_augmentations
from mask2former_mt.engine.checkpoint import MultiTaskCheckpointer
from mask2former_mt.engine.setup import require_instances
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
        require_instances(cfg)
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
        self._weights, self._cfg = weights, cfg
        self.image_format = cfg.INPUT.FORMAT
        self.augmentations = T.AugmentationList(build_test_augmentations(cfg))
        self.model = build_model(cfg).eval()
        # A parameter left as initialised would make the predictions random.
        MultiTaskCheckpointer(self.model, strict=True).load(weights)

    def __call__(self, image: np.ndarray) -> Instances:
        """What the model sees in one picture.

        Args:
            image: uint8 RGB (H, W, 3).

        Returns:
            Instances on the CPU, at the picture's size, with the prediction fields of `structures`.
        """
        (instances,) = self.predict([self.prepare(image)])
        return instances

    def prepare(self, image: np.ndarray) -> dict:
        """A picture as the model takes it; another thread may do this while the model works.

        Args:
            image: uint8 RGB (H, W, 3).

        Returns:
            `image` uint8 (3, H', W') and the picture's `height` and `width`.
        """
        height, width = image.shape[:2]
        if self.image_format == "BGR":
            image = image[:, :, ::-1]
        aug_input = T.AugInput(image)
        self.augmentations(aug_input)
        # The augmentations leave views with negative strides, which torch does not take.
        tensor = torch.from_numpy(np.ascontiguousarray(aug_input.image.transpose(2, 0, 1)))
        return {"image": tensor, "height": height, "width": width}

    @torch.inference_mode()
    def predict(self, batch: Sequence[Mapping]) -> list[Instances]:
        """What the model sees in each picture of a batch.

        Args:
            batch: of `prepare`. Smaller pictures are padded to the largest, which may change what
                is predicted a little.

        Returns:
            As `__call__`, one for each.
        """
        return [output["instances"].to("cpu") for output in self.model(list(batch))]

    def settings(self) -> dict[str, object]:
        """What decides the predictions, as JSON values: the weights' SHA-256 and config keys."""
        digest = hashlib.sha256()
        with open(self._weights, "rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
        settings: dict[str, object] = {"weights": digest.hexdigest()}
        for section, keys in (
            ("INPUT", ("FORMAT", "MIN_SIZE_TEST", "MAX_SIZE_TEST")),
            ("TEST", ("DETECTIONS_PER_IMAGE",)),
        ):
            settings.update({f"{section}.{key}": self._cfg[section][key] for key in keys})
        settings.update(_flat(self._cfg.MODEL, "MODEL"))
        # Where and how it is computed, not what.
        for key in ("DEVICE", "WEIGHTS", "COMPILE", "MS_DEFORM_ATTN_IMPL"):
            settings.pop(f"MODEL.{key}", None)
        return json.loads(json.dumps(settings))


def _flat(node: CfgNode, name: str) -> dict[str, object]:
    """The config's values by their whole keys."""
    if not isinstance(node, Mapping):
        return {name: node}
    return {
        key: value for part in node for key, value in _flat(node[part], f"{name}.{part}").items()
    }


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
        if not subcategory.WITHOUT_NONE:
            subcategory.WITHOUT_NONE = list(spec.without_none)
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
