"""The matcher: least total cost, subcategories included."""

import dataclasses
import itertools

import pytest
import torch
from criterion_tools import (
    NO_SPEC,
    SPEC,
    H,
    W,
    changed_output,
    random_image,
    random_output,
)

from mask2former_mt.layers.point_sampling import (
    sample_binary_masks,
    sample_binary_masks_alike,
    sample_logits,
)
from mask2former_mt.losses import matcher as matcher_module
from mask2former_mt.losses.functional import dice_loss, mask_bce_loss
from mask2former_mt.losses.matcher import HungarianMatcher, MatchCosts
from mask2former_mt.losses.targets import ImageTargets
from mask2former_mt.structures import DecoderOutput, SubcategorySpec

# B images, Q queries, K classes, S subcategories, P points

COSTS = MatchCosts(class_=2.0, mask=5.0, dice=5.0, subcategories=(1.5, 0.5, 1.0))
NUM_POINTS = 32


def matcher(costs=COSTS, spec=SPEC, num_points=NUM_POINTS):
    return HungarianMatcher(costs=costs, spec=spec, num_points=num_points)


def image_points(B, P=NUM_POINTS, seed=0):
    return torch.rand(B, P, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def cost_of_pair(output, b, q, target, t, points):
    """The cost of one query and one target, from the losses of single masks."""
    logits = sample_logits(output.pred_masks[b, q][None], points[b][None])
    truth = sample_binary_masks(target.masks[t][None], points[b][None])
    cost = (
        -COSTS.class_ * output.pred_logits[b, q].softmax(-1)[target.classes[t]]
        + COSTS.mask * mask_bce_loss(logits, truth)[0]
        + COSTS.dice * dice_loss(logits, truth)[0]
    )
    for s, name in enumerate(output.pred_subcategories):
        label = int(target.subcategories[t, s])
        if label >= 0:
            probs = output.pred_subcategories[name][b, q].softmax(-1)
            cost = cost - COSTS.subcategories[s] * probs[label]
    return float(cost)


def least_sum(table):
    """Brute force: the least sum over all ways to give min(Q, N) rows a column of their own."""
    if len(table) > len(table[0]):
        table = list(zip(*table, strict=True))
    return min(
        sum(row[column] for row, column in zip(table, columns, strict=True))
        for columns in itertools.permutations(range(len(table[0])), len(table))
    )


def test_targets_are_weighed_some_at_a_time(monkeypatch):
    layers, points = random_output(2, 4, Y=2).layers, image_points(2)
    targets = [random_image(7, seed=1), random_image(2, seed=2)]
    whole = matcher()(layers, targets, points)
    sampled = []

    def count(masks, points):
        sampled.append(len(masks))
        return sample_binary_masks_alike(masks, points)

    monkeypatch.setattr(matcher_module, "sample_binary_masks_alike", count)
    some = dataclasses.replace(matcher(), targets_at_once=3)(layers, targets, points)
    # Parts of 3, 3 and 1 of the first image, beside 2, 0 and 0 of the second.
    assert sampled == [3, 2, 3, 0, 1, 0]
    for layer, other in zip(whole, some, strict=True):
        for match, same in zip(layer, other, strict=True):
            assert indices(match) == indices(same)


@pytest.mark.parametrize("N", [1, 3, 4, 6], ids=lambda n: f"{n} targets for 4 queries")
def test_the_total_cost_is_the_least(N):
    B, Q = 2, 4
    layers, points = random_output(B, Q, Y=2).layers, image_points(B)
    # Images of different numbers of targets: the padding of the second is no one's target.
    targets = [random_image(N, seed=1), random_image(2, seed=2)]
    for layer, matches in zip(layers, matcher()(layers, targets, points), strict=True):
        for b, (target, match) in enumerate(zip(targets, matches, strict=True)):
            table = [
                [cost_of_pair(layer, b, q, target, t, points) for t in range(len(target))]
                for q in range(Q)
            ]
            queries, rows = indices(match)
            assert len(queries) == len(set(rows)) == min(Q, len(target))
            assert queries == sorted(set(queries))
            total = sum(table[q][t] for q, t in zip(queries, rows, strict=True))
            assert total == pytest.approx(least_sum(table), abs=1e-9)


def flat_output(class_probs, subcategory_probs=None, masks=None):
    """Queries of one image with given probabilities and, unless given, equal masks."""
    class_probs = torch.tensor(class_probs)
    Q = len(class_probs)
    return DecoderOutput(
        pred_logits=class_probs.log()[None],
        pred_masks=torch.zeros(1, Q, 2, 3) if masks is None else masks[None],
        pred_subcategories={
            name: torch.tensor(probs).log()[None]
            for name, probs in (subcategory_probs or {}).items()
        },
    )


def flat_image(classes, subcategories=None, masks=None):
    N = len(classes)
    if masks is None:
        masks = torch.zeros(N, H, W, dtype=torch.bool)
        masks[:, 2:6, 3:9] = True
    labels = [[] for _ in classes] if subcategories is None else subcategories
    return ImageTargets(
        classes=torch.tensor(classes),
        masks=masks,
        subcategories=torch.tensor(labels, dtype=torch.int64).view(N, -1),
    )


def indices(match):
    queries, rows = match
    return queries.tolist(), rows.tolist()


def test_a_hand_computed_match():
    # Both queries like class 0 best. 0 -> 0 and 1 -> 1 has the probabilities 0.6 + 0.05 = 0.65,
    # 0 -> 1 and 1 -> 0 has 0.3 + 0.9 = 1.2: the second is cheaper, and query 0 gets class 1.
    output = flat_output([[0.6, 0.3, 0.05, 0.05], [0.9, 0.05, 0.025, 0.025]])
    by_class = matcher(MatchCosts(class_=1.0, mask=0.0, dice=0.0), NO_SPEC)
    ((match,),) = by_class([output], [flat_image([0, 1])])
    assert indices(match) == ([0, 1], [1, 0])


def same_but_for_ink(order, costs):
    """Two objects of the same mask and class; ink 0 is the `order`-th of them."""
    # Query 0 sees nothing special, query 1 says ink 1, query 2 says ink 0.
    ink = [[0.25, 0.25, 0.25, 0.25], [0.1, 0.7, 0.1, 0.1], [0.7, 0.1, 0.1, 0.1]]
    output = flat_output([[0.1, 0.8, 0.05, 0.05]] * 3, {"ink": ink})
    target = flat_image([1, 1], [[0], [1]] if order == 0 else [[1], [0]])
    spec = SubcategorySpec.from_counts(["ink"], [3])
    ((match,),) = matcher(costs, spec)([output], [target])
    return indices(match)


@pytest.mark.parametrize("order", [0, 1])
def test_failure_2_matcher_tells_objects_apart_by_subcategory(order):
    costs = MatchCosts(class_=2.0, mask=5.0, dice=5.0, subcategories=(2.0,))
    queries, rows = same_but_for_ink(order, costs)
    # The object with ink 1 goes to query 1, the one with ink 0 to query 2; query 0 stays free.
    assert queries == [1, 2]
    assert rows == ([1, 0] if order == 0 else [0, 1])


def test_failure_2_a_matching_cost_of_0_makes_no_difference():
    costs = MatchCosts(class_=2.0, mask=5.0, dice=5.0, subcategories=(0.0,))
    # Blind to the ink, both orders of the objects look the same.
    assert same_but_for_ink(0, costs) == same_but_for_ink(1, costs)
    # And the cost is that of a model without subcategories, whatever the heads say.
    output, points = random_output(2, 5), image_points(2)
    targets = [random_image(3, seed=1), random_image(4, seed=2)]
    blind = matcher(MatchCosts(2.0, 5.0, 5.0, (0.0, 0.0, 0.0)))([output], targets, points)
    plain = matcher(MatchCosts(2.0, 5.0, 5.0), NO_SPEC)([output], targets, points)
    assert [indices(m) for m in blind[0]] == [indices(m) for m in plain[0]]


def test_unknown_costs_nothing():
    # Query 0 is sure of ink 0, but a little less sure of the class than query 1.
    output = flat_output([[0.5, 0.5], [0.6, 0.4]], {"ink": [[0.9, 0.05, 0.05], [0.1, 0.1, 0.8]]})
    costs = MatchCosts(1.0, 0.0, 0.0, (1.0,))
    spec = SubcategorySpec.from_counts(["ink"], [2])
    for label, expected in (
        (0, 0),  # -0.5 - 0.9 = -1.4 against -0.6 - 0.1 = -0.7
        (-1, 1),  # -0.5 against -0.6: the class alone
        (2, 1),  # none is a label like any other: -0.5 - 0.05 against -0.6 - 0.8
    ):
        ((match,),) = matcher(costs, spec)([output], [flat_image([0], [[label]])])
        assert indices(match) == ([expected], [0])


@pytest.mark.parametrize("counts", [(0, 0), (0, 2, 0), ()])
def test_images_without_targets_have_no_match(counts):
    layers = random_output(len(counts), 4, Y=3).layers
    matches = matcher()(layers, [random_image(n) for n in counts])
    lengths = [[len(queries) for queries, _ in layer] for layer in matches]
    assert lengths == [list(counts)] * 3
    assert all(x.dtype == torch.int64 for layer in matches for match in layer for x in match)


def test_padding_belongs_to_the_image():
    # The image is the left half of the padded one. Query 0 spills into the padding, query 1 not.
    masks = torch.full((2, 2, 4), -5.0)
    masks[0] = 5.0
    masks[1, :, :2] = 5.0
    truth = torch.zeros(1, 8, 16, dtype=torch.bool)
    truth[0, :, :8] = True
    output = flat_output([[0.5, 0.5]] * 2, masks=masks)
    ((match,),) = matcher(MatchCosts(1.0, 1.0, 1.0), NO_SPEC)(
        [output], [flat_image([0], masks=truth)]
    )
    assert indices(match) == ([1], [0])


def test_points_are_drawn_for_each_image_when_not_given():
    output = random_output(2, 5, dtype=torch.float32)
    targets = [random_image(3, seed=1), random_image(3, seed=2)]
    torch.manual_seed(7)
    drawn = matcher(num_points=6)([output], targets)
    torch.manual_seed(7)
    given = matcher(num_points=6)([output], targets, torch.rand(2, 6, 2))
    assert [indices(m) for m in drawn[0]] == [indices(m) for m in given[0]]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_costs_are_those_of_the_same_numbers_in_float32(dtype):
    half, points = random_output(2, 5, dtype=dtype), image_points(2).float()
    full = changed_output(half, torch.Tensor.float)
    targets = [random_image(3, seed=1), random_image(4, seed=2)]
    actual, expected = (matcher()([x], targets, points)[0] for x in (half, full))
    assert [indices(m) for m in actual] == [indices(m) for m in expected]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_predictions_that_are_not_finite_are_named(bad):
    output = random_output(2, 4)
    output.mask_factors.embedding.detach()[1, 2] = bad
    message = "a matching cost is not finite: .* Lower SOLVER.BASE_LR"
    with pytest.raises(ValueError, match=message):
        matcher()([output], [random_image(2), random_image(1)])


def test_nan_in_an_image_without_targets_does_no_harm():
    # Image 1 has no instances: its costs are padding.
    output = random_output(2, 4)
    output.mask_factors.features.detach()[1] = float("nan")
    (matches,) = matcher()([output], [random_image(2), random_image(0)])
    assert len(matches[0][0]) == 2
