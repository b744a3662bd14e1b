"""Bilinear sampling of masks at points, and the choice of uncertain points."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F

from mask2former_mt.ops.implementation import Implementation
from mask2former_mt.ops.ms_deform_attn import ms_deform_attn

# N masks, P points


def sample_logits(logits: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """Samples mask logits at points, bilinearly, differentiably in the logits; zero outside.

    Args:
        logits: float (N, H, W).
        points: float (N, P, 2), xy in [0, 1] of the padded image, (0, 0) top-left.

    Returns:
        (N, P) in the dtype of `logits`.
    """
    grid = (2.0 * points.to(logits.dtype) - 1.0)[:, None]
    return F.grid_sample(logits[:, None], grid, align_corners=False)[:, 0, 0]


def sample_maps(
    maps: torch.Tensor,
    points: torch.Tensor,
    *,
    implementation: Implementation = Implementation.AUTO,
) -> torch.Tensor:
    """Samples all channels of maps at points of their image, as `sample_logits` samples masks.

    Args:
        maps: float (B, C, H, W).
        points: float (B, P, 2), xy in [0, 1] of the padded image, (0, 0) top-left.
        implementation: of the op that samples.

    Returns:
        (B, C, P) in the dtype of `maps`.
    """
    height, width = maps.shape[-2:]
    # A deformable attention of one head, level and point, which reads a position's channels side
    # by side.
    rows_BSC = maps.flatten(2).transpose(1, 2)
    locations = points.to(maps.dtype)[:, :, None, None, None]
    sampled_BPC = ms_deform_attn(
        rows_BSC[:, :, None],
        [(height, width)],
        locations,
        torch.ones_like(locations[..., 0]),
        implementation=implementation,
    )
    return sampled_BPC.transpose(1, 2)


def sample_binary_masks(
    masks: torch.Tensor, points: torch.Tensor, rows: torch.Tensor | None = None
) -> torch.Tensor:
    """Samples bool masks at points as `sample_logits` would, without a float copy of the masks.

    Args:
        masks: bool or uint8 (N, H, W), values 0 and 1.
        points: float (R, P, 2), xy in [0, 1] of the padded image, (0, 0) top-left.
        rows: int64 (R,), the mask that each row of points belongs to; None for row i to mask i.

    Returns:
        float (R, P) in [0, 1], in the dtype of `points`.
    """
    N, height, width = masks.shape
    if N == 0:
        return points.new_zeros(points.shape[:2])
    if rows is None:
        rows = torch.arange(N, device=masks.device)
    start = (rows * (height * width))[:, None]
    flat = masks.reshape(-1)
    return sum(
        weight * flat.take(start + pixel) for pixel, weight in _neighbours(points, height, width)
    )


def sample_binary_masks_alike(masks: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """Samples all masks at the same points, to the same numbers as `sample_binary_masks`.

    Args:
        masks: bool or uint8 (N, H, W), values 0 and 1.
        points: float (P, 2), xy in [0, 1] of the padded image, (0, 0) top-left.

    Returns:
        float (N, P) in [0, 1], in the dtype of `points`.
    """
    height, width = masks.shape[1:]
    # In the order of the pixels: the masks are far larger than a cache.
    first_pixel, _ = next(_neighbours(points, height, width))
    order = first_pixel.argsort()
    flat = masks.flatten(1)
    sampled = sum(
        weight * flat.index_select(1, pixel)
        for pixel, weight in _neighbours(points[order], height, width)
    )
    return sampled.index_select(1, order.argsort())


def _neighbours(
    points: torch.Tensor, height: int, width: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """The four pixels around each point, int64 indices into a flat mask, and their weights.

    Both are shaped like points (..., 2) without the last dimension.
    """
    x = points[..., 0] * width - 0.5
    y = points[..., 1] * height - 0.5
    x0, y0 = x.floor(), y.floor()
    fraction_x, fraction_y = x - x0, y - y0
    x0, y0 = x0.long(), y0.long()
    for dy in (0, 1):
        row = y0 + dy
        weight_y = (fraction_y if dy else 1 - fraction_y) * ((row >= 0) & (row < height))
        row_start = row.clamp(0, height - 1) * width
        for dx in (0, 1):
            column = x0 + dx
            weight = (fraction_x if dx else 1 - fraction_x) * weight_y
            weight = weight * ((column >= 0) & (column < width))
            yield row_start + column.clamp(0, width - 1), weight


@torch.no_grad()
def uncertain_points(
    logits: torch.Tensor,
    *,
    num_points: int,
    oversample_ratio: float,
    importance_sample_ratio: float,
) -> torch.Tensor:
    """Draws points where the masks are least certain, and some uniformly.

    Args:
        logits: float (N, H, W).
        num_points: P, points per mask.
        oversample_ratio: number of uniform candidates per point, at least 1.
        importance_sample_ratio: share of P, in [0, 1], that is taken from the most uncertain
            candidates (logit nearest to 0); the rest is drawn uniformly.

    Returns:
        (N, P, 2), xy in [0, 1], in the dtype of `logits`.

    Source: PointRend, section 3.1 (training).
    """
    N = logits.shape[0]

    def uniform(count: int) -> torch.Tensor:
        return torch.rand(N, count, 2, device=logits.device, dtype=logits.dtype)

    num_uncertain = int(importance_sample_ratio * num_points)
    candidates = uniform(int(num_points * oversample_ratio))
    certainty = sample_logits(logits, candidates).abs()
    index = certainty.topk(num_uncertain, dim=1, largest=False, sorted=False).indices
    chosen = candidates.gather(1, index[..., None].expand(-1, -1, 2))
    return torch.cat((chosen, uniform(num_points - num_uncertain)), dim=1)
