"""From mask logits to instances at the original size."""

from __future__ import annotations

import types

import torch

from benchmarks.models import NUM_CLASSES
from benchmarks.pairs import Settings, alternate, profile
from mask2former_mt.ops.resize_masks import resize_masks
from mask2former_mt.postprocess import select_queries
from mask2former_mt.structures import DecoderOutput


def blobs(size: int, queries: int, device: str) -> torch.Tensor:
    """Mask logits (1, Q, size/4, size/4): one soft disc each, as trained models predict."""
    generator = torch.Generator().manual_seed(0)
    side = size // 4
    centre = torch.rand(queries, 2, generator=generator) * side
    radius = side * (0.05 + 0.2 * torch.rand(queries, generator=generator))
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    distance = torch.hypot(x - centre[:, 0, None, None], y - centre[:, 1, None, None])
    logits = (radius[:, None, None] - distance).clamp(-10, 10)
    return logits[None].to(device)


def run(settings: Settings) -> list[dict]:
    """Selection, resize, threshold, score and boxes of one image."""
    rows = []
    for queries in settings.queries:
        generator = torch.Generator().manual_seed(1)
        logits = torch.randn(1, queries, NUM_CLASSES + 1, generator=generator).to(settings.device)
        for size in settings.sizes:
            masks = blobs(size, queries, settings.device)
            output = DecoderOutput(logits, masks, {})
            sides = {}
            for name, implementation in (("ours", "auto"), ("reference", "torch")):
                if name == "ours" or settings.peer(name):
                    sides[name] = _ours(output, size, settings.keep, implementation)
            if settings.peer("hf"):
                sides["hf"] = _theirs(logits, masks, size)
            ours = sides.pop("ours")
            if settings.profile:
                profile(ours, settings.device)
                continue
            case = f"{size}x{size}, {queries} queries, keep {settings.keep}"
            rows += alternate("postprocess", case, ours, sides, settings)
    return rows


def _ours(output: DecoderOutput, size: int, keep: int, implementation: str):
    def once():
        selected = select_queries(output, 0, top_k=keep)
        queries, which = selected.queries.unique(return_inverse=True)
        masks, mask_scores, extents = resize_masks(
            output.pred_masks[0, queries],
            padded_size=(size, size),
            image_size=(size, size),
            original_size=(size, size),
            implementation=implementation,
        )
        # The rest of what the model does for its instances.
        scores, order = (selected.class_scores * mask_scores[which]).sort(descending=True)
        return scores, masks[which[order]], extents[which[order]]

    return once


def _theirs(logits: torch.Tensor, masks: torch.Tensor, size: int):
    from transformers import Mask2FormerImageProcessor

    processor = Mask2FormerImageProcessor()
    output = types.SimpleNamespace(class_queries_logits=logits, masks_queries_logits=masks)
    return lambda: processor.post_process_instance_segmentation(
        output, threshold=0.0, target_sizes=[(size, size)]
    )
