"""The instances of a training picture: masks, classes, subcategories of what is left to be seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from detectron2.structures import Boxes, Instances

from mask2former_mt.data.label_maps import OVERLAP_POLICIES, resolve_overlap
from mask2former_mt.data.objects import Drawn, Layer, draw_layer, named_error
from mask2former_mt.data.rasterize import RASTERIZERS
from mask2former_mt.structures import (
    GT_CLASSES,
    GT_MASKS,
    GT_SUBCATEGORIES,
    UNKNOWN,
    SubcategorySpec,
)

# N instances, S subcategories, H and W of the final frame.

# No dataset has as many; what lies beyond is damaged, and would not fit into int64.
_MAX_CLASS = 2**31 - 1


class Targets(NamedTuple):
    """The N instances of a picture, and what the guards ask of them.

    Args:
        instances: as `TargetMaker.make` says.
        areas: int64 (N,), the pixels of each mask.
        origins: N pairs, an instance's layer and its position in that layer's annotations.
    """

    instances: Instances
    areas: torch.Tensor
    origins: list[tuple[int, int]]


class TargetMaker:
    """Makes `Instances` of the objects in an augmented picture.

    Args:
        spec: the dataset's S subcategories.
        min_visible_pixels: an instance with fewer pixels left is dropped with all its labels.
        min_visible: so is one with less than this share, in [0, 1], of the pixels that all of it
            would have at this scale.
        rasterizer: a backend of `rasterize`, or "auto".
        mask_overlap: who has a pixel that two instances claim, one of `OVERLAP_POLICIES`.

    Raises:
        ValueError: one of these is not of the listed values.
    """

    def __init__(
        self,
        *,
        spec: SubcategorySpec,
        min_visible_pixels: int,
        min_visible: float,
        rasterizer: str,
        mask_overlap: str,
    ) -> None:
        if min_visible_pixels < 1:
            raise ValueError(
                f"min_visible_pixels must be at least 1, got {min_visible_pixels}; "
                "an empty mask has no points to learn from"
            )
        if not 0 <= min_visible <= 1:
            raise ValueError(f"INPUT.MIN_VISIBLE must be a share in [0, 1], got {min_visible!r}")
        if rasterizer not in RASTERIZERS:
            raise ValueError(f"INPUT.RASTERIZER must be one of {RASTERIZERS}, got {rasterizer!r}")
        if mask_overlap not in OVERLAP_POLICIES:
            raise ValueError(
                f"INPUT.MASK_OVERLAP must be one of {list(OVERLAP_POLICIES)}, got {mask_overlap!r}"
            )
        self.spec = spec
        self.min_visible_pixels = min_visible_pixels
        self.min_visible = min_visible
        self.backend = None if rasterizer == "auto" else rasterizer
        self.mask_overlap = mask_overlap

    def visible(self, layer: Layer, size: tuple[int, int]) -> tuple[list[int], np.ndarray]:
        """Which of a layer's objects can be seen well enough, were nothing above it.

        Args:
            layer: the objects and the way they came.
            size: (H, W) of the frame.

        Returns:
            Positions of N annotations, and their bool (N, H, W) masks.
        """
        drawn = self._draw(layer, size)
        chosen, _ = self._seen_enough(drawn.masks, drawn.areas)
        return [drawn.kept[i] for i in chosen], drawn.masks[chosen]

    def make(self, layers: Sequence[Layer], size: tuple[int, int]) -> Targets:
        """Draws all objects and drops those of which not enough is left.

        Args:
            layers: from the bottom to the top; what one covers is gone from those below.
            size: (H, W) of the frame.

        Returns:
            Instances with `gt_classes` int64 (N,), `gt_masks` bool (N, H, W), `gt_boxes` (N, 4) and
            `gt_subcategories` int64 (N, S); N may be 0.

        Raises:
            ValueError: a damaged segmentation, or another number of labels; names file and
                annotation.
        """
        drawn = [self._draw(layer, size) for layer in layers]
        for top in range(len(layers) - 1, 0, -1):
            uncovered = ~drawn[top].masks.any(axis=0)
            for lower in drawn[:top]:
                np.logical_and(lower.masks, uncovered, out=lower.masks)
        masks_NHW = drawn[0].masks
        if len(drawn) > 1:
            masks_NHW = np.concatenate([d.masks for d in drawn])
        if self.mask_overlap != "keep":
            masks_NHW = resolve_overlap(masks_NHW, overlap=self.mask_overlap)
        areas = np.concatenate([d.areas for d in drawn]) if self.min_visible > 0 else None
        chosen, pixels = self._seen_enough(masks_NHW, areas)
        if len(chosen) < len(masks_NHW):
            masks_NHW = masks_NHW[chosen]
        # Labels are read of all annotations, so that a wrong one is found whatever the crop.
        classes = [_class(layer, i) for layer in layers for i in range(len(layer.annotations))]
        labels = [self._labels(layer, i) for layer in layers for i in range(len(layer.annotations))]
        starts = np.cumsum([0, *(len(layer.annotations) for layer in layers)])
        kept = [start + i for start, d in zip(starts, drawn, strict=False) for i in d.kept]
        kept = [kept[i] for i in chosen]
        instances = Instances(size)
        instances.set(GT_CLASSES, torch.tensor([classes[i] for i in kept], dtype=torch.int64))
        instances.set(GT_MASKS, torch.from_numpy(masks_NHW))
        instances.set("gt_boxes", boxes_of(masks_NHW))
        labels_NS = torch.tensor([labels[i] for i in kept], dtype=torch.int64)
        instances.set(GT_SUBCATEGORIES, labels_NS.reshape(len(kept), len(self.spec)))
        origins = [(number, i) for number, d in enumerate(drawn) for i in d.kept]
        return Targets(
            instances,
            torch.tensor([pixels[i] for i in chosen], dtype=torch.int64),
            [origins[i] for i in chosen],
        )

    def _draw(self, layer: Layer, size: tuple[int, int]) -> Drawn:
        return draw_layer(layer, size, backend=self.backend, measure=self.min_visible > 0)

    def _seen_enough(
        self, masks_NHW: np.ndarray, areas: np.ndarray | None
    ) -> tuple[list[int], list[int]]:
        """Positions of the masks of which enough is left, and the pixels of all of them."""
        needed = [self.min_visible_pixels] * len(masks_NHW)
        if areas is not None:
            needed = np.maximum(self.min_visible_pixels, self.min_visible * areas)
        pixels = [np.count_nonzero(mask) for mask in masks_NHW]
        chosen = [i for i, (p, n) in enumerate(zip(pixels, needed, strict=True)) if p >= n]
        return chosen, pixels

    def _labels(self, layer: Layer, index: int) -> list[int]:
        labels = layer.annotations[index].get("subcategories")
        if labels is None:
            return [UNKNOWN] * len(self.spec)
        if not isinstance(labels, Sequence) or len(labels) != len(self.spec):
            raise named_error(
                layer,
                index,
                f"'subcategories' must be {len(self.spec)} labels for {list(self.spec.names)}, "
                f"got {labels}; all datasets of a run must list the same subcategories",
            )
        for name, count, label in zip(self.spec.names, self.spec.num_classes, labels, strict=True):
            if not _is_index(label) or not UNKNOWN <= label <= count:
                raise named_error(
                    layer,
                    index,
                    f"subcategory {name!r} must be in [-1, {count}] (-1 unknown, {count} none), "
                    f"got {label!r}",
                )
        return list(labels)


def _is_index(value: object) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _class(layer: Layer, index: int) -> int:
    category = layer.annotations[index].get("category_id")
    if not _is_index(category) or not 0 <= category <= _MAX_CLASS:
        raise named_error(
            layer, index, f"'category_id' must be the index of a class, got {category!r}"
        )
    return int(category)


def boxes_of(masks_NHW: np.ndarray) -> Boxes:
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


def objects_of(record: Mapping) -> list[Mapping]:
    """A record's annotations but crowds: no query should learn many objects in one outline."""
    return [a for a in record.get("annotations", ()) if not a.get("iscrowd", 0)]
