"""Which query stands for which instance: matching by class, mask and subcategory costs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from scipy.optimize import linear_sum_assignment

from mask2former_mt.layers.point_sampling import sample_binary_masks_alike, sample_maps
from mask2former_mt.losses.functional import pairwise_mask_costs
from mask2former_mt.losses.mask_logits import full_precision, shared_features
from mask2former_mt.losses.targets import ImageTargets
from mask2former_mt.ops.implementation import Implementation
from mask2former_mt.structures import UNKNOWN, DecoderOutput, SubcategorySpec

# B images, Q queries, K classes, S subcategories, C channels, P points, T largest number of targets


@dataclasses.dataclass(frozen=True)
class MatchCosts:
    """Weights of the terms of the matching cost.

    Args:
        class_: weight of minus the probability of the target's class.
        mask: weight of the mask's binary cross-entropy.
        dice: weight of the dice loss.
        subcategories: per subcategory, weight of minus the probability of the target's value.
    """

    class_: float
    mask: float
    dice: float
    subcategories: tuple[float, ...] = ()


@dataclasses.dataclass(kw_only=True)
class HungarianMatcher:
    """Assigns each target its own query so that the summed cost is least, per layer and image.

    For each image: len(queries) == len(targets) == min(Q, number of targets).

    Args:
        costs: weights of the terms.
        spec: the subcategories.
        num_points: P, points per mask that the mask terms are computed on.
        implementation: of the op that samples the mask features.
        targets_at_once: targets of an image whose masks are sampled together, which bounds the
            memory: 512 of 12,544 points take 128 MiB.

    Source: Mask2Former, section 3.3; DETR, eq. 1. Difference: every image's points are drawn once
    and serve all layers, and all costs reach the host in one copy.
    """

    costs: MatchCosts
    spec: SubcategorySpec
    num_points: int
    implementation: Implementation = Implementation.AUTO
    targets_at_once: int = 512

    @torch.no_grad()
    def __call__(
        self,
        layers: Sequence[DecoderOutput],
        targets: Sequence[ImageTargets],
        points: torch.Tensor | None = None,
    ) -> list[list[tuple[torch.Tensor, torch.Tensor]]]:
        """Matches queries and targets.

        Args:
            layers: the decoder's predictions to match.
            targets: B images' instances.
            points: (B, P, 2), xy in [0, 1] of the padded image; None draws them uniformly.

        Returns:
            Per layer, per image: query and target indices, int64 on the CPU, queries ascending.

        Raises:
            ValueError: a cost is not finite, so that no assignment is the cheapest.
        """
        sizes = [len(target) for target in targets]
        if max(sizes, default=0) == 0:
            empty = torch.empty(0, dtype=torch.int64)
            return [[(empty, empty)] * len(sizes) for _ in layers]
        device = layers[0].pred_logits.device
        if points is None:
            points = torch.rand(len(sizes), self.num_points, 2, device=device)
        parts = []
        with torch.autocast(device.type, enabled=False):
            features_BCP = sample_maps(
                shared_features(layers), points, implementation=self.implementation
            )
            for start in range(0, max(sizes), self.targets_at_once):
                padded = _pad([t[start : start + self.targets_at_once] for t in targets], points)
                parts.append(
                    torch.stack([self._cost(layer, features_BCP, padded) for layer in layers])
                )
        # The one copy to the host of a training step.
        costs = torch.cat(parts, dim=-1).cpu()
        # Columns of padding may hold anything: no target stands there.
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
        self, layer: DecoderOutput, features_BCP: torch.Tensor, targets: _PaddedTargets
    ) -> torch.Tensor:
        """The weighted sum of all terms, float (B, Q, T), from mask features at the points."""
        mask_logits_BQP = torch.bmm(full_precision(layer.mask_factors.embedding), features_BCP)
        B, Q = mask_logits_BQP.shape[:2]
        T = targets.classes.shape[1]
        class_probs = full_precision(layer.pred_logits).softmax(-1)
        cost = -self.costs.class_ * class_probs.gather(2, targets.classes[:, None].expand(B, Q, T))
        bce, dice = pairwise_mask_costs(mask_logits_BQP, targets.points.to(mask_logits_BQP))
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
    """The targets of all images, with zeros behind those of images that have fewer than T."""

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
            [sample_binary_masks_alike(t.masks, p) for t, p in zip(targets, points, strict=True)]
        ),
    )


def _assign(cost) -> tuple[torch.Tensor, torch.Tensor]:
    queries, targets = linear_sum_assignment(cost)
    return torch.from_numpy(queries), torch.from_numpy(targets)
