"""The loss formulas: worked out by hand, against PyTorch's, and pairs against single masks."""

import math

import pytest
import torch
import torch.nn.functional as F

from mask2former_mt.losses.functional import (
    dice_loss,
    mask_bce_loss,
    pairwise_mask_costs,
    weighted_cross_entropy,
)

# N masks, P points, Q queries, T targets

LN2, LN3 = math.log(2), math.log(3)


def random_pairs(*leading, Q=4, T=3, P=20):
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(*leading, Q, P, generator=generator, dtype=torch.float64)
    # Sampled masks hold fractions on their edges.
    targets = torch.rand(*leading, T, P, generator=generator, dtype=torch.float64)
    return logits, targets.round(decimals=1)


def test_bce_hand_computed():
    # Logit 0: -ln 0.5 = ln 2. Logit ln 3 is probability 0.75: target 1 costs -ln 0.75 = ln(4/3),
    # target 0 costs -ln 0.25 = 2 ln 2, target 0.5 the mean of both.
    logits = torch.tensor([[0.0, 0.0], [LN3, LN3], [LN3, LN3]])
    targets = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.5, 0.5]])
    wrong_and_right = (math.log(4 / 3) + 2 * LN2) / 2
    expected = torch.tensor([LN2, wrong_and_right, wrong_and_right])
    torch.testing.assert_close(mask_bce_loss(logits, targets), expected)


def test_dice_hand_computed():
    logits = torch.tensor([[100.0, 100.0], [100.0, -100.0], [0.0, 0.0], [-100.0, -100.0]])
    targets = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 0.0]])
    # One of two pixels right: 1 - (2*1+1)/(2+1+1) = 0.25. Perfect: 1 - (2*1+1)/(1+1+1) = 0.
    # Undecided: 1 - (2*1+1)/(1+2+1) = 0.25. Empty and predicted so: 1 - 1/1 = 0.
    expected = torch.tensor([0.25, 0.0, 0.25, 0.0])
    torch.testing.assert_close(dice_loss(logits, targets), expected)


@pytest.mark.parametrize("loss", [mask_bce_loss, dice_loss])
def test_mask_losses_stay_finite_for_huge_logits(loss):
    logits = torch.tensor([[1e4, -1e4]], requires_grad=True)
    value = loss(logits, torch.tensor([[0.0, 1.0]]))
    value.sum().backward()
    assert value.isfinite().all()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("leading", [(), (2,), (2, 3)])
def test_pairwise_costs_equal_the_loss_of_each_pair(leading):
    logits, targets = random_pairs(*leading)
    bce, dice = pairwise_mask_costs(logits, targets)
    assert bce.shape == dice.shape == (*leading, 4, 3)
    for q in range(4):
        for t in range(3):
            pair = logits[..., q, :], targets[..., t, :]
            torch.testing.assert_close(bce[..., q, t], mask_bce_loss(*pair))
            torch.testing.assert_close(dice[..., q, t], dice_loss(*pair))


def test_pairwise_costs_hand_computed():
    # Query 0 says (yes, no), query 1 is undecided; the only target is (yes, yes).
    logits = torch.tensor([[100.0, -100.0], [0.0, 0.0]])
    bce, dice = pairwise_mask_costs(logits, torch.tensor([[1.0, 1.0]]))
    # Query 0: (0 + 100)/2 = 50; 1 - (2*1+1)/(1+2+1) = 0.25. Query 1: ln 2; 0.25 as above.
    torch.testing.assert_close(bce, torch.tensor([[50.0], [LN2]]))
    torch.testing.assert_close(dice, torch.tensor([[0.25], [0.25]]))


def test_pairwise_costs_of_huge_logits_in_float32():
    # softplus(1e4) - 1e4 * 1 is 0, not infinity - infinity.
    bce, dice = pairwise_mask_costs(torch.tensor([[1e4, 1e4]]), torch.tensor([[1.0, 1.0]]))
    assert bce.item() == 0.0
    assert dice.item() == 0.0


def test_weighted_cross_entropy_hand_computed():
    # (ln 3, 0) is (0.75, 0.25). Label 0 with weight 1: ln(4/3); label 1 with weight 0.5: 2 ln 2.
    logits = torch.tensor([[LN3, 0.0], [LN3, 0.0]])
    loss = weighted_cross_entropy(logits, torch.tensor([0, 1]), torch.tensor([1.0, 0.5]))
    expected = (math.log(4 / 3) + 0.5 * 2 * LN2) / 1.5
    torch.testing.assert_close(loss, torch.tensor(expected))


def test_weighted_cross_entropy_equals_pytorchs_with_class_weights():
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(3, 10, 5, generator=generator, dtype=torch.float64)
    labels = torch.randint(5, (3, 10), generator=generator)
    class_weights = torch.tensor([1.0, 1, 1, 1, 0.1], dtype=torch.float64)
    losses = weighted_cross_entropy(logits, labels, class_weights[labels])
    assert losses.shape == (3,)
    for i in range(3):
        expected = F.cross_entropy(logits[i], labels[i], class_weights)
        torch.testing.assert_close(losses[i], expected)


def test_weight_0_ignores_the_label_and_gives_no_gradient():
    logits = torch.tensor([[LN3, 0.0], [5.0, -7.0]], requires_grad=True)
    # -1 indexes nothing: its weight is 0.
    loss = weighted_cross_entropy(logits, torch.tensor([0, -1]), torch.tensor([1.0, 0.0]))
    torch.testing.assert_close(loss, torch.tensor(math.log(4 / 3)))
    loss.backward()
    assert not logits.grad[1].any()
    # d/dlogits of -ln p_0 is p - (1, 0) = (-0.25, 0.25).
    torch.testing.assert_close(logits.grad[0], torch.tensor([-0.25, 0.25]))


def test_all_weights_0_give_0_and_no_gradient():
    logits = torch.randn(2, 3, 4, requires_grad=True)
    weights = torch.zeros(2, 3)
    weights[1, 0] = 1.0
    losses = weighted_cross_entropy(logits, torch.zeros(2, 3, dtype=torch.int64), weights)
    assert losses[0] == 0
    assert losses[1] > 0
    losses.sum().backward()
    assert logits.grad.isfinite().all()
    assert not logits.grad[0].any()
