"""The training loss: class, mask, dice and subcategory terms on every supervised layer."""

from __future__ import annotations

import dataclasses
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
from mask2former_mt.losses.targets import ImageTargets
from mask2former_mt.structures import UNKNOWN, DecoderOutput, SubcategorySpec

# Y supervised layers, B images, Q queries, K classes, N matches of a layer, P points

Matches = Sequence[Sequence[tuple[torch.Tensor, torch.Tensor]]]


@dataclasses.dataclass(kw_only=True)
class Criterion:
    """Losses of matched and unmatched queries, all layers at once.

    Args:
        matcher: assigns queries to targets.
        num_classes: K.
        spec: the subcategories.
        no_object_weight: weight of unmatched queries in the class loss.
        subcategory_no_object_weight: their weight in the subcategory losses, where they are taught
            none.
        num_points, oversample_ratio, importance_sample_ratio: as of `uncertain_points`.
        deep_supervision: whether every layer is supervised, or the last one only.

    Source: Mask2Former, section 3.3. Differences: subcategory terms; matched masks of all layers
    are gathered and sampled together.
    """

    matcher: HungarianMatcher
    num_classes: int
    spec: SubcategorySpec
    no_object_weight: float
    subcategory_no_object_weight: float
    num_points: int
    oversample_ratio: float
    importance_sample_ratio: float
    deep_supervision: bool = True

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
            targets: B images' instances, whose labels are in range; all may be empty.
            matches: as the matcher returns them; None asks the matcher.
            points: (Y, N, P, 2), where each matched mask is sampled; None draws uncertain ones.

        Returns:
            `loss_ce`, `loss_mask`, `loss_dice` and `loss_subcategory_<name>`, each float (Y,), the
            layers in the decoder's order.
        """
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
        index = _match_index(matches, [len(t) for t in targets])
        masks, mask_rows = _matched_masks(targets, index[3])
        index, mask_rows = (x.to(device, non_blocking=True) for x in (index, mask_rows))
        _, images, queries, rows = index
        position = tuple(index[:3])
        classes = torch.cat([t.classes for t in targets])
        subcategories = torch.cat([t.subcategories for t in targets])
        losses = {
            "loss_ce": _label_loss(
                [layer.pred_logits for layer in layers],
                position,
                classes[rows],
                background=self.num_classes,
                background_weight=self.no_object_weight,
            )
        }
        mask_logits = matched_logits(layers, images, queries, counts)
        losses.update(self._mask_losses(mask_logits, masks, mask_rows, points, len(classes)))
        for column, subcategory in enumerate(self.spec):
            losses[f"loss_subcategory_{subcategory.name}"] = _label_loss(
                [layer.pred_subcategories[subcategory.name] for layer in layers],
                position,
                subcategories[:, column][rows],
                background=subcategory.none_index,
                background_weight=self.subcategory_no_object_weight,
            )
        return losses

    def _mask_losses(
        self,
        mask_logits: torch.Tensor,
        masks: torch.Tensor,
        rows: torch.Tensor,
        points: torch.Tensor | None,
        num_targets: int,
    ) -> dict[str, torch.Tensor]:
        """mask_logits (Y * N, h, w) of all matches; masks and rows (Y, N) of `_matched_masks`."""
        if points is None:
            points = uncertain_points(
                mask_logits.detach(),
                num_points=self.num_points,
                oversample_ratio=self.oversample_ratio,
                importance_sample_ratio=self.importance_sample_ratio,
            )
        else:
            points = points.flatten(0, 1)
        truth = sample_binary_masks(masks, points, rows.flatten())
        logits = sample_logits(mask_logits, points)
        scale = 1.0 / _mean_num_masks(num_targets, logits.device)
        return {
            name: loss(logits, truth).view(rows.shape).sum(-1) * scale
            for name, loss in (("loss_mask", mask_bce_loss), ("loss_dice", dice_loss))
        }


def _label_loss(
    logits: Sequence[torch.Tensor],
    position: tuple[torch.Tensor, ...],
    matched_labels: torch.Tensor,
    *,
    background: int,
    background_weight: float,
) -> torch.Tensor:
    """Cross-entropy of one head: matched queries are taught their labels, all others background.

    Args:
        logits: Y tensors (B, Q, K).
        position: layer, image and query of each match, three of int64 (Y, N).
        matched_labels: int64 (Y, N); an unknown one teaches nothing.
        background: the label of unmatched queries.
        background_weight: their weight; a matched query weighs 1.
    """
    logits_YBQK = full_precision(torch.stack(list(logits)))
    labels = torch.full(logits_YBQK.shape[:-1], background, device=logits_YBQK.device)
    weights = torch.full_like(labels, background_weight, dtype=logits_YBQK.dtype)
    labels[position] = matched_labels
    weights[position] = (matched_labels != UNKNOWN).to(weights.dtype)
    return weighted_cross_entropy(logits_YBQK.flatten(1, 2), labels.flatten(1), weights.flatten(1))


def _mean_num_masks(count: int, device: torch.device) -> torch.Tensor | int:
    """Targets per process, at least 1."""
    world = comm.get_world_size()
    if world == 1:
        return max(count, 1)
    total = torch.tensor(float(count), device=device)
    torch.distributed.all_reduce(total)
    return (total / world).clamp(min=1.0)


def _matched_masks(
    targets: Sequence[ImageTargets], rows: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The masks of the targets that any layer is matched to: others may fill the memory.

    Args:
        targets: of B images.
        rows: int64 (Y, N) on the CPU, the matched targets in the batch.

    Returns:
        bool (M, H, W), and int64 (Y, N), the rows among them.
    """
    matched, rows = rows.unique(return_inverse=True)
    parts, start = [], 0
    for target in targets:
        stop = start + len(target)
        mine = matched[(matched >= start) & (matched < stop)] - start
        is_whole = len(mine) == len(target)
        parts.append(target.masks if is_whole else target.masks[mine.to(target.masks.device)])
        start = stop
    return torch.cat(parts), rows


def _match_index(matches: Matches, sizes: Sequence[int]) -> torch.Tensor:
    """The matches of all layers as int64 (4, Y, N): layer, image, query, target in the batch.

    Every layer has the same number N of matches, so they make a rectangle. `sizes` are the numbers
    of targets of the images.
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
