"""Mask logits to binary masks at the original size: the op, and where which implementation runs."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F

from mask2former_mt.ops.ms_deform_attn import choose_implementation

# Floats of one chunk of upsampled masks in PyTorch: 4 MiB on a CPU, whose cache holds them, and
# 64 MiB on a GPU, which wants work enough at a time.
CHUNK_ELEMENTS = {"cpu": 2**20}
OTHER_CHUNK_ELEMENTS = 16 * 2**20

# "parity" is the published way: bilinear to the padded size, crop, bilinear to the original size.
# "direct" samples the grid once, where the original's pixels lie; the same where the network sees
# the image at its original size.
MASK_RESIZES = ("parity", "direct")

# N masks


def resize_masks(
    mask_logits: torch.Tensor,
    *,
    padded_size: tuple[int, int],
    image_size: tuple[int, int],
    original_size: tuple[int, int],
    mode: str = "parity",
    implementation: str = "auto",
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Resizes mask logits to the original image, thresholds and scores them, in bounded memory.

    Args:
        mask_logits: float (N, h, w) on the padded image's stride-4 grid.
        padded_size: (H, W) of the batch, in pixels.
        image_size: (H, W) of this image inside it, top-left.
        original_size: (H, W) of the image before it was resized for the network.
        mode: of `MASK_RESIZES`.
        implementation: "auto" takes the compiled operator on a CPU that has one, "native" insists
            on it there, "torch" does without; a GPU has none and needs none, nor has a direct
            resize to another size than the network's.

    Returns:
        bool (N, H, W) at the original size: logit above 0; float32 (N,), the mean probability
        inside each mask, 0 for an empty one; and int64 (N, 4), the extents of the masks, as of
        `mask_extents`. A logit that is no number is outside.

    Raises:
        ValueError: another mode or implementation, or "native" where nothing is compiled for the
            CPU.

    Source: the parity mode is Mask2Former's published two steps.
    """
    _check_mode(mode)
    on_cpu = mask_logits.device.type == "cpu"
    one_step = image_size == original_size
    if (
        on_cpu
        and choose_implementation(implementation, mask_logits.device) == "native"
        and (mode == "parity" or one_step)
    ):
        return torch.ops.mask2former_mt.resize_masks(
            mask_logits.float(), list(padded_size), list(image_size), list(original_size)
        )
    height, width = original_size
    device = mask_logits.device
    masks = torch.empty((len(mask_logits), height, width), dtype=torch.bool, device=device)
    scores = torch.empty(len(mask_logits), device=device)
    sizes = {
        "padded_size": padded_size,
        "image_size": image_size,
        "original_size": original_size,
    }
    for part, logits in upsampled_chunks(mask_logits, **sizes, mode=mode):
        masks[part] = logits > 0
        inside = masks[part].flatten(1)
        # Not a product: what is no number times 0 would be none either.
        probs = torch.where(inside, logits.flatten(1).sigmoid(), 0).sum(1)
        scores[part] = probs / (inside.sum(1) + 1e-6)
    return masks, scores, mask_extents(masks)


def upsampled_chunks(
    mask_logits: torch.Tensor,
    *,
    padded_size: tuple[int, int],
    image_size: tuple[int, int],
    original_size: tuple[int, int],
    mode: str = "parity",
    chunk_elements: int | None = None,
) -> Iterator[tuple[slice, torch.Tensor]]:
    """Mask logits at the original size, a few masks at a time.

    Args:
        mask_logits, padded_size, image_size, original_size, mode: as of `resize_masks`.
        chunk_elements: floats of one chunk, at the larger of the sizes that it goes through; None
            takes what suits the device. One mask is the least.

    Yields:
        Which masks, and their logits, float32 (n, H, W).

    Raises:
        ValueError: another mode.
    """
    _check_mode(mode)
    largest = original_size[0] * original_size[1]
    if mode == "parity":
        largest = max(largest, padded_size[0] * padded_size[1])
    if chunk_elements is None:
        chunk_elements = CHUNK_ELEMENTS.get(mask_logits.device.type, OTHER_CHUNK_ELEMENTS)
    step = max(1, chunk_elements // largest)
    # An original pixel in cells of the grid: over image pixels, of the grid's whole extent.
    scales = [
        padded * original / (cells * image)
        for padded, original, cells, image in zip(
            padded_size, original_size, mask_logits.shape[1:], image_size, strict=True
        )
    ]
    for start in range(0, len(mask_logits), step):
        part = slice(start, start + step)
        logits = mask_logits[None, part].float()
        if mode == "direct":
            # F.interpolate takes a size or scales; the cut at the image's edge needs both.
            logits = torch.ops.aten.upsample_bilinear2d(logits, original_size, False, *scales)
        else:
            logits = F.interpolate(logits, size=padded_size, mode="bilinear", align_corners=False)
            logits = logits[..., : image_size[0], : image_size[1]]
            if image_size != original_size:
                logits = F.interpolate(
                    logits, size=original_size, mode="bilinear", align_corners=False
                )
        yield part, logits[0]


def _check_mode(mode: str) -> None:
    if mode not in MASK_RESIZES:
        raise ValueError(
            f"masks are resized in a mode of {list(MASK_RESIZES)}, got {mode!r}; "
            "see MODEL.MASK_FORMER.TEST.MASK_RESIZE"
        )


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
