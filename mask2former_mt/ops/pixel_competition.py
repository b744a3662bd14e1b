"""Which of overlapping masks each pixel goes to, at the original image's size."""

from __future__ import annotations

import torch

from mask2former_mt.ops.implementation import Implementation
from mask2former_mt.ops.resize_masks import upsampled_chunks
from mask2former_mt.structures import ImageSizes

# N masks, h x w of the network's grid, H x W of the original image


def compete_for_pixels(
    mask_logits: torch.Tensor,
    weights_N: torch.Tensor,
    sizes: ImageSizes,
    *,
    mode: str = "parity",
    implementation: Implementation | str = Implementation.AUTO,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gives each pixel to the mask of the largest weight times probability, in bounded memory.

    Args:
        mask_logits: float (N, h, w) on the padded image's stride-4 grid, N at least 1. The
            probability is the sigmoid of the logit at the original size, 0 for NaN.
        weights_N: float (N,), not negative; of equal products the first mask's wins.
        sizes: sizes of the image.
        mode, implementation: as of `resize_masks`.

    Returns:
        int64 (H, W), the masks' numbers.
        bool (H, W), whether that mask's own probability is at least one half.
        int64 (N,), the pixels of each mask where its own probability is.
        float32 (N,), the sum of its probabilities there.

    Raises:
        ValueError: another mode, or an implementation that cannot run.
    """
    device = mask_logits.device
    # The compiled operator takes the two steps, which are one at the network's size.
    two_steps = mode == "parity" or (mode == "direct" and sizes.image == sizes.original)
    if device.type == "cpu" and Implementation(implementation).is_native(device) and two_steps:
        codes_HW, areas_N, sums_N = torch.ops.mask2former_mt.compete_for_pixels(
            mask_logits.float(),
            weights_N.float(),
            list(sizes.padded),
            list(sizes.image),
            list(sizes.original),
        )
        return (codes_HW >> 1).long(), (codes_HW & 1).bool(), areas_N, sums_N
    most_HW = torch.full(sizes.original, -1.0, device=device)
    winner_HW = torch.zeros(sizes.original, dtype=torch.int64, device=device)
    inside_HW = torch.zeros(sizes.original, dtype=torch.bool, device=device)
    areas_N = torch.zeros(len(mask_logits), dtype=torch.int64, device=device)
    sums_N = torch.zeros(len(mask_logits), device=device)
    for part, logits in upsampled_chunks(mask_logits, sizes, mode=mode):
        probs = logits.sigmoid().nan_to_num_(0.0)
        inside = probs >= 0.5
        areas_N[part] = inside.flatten(1).sum(1)
        sums_N[part] = torch.where(inside, probs, 0).flatten(1).sum(1)
        value, which = (weights_N[part, None, None] * probs).max(0)
        better = value > most_HW
        most_HW = torch.where(better, value, most_HW)
        winner_HW = torch.where(better, which + part.start, winner_HW)
        inside_HW = torch.where(better, inside.gather(0, which[None])[0], inside_HW)
    return winner_HW, inside_HW, areas_N, sums_N
