"""A score per class and pixel from the same queries."""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F

from mask2former_mt.ops.resize_masks import OTHER_CHUNK_ELEMENTS, upsampled_chunks
from mask2former_mt.postprocess.selection import require_finite
from mask2former_mt.structures import DecoderOutput

# Q queries, K classes


@dataclasses.dataclass(frozen=True)
class SemanticOptions:
    """How scores per class and pixel are made of queries.

    Args:
        resize_masks_first: masks are resized to the original image and then combined; else the
            classes' scores on the padded image are resized.
        mask_resize: as `mode` of `resize_masks`; of masks that are resized first.
    """

    resize_masks_first: bool = True
    mask_resize: str = "parity"


def predict_semantic(
    output: DecoderOutput,
    index: int,
    *,
    padded_size: tuple[int, int],
    image_size: tuple[int, int],
    original_size: tuple[int, int],
    options: SemanticOptions | None = None,
) -> torch.Tensor:
    """Adds up the queries' class probabilities where their masks are.

    Args:
        output: the decoder's predictions for the batch.
        index: of the image in the batch.
        padded_size, image_size, original_size: as of `resize_masks`.
        options: None takes the defaults.

    Returns:
        float32 (K, H, W) at the original size: per class, the sum over the queries of the class's
        probability times the mask's; its argmax over the classes is the map.

    Raises:
        ValueError: class logits that are not finite. A mask logit that is no number counts as 0
            probability.

    Source: Mask2Former's published semantic inference.
    """
    options = options or SemanticOptions()
    probs_QK = output.pred_logits[index].float().softmax(-1)[:, :-1]
    require_finite(index, probs_QK)
    logits_Qhw = output.masks_of(index, torch.arange(len(probs_QK), device=probs_QK.device))
    sizes = {"padded_size": padded_size, "image_size": image_size, "original_size": original_size}
    mode = options.mask_resize
    if not options.resize_masks_first:
        # The padded image itself is the target, and the rest is done to the classes.
        sizes, mode = dict.fromkeys(sizes, padded_size), "parity"
    height, width = sizes["original_size"]
    scores_KP = probs_QK.new_zeros(probs_QK.shape[1], height * width)
    for part, logits in upsampled_chunks(
        # Larger chunks than of the instances: each one passes over all classes' scores.
        logits_Qhw,
        **sizes,
        mode=mode,
        chunk_elements=OTHER_CHUNK_ELEMENTS,
    ):
        scores_KP.addmm_(probs_QK[part].T, logits.flatten(1).sigmoid().nan_to_num_(0.0))
    scores_KHW = scores_KP.unflatten(1, (height, width))
    if options.resize_masks_first:
        return scores_KHW
    scores_KHW = scores_KHW[:, : image_size[0], : image_size[1]]
    return F.interpolate(
        scores_KHW[None], size=original_size, mode="bilinear", align_corners=False
    )[0]
