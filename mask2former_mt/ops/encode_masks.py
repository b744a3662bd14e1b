"""Masks to COCO's compressed run lengths, the masks of an image at a time."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import torch

from mask2former_mt.ops.ms_deform_attn import choose_implementation

# N masks, H x W of the original image, R run lengths of all masks


def encode_masks(masks_NHW: torch.Tensor, *, implementation: str = "auto") -> list[dict]:
    """Run-length encodes masks as COCO does.

    Args:
        masks_NHW: bool (N, H, W), on any device; they are encoded on the CPU.
        implementation: "auto" takes the compiled operator where there is one, "native" insists on
            it, "torch" does without.

    Returns:
        N dicts `{"size": [H, W], "counts": str}`, ready for JSON.

    Raises:
        ValueError: the masks are not bool (N, H, W), another implementation, or "native" where
            nothing is compiled.

    Source: COCO's RLE and its text form; differs from pycocotools in how it gets there only.
    """
    if masks_NHW.dtype != torch.bool or masks_NHW.dim() != 3:
        raise ValueError(
            f"pred_masks must be bool (N, H, W), got {masks_NHW.dtype} "
            f"{tuple(masks_NHW.shape)}; threshold the mask logits at 0 first"
        )
    masks_NHW = masks_NHW.cpu().contiguous()
    if choose_implementation(implementation, masks_NHW.device) == "native":
        joined, lengths_N = torch.ops.mask2former_mt.encode_masks(masks_NHW)
        texts = _split(joined.numpy().tobytes(), lengths_N.cumsum(0).tolist())
    else:
        texts = _encode(masks_NHW.numpy().view(np.uint8))
    return [{"size": list(masks_NHW.shape[1:]), "counts": text} for text in texts]


def _encode(masks_NHW: np.ndarray) -> list[str]:
    """The texts of masks: the columns that each one occupies, then the texts of all at once."""
    if not masks_NHW.size:
        return ["0"] * len(masks_NHW)
    changes = _changes(masks_NHW)
    sizes_N = np.array([part.size for part in changes])
    edges_R = np.concatenate(changes)
    lengths_R = np.diff(edges_R, prepend=0)
    firsts_N = np.cumsum(sizes_N) - sizes_N
    # The first edge of a mask counts from 0, not from the last edge of the mask before it.
    lengths_R[firsts_N] = edges_R[firsts_N]
    return _compress(lengths_R, firsts_N)


def _changes(masks_NHW: np.ndarray) -> list[np.ndarray]:
    """Where each mask changes, counting column by column; the last entry is H * W."""
    _, height, width = masks_NHW.shape
    occupied_NW = np.bitwise_or.reduce(masks_NHW, axis=1) != 0
    lefts = occupied_NW.argmax(axis=1).tolist()
    rights = (width - occupied_NW[:, ::-1].argmax(axis=1)).tolist()
    last = np.array([height * width])
    found = []
    for mask_HW, occupied, left, right in zip(
        masks_NHW, occupied_NW.any(axis=1).tolist(), lefts, rights, strict=True
    ):
        if not occupied:
            found.append(last)
            continue
        # OpenCV transposes in blocks, twice as fast as a copy in Fortran's order.
        pixels = cv2.transpose(mask_HW[:, left:right]).ravel()
        changes = (pixels[1:] != pixels[:-1]).nonzero()[0]
        changes += left * height + 1
        parts = [changes, last]
        if pixels[0]:
            parts.insert(0, np.array([left * height]))
        if pixels[-1] and right < width:
            parts.insert(-1, np.array([right * height]))
        found.append(np.concatenate(parts))
    return found


def _compress(lengths_R: np.ndarray, firsts_N: np.ndarray) -> list[str]:
    """COCO's text of each mask's run lengths; `firsts_N` are the masks' first ones in R.

    From the fourth on, a run is written as its difference to the one two before it; a number as
    five bits a character, the lowest first, with a sixth bit where more follow.
    """
    numbers_R = lengths_R.copy()
    numbers_R[2:] -= lengths_R[:-2]
    sizes_N = np.diff(firsts_N, append=lengths_R.size)
    for place in range(3):
        plain = firsts_N[sizes_N > place] + place
        numbers_R[plain] = lengths_R[plain]
    columns, num_characters_R = [], np.ones(lengths_R.size, dtype=np.int64)
    while True:
        digits_R = numbers_R & 0x1F
        numbers_R >>= 5
        # Bit 4 of the last character is the sign.
        more_R = numbers_R != -(digits_R >> 4)
        columns.append((digits_R + 0x30 + (more_R << 5)).astype(np.uint8))
        if not more_R.any():
            break
        num_characters_R += more_R
        # A number that is written stays so: 0 is one character, and is not taken below.
        numbers_R[~more_R] = 0
    written = np.arange(len(columns)) < num_characters_R[:, None]
    joined = np.stack(columns, axis=1)[written].tobytes()
    return _split(joined, np.cumsum(np.add.reduceat(num_characters_R, firsts_N)).tolist())


def _split(joined: bytes, stops_N: list[int]) -> list[str]:
    text = joined.decode("ascii")
    return [text[start:stop] for start, stop in itertools.pairwise([0, *stops_N])]
