"""Copy-paste: objects of another picture of the dataset, with their labels, laid over this one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import pycocotools.mask as mask_util
from detectron2.data import transforms as T

from mask2former_mt.data.layer_masks import Layer
from mask2former_mt.data.transforms import PAD_VALUE, VOID, size_after
from mask2former_mt.dataset.rle import decode_rle


class PasteTransform(T.Transform):
    """Lays cut-out pixels over a picture; a segmentation is void under them.

    Args:
        covered: bool (H, W), where the pixels go; pictures of this size can be pasted into.
        picture: uint8 (H, W, C), of which only the covered pixels are kept.
        layer: the pasted objects, and the way they came until here.
    """

    def __init__(self, covered: np.ndarray, picture: np.ndarray, layer: Layer) -> None:
        super().__init__()
        # Packed, because transforms travel between processes with their sample.
        self.covered_rle = mask_util.encode(np.asfortranarray(covered, dtype=np.uint8))
        self.pixels = picture[covered]
        self.layer = layer

    @property
    def covered(self) -> np.ndarray:
        """bool (H, W)."""
        return decode_rle(self.covered_rle)

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        return self._lay(img, self.pixels)

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        return coords

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        return self._lay(segmentation, VOID)

    def inverse(self) -> T.Transform:
        return T.NoOpTransform()

    def _lay(self, picture: np.ndarray, pixels: np.ndarray | int) -> np.ndarray:
        covered = self.covered
        if picture.shape[:2] != covered.shape:
            raise ValueError(
                f"a picture to paste into must be {covered.shape} (height, width), "
                f"got {picture.shape}"
            )
        picture = picture.copy()
        picture[covered] = pixels
        return picture


class Donors(Protocol):
    """What copy-paste gets its objects from: the mapper."""

    def donate(
        self, augmentations: Sequence[T.Augmentation], not_from: str
    ) -> tuple[np.ndarray, Layer] | None:
        """Another picture, augmented, and its objects; None where there is no other."""

    def visible(self, layer: Layer, size: tuple[int, int]) -> tuple[list[int], np.ndarray]:
        """Positions of the objects of which enough is left, and their bool masks (N, H, W)."""


class PasteInput(T.AugInput):
    """A picture, uint8 (H, W, C), that can get at others; nothing is pasted from itself."""

    def __init__(self, image: np.ndarray, *, file_name: str, donors: Donors) -> None:
        super().__init__(image)
        self.file_name = file_name
        self.donors = donors


class CopyPaste(T.Augmentation):
    """Pastes some objects of another picture, which went through the augmentations before this one.

    A picture of another size is placed, or cut, at random. What is covered loses its pixels; the
    pasted objects bring their class and all their subcategories.

    Args:
        prob: of pasting anything, in [0, 1].
        max_instances: most objects to paste; their number is uniform, from 1 to what there is.
        before: what the other picture goes through first.

    Source: Ghiasi et al., "Simple Copy-Paste". Differences: a bounded number of objects, and no
        blending of their edges.
    """

    def __init__(
        self, *, prob: float, max_instances: int, before: Sequence[T.Augmentation] = ()
    ) -> None:
        super().__init__()
        self.prob = prob
        self.max_instances = max_instances
        self.before = list(before)

    # detectron2's augmentations draw from NumPy's global generator, and so does this one: the
    # mapper seeds it for the whole list at once.
    # ruff: noqa: NPY002
    def get_transform(self, image: np.ndarray, file_name: str, donors: Donors) -> T.Transform:
        if np.random.uniform() >= self.prob:
            return T.NoOpTransform()
        donated = donors.donate(self.before, not_from=file_name)
        if donated is None:
            return T.NoOpTransform()
        picture, layer = donated
        placement = _place(picture.shape[:2], image.shape[:2])
        picture, layer = placement.apply_image(picture), layer.then(placement.transforms)
        kept, masks = donors.visible(layer, image.shape[:2])
        if not kept:
            return T.NoOpTransform()
        count = np.random.randint(1, min(self.max_instances, len(kept)) + 1)
        chosen = np.sort(np.random.choice(len(kept), count, replace=False))
        annotations = [layer.annotations[kept[i]] for i in chosen]
        layer = dataclasses.replace(layer, annotations=annotations)
        return PasteTransform(masks[chosen].any(axis=0), picture, layer)


def _place(size: tuple[int, int], frame: tuple[int, int]) -> T.TransformList:
    """A crop and padding that bring a picture of `size` (H, W) to `frame` (H, W) at random."""
    height, width = size
    room = np.subtract(frame, size)
    top, left = (np.random.randint(0, abs(r) + 1) * np.sign(r) for r in room)
    crop = T.CropTransform(
        max(-left, 0), max(-top, 0), min(width, frame[1]), min(height, frame[0]), width, height
    )
    cut_height, cut_width = size_after(crop, size)
    top, left = max(top, 0), max(left, 0)
    pad = T.PadTransform(
        left,
        top,
        frame[1] - cut_width - left,
        frame[0] - cut_height - top,
        cut_width,
        cut_height,
        PAD_VALUE,
        VOID,
    )
    return T.TransformList([crop, pad])


def layers_of(
    annotations: Sequence[Mapping],
    transforms: T.TransformList,
    source_size: tuple[int, int],
    file_name: str,
) -> list[Layer]:
    """A picture's own objects and those pasted over them, from the bottom to the top.

    Args:
        annotations, source_size, file_name: of the picture itself; see `Layer`.
        transforms: what was applied to it.
    """
    below = [Layer(annotations, T.TransformList([]), source_size, file_name)]
    for transform in transforms.transforms:
        if isinstance(transform, PasteTransform):
            below.append(transform.layer)
        else:
            below = [layer.then([transform]) for layer in below]
    return below
