"""The instances of a training picture: masks, classes, subcategories of what is left to be seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from detectron2.structures import Boxes, Instances

from mask2former_mt.data.layer_masks import Layer, LayerMasks, draw_layer
from mask2former_mt.structures import (
    GT_CLASSES,
    GT_MASKS,
    GT_SUBCATEGORIES,
    UNKNOWN,
    SubcategorySpec,
)

# N instances, S subcategories, H and W of the final frame.

# Who has a pixel that several masks claim: "keep": all of them; "last": the last one listed;
# "smallest_on_top": the one with the smallest mask, and of equal ones the last.
OVERLAP_POLICIES = ("keep", "last", "smallest_on_top")


class Targets(NamedTuple):
    """The N instances of a picture, and where they come from."""

    instances: Instances
    areas: torch.Tensor  # int64 (N,), the pixels of each mask
    origins: list[tuple[int, int]]  # layer, and position in that layer's annotations


class TargetMaker:
    """Makes `Instances` of the objects in an augmented picture.

    Classes and labels are taken as they are: the dataset's reader has checked them. Where the way
    of an object into the picture mirrors it, the values of its subcategories' `flip` are exchanged.

    Args:
        spec: the dataset's S subcategories.
        min_visible_pixels: an instance with fewer pixels left is dropped with all its labels.
        min_visible: so is one with less than this share, in [0, 1], of the pixels that all of it
            would have at this scale.
        mask_overlap: who has a pixel that two instances claim, one of `OVERLAP_POLICIES`.

    Raises:
        ValueError: limits that would drop everything, or let an empty mask pass.
    """

    def __init__(
        self,
        *,
        spec: SubcategorySpec,
        min_visible_pixels: int,
        min_visible: float,
        mask_overlap: str,
    ) -> None:
        if min_visible_pixels < 1:
            raise ValueError(
                f"min_visible_pixels must be at least 1, got {min_visible_pixels}; "
                "an empty mask has no points to learn from"
            )
        if not 0 <= min_visible <= 1:
            raise ValueError(f"INPUT.MIN_VISIBLE must be a share in [0, 1], got {min_visible!r}")
        self.spec = spec
        self.min_visible_pixels = min_visible_pixels
        self.min_visible = min_visible
        self.mask_overlap = mask_overlap

    def visible(self, layer: Layer, size: tuple[int, int]) -> tuple[list[int], np.ndarray]:
        """Those of a layer's objects that can be seen well enough, were nothing above them.

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
            `gt_subcategories` int64 (N, S), unknown where an annotation has none; N may be 0.

        Raises:
            ValueError: a damaged segmentation; names file and annotation.
        """
        drawn = [self._draw(layer, size) for layer in layers]
        for top in range(len(layers) - 1, 0, -1):
            uncovered = ~drawn[top].masks.any(axis=0)
            for lower in drawn[:top]:
                np.logical_and(lower.masks, uncovered, out=lower.masks)
        masks_NHW = drawn[0].masks
        if len(drawn) > 1:
            masks_NHW = np.concatenate([d.masks for d in drawn])
        masks_NHW = resolve_overlap(masks_NHW, overlap=self.mask_overlap)
        areas = np.concatenate([d.areas for d in drawn]) if self.min_visible > 0 else None
        chosen, pixels = self._seen_enough(masks_NHW, areas)
        if len(chosen) < len(masks_NHW):
            masks_NHW = masks_NHW[chosen]
        origins = [(number, i) for number, d in enumerate(drawn) for i in d.kept]
        origins = [origins[i] for i in chosen]
        annotations = [layers[number].annotations[i] for number, i in origins]
        unknown = [UNKNOWN] * len(self.spec)
        classes = [a["category_id"] for a in annotations]
        labels = [a.get("subcategories", unknown) for a in annotations]
        if self.spec.has_flips:
            mirrored = [layer.is_mirrored for layer in layers]
            labels = [
                self.spec.mirrored_labels(own) if mirrored[number] else own
                for own, (number, _) in zip(labels, origins, strict=True)
            ]
        instances = Instances(size)
        instances.set(GT_CLASSES, torch.tensor(classes, dtype=torch.int64))
        instances.set(GT_MASKS, torch.from_numpy(masks_NHW))
        instances.set("gt_boxes", boxes_of(masks_NHW))
        labels_NS = torch.tensor(labels, dtype=torch.int64).reshape(len(labels), len(self.spec))
        instances.set(GT_SUBCATEGORIES, labels_NS)
        pixels = torch.tensor([pixels[i] for i in chosen], dtype=torch.int64)
        return Targets(instances, pixels, origins)

    def _draw(self, layer: Layer, size: tuple[int, int]) -> LayerMasks:
        return draw_layer(layer, size, measure=self.min_visible > 0)

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


def resolve_overlap(masks_NHW: np.ndarray, *, overlap: str) -> np.ndarray:
    """Gives every pixel that several masks claim to one of them.

    Args:
        masks_NHW: bool (N, H, W); not changed.
        overlap: one of `OVERLAP_POLICIES`.

    Returns:
        bool (N, H, W); a mask that is hidden altogether is empty. With "keep" the argument itself.

    Raises:
        ValueError: an unknown policy.
    """
    if overlap not in OVERLAP_POLICIES:
        raise ValueError(
            f"overlap (INPUT.MASK_OVERLAP) must be one of {list(OVERLAP_POLICIES)}, got {overlap!r}"
        )
    if overlap == "keep":
        return masks_NHW
    top_down = list(range(len(masks_NHW)))[::-1]
    if overlap == "smallest_on_top":
        # Stable: of equal areas the last stays on top.
        top_down.sort(key=lambda index: np.count_nonzero(masks_NHW[index]))
    resolved_NHW = np.empty_like(masks_NHW)
    is_free = np.ones(masks_NHW.shape[1:], dtype=bool)
    for index in top_down:
        np.logical_and(masks_NHW[index], is_free, out=resolved_NHW[index])
        is_free &= ~resolved_NHW[index]
    return resolved_NHW


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
