"""Which instances are left out: thresholds, areas and overlaps.

All filters are off by default, since COCO's AP is published without any.
"""

from __future__ import annotations

import dataclasses
import math

import torch

from mask2former_mt.postprocess.mask_nms import keep_by_overlap, mask_iou, overlap_decay
from mask2former_mt.postprocess.selection import SelectedQueries
from mask2former_mt.structures import ImageSizes

# N instances, U masks (each selected query's once), S subcategories


@dataclasses.dataclass(frozen=True)
class Filters:
    """Which instances are left out; the defaults leave out none. The config checks the ranges.

    Args:
        score: lowest score, in [0, 1].
        class_score: lowest probability of the class, in [0, 1].
        subcategory_scores: lowest probability of the predicted value, in [0, 1], per subcategory;
            empty for no limit.
        needs_value: whether an instance without a value (none) is left out, per subcategory; empty
            for never. Those of classes that do not have the subcategory stay.
        num_values: K_s, which is also the index of none, per subcategory; may be empty where
            `needs_value` has no True.
        min_area: smallest mask, in pixels of the original image.
        keep: largest number of instances, the best ones; 0 keeps all.
        nms: what happens to a mask that overlaps a better one, one of `mask_nms.NMS_KINDS`.
        nms_threshold: IoU in [0, 1] above which "hard" leaves out the worse one.
        nms_sigma: width of "gaussian", positive: the larger, the less a score is lowered.
        nms_class_aware: whether only instances of the same class count as overlapping.
    """

    score: float = 0.0
    class_score: float = 0.0
    subcategory_scores: tuple[float, ...] = ()
    needs_value: tuple[bool, ...] = ()
    num_values: tuple[int, ...] = ()
    min_area: int = 0
    keep: int = 0
    nms: str = "none"
    nms_threshold: float = 0.5
    nms_sigma: float = 0.5
    nms_class_aware: bool = True

    @property
    def of_labels(self) -> bool:
        """Whether there are limits that can be checked before any mask is looked at."""
        return bool(
            self.score or self.class_score or any(self.subcategory_scores) or any(self.needs_value)
        )

    @property
    def of_small_masks(self) -> bool:
        """Whether there are limits that can be checked on the masks before they are resized."""
        return self.nms != "none" or self.min_area > 0


def keep_by_labels(selected: SelectedQueries, filters: Filters) -> torch.Tensor:
    """Which instances remain by their classes, labels and ranking scores.

    The final score is at most the ranking score, since it is multiplied by the mean probability
    inside the mask: what is left out here could not reach the score threshold.

    Returns:
        bool (N,).
    """
    keep = (selected.scores >= filters.score) & (selected.class_scores >= filters.class_score)
    for column, threshold in enumerate(filters.subcategory_scores):
        keep &= selected.subcategory_scores[:, column] >= threshold
    for column, needs_value in enumerate(filters.needs_value):
        if needs_value:
            is_none = selected.subcategories[:, column] == filters.num_values[column]
            keep &= ~(is_none & selected.applies[:, column])
    return keep


def filter_by_small_masks(
    selected: SelectedQueries,
    mask_index: torch.Tensor,
    logits_Uhw: torch.Tensor,
    sizes: ImageSizes,
    filters: Filters,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Which instances remain by their masks on the network's grid, and with which scores.

    The grid has a sixteenth of the padded image's pixels, which is enough for overlaps.

    Args:
        selected: N instances.
        mask_index: int64 (N,), row of each instance's mask in `logits_Uhw`.
        logits_Uhw: float (U, h, w), mask logits.
        sizes: sizes of the image.
        filters: the limits.

    Returns:
        bool (N,), which instances remain, and float (N,), factors of their scores.
    """
    factor = torch.ones_like(selected.scores)
    keep = torch.ones_like(mask_index, dtype=torch.bool)
    small_Uhw = logits_Uhw > 0
    if filters.min_area:
        # Exact: where no logit is above 0, none of those interpolated between them is.
        keep &= small_Uhw.flatten(1).any(1)[mask_index]
    if filters.nms != "none":
        # Without the padding.
        h, w = (
            math.ceil(cells * image / padded)
            for cells, image, padded in zip(
                small_Uhw.shape[1:], sizes.image, sizes.padded, strict=True
            )
        )
        inside_Uhw = small_Uhw[:, :h, :w]
        probs = torch.where(inside_Uhw, logits_Uhw[:, :h, :w].float().sigmoid(), 0)
        mean_probs = probs.sum((1, 2)) / inside_Uhw.sum((1, 2)).clamp(min=1)
        scores = selected.scores * mean_probs[mask_index]
        iou = mask_iou(inside_Uhw)[mask_index][:, mask_index]
        if filters.nms_class_aware:
            iou = iou * (selected.classes[:, None] == selected.classes[None, :])
        if filters.nms == "hard":
            keep &= keep_by_overlap(iou, scores, threshold=filters.nms_threshold)
        else:
            factor = overlap_decay(iou, scores, kind=filters.nms, sigma=filters.nms_sigma)
            keep &= selected.scores * factor >= filters.score
    return keep, factor
