"""Mask R-CNN with the same labels: the baseline that a query model has to beat.

detectron2's GeneralizedRCNN, whose box head predicts one value per subcategory besides class and
box. It takes what our mapper gives and gives what our evaluator takes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import (
    BACKBONE_REGISTRY,
    FPN,
    META_ARCH_REGISTRY,
    ROI_HEADS_REGISTRY,
    GeneralizedRCNN,
    StandardROIHeads,
)
from detectron2.modeling.backbone.fpn import LastLevelMaxPool
from detectron2.modeling.roi_heads.fast_rcnn import FastRCNNOutputLayers
from detectron2.structures import BitMasks, Boxes, Instances
from torch import nn

from mask2former_mt import structures
from mask2former_mt.losses.functional import weighted_cross_entropy
from mask2former_mt.modeling.backbone.folded_norm import fold_frozen_norms
from mask2former_mt.modeling.backbone.timm_backbone import build_timm_backbone
from mask2former_mt.modeling.mapped_targets import checked_labels, checked_masks
from mask2former_mt.ops.resize_masks import mask_extents
from mask2former_mt.postprocess.applicable_labels import none_elsewhere
from mask2former_mt.structures import SubcategorySpec, numbered, per_subcategory

# R regions of all images of the batch, N instances of an image, S subcategories


class SubcategoryOutputLayers(FastRCNNOutputLayers):
    """Class, box and one value per subcategory of each region.

    Args:
        input_shape: of a region's features.
        spec: the S subcategories.
        loss_weights: S weights of the subcategories' losses.
        no_object_weight: weight of regions without an object, whose target is none.
        kwargs: of detectron2's `FastRCNNOutputLayers`.
    """

    @configurable
    def __init__(
        self,
        input_shape: ShapeSpec,
        *,
        spec: SubcategorySpec,
        loss_weights: Sequence[float],
        no_object_weight: float,
        **kwargs,
    ) -> None:
        super().__init__(input_shape, **kwargs)
        self.spec = spec
        self.subcategory_loss_weights = tuple(loss_weights)
        self.no_object_weight = no_object_weight
        self.subcategory_embed = nn.ModuleDict(
            {s.name: nn.Linear(self.cls_score.in_features, s.num_values + 1) for s in spec}
        )
        for layer in self.subcategory_embed.values():
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict:
        subcategory = cfg.MODEL.SUBCATEGORY
        spec = SubcategorySpec.from_config(subcategory)
        weights = subcategory.LOSS_WEIGHTS
        return {
            **super().from_config(cfg, input_shape),
            "spec": spec,
            "loss_weights": per_subcategory(weights, len(spec), "MODEL.SUBCATEGORY.LOSS_WEIGHTS"),
            "no_object_weight": subcategory.NO_OBJECT_WEIGHT,
        }

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, dict]:
        """Predicts from regions' features.

        Args:
            x: float (R, ...).

        Returns:
            Class logits (R, K + 1), box deltas (R, 4 K), and {name: logits (R, K_s + 1)}.
        """
        x = x.flatten(1)
        logits = {name: layer(x) for name, layer in self.subcategory_embed.items()}
        return *super().forward(x), logits

    def losses(self, predictions: tuple, proposals: list[Instances]) -> dict[str, torch.Tensor]:
        """detectron2's losses and one per subcategory.

        A value that is not annotated costs nothing; none is the target of regions without an
        object.
        """
        *of_detectron2, logits = predictions
        losses = super().losses(of_detectron2, proposals)
        device = of_detectron2[0].device
        is_object = torch.cat([p.gt_classes for p in proposals]) < self.num_classes
        for column, (subcategory, weight) in enumerate(
            zip(self.spec, self.subcategory_loss_weights, strict=True)
        ):
            # Without an object in the picture, regions have no such labels.
            labels = torch.cat(
                [
                    p.get(structures.GT_SUBCATEGORIES)[:, column]
                    if p.has(structures.GT_SUBCATEGORIES)
                    else torch.zeros(len(p), dtype=torch.int64, device=device)
                    for p in proposals
                ]
            )
            labels = torch.where(is_object, labels, subcategory.none_index)
            weights = torch.where(is_object, 1.0, self.no_object_weight)
            weights = torch.where(labels == structures.UNKNOWN, 0.0, weights)
            losses[f"loss_subcategory_{subcategory.name}"] = weight * weighted_cross_entropy(
                logits[subcategory.name], labels, weights
            )
        return losses

    def inference(
        self, predictions: tuple, proposals: list[Instances]
    ) -> tuple[list[Instances], list[torch.Tensor]]:
        """detectron2's detections, each with the values of the region that it comes from.

        Raises:
            ValueError: scores or boxes that are not finite.
        """
        scores, deltas, logits = predictions
        if not (scores.isfinite().all() and deltas.isfinite().all()):
            raise ValueError("the model predicts scores or boxes that are not finite")
        instances, regions = super().inference((scores, deltas), proposals)
        counts = [len(p) for p in proposals]
        values, probs = [], []
        for name in self.spec.names:
            best = logits[name].float().softmax(-1).max(-1)
            probs.append(best.values)
            values.append(best.indices)
        for i, (found, kept) in enumerate(zip(instances, regions, strict=True)):
            kept = kept + sum(counts[:i])
            empty = kept.new_zeros((len(kept), 0))
            values_NS = torch.stack([v[kept] for v in values], 1) if values else empty
            probs_NS = torch.stack([p[kept] for p in probs], 1) if probs else empty.float()
            if self.spec.is_limited:
                applies_KS = kept.new_tensor(self.spec.applicable(numbered(self.num_classes)))
                values_NS, probs_NS = none_elsewhere(
                    values_NS,
                    probs_NS,
                    applies_KS.bool()[found.get(structures.PRED_CLASSES)],
                    kept.new_tensor(self.spec.num_classes),
                )
            found.set(structures.PRED_SUBCATEGORIES, values_NS)
            found.set(structures.SUBCATEGORY_SCORES, probs_NS)
        return instances, regions


@ROI_HEADS_REGISTRY.register()
class MultiTaskROIHeads(StandardROIHeads):
    """detectron2's heads of regions, whose box predictor predicts subcategories too."""

    @classmethod
    def _init_box_head(cls, cfg: CfgNode, input_shape: Mapping[str, ShapeSpec]) -> dict:
        heads = super()._init_box_head(cfg, input_shape)
        heads["box_predictor"] = SubcategoryOutputLayers(cfg, heads["box_head"].output_shape)
        return heads


@META_ARCH_REGISTRY.register()
class MultiTaskRCNN(GeneralizedRCNN):
    """Mask R-CNN that takes what `MultiTaskInstanceMapper` gives, and gives the same fields as
    `MultiTaskMaskFormer`.
    """

    @configurable
    def __init__(self, **kwargs) -> None:
        super().__init__(**kwargs)
        fold_frozen_norms(self.backbone)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        if not cfg.MODEL.MASK_ON:
            raise ValueError("MODEL.MASK_ON must be True for MultiTaskRCNN, got False")
        return super().from_config(cfg)

    def forward(self, batched_inputs: Sequence[Mapping]) -> dict[str, torch.Tensor] | list[dict]:
        """Trains or predicts.

        Args:
            batched_inputs: as of `MultiTaskMaskFormer.forward`.

        Returns:
            In training the weighted losses by name; else per image `{"instances": Instances}` at
            its original size, boxes around the masks.

        Raises:
            ValueError: masks or labels of the mapper that do not fit the image or the heads.
        """
        if self.training:
            return super().forward(
                [{**x, "instances": self._targets(i, x)} for i, x in enumerate(batched_inputs)]
            )
        outputs = super().forward(batched_inputs)
        for output in outputs:
            instances = output["instances"]
            extents = mask_extents(instances.get(structures.PRED_MASKS))
            instances.set(structures.PRED_BOXES, Boxes(extents.float()))
        return outputs

    def _targets(self, index: int, mapped: Mapping) -> Instances:
        """An image's instances as detectron2's heads take them."""
        size, instances = tuple(mapped["image"].shape[1:]), mapped["instances"]
        masks = checked_masks(instances, size).bool()
        classes, subcategories = checked_labels(
            instances,
            index,
            num_classes=self.roi_heads.num_classes,
            spec=self.roi_heads.box_predictor.spec,
        )
        targets = Instances(size)
        targets.gt_boxes = Boxes(mask_extents(masks).float())
        targets.gt_masks = BitMasks(masks)
        targets.gt_classes = classes
        targets.set(structures.GT_SUBCATEGORIES, subcategories)
        return targets


@BACKBONE_REGISTRY.register()
def build_timm_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> FPN:
    """A feature pyramid, p2 to p6, on the timm model that the keys of `MODEL.TIMM` describe."""
    return FPN(
        bottom_up=build_timm_backbone(cfg, input_shape),
        in_features=cfg.MODEL.FPN.IN_FEATURES,
        out_channels=cfg.MODEL.FPN.OUT_CHANNELS,
        norm=cfg.MODEL.FPN.NORM,
        top_block=LastLevelMaxPool(),
        fuse_type=cfg.MODEL.FPN.FUSE_TYPE,
    )
