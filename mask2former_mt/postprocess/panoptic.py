"""At most one segment per pixel, each with its class, labels and score."""

from __future__ import annotations

import dataclasses

import torch

from mask2former_mt.ops.implementation import Implementation
from mask2former_mt.ops.pixel_competition import compete_for_pixels
from mask2former_mt.postprocess.selection import require_finite
from mask2former_mt.structures import DecoderOutput, ImageSizes, SubcategorySpec

# Q queries, N of them confident, H x W of the original


@dataclasses.dataclass(frozen=True)
class PanopticOptions:
    """How segments are made of queries.

    Args:
        object_mask_threshold: a query whose best class has no more than this probability is left
            out.
        overlap_threshold: a segment that keeps less than this share of its mask is left out.
        stuff_classes: classes whose segments are one per image; all others are things.
        mask_resize: `mode` of `resize_masks`.
        applies: for each of K classes, which of the S subcategories it has; empty: all have all.
    """

    object_mask_threshold: float = 0.0
    overlap_threshold: float = 0.0
    stuff_classes: tuple[int, ...] = ()
    mask_resize: str = "parity"
    applies: tuple[tuple[bool, ...], ...] = ()


def predict_panoptic(
    output: DecoderOutput,
    index: int,
    sizes: ImageSizes,
    *,
    spec: SubcategorySpec,
    options: PanopticOptions = PanopticOptions(),
    implementation: Implementation | str = Implementation.AUTO,
) -> tuple[torch.Tensor, list[dict]]:
    """Gives each pixel to the query of the largest class probability times mask probability.

    The pixel belongs to that query's segment where the mask's own probability is at least one half,
    and to none elsewhere.

    Args:
        output: the decoder's predictions for the batch.
        index: image index in the batch.
        sizes: sizes of the image.
        spec: the subcategories.
        options: how segments are made.
        implementation: as of `compete_for_pixels`.

    Returns:
        int32 (H, W) at the original size, the segments' ids, 0 where there is none; and per
        segment, as detectron2 has it, `id`, `isthing`, `category_id` (contiguous), and besides
        `score`, the class's probability times the mean probability inside the query's mask, and
        `subcategories` {name: index of the value; None for none, and for a class that does not have
        the subcategory}. Several queries of one stuff class are one segment, with the labels and
        the score of the first.

    Raises:
        ValueError: class logits that are not finite. A mask logit that is NaN is outside.

    Source: Mask2Former's published panoptic inference.
    """
    best = output.pred_logits[index].float().softmax(-1).max(-1)
    require_finite(index, best.values)
    no_object = output.pred_logits.shape[-1] - 1
    confident = (best.indices != no_object) & (best.values > options.object_mask_threshold)
    queries = confident.nonzero()[:, 0]
    class_probs_N, classes = best.values[queries], best.indices[queries].tolist()
    count, device = len(queries), class_probs_N.device
    if count == 0:
        return torch.zeros(sizes.original, dtype=torch.int32, device=device), []

    winner_HW, inside_winner_HW, areas_N, sums_N = compete_for_pixels(
        output.masks_of(index, queries),
        class_probs_N,
        sizes,
        mode=options.mask_resize,
        implementation=implementation,
    )
    won = winner_HW.flatten().bincount(minlength=count).tolist()
    visible = winner_HW[inside_winner_HW].bincount(minlength=count).tolist()
    scores = (class_probs_N * sums_N / areas_N.clamp(min=1)).tolist()
    labels = _labels(output, index, queries, spec)
    if options.applies:
        for class_, of_query in zip(classes, labels, strict=True):
            for name, applies in zip(spec.names, options.applies[class_], strict=True):
                of_query[name] = of_query[name] if applies else None
    segment_of, segments, stuff = [0] * count, [], {}
    for i, area in enumerate(areas_N.tolist()):
        if not visible[i] or won[i] / area < options.overlap_threshold:
            continue
        is_thing = classes[i] not in options.stuff_classes
        if not is_thing and classes[i] in stuff:
            segment_of[i] = stuff[classes[i]]
            continue
        segment_of[i] = len(segments) + 1
        if not is_thing:
            stuff[classes[i]] = segment_of[i]
        segments.append(
            {
                "id": segment_of[i],
                "isthing": is_thing,
                "category_id": classes[i],
                "score": scores[i],
                "subcategories": labels[i],
            }
        )
    ids = torch.tensor(segment_of, dtype=torch.int32, device=device)
    return ids[winner_HW] * inside_winner_HW, segments


def _labels(
    output: DecoderOutput, index: int, queries: torch.Tensor, spec: SubcategorySpec
) -> list[dict[str, int | None]]:
    """Per query {name: index of the predicted value, None for none}."""
    labels: list[dict[str, int | None]] = [{} for _ in range(len(queries))]
    for subcategory in spec:
        values = output.pred_subcategories[subcategory.name][index][queries].argmax(-1).tolist()
        for label, value in zip(labels, values, strict=True):
            label[subcategory.name] = None if value == subcategory.none_index else value
    return labels
