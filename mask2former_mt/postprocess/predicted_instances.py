"""From the decoder's output to the instances of one image at its original size."""

from __future__ import annotations

import dataclasses

import pycocotools.mask as mask_util
import torch
from detectron2.structures import Boxes, Instances

from mask2former_mt import structures
from mask2former_mt.ops.encode_masks import encode_masks
from mask2former_mt.ops.implementation import Implementation
from mask2former_mt.ops.resize_masks import resize_masks
from mask2former_mt.postprocess.filters import Filters, filter_by_small_masks, keep_by_labels
from mask2former_mt.postprocess.selection import require_finite, select_queries
from mask2former_mt.structures import DecoderOutput, ImageSizes

# N instances, U masks (each selected query's once), S subcategories

# Masks at the original size that are whole at a time before they are encoded: few of a large
# picture, more of a small one.
_MASKS_AT_A_TIME = 2
_MASK_BYTES_AT_A_TIME = 16 * 2**20


@dataclasses.dataclass(frozen=True)
class InstanceOptions:
    """How instances are made of queries.

    Args:
        top_k: largest number of instances that are selected, before any filter.
        ranking, gamma, one_class_per_query: as of `select_queries`.
        mask_resize: `mode` of `resize_masks`.
        filters: which of the selected are left out.
        applies: for each of K classes, which of the S subcategories it has; empty: all have all.
        encoded: whether masks are run lengths, `structures.PRED_RLES`, of which few are whole at a
            time: a picture of any size then takes a few bytes a pixel, however many its masks.
    """

    top_k: int = 100
    ranking: str = "class"
    gamma: float = 1.0
    one_class_per_query: bool = False
    mask_resize: str = "parity"
    filters: Filters = dataclasses.field(default_factory=Filters)
    applies: tuple[tuple[bool, ...], ...] = ()
    encoded: bool = False


def predict_instances(
    output: DecoderOutput,
    index: int,
    sizes: ImageSizes,
    *,
    options: InstanceOptions = InstanceOptions(),
    implementation: Implementation | str = Implementation.AUTO,
) -> Instances:
    """Selects queries, filters on their small masks, and resizes only the masks that remain.

    Args:
        output: the decoder's predictions for the batch.
        index: image index in the batch.
        sizes: sizes of the image.
        options: how instances are made; by default as published.
        implementation: as of `resize_masks`.

    Returns:
        Instances at the original size, best first, with the prediction fields of `structures`. A
        score is the ranking score times the mean probability inside the mask times the factor of a
        soft NMS; 0 for an empty mask.

    Raises:
        ValueError: class or subcategory logits that are not finite. A mask logit that is NaN is
            outside the mask.

    Source: with the defaults Mask2Former's published instance inference.
    """
    filters, device = options.filters, output.pred_logits.device
    selected = select_queries(
        output,
        index,
        top_k=options.top_k,
        ranking=options.ranking,
        gamma=options.gamma,
        one_class_per_query=options.one_class_per_query,
        applies_KS=torch.tensor(options.applies, device=device) if options.applies else None,
    )
    # For topk NaN is the largest number: a bad class is always among the selected.
    require_finite(index, selected.scores, selected.subcategory_scores)
    if filters.of_labels:
        selected = selected[keep_by_labels(selected, filters)]
    # Several classes of one query share its mask: each mask is looked at and resized once.
    queries, mask_index = selected.queries.unique(return_inverse=True)
    logits_Uhw = output.masks_of(index, queries)
    if filters.of_small_masks:
        keep, factor = filter_by_small_masks(selected, mask_index, logits_Uhw, sizes, filters)
        selected = selected[keep]
        selected.scores = selected.scores * factor[keep]
        used, mask_index = mask_index[keep].unique(return_inverse=True)
        logits_Uhw = logits_Uhw[used]
    resize = resize_and_encode if options.encoded else resize_masks
    masks, mask_scores, boxes = resize(
        logits_Uhw, sizes, mode=options.mask_resize, implementation=implementation
    )
    scores, order = (selected.scores * mask_scores[mask_index]).sort(descending=True)
    if filters.score or filters.min_area:
        keep = scores >= filters.score
        if filters.min_area:
            keep &= _areas(masks).to(keep.device)[mask_index[order]] >= filters.min_area
        scores, order = scores[keep], order[keep]
    if filters.keep:
        scores, order = scores[: filters.keep], order[: filters.keep]
    mask_index = mask_index[order]
    instances = Instances(sizes.original)
    if options.encoded:
        instances.set(structures.PRED_RLES, masks[mask_index])
    else:
        # Ten times as fast as masks[mask_index], which copies pixel by pixel.
        instances.set(structures.PRED_MASKS, masks.index_select(0, mask_index))
    instances.set(structures.PRED_BOXES, Boxes(boxes[mask_index].float()))
    instances.set(structures.SCORES, scores)
    instances.set(structures.PRED_CLASSES, selected.classes[order])
    instances.set(structures.PRED_SUBCATEGORIES, selected.subcategories[order])
    instances.set(structures.SUBCATEGORY_SCORES, selected.subcategory_scores[order])
    return instances


def resize_and_encode(
    mask_logits: torch.Tensor,
    sizes: ImageSizes,
    *,
    mode: str,
    implementation: Implementation | str,
) -> tuple[structures.EncodedMasks, torch.Tensor, torch.Tensor]:
    """The same as `resize_masks`, but for the masks, which are encoded some at a time.

    Returns:
        N masks as of `encode_masks`; scores and boxes as of `resize_masks`.
    """
    height, width = sizes.original
    step = max(_MASKS_AT_A_TIME, _MASK_BYTES_AT_A_TIME // (height * width))
    rles: list[dict] = []
    scores = torch.empty(len(mask_logits), device=mask_logits.device)
    boxes = torch.empty((len(mask_logits), 4), dtype=torch.int64, device=mask_logits.device)
    for start in range(0, len(mask_logits), step):
        part = slice(start, start + step)
        masks, scores[part], boxes[part] = resize_masks(
            mask_logits[part], sizes, mode=mode, implementation=implementation
        )
        rles += encode_masks(masks)
        del masks  # before the next ones are made
    return structures.EncodedMasks(rles), scores, boxes


def _areas(masks: torch.Tensor | structures.EncodedMasks) -> torch.Tensor:
    """Pixels of each mask, int64 (N,)."""
    if isinstance(masks, torch.Tensor):
        return masks.flatten(1).sum(1)
    return torch.tensor([int(mask_util.area(rle)) for rle in masks], dtype=torch.int64)
