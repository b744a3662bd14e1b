"""The augmentations that the published configs name, from detectron2's building blocks."""

from __future__ import annotations

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import transforms as T

# Mid grey, what detectron2's FixedSizeCrop pads with too.
PAD_VALUE = 128
# The published default name stands in every published base YAML; for instances it means LSJ here.
_LSJ_NAMES = ("coco_instance_lsj", "mask_former_semantic")


class _RandomSaturation(T.RandomSaturation):
    """detectron2's, which weighs channels as RGB, for images in BGR.

    The grey picture that it blends with has one channel, so only its computation needs RGB.
    """

    def get_transform(self, image: np.ndarray) -> T.Transform:
        return super().get_transform(image[:, :, ::-1])


def _color_augmentations(image_format: str) -> list[T.Augmentation]:
    """Brightness, contrast and saturation, each moved in half of the pictures."""
    saturation = T.RandomSaturation if image_format == "RGB" else _RandomSaturation
    return [
        T.RandomApply(T.RandomBrightness(0.75, 1.25)),
        T.RandomApply(T.RandomContrast(0.5, 1.5)),
        T.RandomApply(saturation(0.5, 1.5)),
    ]


def build_train_augmentations(cfg: CfgNode) -> list[T.Augmentation]:
    """The augmentations that INPUT.DATASET_MAPPER_NAME names.

    `coco_instance_lsj` (and the published default, `mask_former_semantic`): flip, large-scale
    jitter by INPUT.MIN_SCALE..MAX_SCALE of INPUT.IMAGE_SIZE, then a crop of IMAGE_SIZE, padded on
    the right and at the bottom. `plain`: ResizeShortestEdge by INPUT.MIN_SIZE_TRAIN, then flip.

    Raises:
        ValueError: another mapper name, or an INPUT.RANDOM_FLIP that is not known.

    Source: Ghiasi et al., "Simple Copy-Paste", for large-scale jitter.
    """
    name = cfg.INPUT.DATASET_MAPPER_NAME
    flip = cfg.INPUT.RANDOM_FLIP
    if flip not in ("none", "horizontal", "vertical"):
        raise ValueError(
            f"INPUT.RANDOM_FLIP must be 'none', 'horizontal' or 'vertical', got {flip!r}"
        )
    flips = (
        []
        if flip == "none"
        else [T.RandomFlip(horizontal=flip == "horizontal", vertical=flip == "vertical")]
    )
    colors = _color_augmentations(cfg.INPUT.FORMAT) if cfg.INPUT.COLOR_AUG_SSD else []
    if name in _LSJ_NAMES:
        size = cfg.INPUT.IMAGE_SIZE
        scale = T.ResizeScale(cfg.INPUT.MIN_SCALE, cfg.INPUT.MAX_SCALE, size, size)
        return [*colors, *flips, scale, T.FixedSizeCrop((size, size), pad_value=PAD_VALUE)]
    if name == "plain":
        resize = T.ResizeShortestEdge(
            cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MAX_SIZE_TRAIN, cfg.INPUT.MIN_SIZE_TRAIN_SAMPLING
        )
        return [*colors, resize, *flips]
    raise ValueError(
        f"INPUT.DATASET_MAPPER_NAME must be 'plain' or one of {list(_LSJ_NAMES)}, got {name!r}"
    )


def build_test_augmentations(cfg: CfgNode) -> list[T.Augmentation]:
    """Resizes the shorter side to INPUT.MIN_SIZE_TEST, the longer to at most MAX_SIZE_TEST."""
    return [T.ResizeShortestEdge(cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST)]
