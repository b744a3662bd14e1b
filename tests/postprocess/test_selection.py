"""Queries to instances: selection and ranking."""

from __future__ import annotations

import pytest
import torch
from postprocess_tools import output_of

from mask2former_mt.postprocess.filters import Filters, keep_by_labels
from mask2former_mt.postprocess.selection import select_queries


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


def test_columns_are_in_the_order_of_the_subcategories():
    output = output_of([[[0.9, 0.1]]], {"b": [[[0.1, 0.9]]], "a": [[[0.2, 0.2, 0.6]]]})
    selected = select_queries(output, 0, top_k=1)
    assert selected.subcategories.tolist() == [[1, 2]]
    torch.testing.assert_close(selected.subcategory_scores, torch.tensor([[0.9, 0.6]]))


# --- ranking -------------------------------------------------------------------------------------

# Two queries of one class: the first surer of its class, the second of its labels.
CLASSES = [[[0.8, 0.2], [0.7, 0.3]]]
LABELS = {"a": [[[0.5, 0.5], [0.9, 0.1]]], "b": [[[0.2, 0.6, 0.2], [0.1, 0.1, 0.8]]]}


@pytest.mark.parametrize(
    ("ranking", "gamma", "queries", "scores"),
    [
        ("class", 1.0, [0, 1], [0.8, 0.7]),
        # .7 * .9 * .8 = .504 against .8 * .5 * .6 = .24.
        ("joint", 1.0, [1, 0], [0.504, 0.24]),
        # .7 * sqrt(.72) = .59397, .8 * sqrt(.3) = .43818.
        ("joint", 0.5, [1, 0], [0.59397, 0.43818]),
        ("joint", 0.0, [0, 1], [0.8, 0.7]),
        # (.7 + .9 + .8) / 3 = .8, (.8 + .5 + .6) / 3 = .63333.
        ("sum", 1.0, [1, 0], [0.8, 0.63333]),
    ],
)
def test_instances_are_ranked_as_asked_for(ranking, gamma, queries, scores):
    selected = select_queries(output_of(CLASSES, LABELS), 0, top_k=2, ranking=ranking, gamma=gamma)
    assert selected.queries.tolist() == queries
    torch.testing.assert_close(selected.scores, torch.tensor(scores), atol=1e-5, rtol=0)
    # The class's own probability stays beside what they are ranked by.
    expected = torch.tensor([0.8, 0.7])[queries]
    torch.testing.assert_close(selected.class_scores, expected)


@pytest.mark.parametrize("ranking", ["class", "joint", "sum"])
def test_without_subcategories_every_ranking_is_that_of_the_class(ranking):
    selected = select_queries(output_of(CLASSES), 0, top_k=2, ranking=ranking)
    torch.testing.assert_close(selected.scores, torch.tensor([0.8, 0.7]))
    assert selected.subcategories.shape == selected.subcategory_scores.shape == (2, 0)
    assert selected.subcategories.dtype == torch.int64


@pytest.mark.parametrize("ranking", ["class", "joint", "sum"])
def test_one_class_per_query(ranking):
    output = output_of(
        [[[0.5, 0.4, 0.1], [0.3, 0.6, 0.1], [0.1, 0.1, 0.8]]],
        {"fill": [[[0.5, 0.5], [0.5, 0.5], [0.5, 0.5]]]},
    )
    several = select_queries(output, 0, top_k=4, ranking=ranking)
    assert several.queries.tolist() == [1, 0, 0, 1]
    one = select_queries(output, 0, top_k=4, ranking=ranking, one_class_per_query=True)
    assert one.queries.tolist() == [1, 0, 2]
    assert one.classes.tolist()[:2] == [1, 0]
    torch.testing.assert_close(one.class_scores, torch.tensor([0.6, 0.5, 0.1]))


# a is of class 0 only, b of both. Query 0 prefers class 0, query 1 class 1.
OF_SOME = torch.tensor([[True, True], [False, True]])
TWO_CLASSES = [[[0.6, 0.2, 0.2], [0.1, 0.7, 0.2]]]


@pytest.mark.parametrize(
    ("ranking", "one_class", "scores"),
    [
        ("class", False, [0.7, 0.6, 0.2, 0.1]),
        # Of class 1 p_a has no part: .7 * .8, .6 * .5 * .6, .2 * .6, .1 * .9 * .8.
        ("joint", False, [0.56, 0.18, 0.12, 0.072]),
        # (.7 + .8) / 2, (.1 + .9 + .8) / 3, (.6 + .5 + .6) / 3, (.2 + .6) / 2.
        ("sum", False, [0.75, 0.6, 0.56667, 0.4]),
        ("joint", True, [0.56, 0.18]),
        ("sum", True, [0.75, 0.56667]),
    ],
)
def test_a_class_without_a_subcategory_has_none_of_it_for_sure(ranking, one_class, scores):
    selected = select_queries(
        output_of(TWO_CLASSES, LABELS),
        0,
        top_k=4,
        ranking=ranking,
        one_class_per_query=one_class,
        applies_KS=OF_SOME,
    )
    torch.testing.assert_close(selected.scores, torch.tensor(scores), atol=1e-5, rtol=0)
    # None is 1 for a and 2 for b.
    values = {(0, 0): [0, 1], (0, 1): [1, 1], (1, 0): [0, 2], (1, 1): [1, 2]}
    probs = {(0, 0): [0.5, 0.6], (0, 1): [1.0, 0.6], (1, 0): [0.9, 0.8], (1, 1): [1.0, 0.8]}
    pairs = list(zip(selected.queries.tolist(), selected.classes.tolist(), strict=True))
    assert selected.subcategories.tolist() == [values[pair] for pair in pairs]
    expected = torch.tensor([probs[pair] for pair in pairs])
    torch.testing.assert_close(selected.subcategory_scores, expected)


def test_what_all_classes_have_ranks_as_if_nothing_was_said():
    output = output_of(TWO_CLASSES, LABELS)
    for ranking in ("class", "joint", "sum"):
        for one_class in (False, True):
            options = {"top_k": 4, "ranking": ranking, "one_class_per_query": one_class}
            plain = select_queries(output, 0, **options)
            of_all = select_queries(output, 0, **options, applies_KS=torch.ones_like(OF_SOME))
            assert torch.equal(plain.scores, of_all.scores)
            assert torch.equal(plain.subcategories, of_all.subcategories)


def test_an_instance_that_cannot_have_a_value_passes_the_filters():
    filters = Filters(needs_value=(True, False), num_values=(1, 2), subcategory_scores=(0.95, 0.0))
    # Query 0 is sure of none of a (index 1); its class 0 needs a value, class 1 has no such thing.
    output = output_of([[[0.6, 0.3, 0.1]]], {"a": [[[0.01, 0.99]]], "b": [[[0.2, 0.6, 0.2]]]})
    selected = select_queries(output, 0, top_k=2, applies_KS=OF_SOME)
    assert selected.classes.tolist() == [0, 1]
    assert keep_by_labels(selected, filters).tolist() == [False, True]


def test_another_ranking_is_refused():
    with pytest.raises(ValueError, match=r"one of \['class', 'joint', 'sum'\], got 'labels'"):
        select_queries(output_of(CLASSES), 0, top_k=1, ranking="labels")
