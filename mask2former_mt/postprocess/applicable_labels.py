"""The rule of subcategories that some classes do not have: none there, and sure of it."""

from __future__ import annotations

import torch

# N instances, S subcategories


def none_elsewhere(
    values_NS: torch.Tensor,
    scores_NS: torch.Tensor,
    applies_NS: torch.Tensor,
    none_S: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """What is predicted where an instance's class decides that there is no value.

    Args:
        values_NS: int64, the value that each head prefers, in 0..K_s.
        scores_NS: float, its probability.
        applies_NS: bool, whether the instance's class has the subcategory.
        none_S: int64, the index of none, K_s.

    Returns:
        Values and scores: none with probability 1 where the subcategory does not apply, so that no
        threshold and no ranking counts what its head says.
    """
    return (
        torch.where(applies_NS, values_NS, none_S),
        torch.where(applies_NS, scores_NS, torch.ones_like(scores_NS)),
    )
