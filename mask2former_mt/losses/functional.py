"""The loss and cost formulas, on sampled points."""

from __future__ import annotations

import torch
import torch.nn.functional as F

# N masks, P points, Q queries, T targets


def mask_bce_loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy, mean over the points.

    Args:
        logits: float (..., P).
        targets: float (..., P) in [0, 1].

    Returns:
        (...), one per mask.

    Source: Mask2Former, section 3.3.
    """
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="none").mean(-1)


def dice_loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """1 - (2 sum(p t) + 1) / (sum(p) + sum(t) + 1), p the sigmoid of the logits.

    Arguments and result as of `mask_bce_loss`.

    Source: V-Net; with 1 added to numerator and denominator, as published.
    """
    probs = logits.sigmoid()
    overlap = (probs * targets).sum(-1)
    return 1 - (2 * overlap + 1) / (probs.sum(-1) + targets.sum(-1) + 1)


def pairwise_mask_costs(
    logits: torch.Tensor, targets: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """`mask_bce_loss` and `dice_loss` of every query with every target.

    bce(x, t) = softplus(x) - x t, so the targets enter through one matrix product.

    Args:
        logits: float (..., Q, P).
        targets: float (..., T, P) in [0, 1].

    Returns:
        bce and dice, each (..., Q, T).
    """
    transposed = targets.transpose(-1, -2)
    probs = logits.sigmoid()
    bce = (F.softplus(logits).sum(-1, keepdim=True) - logits @ transposed) / logits.shape[-1]
    total = probs.sum(-1, keepdim=True) + targets.sum(-1)[..., None, :]
    dice = 1 - (2 * (probs @ transposed) + 1) / (total + 1)
    return bce, dice


def weighted_cross_entropy(
    logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor
) -> torch.Tensor:
    """Cross-entropy, the mean weighted per query; 0 where all weights are 0.

    Args:
        logits: float (..., N, K).
        labels: int64 (..., N) in [0, K); anything where the weight is 0.
        weights: float (..., N), not negative.

    Returns:
        (...), the mean over N.
    """
    log_probs = logits.log_softmax(-1)
    picked = log_probs.gather(-1, labels.clamp(min=0)[..., None])[..., 0]
    # Where all weights are 0, so is the numerator, and a denominator of 1 gives 0.
    total = weights.sum(-1)
    return -(picked * weights).sum(-1) / torch.where(total > 0, total, torch.ones_like(total))
