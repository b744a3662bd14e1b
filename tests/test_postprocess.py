"""Queries to instances: selection."""

from __future__ import annotations

import torch

from mask2former_mt.postprocess import select_queries
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
