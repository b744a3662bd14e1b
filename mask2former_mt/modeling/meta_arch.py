"""The whole model as detectron2 knows it: images in, losses or instances out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext

import torch
import torch.nn.functional as F
from detectron2.config import configurable
from detectron2.modeling import META_ARCH_REGISTRY, Backbone, build_backbone, build_sem_seg_head
from detectron2.structures import BitMasks, ImageList
from torch import nn

import mask2former_mt.modeling.sem_seg_head  # noqa: F401 (registers the published head)
from mask2former_mt import structures
from mask2former_mt.losses.criterion import Criterion
from mask2former_mt.losses.matcher import HungarianMatcher, MatchCosts
from mask2former_mt.losses.targets import ImageTargets
from mask2former_mt.modeling.backbone.folded_norm import fold_frozen_norms
from mask2former_mt.modeling.inference import Inference, build_inference
from mask2former_mt.structures import SubcategorySpec, per_subcategory


@META_ARCH_REGISTRY.register()
class MultiTaskMaskFormer(nn.Module):
    """Mask2Former whose queries predict a mask, a class and one value per subcategory.

    Args:
        backbone: image -> feature maps.
        sem_seg_head: feature maps -> DecoderOutput.
        criterion: DecoderOutput and targets -> unweighted losses per layer.
        loss_weights: weight of each of the criterion's losses.
        pixel_mean, pixel_std: per channel, in the image's units (0 to 255).
        size_divisibility: batches are padded to a multiple of it.
        inference: DecoderOutput -> instances, semantic and panoptic maps.
        train_dtype: bfloat16 trains under autocast; float32 leaves that to the trainer.
        compiled: whether torch.compile makes backbone and head faster.
    """

    @configurable
    def __init__(
        self,
        *,
        backbone: Backbone,
        sem_seg_head: nn.Module,
        criterion: Criterion,
        loss_weights: Mapping[str, float],
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        size_divisibility: int,
        inference: Inference,
        train_dtype: torch.dtype = torch.float32,
        compiled: bool = False,
    ) -> None:
        super().__init__()
        # Channels innermost: 1x1 convolutions, most of a backbone, are matrix products so, up to
        # three times as fast backwards on a CPU, and what a GPU's half precision wants.
        self.backbone = backbone.to(memory_format=torch.channels_last)
        fold_frozen_norms(self.backbone)
        self.sem_seg_head = sem_seg_head
        self.criterion = criterion
        self.loss_weights = dict(loss_weights)
        self.size_divisibility = max(size_divisibility, backbone.size_divisibility)
        self.inference = inference
        self.train_dtype = train_dtype
        if compiled:
            # In place: the names in the state dict stay.
            self.backbone.compile()
            self.sem_seg_head.compile()
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(-1, 1, 1), False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(-1, 1, 1), False)

    @classmethod
    def from_config(cls, cfg) -> dict:
        former, subcategory = cfg.MODEL.MASK_FORMER, cfg.MODEL.SUBCATEGORY
        bfloat16 = cfg.SOLVER.AMP.ENABLED and cfg.SOLVER.AMP.DTYPE == "bfloat16"
        spec = SubcategorySpec.from_counts(subcategory.NAMES, subcategory.NUM_CLASSES)
        backbone = build_backbone(cfg)
        costs = MatchCosts(
            class_=former.CLASS_WEIGHT,
            mask=former.MASK_WEIGHT,
            dice=former.DICE_WEIGHT,
            subcategories=per_subcategory(
                subcategory.MATCH_COSTS, len(spec), "MODEL.SUBCATEGORY.MATCH_COSTS"
            ),
        )
        weights = per_subcategory(
            subcategory.LOSS_WEIGHTS, len(spec), "MODEL.SUBCATEGORY.LOSS_WEIGHTS"
        )
        return {
            "backbone": backbone,
            "sem_seg_head": build_sem_seg_head(cfg, backbone.output_shape()),
            "criterion": Criterion(
                matcher=HungarianMatcher(
                    costs=costs,
                    spec=spec,
                    num_points=former.TRAIN_NUM_POINTS,
                    implementation=cfg.MODEL.MS_DEFORM_ATTN_IMPL,
                ),
                num_classes=cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES,
                spec=spec,
                no_object_weight=former.NO_OBJECT_WEIGHT,
                subcategory_no_object_weight=subcategory.NO_OBJECT_WEIGHT,
                num_points=former.TRAIN_NUM_POINTS,
                oversample_ratio=former.OVERSAMPLE_RATIO,
                importance_sample_ratio=former.IMPORTANCE_SAMPLE_RATIO,
                deep_supervision=former.DEEP_SUPERVISION,
            ),
            "loss_weights": {
                "loss_ce": former.CLASS_WEIGHT,
                "loss_mask": former.MASK_WEIGHT,
                "loss_dice": former.DICE_WEIGHT,
                **{
                    f"loss_subcategory_{name}": weight
                    for name, weight in zip(spec.names, weights, strict=True)
                },
            },
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "size_divisibility": former.SIZE_DIVISIBILITY,
            "inference": build_inference(cfg, spec),
            "compiled": cfg.MODEL.COMPILE,
            "train_dtype": torch.bfloat16 if bfloat16 else torch.float32,
        }

    @property
    def device(self) -> torch.device:
        return self.pixel_mean.device

    def forward(self, batched_inputs: Sequence[Mapping]) -> dict[str, torch.Tensor] | list[dict]:
        """Trains or predicts.

        Args:
            batched_inputs: per image what the mapper gives: `image` uint8 (3, H, W), `height` and
                `width` of the original, and in training `instances`.

        Returns:
            In training the weighted losses, summed over the layers; else what `Inference` makes of
            each image at its original size, such as `{"instances": Instances}`.
        """
        images = self._preprocess(batched_inputs)
        pixels = images.tensor.contiguous(memory_format=torch.channels_last)
        # For float32 nothing: a trainer's own autocast stays as it is.
        rounded = self.training and self.train_dtype != torch.float32
        with torch.autocast(self.device.type, self.train_dtype) if rounded else nullcontext():
            output = self.sem_seg_head(self.backbone(pixels))
        if self.training:
            targets = self._targets(batched_inputs, tuple(images.tensor.shape[-2:]))
            losses = self.criterion(output, targets)
            return {name: loss.sum() * self.loss_weights[name] for name, loss in losses.items()}
        return [
            self.inference(
                output,
                index,
                padded_size=tuple(images.tensor.shape[-2:]),
                image_size=tuple(size),
                original_size=(x.get("height", size[0]), x.get("width", size[1])),
            )
            for index, (x, size) in enumerate(zip(batched_inputs, images.image_sizes, strict=True))
        ]

    def _preprocess(self, batched_inputs: Sequence[Mapping]) -> ImageList:
        images = [
            (x["image"].to(self.device, non_blocking=True) - self.pixel_mean) / self.pixel_std
            for x in batched_inputs
        ]
        return ImageList.from_tensors(images, self.size_divisibility)

    def _targets(
        self, batched_inputs: Sequence[Mapping], padded_size: tuple[int, int]
    ) -> list[ImageTargets]:
        """The mapper's instances on the device, their masks padded like the images."""

        # Not `Instances.to`: it would wait for each copy, and move what nobody needs.
        def on_device(tensor: torch.Tensor) -> torch.Tensor:
            return tensor.to(self.device, non_blocking=True)

        targets = []
        for x in batched_inputs:
            instances = x["instances"]
            masks = instances.get(structures.GT_MASKS)
            if isinstance(masks, BitMasks):
                masks = masks.tensor
            if not isinstance(masks, torch.Tensor):
                raise ValueError(
                    f"gt_masks must be a bool tensor (N, H, W), got {type(masks).__name__}; set "
                    "INPUT.MASK_FORMAT='bitmask' where the mapper is detectron2's"
                )
            if tuple(masks.shape[1:]) != tuple(x["image"].shape[1:]):
                raise ValueError(
                    f"gt_masks must be (N, {x['image'].shape[1]}, {x['image'].shape[2]}) as the "
                    f"image is, got {tuple(masks.shape)}"
                )
            masks = on_device(masks)
            down, right = (padded_size[i] - masks.shape[i + 1] for i in (0, 1))
            if down or right:
                masks = F.pad(masks, (0, right, 0, down))
            classes = on_device(instances.get(structures.GT_CLASSES))
            if instances.has(structures.GT_SUBCATEGORIES):
                subcategories = on_device(instances.get(structures.GT_SUBCATEGORIES))
            else:
                # A plain COCO mapper: nothing is annotated.
                shape = (len(classes), len(self.criterion.spec))
                subcategories = classes.new_full(shape, structures.UNKNOWN)
            targets.append(
                ImageTargets(classes=classes, masks=masks.bool(), subcategories=subcategories)
            )
        return targets


@META_ARCH_REGISTRY.register()
class MaskFormer(MultiTaskMaskFormer):
    """The published name of the same model."""
