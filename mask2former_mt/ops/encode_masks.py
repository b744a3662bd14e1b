"""Masks to COCO's compressed run lengths."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from pycocotools import mask as mask_utils

from mask2former_mt.ops.implementation import Implementation

# N masks, H x W of the original image


def encode_masks(
    masks_NHW: torch.Tensor, *, implementation: Implementation | str = Implementation.AUTO
) -> list[dict]:
    """Run-length encodes the masks of an image as COCO does.

    Args:
        masks_NHW: bool (N, H, W), on any device; they are encoded on the CPU.
        implementation: the compiled operator, all masks at once, or pycocotools.

    Returns:
        N dicts `{"size": [H, W], "counts": str}`, ready for JSON.

    Raises:
        ValueError: the masks are not bool (N, H, W), or an implementation that cannot run.

    Source: COCO's RLE and its text form.
    """
    if masks_NHW.dtype != torch.bool or masks_NHW.dim() != 3:
        raise ValueError(
            f"pred_masks must be bool (N, H, W), got {masks_NHW.dtype} "
            f"{tuple(masks_NHW.shape)}; threshold the mask logits at 0 first"
        )
    masks_NHW = masks_NHW.cpu().contiguous()
    if Implementation(implementation).is_native(masks_NHW.device):
        joined, lengths_N = torch.ops.mask2former_mt.encode_masks(masks_NHW)
        text = joined.numpy().tobytes().decode("ascii")
        stops_N = lengths_N.cumsum(0).tolist()
        texts = [text[start:stop] for start, stop in itertools.pairwise([0, *stops_N])]
    else:
        texts = [
            mask_utils.encode(np.asfortranarray(mask_HW))["counts"].decode("ascii")
            for mask_HW in masks_NHW.numpy().view(np.uint8)
        ]
    return [{"size": list(masks_NHW.shape[1:]), "counts": text} for text in texts]
