"""A score per class and pixel, from the queries' classes and masks."""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F

from mask2former_mt.ops.resize_masks import OTHER_CHUNK_ELEMENTS, upsampled_chunks
from mask2former_mt.postprocess.selection import require_finite
from mask2former_mt.structures import DecoderOutput, ImageSizes

# Q queries, K classes, P pixels of the original


@dataclasses.dataclass(frozen=True)
class SemanticOptions:
    """How scores per class and pixel are made of queries.

    Args:
        resize_masks_first: whether masks are resized to the original image and then combined; else
            they are combined on the padded image, and the classes' scores are resized.
        mask_resize: `mode` of `resize_masks`, for masks that are resized first.
    """

    resize_masks_first: bool = True
    mask_resize: str = "parity"


def predict_semantic(
    output: DecoderOutput,
    index: int,
    sizes: ImageSizes,
    *,
    options: SemanticOptions = SemanticOptions(),
) -> torch.Tensor:
    """Adds up the queries' class probabilities where their masks are.

    Args:
        output: the decoder's predictions for the batch.
        index: image index in the batch.
        sizes: sizes of the image.
        options: how scores are made.

    Returns:
        float32 (K, H, W) at the original size: per class, the sum over the queries of the class's
        probability times the mask's; its argmax over the classes is the map.

    Raises:
        ValueError: class logits that are not finite. A mask logit that is NaN counts as
            probability 0.

    Source: Mask2Former's published semantic inference.
    """
    probs_QK = output.pred_logits[index].float().softmax(-1)[:, :-1]
    require_finite(index, probs_QK)
    logits_Qhw = output.masks_of(index, torch.arange(len(probs_QK), device=probs_QK.device))
    target, mode = sizes, options.mask_resize
    if not options.resize_masks_first:
        target, mode = ImageSizes(sizes.padded, sizes.padded, sizes.padded), "parity"
    height, width = target.original
    scores_KP = probs_QK.new_zeros(probs_QK.shape[1], height * width)
    # Larger chunks than for instances: each one passes over all classes' scores.
    for part, logits in upsampled_chunks(
        logits_Qhw, target, mode=mode, chunk_elements=OTHER_CHUNK_ELEMENTS
    ):
        scores_KP.addmm_(probs_QK[part].T, logits.flatten(1).sigmoid().nan_to_num_(0.0))
    scores_KHW = scores_KP.unflatten(1, (height, width))
    if options.resize_masks_first:
        return scores_KHW
    scores_KHW = scores_KHW[:, : sizes.image[0], : sizes.image[1]]
    return F.interpolate(
        scores_KHW[None], size=sizes.original, mode="bilinear", align_corners=False
    )[0]
