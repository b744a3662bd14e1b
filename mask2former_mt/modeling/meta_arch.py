"""The whole model as detectron2 knows it: images in, losses or instances out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext

import torch
import torch.nn.functional as F
from detectron2.config import configurable
from detectron2.modeling import META_ARCH_REGISTRY, Backbone, build_backbone, build_sem_seg_head
from detectron2.structures import ImageList
from torch import nn

import mask2former_mt.modeling.sem_seg_head  # noqa: F401 (registers the published head)
from mask2former_mt.losses.criterion import Criterion
from mask2former_mt.losses.matcher import HungarianMatcher, MatchCosts
from mask2former_mt.losses.targets import ImageTargets
from mask2former_mt.modeling.backbone.folded_norm import fold_frozen_norms
from mask2former_mt.modeling.inference import Inference, build_inference
from mask2former_mt.modeling.mapped_targets import checked_labels, checked_masks
from mask2former_mt.ops.implementation import Implementation
from mask2former_mt.structures import ImageSizes, SubcategorySpec, per_subcategory


@contextmanager
def _single_values_named(pixels: torch.Tensor, remedy: str) -> Iterator[None]:
    """Names the pictures of which a norm, in training or of groups, has a single value to norm.

    Args:
        pixels: (B, 3, H, W).
        remedy: what helps beside more or larger pictures.

    Raises:
        ValueError: it has.
    """
    try:
        yield
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise ValueError(
            "norms need more than one value per channel or group of channels, got a batch of "
            f"{tuple(pixels.shape)}, of which the coarsest feature is a single pixel; take more or "
            f"larger pictures (SOLVER.IMS_PER_BATCH, INPUT), {remedy}"
        ) from error


@META_ARCH_REGISTRY.register()
class MultiTaskMaskFormer(nn.Module):
    """Mask2Former whose queries predict a mask, a class and one value per subcategory.

    Args:
        backbone: image -> feature maps.
        sem_seg_head: feature maps -> DecoderOutput.
        criterion: DecoderOutput and targets -> unweighted losses per layer.
        loss_weights: weight of each of the criterion's losses.
        pixel_mean, pixel_std: per channel, in the image's units (0 to 255).
        size_divisibility: number of pixels to a multiple of which batches are padded.
        inference: DecoderOutput -> instances, semantic and panoptic maps.
        train_dtype: bfloat16 trains under autocast; float32 leaves that to the trainer.
        compiled: whether backbone and head are compiled by torch.compile.
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
        # Channels innermost makes matrix products of 1x1 convolutions, most of a backbone: up to
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
        spec = SubcategorySpec.from_config(subcategory)
        backbone = build_backbone(cfg)
        costs = MatchCosts(
            class_=former.CLASS_WEIGHT,
            mask=former.MASK_WEIGHT,
            dice=former.DICE_WEIGHT,
            subcategories=per_subcategory(
                subcategory.MATCH_COSTS, len(spec), "MODEL.SUBCATEGORY.MATCH_COSTS"
            ),
        )
        loss_weights = {
            "loss_ce": former.CLASS_WEIGHT,
            "loss_mask": former.MASK_WEIGHT,
            "loss_dice": former.DICE_WEIGHT,
        }
        weights = per_subcategory(
            subcategory.LOSS_WEIGHTS, len(spec), "MODEL.SUBCATEGORY.LOSS_WEIGHTS"
        )
        for name, weight in zip(spec.names, weights, strict=True):
            loss_weights[f"loss_subcategory_{name}"] = weight
        return {
            "backbone": backbone,
            "sem_seg_head": build_sem_seg_head(cfg, backbone.output_shape()),
            "criterion": Criterion(
                matcher=HungarianMatcher(
                    costs=costs,
                    spec=spec,
                    num_points=former.TRAIN_NUM_POINTS,
                    implementation=Implementation(cfg.MODEL.MS_DEFORM_ATTN_IMPL),
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
            "loss_weights": loss_weights,
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
            In training the weighted losses by name, each summed over the layers; else per image the
            outputs of `Inference` at its original size, such as `{"instances": Instances}`.

        Raises:
            ValueError: masks or labels of the mapper that do not fit the image or the heads, or
                pictures of which a norm sees a single value.
        """
        images = self.preprocess(batched_inputs)
        pixels = images.tensor.contiguous(memory_format=torch.channels_last)
        # Not for float32: a trainer's own autocast stays as it is.
        rounded = self.training and self.train_dtype != torch.float32
        with torch.autocast(self.device.type, self.train_dtype) if rounded else nullcontext():
            features = self.features(pixels)
            with _single_values_named(pixels, "or more channels (MODEL.SEM_SEG_HEAD.CONVS_DIM)"):
                output = self.sem_seg_head(features)
        if self.training:
            targets = self.targets(batched_inputs, tuple(images.tensor.shape[-2:]))
            losses = self.criterion(output, targets)
            return {name: loss.sum() * self.loss_weights[name] for name, loss in losses.items()}
        sizes = [
            ImageSizes(
                padded=tuple(images.tensor.shape[-2:]),
                image=tuple(image),
                original=(x.get("height", image[0]), x.get("width", image[1])),
            )
            for x, image in zip(batched_inputs, images.image_sizes, strict=True)
        ]
        return [self.inference(output, index, each) for index, each in enumerate(sizes)]

    def features(self, pixels: torch.Tensor) -> dict[str, torch.Tensor]:
        """Normalised pixels (B, 3, H, W) -> the backbone's maps (B, C_i, H_i, W_i) by name."""
        with _single_values_named(
            pixels, "or fix the norms (MODEL.TIMM.NORM or MODEL.RESNETS.NORM 'FrozenBN')"
        ):
            return self.backbone(pixels)

    def encode_masks(self) -> None:
        """From now on predicted masks are run lengths; see `InstanceOptions.encoded`."""
        self.inference = self.inference.with_encoded_masks()

    def preprocess(self, batched_inputs: Sequence[Mapping]) -> ImageList:
        """The images on the device, normalised and padded to one size with the mean colour."""
        images = [
            (x["image"].to(self.device, non_blocking=True) - self.pixel_mean) / self.pixel_std
            for x in batched_inputs
        ]
        return ImageList.from_tensors(images, self.size_divisibility)

    def targets(
        self, batched_inputs: Sequence[Mapping], padded_size: tuple[int, int]
    ) -> list[ImageTargets]:
        """The mapper's instances, checked, on the device, their masks padded like the images."""

        # Not `Instances.to`: it would wait for each copy, and move what nobody needs.
        def on_device(tensor: torch.Tensor) -> torch.Tensor:
            return tensor.to(self.device, non_blocking=True)

        targets = []
        for index, x in enumerate(batched_inputs):
            instances = x["instances"]
            masks = on_device(checked_masks(instances, tuple(x["image"].shape[1:])))
            down, right = (padded_size[i] - masks.shape[i + 1] for i in (0, 1))
            if down or right:
                masks = F.pad(masks, (0, right, 0, down))
            classes, subcategories = checked_labels(
                instances, index, num_classes=self.criterion.num_classes, spec=self.criterion.spec
            )
            targets.append(
                ImageTargets(
                    classes=on_device(classes),
                    masks=masks.bool(),
                    subcategories=on_device(subcategories),
                )
            )
        return targets


@META_ARCH_REGISTRY.register()
class MaskFormer(MultiTaskMaskFormer):
    """The published name of the same model."""
