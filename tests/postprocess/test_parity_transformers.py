"""The parity mode against the post-processing of `transformers`, run on the same logits."""

from __future__ import annotations

import types

import pytest
import torch
from postprocess_tools import sizes, soft_discs
from transformers import EomtImageProcessor, Mask2FormerImageProcessor
from transformers.image_transforms import get_size_with_aspect_ratio

from mask2former_mt.ops import native
from mask2former_mt.postprocess import (
    InstanceOptions,
    SemanticOptions,
    predict_instances,
    predict_semantic,
)
from mask2former_mt.structures import DecoderOutput

QUERIES, CLASSES = 12, 4


@pytest.fixture(params=["native", "torch"])
def implementation(request) -> str:
    if request.param == "native" and not native.is_available():
        pytest.skip(f"the operator is not compiled: {native.BUILD_COMMAND}")
    return request.param


def random_output(height: int, width: int, *, images: int = 1) -> DecoderOutput:
    """Soft discs on a grid; each image has an empty mask, a full one and one of a single cell."""
    masks = torch.stack([soft_discs(QUERIES, height, width, seed=i) for i in range(images)])
    masks[:, 3], masks[:, 4] = -2.0, 3.0
    masks[:, 5] = -4.0
    masks[:, 5, height // 2, width // 2] = 6.0
    generator = torch.Generator().manual_seed(7)
    logits = 2 * torch.randn(images, QUERIES, CLASSES + 1, generator=generator)
    return DecoderOutput(pred_logits=logits, pred_masks=masks, pred_subcategories={})


def as_theirs(output: DecoderOutput) -> types.SimpleNamespace:
    return types.SimpleNamespace(
        class_queries_logits=output.pred_logits,
        masks_queries_logits=output.pred_masks,
        patch_offsets=None,
    )


def iou(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one & other).sum() / (one | other).sum())


def check_same(ours, masks: list[torch.Tensor], segments: list[dict]) -> None:
    """Each of their masks is one of ours, with its class and score, and we have no others."""
    kept = [i for i in range(len(ours.scores)) if ours.pred_masks[i].any()]
    assert len(kept) == len(masks) == len(segments) > 5
    for mask, segment in zip(masks, segments, strict=True):
        alike = [
            i
            for i in kept
            if ours.pred_classes[i] == segment["label_id"]
            and abs(float(ours.scores[i]) - segment["score"]) < 1e-4
            and iou(ours.pred_masks[i], mask) >= 0.999
        ]
        assert alike, f"nothing like {segment}"
        kept.remove(alike[0])


def test_instances_are_those_of_mask2former(implementation):
    # That code resizes to 384 x 384 whatever the image, thresholds and scores there, and repeats
    # pixels from there to any other size. So it is the published way for an image of that size.
    output = random_output(96, 96, images=2)
    theirs = Mask2FormerImageProcessor().post_process_instance_segmentation(
        as_theirs(output),
        threshold=0.0,
        target_sizes=[(384, 384)] * 2,
        return_binary_maps=True,
    )
    for index, expected in enumerate(theirs):
        ours = predict_instances(
            output,
            index,
            **sizes((384, 384)),
            options=InstanceOptions(top_k=QUERIES, mask_resize="parity"),
            implementation=implementation,
        )
        check_same(ours, list(expected["segmentation"].bool()), expected["segments_info"])


@pytest.mark.parametrize(
    ("grid", "padded", "original"),
    [
        # Resized to 96 x 153: to an odd size, and padded on the right.
        ((24, 40), (96, 160), (77, 123)),
        # To 53 x 160: padded below.
        ((24, 40), (96, 160), (50, 150)),
        # The original larger than the network's image, both sides odd.
        ((24, 40), (96, 160), (201, 333)),
        # A grid that does not divide the padded size.
        ((25, 41), (97, 161), (131, 191)),
    ],
)
def test_padded_images_of_odd_sizes_are_those_of_eomt(implementation, grid, padded, original):
    # The same kind of head; its code crops the padding, resizes to the original, and then
    # thresholds and scores each query's best class: the published steps, on any size.
    output = random_output(*grid, images=2)
    image = get_size_with_aspect_ratio(original, *padded)
    assert image != padded
    # Their map has one instance per pixel: each query is given to them alone.
    for index in range(2):
        masks, segments = [], []
        for query in range(QUERIES):
            alone = as_theirs(output)
            alone.class_queries_logits = output.pred_logits[index : index + 1, [query]]
            alone.masks_queries_logits = output.pred_masks[index : index + 1, [query]]
            (found,) = EomtImageProcessor().post_process_instance_segmentation(
                alone,
                target_sizes=[original],
                threshold=0.0,
                size={"shortest_edge": padded[0], "longest_edge": padded[1]},
            )
            segments += found["segments_info"]
            masks += [found["segmentation"] == 0] * len(found["segments_info"])
        ours = predict_instances(
            output,
            index,
            **sizes(padded, image, original),
            options=InstanceOptions(top_k=QUERIES, one_class_per_query=True, mask_resize="parity"),
            implementation=implementation,
        )
        check_same(ours, masks, segments)


@pytest.mark.parametrize("target", [(384, 384), (251, 377)])
def test_semantic_scores_are_those_of_mask2former(target):
    output = random_output(96, 96)
    (theirs,) = Mask2FormerImageProcessor().post_process_semantic_segmentation(
        as_theirs(output), target_sizes=[target], return_segmentation_scores=True
    )
    # Classes are combined at 384 x 384 and resized from there.
    ours = predict_semantic(
        output,
        0,
        **sizes((384, 384), original=target),
        options=SemanticOptions(resize_masks_first=False),
    )
    torch.testing.assert_close(ours, theirs.segmentation_scores, atol=1e-5, rtol=0)
    if target == (384, 384):
        ours = predict_semantic(output, 0, **sizes((384, 384)))
        torch.testing.assert_close(ours, theirs.segmentation_scores, atol=1e-5, rtol=0)
