"""Mask logits to binary masks at the original image's size."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F

from mask2former_mt.ops.implementation import Implementation
from mask2former_mt.structures import ImageSizes

# Floats of one chunk of upsampled masks in PyTorch: 4 MiB on a CPU, whose cache holds them, and
# 64 MiB on a GPU, which wants work enough at a time.
CHUNK_ELEMENTS = {"cpu": 2**20}
OTHER_CHUNK_ELEMENTS = 16 * 2**20
_COUNTED_PIXELS = 2**20

# "parity" is the published way: bilinear to the padded size, crop, bilinear to the original size.
# "direct" samples the grid once, where the original's pixels lie; the same where the network sees
# the image at its original size.
MASK_RESIZES = ("parity", "direct")

# N masks, h x w of the network's grid, H x W of the original image


def resize_masks(
    mask_logits: torch.Tensor,
    sizes: ImageSizes,
    *,
    mode: str = "parity",
    implementation: Implementation | str = Implementation.AUTO,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Resizes mask logits to the original image, thresholds and scores them, in bounded memory.

    Args:
        mask_logits: float (N, h, w) on the padded image's stride-4 grid.
        sizes: sizes of the image.
        mode: one of `MASK_RESIZES`.
        implementation: of a CPU. A GPU has no compiled operator and needs none, nor is there one
            for a direct resize to another size than the network's.

    Returns:
        bool (N, H, W), where the logit at the original size is above 0; NaN is outside.
        float32 (N,), the mean probability inside each mask; 0 for an empty one.
        int64 (N, 4), the boxes around the masks, as of `mask_extents`.

    Raises:
        ValueError: another mode, or an implementation that cannot run.

    Source: the parity mode is Mask2Former's published two steps.
    """
    device = mask_logits.device
    # The compiled operator takes the two steps, which are one at the network's size.
    two_steps = mode == "parity" or (mode == "direct" and sizes.image == sizes.original)
    if device.type == "cpu" and Implementation(implementation).is_native(device) and two_steps:
        return torch.ops.mask2former_mt.resize_masks(
            mask_logits.float(), list(sizes.padded), list(sizes.image), list(sizes.original)
        )
    masks = torch.empty((len(mask_logits), *sizes.original), dtype=torch.bool, device=device)
    scores = torch.empty(len(mask_logits), device=device)
    for part, logits in upsampled_chunks(mask_logits, sizes, mode=mode):
        # In place: of a large picture one mask's logits take more than everything else.
        torch.gt(logits, 0, out=masks[part])
        inside = masks[part].flatten(1)
        # Not a product: NaN times 0 would be NaN.
        probs = logits.flatten(1).sigmoid_().masked_fill_(~inside, 0).sum(1)
        # Some pixels at a time: a sum of bools makes integers of all of them first.
        counts = sum(pixels.sum(1) for pixels in inside.split(_COUNTED_PIXELS, dim=1))
        scores[part] = probs / (counts + 1e-6)
        del logits  # before the next ones are made
    return masks, scores, mask_extents(masks)


def upsampled_chunks(
    mask_logits: torch.Tensor,
    sizes: ImageSizes,
    *,
    mode: str = "parity",
    chunk_elements: int | None = None,
) -> Iterator[tuple[slice, torch.Tensor]]:
    """Resizes mask logits to the original image, a few masks at a time.

    Args:
        mask_logits, sizes, mode: as of `resize_masks`.
        chunk_elements: floats of one chunk, at the largest size that it goes through; a chunk holds
            at least one mask. None takes what suits the device.

    Yields:
        Which masks, and their logits, float32 (n, H, W).

    Raises:
        ValueError: another mode.
    """
    if mode not in MASK_RESIZES:
        raise ValueError(
            f"masks are resized in a mode of {list(MASK_RESIZES)}, got {mode!r}; "
            "see MODEL.MASK_FORMER.TEST.MASK_RESIZE"
        )
    largest = sizes.original[0] * sizes.original[1]
    if mode == "parity":
        largest = max(largest, sizes.padded[0] * sizes.padded[1])
    if chunk_elements is None:
        chunk_elements = CHUNK_ELEMENTS.get(mask_logits.device.type, OTHER_CHUNK_ELEMENTS)
    step = max(1, chunk_elements // largest)
    # Pixels of the original per cell of the grid, which covers the padded image.
    scales = [
        padded * original / (cells * image)
        for padded, original, cells, image in zip(
            sizes.padded, sizes.original, mask_logits.shape[1:], sizes.image, strict=True
        )
    ]
    for start in range(0, len(mask_logits), step):
        part = slice(start, start + step)
        logits = mask_logits[None, part].float()
        # Nothing here holds what is yielded while the next is made.
        if mode == "direct":
            # F.interpolate takes a size or scales; the cut at the image's edge needs both.
            yield (
                part,
                torch.ops.aten.upsample_bilinear2d(logits, sizes.original, False, *scales)[0],
            )
        else:
            yield part, _in_two_steps(logits, sizes)[0]


def _in_two_steps(logits: torch.Tensor, sizes: ImageSizes) -> torch.Tensor:
    logits = F.interpolate(logits, size=sizes.padded, mode="bilinear", align_corners=False)
    logits = logits[..., : sizes.image[0], : sizes.image[1]]
    if sizes.image == sizes.original:
        return logits
    return F.interpolate(logits, size=sizes.original, mode="bilinear", align_corners=False)


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
