"""Non-maximum suppression of masks that lie over better ones, from all pairs' IoU at once."""

from __future__ import annotations

import torch

# N instances

# What happens to an instance whose mask overlaps a better one: nothing; it is left out; or, in the
# two ways of SOLOv2's matrix NMS, its score is lowered.
NMS_KINDS = ("none", "hard", "linear", "gaussian")


def mask_iou(masks: torch.Tensor) -> torch.Tensor:
    """The IoU of all pairs of masks.

    Args:
        masks: bool (N, h, w).

    Returns:
        float32 (N, N), in [0, 1]; 0 with an empty mask.
    """
    flat = masks.flatten(1).float()
    intersection = flat @ flat.T
    area = intersection.diagonal()
    union = area[:, None] + area[None, :] - intersection
    return intersection / union.clamp(min=1)


def keep_by_overlap(iou: torch.Tensor, scores: torch.Tensor, *, threshold: float) -> torch.Tensor:
    """Leaves out each instance that overlaps a better one which was not left out itself.

    Args:
        iou: float (N, N) in [0, 1]; 0 where two may not stand in each other's way.
        scores: float (N,); of equal ones the earlier is the better.
        threshold: an IoU above it is too much.

    Returns:
        bool (N,), which remain.
    """
    order = scores.argsort(descending=True, stable=True)
    # One after another by nature; on the host, where N steps of N bits are nothing.
    too_near = (iou > threshold)[order][:, order].cpu()
    keep = torch.ones(len(order), dtype=torch.bool)
    for i in range(len(order)):
        if keep[i]:
            keep[i + 1 :] &= ~too_near[i, i + 1 :]
    result = torch.empty_like(keep, device=scores.device)
    result[order] = keep.to(scores.device)
    return result


def overlap_decay(
    iou: torch.Tensor, scores: torch.Tensor, *, kind: str, sigma: float = 0.5
) -> torch.Tensor:
    """The factors that lower the scores of instances that overlap better ones.

    With f falling from 1 at IoU 0, that of j is the least f(iou_ij) / f(the most that i itself
    overlaps a better one) over all i better than j: what is likely suppressed suppresses less.

    Args:
        iou, scores: as of `keep_by_overlap`.
        kind: "linear", f = 1 - iou, or "gaussian", f = exp(-iou^2 / sigma).
        sigma: positive.

    Returns:
        float (N,), in [0, 1]; 1 for the best.

    Source: SOLOv2, "Matrix NMS".
    """
    if kind not in ("linear", "gaussian"):
        raise ValueError(f"kind must be 'linear' or 'gaussian', got {kind!r}")
    order = scores.argsort(descending=True, stable=True)
    sorted_iou = iou[order][:, order]
    # Row i, column j: i is better than j.
    better = torch.ones_like(sorted_iou, dtype=torch.bool).triu(1)
    most = sorted_iou.where(better, 0).amax(0) if len(order) else scores

    def f(x: torch.Tensor) -> torch.Tensor:
        return 1 - x if kind == "linear" else torch.exp(-(x**2) / sigma)

    # A copy of a better one (f = 0) suppresses nothing further: that better one does.
    own = f(most)[:, None]
    ratio = torch.where(better & (own > 0), f(sorted_iou) / own.clamp(min=1e-12), 1)
    decay = torch.empty_like(scores)
    decay[order] = ratio.amin(0).clamp(max=1) if len(order) else scores
    return decay
