"""Mask logits where the loss looks at them: products of the factors, after sampling or choosing.

Sampling features and multiplying by the embeddings commute. Most masks of most layers are matched
to nothing, and are never multiplied out.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from mask2former_mt.structures import DecoderOutput

# Y layers, B images, Q queries, C channels, N matches of a layer


def full_precision(x: torch.Tensor) -> torch.Tensor:
    """Half precision to float32; float64 stays."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def shared_features(layers: Sequence[DecoderOutput]) -> torch.Tensor:
    """The mask features that all layers have in common, (B, C, h, w), at least float32.

    Raises:
        ValueError: the layers have features of their own.
    """
    features = layers[0].mask_factors.features
    if not all(layer.mask_factors.features is features for layer in layers[1:]):
        raise ValueError(
            "the masks of all layers must be MaskFactors with the same features, got different "
            "ones; let the decoder give its embeddings and the mask features, not whole masks"
        )
    return full_precision(features)


def matched_logits(
    layers: Sequence[DecoderOutput],
    images: torch.Tensor,
    queries: torch.Tensor,
    counts: Sequence[int],
) -> torch.Tensor:
    """The mask logits of the matched queries of all layers.

    Args:
        layers: Y predictions.
        images, queries: int64 (Y, N), the matches of each layer, images ascending and the same in
            every layer.
        counts: B numbers, how many of the N matches each image has.

    Returns:
        (Y * N, h, w), layer by layer, at least float32.
    """
    features = shared_features(layers)
    embedding = torch.stack(
        [
            layer.mask_factors.embedding[b, q]
            for layer, b, q in zip(layers, images, queries, strict=True)
        ]
    )
    parts = [
        full_precision(part) @ maps.flatten(1)
        for part, maps in zip(embedding.split(list(counts), dim=1), features, strict=True)
    ]
    return torch.cat(parts, dim=1).flatten(0, 1).unflatten(1, features.shape[-2:])
