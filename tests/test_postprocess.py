"""Queries to instances: selection, masks at the original size, boxes."""

from __future__ import annotations

import pytest
import torch
from tiny import rectangles

from mask2former_mt import postprocess
from mask2former_mt.postprocess import mask_extents, masks_at_original_size, select_queries
from mask2former_mt.structures import DecoderOutput


def output_of(class_probs, subcategory_probs=None) -> DecoderOutput:
    """A batch with these probabilities: their logarithms are logits."""
    logits = torch.tensor(class_probs).log()
    return DecoderOutput(
        pred_logits=logits,
        pred_masks=torch.zeros(*logits.shape[:2], 4, 4),
        pred_subcategories={
            name: torch.tensor(probs).log() for name, probs in (subcategory_probs or {}).items()
        },
    )


# --- selection -----------------------------------------------------------------------------------


def test_the_best_pairs_of_query_and_class_are_selected():
    # Two classes and "no object". Best first: query 1 class 1 (.6), query 0 class 0 (.5),
    # query 1 class 0 (.3), query 0 class 1 (.1), query 2 (.05 and .05).
    output = output_of(
        [[[0.5, 0.1, 0.4], [0.3, 0.6, 0.1], [0.05, 0.05, 0.9]]],
        {"fill": [[[0.2, 0.8], [0.7, 0.3], [0.5, 0.5]]]},
    )
    selected = select_queries(output, 0, top_k=3)
    assert selected.queries.tolist() == [1, 0, 1]
    assert selected.classes.tolist() == [1, 0, 0]
    torch.testing.assert_close(selected.class_scores, torch.tensor([0.6, 0.5, 0.3]))
    # Query 1 has value 0 (.7), also where it comes a second time; query 0 has none (.8).
    assert selected.subcategories.tolist() == [[0], [1], [0]]
    torch.testing.assert_close(selected.subcategory_scores, torch.tensor([[0.7], [0.8], [0.7]]))


def test_each_image_of_a_batch_is_selected_from_its_own_queries():
    output = output_of(
        [[[0.9, 0.1], [0.2, 0.8]], [[0.3, 0.7], [0.6, 0.4]]],
        {"fill": [[[0.9, 0.1], [0.1, 0.9]], [[0.1, 0.9], [0.8, 0.2]]]},
    )
    first, second = (select_queries(output, image, top_k=1) for image in (0, 1))
    assert (first.queries.tolist(), first.subcategories.tolist()) == ([0], [[0]])
    assert (second.queries.tolist(), second.subcategories.tolist()) == ([1], [[0]])
    torch.testing.assert_close(second.subcategory_scores, torch.tensor([[0.8]]))


def test_columns_are_in_the_order_of_the_subcategories():
    output = output_of([[[0.9, 0.1]]], {"b": [[[0.1, 0.9]]], "a": [[[0.2, 0.2, 0.6]]]})
    selected = select_queries(output, 0, top_k=1)
    assert selected.subcategories.tolist() == [[1, 2]]
    torch.testing.assert_close(selected.subcategory_scores, torch.tensor([[0.9, 0.6]]))


def test_no_more_are_selected_than_there_are():
    # 2 queries times 1 class.
    assert len(select_queries(output_of([[[0.9, 0.1], [0.2, 0.8]]]), 0, top_k=100).queries) == 2


def test_without_subcategories_the_tensors_have_no_columns():
    selected = select_queries(output_of([[[0.9, 0.1], [0.2, 0.8]]]), 0, top_k=2)
    assert selected.subcategories.shape == selected.subcategory_scores.shape == (2, 0)
    assert selected.subcategories.dtype == torch.int64
    assert selected.subcategory_scores.dtype == torch.float32


def test_scores_of_half_precision_are_computed_in_full():
    output = output_of([[[0.9, 0.1]]], {"fill": [[[0.25, 0.75]]]})
    output.pred_logits = output.pred_logits.half()
    output.pred_subcategories["fill"] = output.pred_subcategories["fill"].half()
    selected = select_queries(output, 0, top_k=1)
    assert selected.class_scores.dtype == selected.subcategory_scores.dtype == torch.float32


# --- masks ---------------------------------------------------------------------------------------


def resize(logits, *, padded, image=None, original=None):
    return masks_at_original_size(
        torch.tensor(logits)[None],
        padded_size=padded,
        image_size=image or padded,
        original_size=original or image or padded,
    )


def test_masks_are_upsampled_bilinearly_and_cut_at_0():
    # 1 x 2 to 1 x 8: pixel i has its centre at (i + .5) / 4 - .5 of the grid. Pixel 3: .375, so
    # 3 * .625 - 1 * .375 = 1.5; pixel 4: .625, 3 * .375 - .625 = .5; pixel 5: .875, -.5; outside
    # the centres the edge is repeated.
    masks, scores = resize([[3.0, -1.0]], padded=(1, 8))
    logits = torch.tensor([3, 3, 2.5, 1.5, 0.5, -0.5, -1, -1])
    assert masks.dtype == torch.bool
    assert masks[0, 0].tolist() == (logits > 0).tolist()
    # The mean probability of the five pixels inside.
    torch.testing.assert_close(scores, logits[:5].sigmoid().mean()[None])


def test_a_logit_of_0_is_outside():
    masks, scores = resize([[0.0, 0.0]], padded=(1, 2))
    assert not masks.any()
    assert scores.tolist() == [0.0]


def test_padding_is_cut_off_before_the_resize_to_the_original():
    # Padded to 4 x 8 on a grid of 1 x 2; the image is its left 4 x 4. If the right cell, which is
    # padding, were not cut off, it would be in the picture.
    masks, _ = resize([[5.0, -5.0]], padded=(4, 8), image=(4, 4), original=(6, 10))
    assert masks.shape == (1, 6, 10)
    assert masks.all()
    masks, _ = resize([[-5.0, 5.0]], padded=(4, 8), image=(4, 4), original=(6, 10))
    assert not masks.any()


def test_height_and_width_are_not_exchanged():
    # The upper of two rows: 2 x 1 cells to 8 x 4, then to 16 x 4.
    masks, _ = resize([[2.0], [-2.0]], padded=(8, 4), original=(16, 4))
    assert masks[0, :8].all()
    assert not masks[0, 8:].any()


def test_chunks_change_nothing(monkeypatch):
    logits = torch.randn(7, 6, 5, generator=torch.Generator().manual_seed(0))
    sizes = {"padded_size": (24, 20), "image_size": (23, 17), "original_size": (40, 31)}
    masks, scores = masks_at_original_size(logits, **sizes)
    # 40 * 31 = 1240 is the larger size: 3 masks at a time, the last chunk with one.
    monkeypatch.setattr(postprocess, "CHUNK_ELEMENTS", 3 * 1240)
    chunked, chunked_scores = masks_at_original_size(logits, **sizes)
    assert torch.equal(chunked, masks)
    torch.testing.assert_close(chunked_scores, scores)
    # A mask larger than the bound still goes through, alone.
    monkeypatch.setattr(postprocess, "CHUNK_ELEMENTS", 1)
    assert torch.equal(masks_at_original_size(logits, **sizes)[0], masks)


def test_no_masks_give_none():
    masks, scores = masks_at_original_size(
        torch.zeros(0, 4, 4), padded_size=(16, 16), image_size=(9, 16), original_size=(18, 32)
    )
    assert masks.shape == (0, 18, 32)
    assert masks.dtype == torch.bool
    assert scores.shape == (0,)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_any_float_dtype_gives_bool_masks_and_float32_scores(dtype):
    masks, scores = masks_at_original_size(
        torch.tensor([[[4.0, -4.0]]], dtype=dtype),
        padded_size=(4, 8),
        image_size=(4, 8),
        original_size=(4, 8),
    )
    assert masks[0, :, :4].all()
    assert not masks[0, :, 4:].any()
    assert scores.dtype == torch.float32


# --- boxes ---------------------------------------------------------------------------------------


def test_boxes_are_the_extents_of_the_masks():
    masks = rectangles(5, 9, [(2, 1, 7, 3), (0, 0, 1, 1), (8, 4, 9, 5), (0, 0, 0, 0), (0, 0, 9, 5)])
    # A second part far away widens the first one's box to the right and downwards.
    masks[0, 4, 8] = True
    assert mask_extents(masks).tolist() == [
        [2, 1, 9, 5],
        [0, 0, 1, 1],
        [8, 4, 9, 5],
        [0, 0, 0, 0],
        [0, 0, 9, 5],
    ]
    assert mask_extents(masks).dtype == torch.float32


def test_no_masks_have_no_boxes():
    assert mask_extents(torch.zeros(0, 5, 9, dtype=torch.bool)).shape == (0, 4)
