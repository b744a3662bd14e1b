"""Turns one dataset dict into what the model is fed: image, masks, classes and subcategories."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.data import transforms as T

from mask2former_mt.data.augment import build_test_augmentations, build_train_augmentations
from mask2former_mt.data.copy_paste import PasteInput, layers_of
from mask2former_mt.data.instances import TargetMaker
from mask2former_mt.data.integrity import check_sample
from mask2former_mt.data.layer_masks import Layer
from mask2former_mt.data.seeding import seeded
from mask2former_mt.data.segment_objects import PictureObjects, read_objects
from mask2former_mt.data.target_kinds import INSTANCES
from mask2former_mt.data.transforms import PadToMultiple
from mask2former_mt.dataset.images import check_image_size, read_image
from mask2former_mt.structures import SubcategorySpec

LOGGER = logging.getLogger("mask2former_mt")

# N instances, S subcategories, H and W of the image tensor.


class MultiTaskInstanceMapper:
    """Reads an image, augments it, and makes its targets in the same frame.

    Args:
        is_train: whether to make `instances`.
        augmentations: detectron2's, applied to the image and the masks alike.
        image_format: "RGB" or "BGR", the channels' order in the image tensor.
        spec: the dataset's S subcategories.
        target: what is learned of a picture, see `target_kinds`: its instances; each class that is
            in it, one mask for each; or its panoptic segments.
        size_divisibility: a training image is padded on the right and at the bottom to a multiple
            of it; 0 or less: it is not.
        min_visible_pixels, min_visible, mask_overlap: see `TargetMaker`.
        depth_range: of pictures deeper than 8 bits, see `read_image`.
        seed: at least 0; with a record's `draw` it decides all that is random in a sample.
        records: dataset dicts of the pictures that copy-paste takes from; see `paste_from`.

    Raises:
        ValueError: an unknown image format, or what `TargetMaker` refuses.
    """

    @configurable
    def __init__(
        self,
        *,
        is_train: bool,
        augmentations: Sequence[T.Augmentation],
        image_format: str,
        spec: SubcategorySpec,
        target: str = INSTANCES,
        size_divisibility: int = 0,
        min_visible_pixels: int = 1,
        min_visible: float = 0.0,
        mask_overlap: str = "keep",
        depth_range: Sequence[float] = (),
        seed: int = 0,
        records: Sequence[Mapping] = (),
    ) -> None:
        if image_format not in ("RGB", "BGR"):
            raise ValueError(f"INPUT.FORMAT must be 'RGB' or 'BGR', got {image_format!r}")
        pad = [PadToMultiple(size_divisibility)] if is_train and size_divisibility > 0 else []
        self.is_train = is_train
        self.target = target
        self.augmentations = T.AugmentationList([*augmentations, *pad])
        self._crops_by_class = any(
            isinstance(a, T.RandomCrop_CategoryAreaConstraint) for a in self.augmentations.augs
        )
        self.image_format = image_format
        self.size_divisibility = size_divisibility
        self.targets = TargetMaker(
            spec=spec,
            min_visible_pixels=min_visible_pixels,
            min_visible=min_visible,
            mask_overlap=mask_overlap,
        )
        self.depth_range = depth_range
        self.seed = seed
        self.records = records

    @classmethod
    def from_config(
        cls, cfg: CfgNode, is_train: bool, spec: SubcategorySpec, target: str = INSTANCES
    ) -> dict:
        return {
            "is_train": is_train,
            "augmentations": build_train_augmentations(cfg, target)
            if is_train
            else build_test_augmentations(cfg),
            "image_format": cfg.INPUT.FORMAT,
            "spec": spec,
            "target": target,
            "size_divisibility": cfg.INPUT.SIZE_DIVISIBILITY,
            "min_visible": cfg.INPUT.MIN_VISIBLE,
            "mask_overlap": cfg.INPUT.MASK_OVERLAP,
            "depth_range": cfg.INPUT.DEPTH_RANGE,
            "seed": cfg.SEED if cfg.SEED >= 0 else _some_seed(),
        }

    def paste_from(self, records: Sequence[Mapping]) -> None:
        """Sets the dataset dicts of the pictures that copy-paste takes from."""
        self.records = records

    def __call__(self, dataset_dict: Mapping) -> dict:
        """Maps one image; the dataset dict stays as it is.

        Args:
            dataset_dict: detectron2's; each annotation, or each of `segments_info`, may have
                `subcategories`, S labels in {-1, 0..K_s}, and without it all of them are unknown;
                see `read_objects`. With `draw`, the sample's
                number in the training stream (at least 0), the same sample comes of it every
                time; without, what is random comes from NumPy's global generator.

        Returns:
            `image` uint8 (3, H, W); `height`, `width` of the original image, `file_name`,
            `image_id`; in training also `instances` with `gt_classes` int64 (N,), `gt_masks` bool
            (N, H, W), `gt_boxes` (N, 4) and `gt_subcategories` int64 (N, S), N may be 0;
            `transforms`, the TransformList that was applied; `draw`, None without one; `areas`
            int64 (N,), the masks' pixels; and `origins`, N pairs: 0 for an object of the picture
            itself, k for one of the k-th pasting, and its position among that picture's objects.

        Raises:
            FileNotFoundError: no such image.
            ValueError: an image that cannot be read or is not of the listed size, an annotation
                with a damaged mask; names file and annotation.
            IntegrityError: the sample is not as described here; names the file.
        """
        draw, file_name = dataset_dict.get("draw"), dataset_dict["file_name"]
        with contextlib.nullcontext() if draw is None else seeded(self.seed, draw):
            aug_input, objects = self._read(dataset_dict)
            height, width = aug_input.image.shape[:2]
            transforms = self.augmentations(aug_input)
        # The augmentations leave views with negative strides, which torch does not take.
        image = torch.from_numpy(np.ascontiguousarray(aug_input.image.transpose(2, 0, 1)))
        mapped = {
            "image": image,
            "height": height,
            "width": width,
            "file_name": file_name,
            "image_id": dataset_dict.get("image_id"),
        }
        if not self.is_train:
            return mapped
        layers = layers_of(objects.annotations, transforms, (height, width), file_name)
        targets = self.targets.make(layers, tuple(image.shape[-2:]))
        mapped |= {**targets._asdict(), "transforms": transforms, "draw": draw}
        check_sample(mapped, num_subcategories=len(self.targets.spec))
        return mapped

    def donate(
        self, augmentations: Sequence[T.Augmentation], not_from: str
    ) -> tuple[np.ndarray, Layer] | None:
        """Another picture of the dataset, augmented, and its objects, for copy-paste.

        Args:
            augmentations: what it goes through.
            not_from: the file name of the picture that it is for.

        Returns:
            uint8 (H, W, 3) and the layer; None where the dataset has no other picture.

        Raises:
            ValueError: there are no records to choose from, or as mapping it raises.
        """
        if not len(self.records):
            raise ValueError(
                "copy_paste needs the dataset's records; build the loader with "
                "data.loader.build_train_loader, or call the mapper's paste_from"
            )
        first = np.random.randint(len(self.records))  # noqa: NPY002 - seeded for each sample
        for index in (first, (first + 1) % len(self.records)):
            record = self.records[index]
            if record["file_name"] == not_from:
                continue
            aug_input, objects = self._read(record)
            size = aug_input.image.shape[:2]
            transforms = T.AugmentationList(augmentations)(aug_input)
            (layer,) = layers_of(objects.annotations, transforms, size, record["file_name"])
            return aug_input.image, layer
        return None

    def visible(self, layer: Layer, size: tuple[int, int]) -> tuple[list[int], np.ndarray]:
        """The objects that copy-paste may take; see `TargetMaker.visible`."""
        return self.targets.visible(layer, size)

    def annotations_of(self, record: Mapping, size: tuple[int, int]) -> list[Mapping]:
        """The objects that are learned of a picture of `size` (H, W), as they were annotated."""
        return read_objects(record, self.target, size).annotations

    def _read(self, record: Mapping) -> tuple[PasteInput, PictureObjects]:
        image = read_image(record["file_name"], self.image_format, self.depth_range)
        size = image.shape[:2]
        check_image_size(record, *size)
        objects = read_objects(record, self.target, size) if self.is_train else PictureObjects([])
        aug_input = PasteInput(image, file_name=record["file_name"], donors=self)
        if self._crops_by_class:
            aug_input.sem_seg = objects.classes
        return aug_input, objects


def _some_seed() -> int:
    seed = int(np.random.SeedSequence().generate_state(1)[0])
    LOGGER.info(f"SEED is negative: samples are drawn with seed {seed}")
    return seed
