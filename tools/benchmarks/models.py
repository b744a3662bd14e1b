"""Inference and training of Mask2Former R50, ours and transformers', with the same weights."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Callable

import torch
from detectron2.config import get_cfg
from detectron2.modeling import build_model
from detectron2.structures import Instances
from torch import nn

from benchmarks.pairs import Settings, alternate, profile
from mask2former_mt.config import add_mask2former_mt_config
from mask2former_mt.engine.convert_weights import from_transformers

NUM_CLASSES = 80
CONFIG = pathlib.Path(__file__).resolve().parents[2] / "configs" / "coco_R50.yaml"
# Of ImageNet, in the image's units (0 to 255); both models take them.
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


def our_model(
    *, device: str, queries: int = 100, keep: int = 100, compiled: bool = False
) -> nn.Module:
    """Mask2Former R50 as the published COCO config builds it, with random weights."""
    cfg = get_cfg()
    add_mask2former_mt_config(cfg)
    cfg.merge_from_file(str(CONFIG))
    cfg.MODEL.DEVICE, cfg.MODEL.WEIGHTS = device, ""
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = NUM_CLASSES
    cfg.MODEL.MASK_FORMER.NUM_OBJECT_QUERIES = queries
    cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD = list(MEAN), list(STD)
    cfg.TEST.DETECTIONS_PER_IMAGE = keep
    cfg.MODEL.COMPILE = compiled
    torch.manual_seed(0)
    return build_model(cfg)


def their_model(*, device: str, queries: int = 100) -> nn.Module:
    """transformers' Mask2Former with a ResNet-50 whose norms are frozen, as ours are."""
    from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, ResNetConfig

    backbone = ResNetConfig(
        embedding_size=64,
        hidden_sizes=[256, 512, 1024, 2048],
        depths=[3, 4, 6, 3],
        layer_type="bottleneck",
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    config = Mask2FormerConfig(
        backbone_config=backbone, num_queries=queries, num_labels=NUM_CLASSES
    )
    torch.manual_seed(0)
    model = Mask2FormerForUniversalSegmentation(config)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.requires_grad_(False)
    return model.to(device)


def random_batch(size: int, count: int, objects: int, device: str) -> list[dict]:
    """`count` inputs of our model: images of size x size with `objects` rectangles each."""
    generator = torch.Generator().manual_seed(0)

    def draw(low: int, high: int, shape: tuple[int, ...]) -> torch.Tensor:
        return torch.randint(low, high, shape, generator=generator)

    batch = []
    for _ in range(count):
        image = draw(0, 256, (3, size, size)).to(torch.uint8)
        masks = torch.zeros(objects, size, size, dtype=torch.bool)
        for mask, (y, x, h, w) in zip(
            masks, draw(size // 16, size // 2, (objects, 4)).tolist(), strict=True
        ):
            mask[y : y + h, x : x + w] = True
        instances = Instances((size, size), gt_masks=masks.to(device))
        instances.gt_classes = draw(0, NUM_CLASSES, (objects,)).to(device)
        batch.append(
            {"image": image.to(device), "height": size, "width": size, "instances": instances}
        )
    return batch


def pixel_values(batch: list[dict]) -> torch.Tensor:
    """The normalised images, float32 (B, 3, H, W), as transformers' model takes them."""
    device = batch[0]["image"].device
    mean, std = (torch.tensor(x, device=device).view(3, 1, 1) for x in (MEAN, STD))
    return torch.stack([(x["image"] - mean) / std for x in batch])


def _precision(device: str, dtype: torch.dtype):
    if dtype == torch.float32:
        return contextlib.nullcontext()
    return torch.autocast(torch.device(device).type, dtype=dtype)


def infer_ours(model: nn.Module, batch: list[dict], device: str, dtype: torch.dtype):
    def once():
        with torch.inference_mode(), _precision(device, dtype):
            return model(batch)

    return once


def infer_theirs(model: nn.Module, batch: list[dict], device: str, dtype: torch.dtype):
    from transformers import Mask2FormerImageProcessor

    # Only its post-processing is used: the images have the network's size, as ours have.
    processor = Mask2FormerImageProcessor()
    sizes = [(x["height"], x["width"]) for x in batch]

    def once():
        with torch.inference_mode(), _precision(device, dtype):
            output = model(pixel_values=pixel_values(batch))
            # No threshold: random weights give low probabilities, and post-processing would have
            # nothing to do.
            return output, processor.post_process_instance_segmentation(
                output, threshold=0.0, target_sizes=sizes
            )

    return once


def infer(settings: Settings) -> list[dict]:
    """Times inference, from images to final instances at the original size."""
    rows = []
    count = settings.batch or 1
    for queries in settings.queries:
        ours = our_model(
            device=settings.device,
            queries=queries,
            keep=settings.keep,
            compiled=settings.compile,
        ).eval()
        peers = {}
        if settings.peer("hf"):
            theirs = their_model(device=settings.device, queries=queries).eval()
            take_weights(ours, theirs)
        for size in settings.sizes:
            batch = random_batch(size, count, settings.objects, settings.device)
            if settings.peer("hf"):
                _check_same(ours, theirs, batch)
                peers["hf"] = infer_theirs(theirs, batch, settings.device, settings.their_dtype)
            run = infer_ours(ours, batch, settings.device, settings.our_dtype)
            if settings.profile:
                profile(run, settings.device)
                continue
            case = f"R50, {size}x{size}, batch {count}, {queries} queries, {settings.dtype}"
            rows += alternate("infer", case, run, peers, settings)
    return rows


def take_weights(ours: nn.Module, theirs: nn.Module) -> None:
    """Loads all of the peer's weights into our model."""
    converted = from_transformers(theirs.state_dict())
    missing, unexpected = ours.load_state_dict(converted, strict=False)
    left = [name for name in missing if not name.endswith("num_batches_tracked")]
    assert not left, left
    assert not unexpected, unexpected


def _check_same(ours: nn.Module, theirs: nn.Module, batch: list[dict]) -> None:
    """Checks that both models predict the same, up to float32's last digits.

    It compares means, since a mask logit at its threshold may fall on either side and change all
    that depends on it.
    """
    pixels = pixel_values(batch)
    with torch.inference_mode():
        mine = ours.sem_seg_head(ours.backbone(pixels)).pred_logits
        other = theirs(pixel_values=pixels).class_queries_logits
    difference, scale = (mine - other).abs().mean().item(), other.std().item()
    print(f"same weights: class logits differ by {difference / scale:.1e} of their spread")
    assert difference < 0.01 * scale, "the two models do not predict the same"


def step_ours(model: nn.Module, batch: list[dict], device: str, dtype: torch.dtype):
    model.train()
    return _step(model, lambda: sum(model(batch).values()), device, dtype)


def step_theirs(model: nn.Module, batch: list[dict], device: str, dtype: torch.dtype):
    model.train()
    # The backbone's norms stay frozen.
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    # As its image processor returns them.
    labels = {
        "mask_labels": [x["instances"].gt_masks.float() for x in batch],
        "class_labels": [x["instances"].gt_classes for x in batch],
    }
    return _step(
        model, lambda: model(pixel_values=pixel_values(batch), **labels).loss, device, dtype
    )


def _step(model: nn.Module, loss_of: Callable[[], torch.Tensor], device: str, dtype: torch.dtype):
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-4, weight_decay=0.05, fused=True)

    def once():
        with _precision(device, dtype):
            loss = loss_of()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return once


def train(settings: Settings) -> list[dict]:
    """Times training steps: forward, matching, loss, backward, AdamW."""
    rows = []
    count = settings.batch or 2
    for queries in settings.queries:
        ours = our_model(device=settings.device, queries=queries, compiled=settings.compile)
        theirs = None
        if settings.peer("hf"):
            theirs = their_model(device=settings.device, queries=queries)
            take_weights(ours, theirs)
        for size in settings.sizes:
            batch = random_batch(size, count, settings.objects, settings.device)
            run = step_ours(ours, batch, settings.device, settings.our_dtype)
            if settings.profile:
                profile(run, settings.device)
                continue
            peers = {}
            if theirs is not None:
                peers["hf"] = step_theirs(theirs, batch, settings.device, settings.their_dtype)
            case = (
                f"R50, {size}x{size}, batch {count}, {settings.objects} objects each, "
                f"{queries} queries, {settings.dtype}"
            )
            rows += alternate("train", case, run, peers, settings)
    return rows
