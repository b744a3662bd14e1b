"""A trained model applied to batches of pictures."""

from __future__ import annotations

import dataclasses
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
from torch import nn

from mask2former_mt.config import require_instances
from mask2former_mt.data.augment import build_test_augmentations
from mask2former_mt.dataset.images import read_image
from mask2former_mt.engine.checkpoint import MultiTaskCheckpointer
from mask2former_mt.structures import SubcategorySpec
from mask2former_mt.visualization import LabelNames

LOGGER = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Predictor:
    """A trained model with the names of what it predicts."""

    model: nn.Module  # of detectron2, in evaluation mode; predicts `instances`
    names: LabelNames  # with the dataset's category ids
    augmentations: T.AugmentationList  # applied to each picture before the model
    image_format: str  # "RGB" or "BGR", the order of channels that the model takes
    depth_range: Sequence[float]  # INPUT.DEPTH_RANGE, for pictures deeper than 8 bits
    settings: Mapping[str, object]  # everything that decides the predictions, as JSON values

    def read(self, file: str | os.PathLike) -> np.ndarray:
        """Reads a picture as the model was trained on, uint8 RGB (H, W, 3); see `read_image`."""
        return read_image(file, "RGB", self.depth_range)

    def prepare(self, image: np.ndarray) -> dict:
        """Turns a picture into the model's input; may run in another thread than the model.

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
        """Predicts the instances of each picture of a batch.

        Args:
            batch: dicts of `prepare`. Smaller pictures are padded to the largest, which may change
                their predictions a little.

        Returns:
            Per picture, Instances on the CPU at the picture's size, with the prediction fields of
            `structures`.
        """
        return [output["instances"].to("cpu") for output in self.model(list(batch))]


def build_predictor(cfg: CfgNode, weights: str | os.PathLike) -> Predictor:
    """Builds the model of a config and loads a checkpoint into it.

    Args:
        cfg: config of the model; numbers of classes and values that it leaves open are taken from
            the checkpoint.
        weights: checkpoint file that holds every parameter of the model.

    Raises:
        FileNotFoundError: no such checkpoint.
        ValueError: a checkpoint that cannot be read, or of another model.
    """
    require_instances(cfg)
    weights = os.fspath(weights)
    record = _read_dataset_record(weights)
    cfg = build_config_with_label_counts(cfg, record, weights)
    if record is None:
        LOGGER.warning(
            "%s does not say what its classes are called; they are named by their numbers", weights
        )
        category_ids = list(range(cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES))
        subcategory = cfg.MODEL.SUBCATEGORY
        spec = SubcategorySpec.from_counts(subcategory.NAMES, subcategory.NUM_CLASSES)
        names = LabelNames([str(i) for i in category_ids], spec, category_ids)
    else:
        spec = SubcategorySpec.from_json(record["subcategories"])
        names = LabelNames(list(record["thing_classes"]), spec, list(record["category_ids"]))
    model = build_model(cfg).eval()
    # A parameter left as initialised would make the predictions random.
    MultiTaskCheckpointer(model, strict=True).load(weights)
    return Predictor(
        model=model,
        names=names,
        augmentations=T.AugmentationList(build_test_augmentations(cfg)),
        image_format=cfg.INPUT.FORMAT,
        depth_range=cfg.INPUT.DEPTH_RANGE,
        settings=build_settings(cfg, weights),
    )


def build_config_with_label_counts(cfg: CfgNode, record: Mapping | None, weights: str) -> CfgNode:
    """The config with the numbers of classes and values that it leaves to the dataset."""
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


def build_settings(cfg: CfgNode, weights: str) -> dict[str, object]:
    """The weights' SHA-256 and the config keys that decide the predictions, as JSON values."""
    digest = hashlib.sha256()
    with open(weights, "rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    settings = {"weights": digest.hexdigest()}
    for key in ("FORMAT", "MIN_SIZE_TEST", "MAX_SIZE_TEST"):
        settings[f"INPUT.{key}"] = cfg.INPUT[key]
    if cfg.INPUT.DEPTH_RANGE:
        settings["INPUT.DEPTH_RANGE"] = cfg.INPUT.DEPTH_RANGE
    settings["TEST.DETECTIONS_PER_IMAGE"] = cfg.TEST.DETECTIONS_PER_IMAGE
    settings.update(_flat(cfg.MODEL, "MODEL"))
    # These say where and how it is computed, not what.
    for key in ("DEVICE", "WEIGHTS", "COMPILE", "MS_DEFORM_ATTN_IMPL"):
        settings.pop(f"MODEL.{key}", None)
    return json.loads(json.dumps(settings))


def _flat(node: object, name: str) -> dict[str, object]:
    """The values below a node of the config, by their full keys."""
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
