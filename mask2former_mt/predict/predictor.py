"""A trained model applied to batches of pictures."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import transforms as T
from detectron2.structures import Instances
from torch import nn

from mask2former_mt.config import fill_labels, require_device, require_instances
from mask2former_mt.config.config_nodes import leaves
from mask2former_mt.data.augment import build_test_augmentations
from mask2former_mt.dataset.images import read_image
from mask2former_mt.engine.checkpoint import MultiTaskCheckpointer, read_labels
from mask2former_mt.label_lists import Labels
from mask2former_mt.modeling.whole_model import build_whole_model
from mask2former_mt.structures import SubcategorySpec, numbered
from mask2former_mt.visualization import LabelNames


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
            `structures`, the masks as run lengths.
        """
        return [output["instances"].to("cpu") for output in self.model(list(batch))]


def build_predictor(
    cfg: CfgNode, weights: str | os.PathLike, assumed: Labels | None = None
) -> Predictor:
    """Builds the model of a config and loads a checkpoint into it.

    Args:
        cfg: config of the model; numbers of classes and values that it leaves open are taken from
            the checkpoint.
        weights: checkpoint file that holds every parameter of the model.
        assumed: what a checkpoint of others, which does not say it, predicts; None: its classes and
            values are named by their numbers.

    Raises:
        FileNotFoundError: no such checkpoint.
        ValueError: a checkpoint that cannot be read, or of another model.
    """
    require_instances(cfg)
    require_device(cfg)
    weights = os.fspath(weights)
    labels = read_labels(weights)
    owner = weights if labels is not None or assumed is None else "the ground truth"
    labels = labels or assumed or build_numbered_labels(cfg, weights)
    cfg = cfg.clone()
    cfg.defrost()
    fill_labels(cfg, labels, owner)
    cfg.freeze()
    model = build_whole_model(cfg).eval()
    # The whole masks of a large picture would not fit into memory. Mask R-CNN gives no others.
    if hasattr(model, "encode_masks"):
        model.encode_masks()
    # A parameter left as initialised would make the predictions random.
    MultiTaskCheckpointer(model, labels=labels, strict=True).load(weights)
    return Predictor(
        model=model,
        names=LabelNames(list(labels.class_names), labels.spec, list(labels.category_ids)),
        augmentations=T.AugmentationList(build_test_augmentations(cfg)),
        image_format=cfg.INPUT.FORMAT,
        depth_range=cfg.INPUT.DEPTH_RANGE,
        settings=build_settings(cfg, weights),
    )


def build_numbered_labels(cfg: CfgNode, weights: str) -> Labels:
    """Labels that are named by their numbers, as many as the config says."""
    num_classes = cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES
    if num_classes == 0:
        raise ValueError(
            f"MODEL.SEM_SEG_HEAD.NUM_CLASSES is 0 (the training dataset's) and {weights} does not "
            "say how many classes that has; set it, and MODEL.SUBCATEGORY.NAMES and NUM_CLASSES"
        )
    spec = SubcategorySpec.from_config(cfg.MODEL.SUBCATEGORY)
    return Labels(numbered(num_classes), spec, tuple(range(num_classes)))


def build_settings(cfg: CfgNode, weights: str) -> dict[str, object]:
    """The weights' SHA-256 and the config keys that decide the predictions, as JSON values."""
    digest = hashlib.sha256()
    path = pathlib.Path(weights)
    # All files of a folder of transformers.
    for file in sorted(path.iterdir()) if path.is_dir() else [path]:
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    settings = {"weights": digest.hexdigest()}
    for key in ("FORMAT", "MIN_SIZE_TEST", "MAX_SIZE_TEST"):
        settings[f"INPUT.{key}"] = cfg.INPUT[key]
    if cfg.INPUT.DEPTH_RANGE:
        settings["INPUT.DEPTH_RANGE"] = cfg.INPUT.DEPTH_RANGE
    settings["TEST.DETECTIONS_PER_IMAGE"] = cfg.TEST.DETECTIONS_PER_IMAGE
    settings.update(leaves(cfg.MODEL, "MODEL"))
    # These say where and how it is computed, not what.
    for key in ("DEVICE", "WEIGHTS", "COMPILE", "MS_DEFORM_ATTN_IMPL"):
        settings.pop(f"MODEL.{key}", None)
    return json.loads(json.dumps(settings))
