"""The training loss: class, mask, dice and subcategory terms on every supervised layer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from detectron2.utils import comm

from mask2former_mt.layers.point_sampling import (
    sample_binary_masks,
    sample_logits,
    uncertain_points,
)
from mask2former_mt.losses.functional import dice_loss, mask_bce_loss, weighted_cross_entropy
from mask2former_mt.losses.mask_logits import full_precision, matched_logits
from mask2former_mt.losses.matcher import HungarianMatcher
from mask2former_mt.losses.targets import ImageTargets, check_targets
from mask2former_mt.structures import UNKNOWN, DecoderOutput, SubcategorySpec

# Y supervised layers, B images, Q queries, K classes, N targets in the batch, P points

Matches = Sequence[Sequence[tuple[torch.Tensor, torch.Tensor]]]


class Criterion:
    """Losses of matched and unmatched queries, all layers at once.

    Args:
        matcher: assigns queries to targets.
        num_classes: K.
        spec: the subcategories.
        no_object_weight: weight of unmatched queries in the class loss.
        subcategory_no_object_weight: the same in the subcategory losses, whose target is then none.
        num_points, oversample_ratio, importance_sample_ratio: as of `uncertain_points`.
        deep_supervision: every layer, or the last one only.

    Source: Mask2Former, section 3.3. Differences: subcategory terms; matched masks of all layers
    are gathered and sampled together.
    """

    def __init__(
        self,
        *,
        matcher: HungarianMatcher,
        num_classes: int,
        spec: SubcategorySpec,
        no_object_weight: float,
        subcategory_no_object_weight: float,
        num_points: int,
        oversample_ratio: float,
        importance_sample_ratio: float,
        deep_supervision: bool = True,
    ) -> None:
        self.matcher = matcher
        self.num_classes = num_classes
        self.spec = spec
        self.no_object_weight = no_object_weight
        self.subcategory_no_object_weight = subcategory_no_object_weight
        self.num_points = num_points
        self.oversample_ratio = oversample_ratio
        self.importance_sample_ratio = importance_sample_ratio
        self.deep_supervision = deep_supervision

    def __call__(
        self,
        output: DecoderOutput,
        targets: Sequence[ImageTargets],
        *,
        matches: Matches | None = None,
        points: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        """Computes the unweighted losses.

        Args:
            output: the decoder's predictions.
            targets: B images' instances; none in any image is legal.
            matches: as the matcher returns them; None asks the matcher.
            points: (Y, N, P, 2), where each matched mask is sampled; None draws uncertain ones.

        Returns:
            `loss_ce`, `loss_mask`, `loss_dice` and `loss_subcategory_<name>`, each float (Y,), the
            layers in the decoder's order.

        Raises:
            ValueError: a label outside its range (checked on the CPU).
        """
        check_targets(targets, num_classes=self.num_classes, spec=self.spec)
        layers = output.layers if self.deep_supervision else [output]
        if matches is None:
            matches = self.matcher(layers, targets)
        # Losses are sums of many small terms: float32 whatever the model ran in.
        with torch.autocast(output.pred_logits.device.type, enabled=False):
            return self._losses(layers, targets, matches, points)

    def _losses(
        self,
        layers: Sequence[DecoderOutput],
        targets: Sequence[ImageTargets],
        matches: Matches,
        points: torch.Tensor | None,
    ) -> dict[str, torch.Tensor]:
        device = layers[0].pred_logits.device
        counts = [len(queries) for queries, _ in matches[0]]
        index = _match_index(matches, [len(t) for t in targets]).to(device, non_blocking=True)
        _, images, queries, rows = index
        classes = torch.cat([t.classes for t in targets])
        subcategories = torch.cat([t.subcategories for t in targets])
        losses = {}

        logits = _stack([layer.pred_logits for layer in layers])
        labels = torch.full(logits.shape[:-1], self.num_classes, device=device)
        weights = torch.full(labels.shape, self.no_object_weight, device=device, dtype=logits.dtype)
        position = tuple(index[:3])
        labels[position] = classes[rows]
        weights[position] = 1.0
        losses["loss_ce"] = weighted_cross_entropy(
            logits.flatten(1, 2), labels.flatten(1), weights.flatten(1)
        )
        matched = matched_logits(layers, images, queries, counts)
        losses.update(self._mask_losses(matched, targets, rows, points))

        for column, subcategory in enumerate(self.spec):
            logits = _stack([layer.pred_subcategories[subcategory.name] for layer in layers])
            labels = torch.full(logits.shape[:-1], subcategory.none_index, device=device)
            weights = torch.full(
                labels.shape,
                self.subcategory_no_object_weight,
                device=device,
                dtype=logits.dtype,
            )
            matched = subcategories[:, column][rows]
            labels[position] = matched
            weights[position] = (matched != UNKNOWN).to(weights.dtype)
            losses[f"loss_subcategory_{subcategory.name}"] = weighted_cross_entropy(
                logits.flatten(1, 2), labels.flatten(1), weights.flatten(1)
            )
        return losses

    def _mask_losses(
        self,
        matched: torch.Tensor,
        targets: Sequence[ImageTargets],
        rows: torch.Tensor,
        points: torch.Tensor | None,
    ) -> dict[str, torch.Tensor]:
        """matched (Y * N, h, w), the mask logits of all matches; rows (Y, N), their targets."""
        masks = torch.cat([t.masks for t in targets])
        if points is None:
            points = uncertain_points(
                matched.detach(),
                num_points=self.num_points,
                oversample_ratio=self.oversample_ratio,
                importance_sample_ratio=self.importance_sample_ratio,
            )
        else:
            points = points.flatten(0, 1)
        truth = sample_binary_masks(masks, points, rows.flatten())
        sampled = sample_logits(matched, points)
        scale = 1.0 / self._mean_num_masks(len(masks), matched.device)
        return {
            name: loss(sampled, truth).view(rows.shape).sum(-1) * scale
            for name, loss in (("loss_mask", mask_bce_loss), ("loss_dice", dice_loss))
        }

    @staticmethod
    def _mean_num_masks(count: int, device: torch.device) -> torch.Tensor | int:
        """Targets per process, at least 1."""
        world = comm.get_world_size()
        if world == 1:
            return max(count, 1)
        total = torch.tensor(float(count), device=device)
        torch.distributed.all_reduce(total)
        return (total / world).clamp(min=1.0)


def _stack(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    return full_precision(torch.stack(list(tensors)))


def _match_index(matches: Matches, sizes: Sequence[int]) -> torch.Tensor:
    """The matches of all layers as one int64 (4, Y, M): layer, image, query, target in the batch.

    Every layer has the same number M of matches, so they make a rectangle.
    """
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    layers = []
    for number, layer in enumerate(matches):
        parts = [
            torch.stack(
                (
                    torch.full_like(queries, number),
                    torch.full_like(queries, image),
                    queries,
                    targets + starts[image],
                )
            )
            for image, (queries, targets) in enumerate(layer)
        ]
        layers.append(torch.cat(parts, dim=1))
    return torch.stack(layers, dim=1)
