"""What the tests of the postprocessing share."""

from __future__ import annotations

import torch

from mask2former_mt.structures import DecoderOutput, ImageSizes


def output_of(class_probs, subcategory_probs=None, masks=None) -> DecoderOutput:
    """A batch with these probabilities: their logarithms are logits.

    Args:
        class_probs: (B, Q, K+1).
        subcategory_probs: {name: (B, Q, K_s+1)}.
        masks: logits (B, Q, h, w); zeros by default.
    """
    logits = torch.as_tensor(class_probs, dtype=torch.float32).log()
    return DecoderOutput(
        pred_logits=logits,
        pred_masks=torch.zeros(*logits.shape[:2], 4, 4) if masks is None else masks,
        pred_subcategories={
            name: torch.as_tensor(probs, dtype=torch.float32).log()
            for name, probs in (subcategory_probs or {}).items()
        },
    )


def image_sizes(padded, image=None, original=None) -> ImageSizes:
    """The sizes of an image; by default it is neither padded nor resized."""
    image = image or padded
    return ImageSizes(padded, image, original or image)


def sizes(padded, image=None, original=None) -> dict[str, ImageSizes]:
    """`image_sizes` as the keyword of the functions of `postprocess`."""
    return {"sizes": image_sizes(padded, image, original)}


def soft_discs(count: int, height: int, width: int, *, seed: int = 0) -> torch.Tensor:
    """Mask logits (count, height, width) of soft discs, some small, some cut by the border."""
    generator = torch.Generator().manual_seed(seed)
    centre = torch.rand(count, 2, generator=generator) * torch.tensor([height, width])
    radius = min(height, width) * (0.05 + 0.4 * torch.rand(count, generator=generator))
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    distance = torch.hypot(y - centre[:, 0, None, None], x - centre[:, 1, None, None])
    return (radius[:, None, None] - distance).clamp(-8, 8)
