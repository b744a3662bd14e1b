"""Non-maximum suppression of masks that overlap better ones, from the IoU of all pairs."""

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
    """Leaves out each instance that overlaps a better one which is not left out itself.

    Args:
        iou: float (N, N) in [0, 1]; 0 for pairs that do not count as overlapping.
        scores: float (N,); of equal ones the earlier is the better.
        threshold: IoU above which two instances overlap too much.

    Returns:
        bool (N,), which remain.
    """
    order = scores.argsort(descending=True, stable=True)
    # One after another by nature, so on the host: N steps over N bits cost nothing there.
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

    Let f fall from 1 at IoU 0, and let m_i be the largest IoU of i with an instance better than i.
    The factor of j is the minimum of f(iou_ij) / f(m_i) over all i better than j: an instance that
    is likely to be suppressed itself suppresses less.

    Args:
        iou, scores: as of `keep_by_overlap`.
        kind: "linear", f = 1 - iou, or "gaussian", f = exp(-iou^2 / sigma).
        sigma: width of "gaussian", positive.

    Returns:
        float (N,), in [0, 1]; 1 for the best.

    Source: SOLOv2, "Matrix NMS".
    """
    order = scores.argsort(descending=True, stable=True)
    sorted_iou = iou[order][:, order]
    # Row i, column j: i is better than j.
    better = torch.ones_like(sorted_iou, dtype=torch.bool).triu(1)
    most = sorted_iou.where(better, 0).amax(0) if len(order) else scores

    def f(x: torch.Tensor) -> torch.Tensor:
        return 1 - x if kind == "linear" else torch.exp(-(x**2) / sigma)

    # A copy of a better instance (f = 0) suppresses nothing further: the better one does already.
    own = f(most)[:, None]
    ratio = torch.where(better & (own > 0), f(sorted_iou) / own.clamp(min=1e-12), 1)
    decay = torch.empty_like(scores)
    decay[order] = ratio.amin(0).clamp(max=1) if len(order) else scores
    return decay
