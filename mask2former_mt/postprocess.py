"""Queries to instances: pure functions on tensors."""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F

from mask2former_mt.structures import DecoderOutput

# Q queries, K classes, S subcategories, N kept instances

# Floats of one chunk of upsampled masks: 64 MiB in float32.
CHUNK_ELEMENTS = 16 * 2**20


@dataclasses.dataclass
class SelectedQueries:
    """The instances chosen from one image's queries, before their masks are resized.

    Args:
        queries: int64 (N,), which query each instance comes from.
        classes: int64 (N,).
        class_scores: float (N,), probability of the class.
        subcategories: int64 (N, S), each in 0..K_s, predicted by the same query.
        subcategory_scores: float (N, S), probability of the predicted value.
    """

    queries: torch.Tensor
    classes: torch.Tensor
    class_scores: torch.Tensor
    subcategories: torch.Tensor
    subcategory_scores: torch.Tensor


def select_queries(output: DecoderOutput, image: int, *, top_k: int) -> SelectedQueries:
    """Takes the `top_k` best (query, class) pairs of an image; a query may give several classes.

    Args:
        output: the decoder's predictions for the batch.
        image: index in the batch.
        top_k: at most so many instances.

    Returns:
        The instances, best class score first.

    Source: Mask2Former's published instance inference.
    """
    probs = output.pred_logits[image].float().softmax(-1)[:, :-1]
    num_classes = probs.shape[1]
    scores, flat = probs.flatten().topk(min(top_k, probs.numel()))
    queries = flat // num_classes
    values, value_scores = [], []
    for logits in output.pred_subcategories.values():
        best = logits[image].float().softmax(-1)[queries].max(-1)
        values.append(best.indices)
        value_scores.append(best.values)
    empty = (len(queries), 0)
    return SelectedQueries(
        queries=queries,
        classes=flat % num_classes,
        class_scores=scores,
        subcategories=torch.stack(values, 1) if values else queries.new_zeros(empty),
        subcategory_scores=torch.stack(value_scores, 1) if values else scores.new_zeros(empty),
    )


def masks_at_original_size(
    mask_logits: torch.Tensor,
    *,
    padded_size: tuple[int, int],
    image_size: tuple[int, int],
    original_size: tuple[int, int],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Resizes mask logits to the original image, in chunks of bounded memory, and thresholds them.

    Args:
        mask_logits: float (N, h, w) on the padded image's stride-4 grid.
        padded_size: (H, W) of the batch, in pixels.
        image_size: (H, W) of this image inside it, top-left.
        original_size: (H, W) of the image before it was resized for the network.

    Returns:
        bool (N, H, W) at the original size: logit above 0; and float (N,), the mean probability
        inside each mask, 0 for an empty one.

    Source: Mask2Former's published two steps: bilinear to the padded size, crop, bilinear to the
    original size.
    """
    height, width = original_size
    masks = torch.empty(
        (len(mask_logits), height, width), dtype=torch.bool, device=mask_logits.device
    )
    scores = torch.empty(len(mask_logits), device=mask_logits.device)
    largest = max(padded_size[0] * padded_size[1], height * width)
    step = max(1, CHUNK_ELEMENTS // largest)
    for start in range(0, len(mask_logits), step):
        part = slice(start, start + step)
        logits = F.interpolate(
            mask_logits[None, part].float(), size=padded_size, mode="bilinear", align_corners=False
        )[..., : image_size[0], : image_size[1]]
        if image_size != original_size:
            logits = F.interpolate(logits, size=original_size, mode="bilinear", align_corners=False)
        logits = logits[0]
        masks[part] = logits > 0
        inside = masks[part].flatten(1)
        probs = (logits.flatten(1).sigmoid() * inside).sum(1)
        scores[part] = probs / (inside.sum(1) + 1e-6)
    return masks, scores


def mask_extents(masks: torch.Tensor) -> torch.Tensor:
    """The boxes around masks.

    Args:
        masks: bool (N, H, W).

    Returns:
        float32 (N, 4), xyxy in pixels, the right and lower edges included in the box (a single
        pixel at (0, 0) gives 0, 0, 1, 1); zeros for an empty mask.
    """
    edges = []
    # xs: columns that hold a pixel, (N, W); ys: rows, (N, H).
    for occupied in (masks.any(1), masks.any(2)):
        length = occupied.shape[1]
        position = torch.arange(length, device=masks.device)
        first = torch.where(occupied, position, length).amin(1)
        last = torch.where(occupied, position + 1, 0).amax(1)
        edges.append((first.minimum(last), last))
    (left, right), (top, bottom) = edges
    return torch.stack((left, top, right, bottom), dim=1).float()
