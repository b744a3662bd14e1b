"""Mask logits where the loss looks at them: products of the factors, after sampling or choosing.

Sampling features and multiplying by the embeddings commute; most masks of most layers are matched
to nothing, and the rest need not be multiplied out.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from mask2former_mt.layers.point_sampling import sample_logits, sample_maps
from mask2former_mt.structures import DecoderOutput

# Y layers, B images, Q queries, C channels, P points, N matches of a layer


def full_precision(x: torch.Tensor) -> torch.Tensor:
    """Half precision to float32; float64 stays."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def shared_features(layers: Sequence[DecoderOutput]) -> torch.Tensor | None:
    """The mask features that all layers have in common, (B, C, h, w); None if masks came whole."""
    factors = [layer.mask_factors for layer in layers]
    if any(f is None or f.features is not factors[0].features for f in factors):
        return None
    return factors[0].features


def logits_at_points(
    layers: Sequence[DecoderOutput], points: torch.Tensor, *, implementation: str = "auto"
) -> list[torch.Tensor]:
    """Every query's mask logits at its image's points.

    Args:
        layers: Y predictions.
        points: float (B, P, 2), xy in [0, 1] of the padded image.
        implementation: as of `ms_deform_attn`.

    Returns:
        Y tensors (B, Q, P), at least float32.
    """
    features = shared_features(layers)
    if features is not None:
        sampled = sample_maps(full_precision(features), points, implementation=implementation)
        return [
            torch.bmm(full_precision(layer.mask_factors.embedding), sampled) for layer in layers
        ]
    Q = layers[0].pred_logits.shape[1]
    return [
        sample_logits(
            full_precision(layer.pred_masks.flatten(0, 1)), points.repeat_interleave(Q, dim=0)
        ).unflatten(0, (-1, Q))
        for layer in layers
    ]


def matched_logits(
    layers: Sequence[DecoderOutput],
    images: torch.Tensor,
    queries: torch.Tensor,
    counts: Sequence[int],
) -> torch.Tensor:
    """The matched queries' masks, of all layers.

    Args:
        layers: Y predictions.
        images, queries: int64 (Y, N), the matches of each layer, images ascending and the same in
            every layer.
        counts: B numbers, how many of the N matches are of each image.

    Returns:
        (Y * N, h, w), layer by layer, at least float32.
    """
    features = shared_features(layers)
    if features is None:
        matched = torch.cat(
            [layer.pred_masks[b, q] for layer, b, q in zip(layers, images, queries, strict=True)]
        )
        return full_precision(matched)
    embedding = torch.stack(
        [
            layer.mask_factors.embedding[b, q]
            for layer, b, q in zip(layers, images, queries, strict=True)
        ]
    )
    parts = [
        full_precision(part) @ full_precision(maps.flatten(1))
        for part, maps in zip(embedding.split(list(counts), dim=1), features, strict=True)
    ]
    return torch.cat(parts, dim=1).flatten(0, 1).unflatten(1, features.shape[-2:])
