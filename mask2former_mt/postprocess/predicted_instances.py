"""From the decoder's output to the instances of one image at its original size."""

from __future__ import annotations

import dataclasses
import math

import torch

from mask2former_mt.ops.resize_masks import resize_masks
from mask2former_mt.postprocess.filters import Filters, keep_by_labels
from mask2former_mt.postprocess.mask_nms import keep_by_overlap, mask_iou, overlap_decay
from mask2former_mt.postprocess.selection import (
    SelectedQueries,
    require_finite,
    select_queries,
)
from mask2former_mt.structures import DecoderOutput

# N instances, U masks (of the selected queries, each once), S subcategories


@dataclasses.dataclass(frozen=True)
class InstanceOptions:
    """How instances are made of queries.

    Args:
        top_k: at most so many are selected, before any filter.
        ranking, gamma, one_class_per_query: as of `select_queries`.
        mask_resize: as `mode` of `resize_masks`.
        filters: what is left out.
    """

    top_k: int = 100
    ranking: str = "class"
    gamma: float = 1.0
    one_class_per_query: bool = False
    mask_resize: str = "parity"
    filters: Filters = dataclasses.field(default_factory=Filters)


@dataclasses.dataclass
class PredictedInstances:
    """The instances of one image, best first.

    Args:
        masks: bool (N, H, W), at the original size.
        boxes: int64 (N, 4), the masks' extents, xyxy in pixels of the original.
        scores: float (N,) in [0, 1]: what they are ranked by times the mean probability inside the
            mask, times what a soft NMS leaves of it; 0 for an empty mask.
        classes: int64 (N,).
        subcategories: int64 (N, S), each in 0..K_s.
        subcategory_scores: float (N, S), probability of the predicted value.
        queries: int64 (N,), the query that all of it comes from.
    """

    masks: torch.Tensor
    boxes: torch.Tensor
    scores: torch.Tensor
    classes: torch.Tensor
    subcategories: torch.Tensor
    subcategory_scores: torch.Tensor
    queries: torch.Tensor


def predict_instances(
    output: DecoderOutput,
    index: int,
    *,
    padded_size: tuple[int, int],
    image_size: tuple[int, int],
    original_size: tuple[int, int],
    options: InstanceOptions | None = None,
    implementation: str = "auto",
) -> PredictedInstances:
    """Selects queries, filters on their small masks, and resizes only the masks that remain.

    Args:
        output: the decoder's predictions for the batch.
        index: of the image in the batch.
        padded_size, image_size, original_size, implementation: as of `resize_masks`.
        options: None takes the published ones.

    Raises:
        ValueError: class or subcategory logits that are not finite. A mask logit that is no number
            is outside the mask.

    Source: with the defaults Mask2Former's published instance inference.
    """
    options = options or InstanceOptions()
    filters = options.filters
    selected = select_queries(
        output,
        index,
        top_k=options.top_k,
        ranking=options.ranking,
        gamma=options.gamma,
        one_class_per_query=options.one_class_per_query,
    )
    # What is no number counts as the largest for topk: a bad class is always among the selected.
    require_finite(index, selected.scores, selected.subcategory_scores)
    if filters.of_labels:
        selected = selected[keep_by_labels(selected, filters)]
    # Several classes of one query share its mask: each mask is looked at and resized once.
    queries, which = selected.queries.unique(return_inverse=True)
    logits_Uhw = output.masks_of(index, queries)
    if filters.nms != "none" or filters.min_area:
        keep, factor = _filter_small(selected, which, logits_Uhw, filters, padded_size, image_size)
        selected = selected[keep]
        selected.scores = selected.scores * factor[keep]
        used, which = which[keep].unique(return_inverse=True)
        logits_Uhw = logits_Uhw[used]
    masks, mask_scores, extents = resize_masks(
        logits_Uhw,
        padded_size=padded_size,
        image_size=image_size,
        original_size=original_size,
        mode=options.mask_resize,
        implementation=implementation,
    )
    scores, order = (selected.scores * mask_scores[which]).sort(descending=True)
    if filters.score or filters.min_area:
        keep = scores >= filters.score
        if filters.min_area:
            keep &= masks.flatten(1).sum(1)[which[order]] >= filters.min_area
        scores, order = scores[keep], order[keep]
    if filters.keep:
        scores, order = scores[: filters.keep], order[: filters.keep]
    of_instance = which[order]
    return PredictedInstances(
        # Ten times as fast as masks[of_instance], which copies pixel by pixel.
        masks=masks.index_select(0, of_instance),
        boxes=extents[of_instance],
        scores=scores,
        classes=selected.classes[order],
        subcategories=selected.subcategories[order],
        subcategory_scores=selected.subcategory_scores[order],
        queries=selected.queries[order],
    )


def _filter_small(
    selected: SelectedQueries,
    which: torch.Tensor,
    logits_Uhw: torch.Tensor,
    filters: Filters,
    padded_size: tuple[int, int],
    image_size: tuple[int, int],
) -> tuple[torch.Tensor, torch.Tensor]:
    """What the masks on the network's grid, a sixteenth of its pixels, are enough to decide.

    Args:
        which: int64 (N,), the mask of each instance.

    Returns:
        bool (N,), which instances remain, and float (N,), factors of their scores.
    """
    factor = torch.ones_like(selected.scores)
    keep = torch.ones_like(which, dtype=torch.bool)
    small_Uhw = logits_Uhw > 0
    if filters.min_area:
        # Exact: between logits that are not above 0 there is none above 0.
        keep &= small_Uhw.flatten(1).any(1)[which]
    if filters.nms != "none":
        # What lies in the padding takes no part.
        h, w = (
            math.ceil(cells * image / padded)
            for cells, image, padded in zip(
                small_Uhw.shape[1:], image_size, padded_size, strict=True
            )
        )
        inside_Uhw = small_Uhw[:, :h, :w]
        probs = torch.where(inside_Uhw, logits_Uhw[:, :h, :w].float().sigmoid(), 0)
        means = probs.sum((1, 2)) / inside_Uhw.sum((1, 2)).clamp(min=1)
        scores = selected.scores * means[which]
        iou = mask_iou(inside_Uhw)[which][:, which]
        if filters.nms_class_aware:
            iou = iou * (selected.classes[:, None] == selected.classes[None, :])
        if filters.nms == "hard":
            keep &= keep_by_overlap(iou, scores, threshold=filters.nms_threshold)
        else:
            factor = overlap_decay(iou, scores, kind=filters.nms, sigma=filters.nms_sigma)
            keep &= selected.scores * factor >= filters.score
    return keep, factor
