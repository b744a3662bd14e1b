"""Which query stands for which instance: matching by class, mask and subcategory costs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from scipy.optimize import linear_sum_assignment

from mask2former_mt.layers.point_sampling import sample_binary_masks
from mask2former_mt.losses.functional import pairwise_mask_costs
from mask2former_mt.losses.mask_logits import full_precision, logits_at_points
from mask2former_mt.losses.targets import ImageTargets
from mask2former_mt.structures import UNKNOWN, DecoderOutput, SubcategorySpec

# B images, Q queries, K classes, S subcategories, P points, T = largest number of targets


@dataclasses.dataclass(frozen=True)
class MatchCosts:
    """Weights of the terms of the matching cost.

    Args:
        class_: of minus the probability of the target's class.
        mask: of the mask's binary cross-entropy.
        dice: of the dice loss.
        subcategories: per subcategory, of minus the probability of the target's value.
    """

    class_: float
    mask: float
    dice: float
    subcategories: tuple[float, ...] = ()


class HungarianMatcher:
    """Assigns each target its own query so that the summed cost is least, per layer and image.

    For each image: len(queries) == len(targets) == min(Q, number of targets).

    Args:
        costs: weights of the terms.
        spec: the subcategories.
        num_points: P, points per mask that the mask terms are computed on.
        implementation: of the sampling, as of `ms_deform_attn`.

    Source: Mask2Former, section 3.3; DETR, eq. 1. Difference: every image's points are drawn once
    and serve all layers, and all costs reach the host in one copy.
    """

    def __init__(
        self,
        *,
        costs: MatchCosts,
        spec: SubcategorySpec,
        num_points: int,
        implementation: str = "auto",
    ) -> None:
        if len(costs.subcategories) != len(spec):
            raise ValueError(
                f"one matching cost per subcategory is needed: {list(spec.names)}, "
                f"got {list(costs.subcategories)}"
            )
        self.costs = costs
        self.spec = spec
        self.num_points = num_points
        self.implementation = implementation

    @torch.no_grad()
    def __call__(
        self,
        layers: Sequence[DecoderOutput],
        targets: Sequence[ImageTargets],
        points: torch.Tensor | None = None,
    ) -> list[list[tuple[torch.Tensor, torch.Tensor]]]:
        """Matches.

        Args:
            layers: the decoder's predictions to match.
            targets: B images' instances.
            points: (B, P, 2), xy in [0, 1] of the padded image; None draws them uniformly.

        Returns:
            Per layer, per image: query and target indices, int64 on the CPU, queries ascending.

        Raises:
            ValueError: a cost is not finite, so that no assignment is least.
        """
        sizes = [len(target) for target in targets]
        if max(sizes, default=0) == 0:
            empty = torch.empty(0, dtype=torch.int64)
            return [[(empty, empty)] * len(sizes) for _ in layers]
        device = layers[0].pred_logits.device
        if points is None:
            points = torch.rand(len(sizes), self.num_points, 2, device=device)
        padded = _pad(targets, points)
        with torch.autocast(device.type, enabled=False):
            mask_logits = logits_at_points(layers, points, implementation=self.implementation)
            costs = torch.stack(
                [
                    self._cost(layer, logits, padded)
                    for layer, logits in zip(layers, mask_logits, strict=True)
                ]
            )
        # The one copy to the host of a training step.
        costs = costs.cpu()
        # Padding columns are no one's target; what they hold is not looked at.
        if not all(costs[:, i, :, :n].isfinite().all() for i, n in enumerate(sizes)):
            raise ValueError(
                "a matching cost is not finite: the predictions hold NaN or infinity. Lower "
                "SOLVER.BASE_LR, clip gradients (SOLVER.CLIP_GRADIENTS) or train without "
                "SOLVER.AMP"
            )
        return [
            [_assign(image[:, :n].numpy()) for image, n in zip(layer, sizes, strict=True)]
            for layer in costs
        ]

    def _cost(
        self, layer: DecoderOutput, mask_logits: torch.Tensor, targets: _PaddedTargets
    ) -> torch.Tensor:
        """The weighted sum of all terms, float (B, Q, T); mask_logits (B, Q, P)."""
        B, Q = mask_logits.shape[:2]
        T = targets.classes.shape[1]
        class_probs = full_precision(layer.pred_logits).softmax(-1)
        cost = -self.costs.class_ * class_probs.gather(2, targets.classes[:, None].expand(B, Q, T))
        bce, dice = pairwise_mask_costs(mask_logits, targets.points.to(mask_logits))
        cost = cost + self.costs.mask * bce + self.costs.dice * dice
        for column, (name, weight) in enumerate(
            zip(self.spec.names, self.costs.subcategories, strict=True)
        ):
            if weight == 0:
                continue
            labels = targets.subcategories[:, None, :, column].expand(B, Q, T)
            probs = full_precision(layer.pred_subcategories[name]).softmax(-1)
            known = labels != UNKNOWN
            cost = cost - weight * probs.gather(2, labels.clamp(min=0)) * known
        return cost


@dataclasses.dataclass
class _PaddedTargets:
    classes: torch.Tensor  # (B, T)
    subcategories: torch.Tensor  # (B, T, S)
    points: torch.Tensor  # (B, T, P), masks sampled at the image's points


def _pad(targets: Sequence[ImageTargets], points: torch.Tensor) -> _PaddedTargets:
    def stack(parts: Sequence[torch.Tensor]) -> torch.Tensor:
        return torch.nn.utils.rnn.pad_sequence(list(parts), batch_first=True)

    return _PaddedTargets(
        classes=stack([t.classes for t in targets]),
        subcategories=stack([t.subcategories for t in targets]),
        points=stack(
            [
                sample_binary_masks(t.masks, p.expand(len(t), -1, -1))
                for t, p in zip(targets, points, strict=True)
            ]
        ),
    )


def _assign(cost) -> tuple[torch.Tensor, torch.Tensor]:
    queries, targets = linear_sum_assignment(cost)
    return torch.from_numpy(queries), torch.from_numpy(targets)
