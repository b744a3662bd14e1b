"""The IoU of all pairs of masks, and hard and soft suppression by it."""

from __future__ import annotations

import pytest
import torch
from tiny import rectangles

from mask2former_mt.postprocess.mask_nms import keep_by_overlap, mask_iou, overlap_decay


def test_iou_of_all_pairs():
    # 4 x 4 = 16 pixels; 2 x 4 = 8 of them; 4 x 4 beside, sharing a column of 4; nothing.
    masks = rectangles(4, 8, [(0, 0, 4, 4), (0, 0, 4, 2), (3, 0, 7, 4), (0, 0, 0, 0)])
    expected = torch.tensor(
        [
            [1, 8 / 16, 4 / 28, 0],
            # 8 and 16 pixels share 1 x 2.
            [8 / 16, 1, 2 / 22, 0],
            [4 / 28, 2 / 22, 1, 0],
            [0, 0, 0, 0],
        ]
    )
    torch.testing.assert_close(mask_iou(masks), expected)


# 0 is better than 1 is better than 2. 1 lies over 0, 2 over 1.
CHAIN = torch.tensor([[1, 0.6, 0.1], [0.6, 1, 0.6], [0.1, 0.6, 1]])
SCORES = torch.tensor([0.9, 0.8, 0.7])


def test_hard_nms_leaves_out_what_overlaps_a_better_one_that_stays():
    # 1 goes because of 0; 2 stays, because 1, which it overlaps, is gone.
    assert keep_by_overlap(CHAIN, SCORES, threshold=0.5).tolist() == [True, False, True]
    # The IoU must be above the threshold.
    assert keep_by_overlap(CHAIN, SCORES, threshold=0.6).all()
    # In any order of the instances: now 1 is the best, and both others go.
    scores = torch.tensor([0.7, 0.9, 0.8])
    assert keep_by_overlap(CHAIN, scores, threshold=0.5).tolist() == [False, True, False]


def test_of_equally_good_ones_the_first_stays():
    keep = keep_by_overlap(torch.ones(3, 3), torch.full((3,), 0.5), threshold=0.5)
    assert keep.tolist() == [True, False, False]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        # 1: (1 - .6) / (1 - 0) = .4. 2: over 0 (1 - .1) / 1 = .9; over 1, which itself overlaps a
        # better one by .6, (1 - .6) / (1 - .6) = 1; the least is .9.
        ("linear", [1, 0.4, 0.9]),
        # 1: exp(-.36 / .5) = .48675; 2: exp(-.01 / .5) = .98020 and exp(0) = 1.
        ("gaussian", [1, 0.48675, 0.98020]),
    ],
)
def test_overlap_lowers_scores(kind, expected):
    decay = overlap_decay(CHAIN, SCORES, kind=kind, sigma=0.5)
    torch.testing.assert_close(decay, torch.tensor(expected).float(), atol=1e-5, rtol=0)
    # In any order of the instances.
    order = torch.tensor([2, 0, 1])
    shuffled = overlap_decay(CHAIN[order][:, order], SCORES[order], kind=kind, sigma=0.5)
    torch.testing.assert_close(shuffled, decay[order])


def test_copies_of_the_best_get_nothing_and_lower_nobody_else():
    # 0, 1 and 2 are the same mask; 3 overlaps each of them by .5.
    iou = torch.ones(4, 4)
    iou[3, :3] = iou[:3, 3] = 0.5
    decay = overlap_decay(iou, torch.tensor([0.9, 0.8, 0.7, 0.6]), kind="linear")
    # 3 is lowered by 0 alone: (1 - .5) / (1 - 0).
    torch.testing.assert_close(decay, torch.tensor([1.0, 0.0, 0.0, 0.5]))
