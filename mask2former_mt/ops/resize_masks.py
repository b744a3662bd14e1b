"""Mask logits to binary masks at the original size: the op, and where which implementation runs."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from mask2former_mt.ops.ms_deform_attn import choose_implementation

# Floats of one chunk of upsampled masks in PyTorch: 4 MiB on a CPU, whose cache holds them, and
# 64 MiB on a GPU, which wants work enough at a time.
CHUNK_ELEMENTS = {"cpu": 2**20}
OTHER_CHUNK_ELEMENTS = 16 * 2**20

# N masks


def resize_masks(
    mask_logits: torch.Tensor,
    *,
    padded_size: tuple[int, int],
    image_size: tuple[int, int],
    original_size: tuple[int, int],
    implementation: str = "auto",
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Resizes mask logits to the original image, thresholds and scores them, in bounded memory.

    Args:
        mask_logits: float (N, h, w) on the padded image's stride-4 grid.
        padded_size: (H, W) of the batch, in pixels.
        image_size: (H, W) of this image inside it, top-left.
        original_size: (H, W) of the image before it was resized for the network.
        implementation: "auto" takes the compiled operator on a CPU that has one, "native" insists
            on it there, "torch" does without; a GPU has none and needs none.

    Returns:
        bool (N, H, W) at the original size: logit above 0; float32 (N,), the mean probability
        inside each mask, 0 for an empty one; and int64 (N, 4), the extents of the masks, as of
        `mask_extents`.

    Raises:
        ValueError: another implementation, or "native" where nothing is compiled for the CPU.

    Source: Mask2Former's published two steps: bilinear to the padded size, crop, bilinear to the
    original size.
    """
    on_cpu = mask_logits.device.type == "cpu"
    if on_cpu and choose_implementation(implementation, mask_logits.device) == "native":
        return torch.ops.mask2former_mt.resize_masks(
            mask_logits.float(), list(padded_size), list(image_size), list(original_size)
        )
    height, width = original_size
    device = mask_logits.device
    masks = torch.empty((len(mask_logits), height, width), dtype=torch.bool, device=device)
    scores = torch.empty(len(mask_logits), device=device)
    largest = max(padded_size[0] * padded_size[1], height * width)
    step = max(1, CHUNK_ELEMENTS.get(device.type, OTHER_CHUNK_ELEMENTS) // largest)
    for start in range(0, len(mask_logits), step):
        part = slice(start, start + step)
        logits = F.interpolate(
            mask_logits[None, part].float(), size=padded_size, mode="bilinear", align_corners=False
        )[..., : image_size[0], : image_size[1]]
        if image_size != original_size:
            logits = F.interpolate(logits, size=original_size, mode="bilinear", align_corners=False)
        logits = logits[0]
        masks[part] = logits > 0
        inside = masks[part].flatten(1)
        probs = (logits.flatten(1).sigmoid() * inside).sum(1)
        scores[part] = probs / (inside.sum(1) + 1e-6)
    return masks, scores, mask_extents(masks)


def mask_extents(masks: torch.Tensor) -> torch.Tensor:
    """The boxes around masks.

    Args:
        masks: bool (N, H, W).

    Returns:
        int64 (N, 4), xyxy in pixels, the right and lower edges included in the box (a single
        pixel at (0, 0) gives 0, 0, 1, 1); zeros for an empty mask.
    """
    edges = []
    # Columns that hold a pixel, (N, W); then rows, (N, H).
    for occupied in (masks.any(1), masks.any(2)):
        length = occupied.shape[1]
        position = torch.arange(length, device=masks.device)
        first = torch.where(occupied, position, length).amin(1)
        last = torch.where(occupied, position + 1, 0).amax(1)
        edges.append((first.minimum(last), last))
    (left, right), (top, bottom) = edges
    return torch.stack((left, top, right, bottom), dim=1)
