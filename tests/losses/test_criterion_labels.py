"""What a query is taught: the background slot, none, unknown, and the weight of each."""

import pytest
import torch
from criterion_tools import (
    NUM_CLASSES,
    SPEC,
    H,
    W,
    leaves,
    make_criterion,
    pairs,
    random_image,
    random_output,
    total,
)

from mask2former_mt.losses.targets import ImageTargets
from mask2former_mt.modeling.heads import SubcategoryHeads
from mask2former_mt.structures import SubcategorySpec

# Y supervised layers, B images, Q queries, K classes, N targets, S subcategories, P points


# --- the background slot ------------------------------------------------------------------------


def outputs_of_real_heads(B=2, Q=5, Y=2):
    """Layers whose subcategories come from the model's heads, and these heads."""
    torch.manual_seed(0)
    heads = SubcategoryHeads(channels=8, spec=SPEC)
    output = random_output(B, Q, Y, dtype=torch.float32)
    for layer in output.layers:
        layer.pred_subcategories = heads(torch.randn(B, Q, 8))
    return output, heads


@pytest.mark.parametrize(
    "counts", [(2, 3), (5, 5), (0, 4), (0, 0)], ids=lambda c: f"{c[0]} and {c[1]} targets"
)
def test_failure_1_unmatched_queries_are_taught_the_background_slot(counts):
    output, heads = outputs_of_real_heads()
    widths = {name: head.out_features for name, head in heads.items()}
    assert widths == {"ink": 4, "size": 2, "state": 6}
    losses = make_criterion()(output, [random_image(n, seed=n) for n in counts])
    for name in SPEC.names:
        assert losses[f"loss_subcategory_{name}"].isfinite().all(), name
    total(losses).backward()
    for name, parameter in heads.named_parameters():
        assert parameter.grad.isfinite().all(), name
    if sum(counts) < 10:
        # Unmatched queries pull the logit of index K_s up, in every head.
        for name, head in heads.items():
            assert head.bias.grad.any(), name


def test_failure_1_the_background_slot_is_the_last_output():
    output = random_output(1, 3)
    losses = make_criterion()(output, [random_image(0)])
    total(losses).backward()
    for subcategory in SPEC:
        gradient = output.pred_subcategories[subcategory.name].grad
        # Cross-entropy: p - 1 at the label, p elsewhere.
        assert (gradient[..., subcategory.none_index] < 0).all()
        assert (gradient[..., : subcategory.none_index] > 0).all()


# --- unknown, none and no object ----------------------------------------------------------------

ONE = SubcategorySpec.from_counts(["ink"], [2])


def one_image(labels, spec=ONE):
    return ImageTargets(
        classes=torch.zeros(len(labels), dtype=torch.int64),
        masks=torch.ones(len(labels), H, W, dtype=torch.bool),
        subcategories=torch.tensor(labels, dtype=torch.int64).view(-1, len(spec)),
    )


def test_unknown_teaches_nothing():
    output = random_output(1, 4, spec=ONE)
    matches = [pairs([(0, 0), (2, 1)])]
    losses = make_criterion(ONE)(output, [one_image([-1, 1])], matches=matches)
    # The loss is that of the other three queries alone, not diluted by the first.
    picked = -output.pred_subcategories["ink"][0].log_softmax(-1)
    expected = (picked[2, 1] + 0.25 * (picked[1, 2] + picked[3, 2])) / 1.5
    torch.testing.assert_close(losses["loss_subcategory_ink"][0], expected)
    total(losses).backward()
    gradient = output.pred_subcategories["ink"].grad[0]
    assert not gradient[0].any()
    # The others learn: query 2 its value, 1 and 3 the background.
    assert gradient[[1, 2, 3]].abs().min() > 0
    # The query learns its class and its mask all the same.
    assert output.pred_logits.grad[0, 0].any()
    assert output.mask_factors.embedding.grad[0, 0].any()


def test_unknown_in_one_subcategory_leaves_the_others():
    output = random_output(1, 2)
    losses = make_criterion()(output, [one_image([[0, -1, 5]], SPEC)], matches=[pairs([(0, 0)])])
    total(losses).backward()
    learned = {n: bool(x.grad[0, 0].any()) for n, x in output.pred_subcategories.items()}
    assert learned == {"ink": True, "size": False, "state": True}


def test_nothing_but_unknown_costs_0():
    # Every query is matched, every label unknown: the weights sum to 0.
    output = random_output(1, 2, spec=ONE)
    losses = make_criterion(ONE)(output, [one_image([-1, -1])])
    assert losses["loss_subcategory_ink"].item() == 0.0
    total(losses).backward()
    assert not output.pred_subcategories["ink"].grad.any()


# None, 2, is a label like any other on a matched query, which weighs 1.
@pytest.mark.parametrize("ink", [1, 2])
@pytest.mark.parametrize("weight", [0.0, 0.1, 1.0])
def test_unmatched_queries_have_the_given_weight(weight, ink):
    output = random_output(1, 3, spec=ONE)
    losses = make_criterion(ONE, no_object_weight=weight, subcategory_no_object_weight=weight)(
        output, [one_image([ink])], matches=[pairs([(1, 0)])]
    )
    for loss, logits, label, background in (
        (losses["loss_ce"], output.pred_logits, 0, NUM_CLASSES),
        (losses["loss_subcategory_ink"], output.pred_subcategories["ink"], ink, 2),
    ):
        picked = -logits[0].log_softmax(-1)
        matched, unmatched = picked[1, label], picked[[0, 2], background].sum()
        expected = (matched + weight * unmatched) / (1 + 2 * weight)
        torch.testing.assert_close(loss[0], expected)


def test_background_that_weighs_nothing_without_targets_costs_0():
    output = random_output()
    losses = make_criterion(no_object_weight=0.0, subcategory_no_object_weight=0.0)(
        output, [random_image(0), random_image(0)]
    )
    assert all(loss.item() == 0 for loss in losses.values())
    total(losses).backward()
    assert not any(x.grad.any() for x in leaves(output))
