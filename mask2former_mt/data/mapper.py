"""Turns one dataset dict into what the model is fed: image, masks, classes and subcategories."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import numpy as np
import pycocotools.mask as mask_util
import torch
from detectron2.config import CfgNode, configurable
from detectron2.data import detection_utils
from detectron2.data import transforms as T
from detectron2.structures import Boxes, Instances
from PIL import Image

from mask2former_mt.data.augmentation import (
    PAD_VALUE,
    build_test_augmentations,
    build_train_augmentations,
)
from mask2former_mt.structures import (
    GT_CLASSES,
    GT_MASKS,
    GT_SUBCATEGORIES,
    UNKNOWN,
    SubcategorySpec,
)

# N instances, S subcategories, H and W of the image tensor.


class MultiTaskInstanceMapper:
    """Reads an image, augments it, and makes its targets in the same frame.

    Args:
        is_train: whether to make `instances`.
        augmentations: detectron2's, applied to the image and the masks alike.
        image_format: "RGB" or "BGR", the channels' order in the image tensor.
        spec: the dataset's S subcategories.
        size_divisibility: a training image is padded on the right and at the bottom to a multiple
            of it; 0 or less: it is not.
        min_visible_pixels: an instance with fewer pixels left is dropped with all its labels.

    Raises:
        ValueError: an unknown image format, or fewer than 1 visible pixel asked for.
    """

    @configurable
    def __init__(
        self,
        *,
        is_train: bool,
        augmentations: Sequence[T.Augmentation],
        image_format: str,
        spec: SubcategorySpec,
        size_divisibility: int = 0,
        min_visible_pixels: int = 1,
    ) -> None:
        if image_format not in ("RGB", "BGR"):
            raise ValueError(f"INPUT.FORMAT must be 'RGB' or 'BGR', got {image_format!r}")
        if min_visible_pixels < 1:
            raise ValueError(
                f"min_visible_pixels must be at least 1, got {min_visible_pixels}; "
                "an empty mask has no points to learn from"
            )
        self.is_train = is_train
        self.augmentations = T.AugmentationList(augmentations)
        self.image_format = image_format
        self.spec = spec
        self.size_divisibility = size_divisibility
        self.min_visible_pixels = min_visible_pixels

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool, spec: SubcategorySpec) -> dict:
        build = build_train_augmentations if is_train else build_test_augmentations
        return {
            "is_train": is_train,
            "augmentations": build(cfg),
            "image_format": cfg.INPUT.FORMAT,
            "spec": spec,
            "size_divisibility": cfg.INPUT.SIZE_DIVISIBILITY,
        }

    def __call__(self, dataset_dict: Mapping) -> dict:
        """Maps one image; the dataset dict stays as it is.

        Args:
            dataset_dict: detectron2's; each annotation may have `subcategories`, S labels in
                {-1, 0..K_s}, and without it all of them are unknown.

        Returns:
            `image` uint8 (3, H, W); `height`, `width` of the original image, `file_name`,
            `image_id`; in training also `instances` with `gt_classes` int64 (N,), `gt_masks` bool
            (N, H, W), `gt_boxes` (N, 4) and `gt_subcategories` int64 (N, S). N may be 0.

        Raises:
            FileNotFoundError: no such image.
            ValueError: an image that cannot be read or is not of the listed size, an annotation
                with a damaged mask or with another number of labels; names file and annotation.
        """
        file_name = dataset_dict["file_name"]
        original = read_image(file_name, self.image_format)
        height, width = original.shape[:2]
        _check_image_size(dataset_dict, height, width)
        aug_input = T.AugInput(original)
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
        instances = self._make_instances(
            dataset_dict, transforms, (height, width), tuple(image.shape[-2:])
        )
        if self.size_divisibility > 0:
            image, instances = _pad_to_multiple(image, instances, self.size_divisibility)
        return {**mapped, "image": image, "instances": instances}

    def _make_instances(
        self,
        dataset_dict: Mapping,
        transforms: T.TransformList,
        original_size: tuple[int, int],
        image_size: tuple[int, int],
    ) -> Instances:
        masks, classes, labels = [], [], []
        for annotation in dataset_dict.get("annotations", ()):
            if annotation.get("iscrowd", 0):
                continue  # a crowd is many objects in one outline: no query should learn it
            try:
                mask = _transformed_mask(
                    annotation["segmentation"], transforms, original_size, image_size
                )
                annotation_labels = self._labels(annotation)
            except ValueError as error:
                raise ValueError(
                    f"{dataset_dict['file_name']}: annotation {annotation.get('id')}: {error}"
                ) from error
            if np.count_nonzero(mask) < self.min_visible_pixels:
                continue
            masks.append(mask)
            classes.append(annotation["category_id"])
            labels.append(annotation_labels)
        masks_NHW = np.stack(masks) if masks else np.zeros((0, *image_size), dtype=bool)
        instances = Instances(image_size)
        instances.set(GT_CLASSES, torch.tensor(classes, dtype=torch.int64))
        instances.set(GT_MASKS, torch.from_numpy(masks_NHW))
        instances.set("gt_boxes", _boxes_of(masks_NHW))
        instances.set(
            GT_SUBCATEGORIES,
            torch.tensor(labels, dtype=torch.int64).reshape(len(labels), len(self.spec)),
        )
        return instances

    def _labels(self, annotation: Mapping) -> list[int]:
        labels = annotation.get("subcategories")
        if labels is None:
            return [UNKNOWN] * len(self.spec)
        if len(labels) != len(self.spec):
            raise ValueError(
                f"'subcategories' must be {len(self.spec)} labels for {list(self.spec.names)}, "
                f"got {labels}; all datasets of a run must list the same subcategories"
            )
        return list(labels)


def read_image(file_name: str | os.PathLike, image_format: str) -> np.ndarray:
    """Reads an image as uint8 (H, W, 3), turned upright as its EXIF data say.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not an image, or a damaged one.
    """
    try:
        return detection_utils.read_image(os.fspath(file_name), format=image_format)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"image {file_name} does not exist") from error
    # Pillow reports damage as OSError in most formats, as the others in some.
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise ValueError(
            f"image {file_name} cannot be read: {error}; it may be cut short or no image at all"
        ) from error


def _check_image_size(dataset_dict: Mapping, height: int, width: int) -> None:
    expected = (dataset_dict.get("height", height), dataset_dict.get("width", width))
    if expected != (height, width):
        raise ValueError(
            f"image {dataset_dict['file_name']} must be {expected[1]}x{expected[0]} (width x "
            f"height) as the JSON says, got {width}x{height} (turned upright as its EXIF data "
            "say); correct the JSON, or put back the picture that was annotated"
        )


def _transformed_mask(
    segmentation: list | Mapping,
    transforms: T.TransformList,
    original_size: tuple[int, int],
    image_size: tuple[int, int],
) -> np.ndarray:
    """The bool (H, W) mask of one annotation in the augmented image's frame."""
    if isinstance(segmentation, list):
        # The points are transformed, not a mask: detectron2's transforms keep image and points in
        # one continuous frame, so the outline stays exact at any scale, where a resized mask is up
        # to half a pixel of the smaller grid off; and one rasterisation at the final size is all
        # the work. Outlines that leave the crop need no clipping, the rasteriser does that.
        polygons = [
            transforms.apply_coords(np.asarray(p, dtype=np.float64).reshape(-1, 2)).reshape(-1)
            for p in segmentation
        ]
        rles = mask_util.frPyObjects([p.tolist() for p in polygons], *image_size)
        return mask_util.decode(mask_util.merge(rles)).astype(bool)
    if isinstance(segmentation.get("counts"), list):
        segmentation = mask_util.frPyObjects(segmentation, *segmentation["size"])
    if tuple(segmentation["size"]) != original_size:
        raise ValueError(
            f"RLE size must be the image's {list(original_size)}, got {list(segmentation['size'])}"
        )
    # uint8, because for other types detectron2 resizes with torch's "nearest", which takes each
    # pixel's corner for its centre and so shifts the mask by half a pixel. Padding is not 1.
    return transforms.apply_segmentation(mask_util.decode(segmentation)) == 1


def _boxes_of(masks_NHW: np.ndarray) -> Boxes:
    """The extent of masks that each have a pixel, xyxy with the far sides outside.

    detectron2's BitMasks finds the same, one mask after another; next to decoding and augmenting a
    small image that was a quarter of the time.
    """
    height, width = masks_NHW.shape[1:]
    columns_NW, rows_NH = masks_NHW.any(axis=1), masks_NHW.any(axis=2)
    sides = (
        columns_NW.argmax(axis=1),
        rows_NH.argmax(axis=1),
        width - columns_NW[:, ::-1].argmax(axis=1),
        height - rows_NH[:, ::-1].argmax(axis=1),
    )
    return Boxes(torch.from_numpy(np.stack(sides, axis=1).astype(np.float32)))


def _pad_to_multiple(
    image: torch.Tensor, instances: Instances, multiple: int
) -> tuple[torch.Tensor, Instances]:
    height, width = image.shape[-2:]
    padding = (0, -width % multiple, 0, -height % multiple)
    if not any(padding):
        return image, instances
    image = torch.nn.functional.pad(image, padding, value=PAD_VALUE)
    padded = Instances(tuple(image.shape[-2:]), **instances.get_fields())
    padded.set(GT_MASKS, torch.nn.functional.pad(instances.get(GT_MASKS), padding, value=False))
    return image, padded
