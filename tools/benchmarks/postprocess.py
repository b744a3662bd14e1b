"""From mask logits to instances, or to panoptic segments, at the original size."""

from __future__ import annotations

import functools
import types

import torch

from benchmarks.models import NUM_CLASSES
from benchmarks.pairs import Settings, alternate, profile
from mask2former_mt.postprocess import (
    Filters,
    InstanceOptions,
    predict_instances,
    predict_panoptic,
)
from mask2former_mt.structures import DecoderOutput, ImageSizes, SubcategorySpec


def blobs(size: int, queries: int, device: str) -> torch.Tensor:
    """Mask logits (1, Q, size/4, size/4): soft discs, similar to what trained models predict."""
    generator = torch.Generator().manual_seed(0)
    side = size // 4
    centre = torch.rand(queries, 2, generator=generator) * side
    radius = side * (0.05 + 0.2 * torch.rand(queries, generator=generator))
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    distance = torch.hypot(x - centre[:, 0, None, None], y - centre[:, 1, None, None])
    logits = (radius[:, None, None] - distance).clamp(-10, 10)
    return logits[None].to(device)


def run(settings: Settings) -> list[dict]:
    """Times selection, resize, threshold, score and boxes of one image.

    Ours is what a model does by default. "reference" does the same in PyTorch, "direct" resizes in
    one step, and "nms" leaves out overlapping masks before the resize.
    """
    rows = []
    for queries in settings.queries:
        generator = torch.Generator().manual_seed(1)
        logits = torch.randn(1, queries, NUM_CLASSES + 1, generator=generator).to(settings.device)
        for size in settings.sizes:
            masks = blobs(size, queries, settings.device)
            # Settings may ask for an image that was resized for the network.
            original = settings.original or size
            run_ours = functools.partial(
                predict_instances,
                DecoderOutput(logits, masks, {}),
                0,
                ImageSizes((size, size), (size, size), (original, original)),
            )
            sides = {}
            published = InstanceOptions(top_k=settings.keep)
            for name, implementation, options in (
                ("ours", "auto", published),
                ("reference", "torch", published),
                ("direct", "auto", InstanceOptions(settings.keep, mask_resize="direct")),
                ("nms", "auto", InstanceOptions(settings.keep, filters=Filters(nms="hard"))),
            ):
                if name == "ours" or settings.peer(name):
                    sides[name] = functools.partial(
                        run_ours, options=options, implementation=implementation
                    )
            if settings.peer("hf"):
                sides["hf"] = _theirs(logits, masks, original)
            ours = sides.pop("ours")
            if settings.profile:
                profile(ours, settings.device)
                continue
            case = f"{size}x{size}, {queries} queries, keep {settings.keep}"
            if settings.original:
                case += f", original {settings.original}x{settings.original}"
            rows += alternate("postprocess", case, ours, sides, settings)
    return rows


def run_panoptic(settings: Settings) -> list[dict]:
    """Times the panoptic segments of one image in which every query is confident.

    Ours is what a model does by default, "reference" does the same in PyTorch.
    """
    rows = []
    for queries in settings.queries:
        generator = torch.Generator().manual_seed(1)
        logits = 5 * torch.randn(1, queries, NUM_CLASSES + 1, generator=generator)
        logits[..., NUM_CLASSES] = -5.0
        logits = logits.to(settings.device)
        for size in settings.sizes:
            masks = blobs(size, queries, settings.device)
            original = settings.original or size
            run_ours = functools.partial(
                predict_panoptic,
                DecoderOutput(logits, masks, {}),
                0,
                ImageSizes((size, size), (size, size), (original, original)),
                spec=SubcategorySpec(),
            )
            sides = {}
            if settings.peer("reference"):
                sides["reference"] = functools.partial(run_ours, implementation="torch")
            if settings.peer("hf"):
                sides["hf"] = _their_panoptic(logits, masks, original)
            if settings.profile:
                profile(run_ours, settings.device)
                continue
            case = f"{size}x{size}, {queries} queries, original {original}x{original}"
            rows += alternate("panoptic", case, run_ours, sides, settings)
    return rows


def _their_panoptic(logits: torch.Tensor, masks: torch.Tensor, size: int):
    from transformers import Mask2FormerImageProcessor

    processor = Mask2FormerImageProcessor()
    output = types.SimpleNamespace(class_queries_logits=logits, masks_queries_logits=masks)
    return lambda: processor.post_process_panoptic_segmentation(
        output, threshold=0.0, target_sizes=[(size, size)], label_ids_to_fuse=set()
    )


def _theirs(logits: torch.Tensor, masks: torch.Tensor, size: int):
    from transformers import Mask2FormerImageProcessor

    processor = Mask2FormerImageProcessor()
    output = types.SimpleNamespace(class_queries_logits=logits, masks_queries_logits=masks)
    return lambda: processor.post_process_instance_segmentation(
        output, threshold=0.0, target_sizes=[(size, size)]
    )
