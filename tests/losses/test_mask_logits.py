"""Mask logits of the matched queries, from factors that are not multiplied out before."""

import pytest
import torch
from criterion_tools import H, W, random_output

from mask2former_mt.losses.mask_logits import matched_logits, shared_features
from mask2former_mt.structures import DecoderOutput


def test_matched_logits_are_the_chosen_masks():
    layers = random_output(2, 5, Y=3).layers
    # Two matches in image 0, one in image 1, in each layer other queries.
    images = torch.tensor([[0, 0, 1]] * 3)
    queries = torch.tensor([[0, 3, 2], [1, 4, 4], [2, 3, 0]])
    expected = [layer.pred_masks[b, q] for layer, b, q in zip(layers, images, queries, strict=True)]
    actual = matched_logits(layers, images, queries, [2, 1])
    torch.testing.assert_close(actual, torch.cat(expected))


def test_matched_logits_of_whole_masks_are_these_masks():
    masks = torch.randn(2, 5, 6, 7, dtype=torch.float64)
    output = DecoderOutput(torch.zeros(2, 5, 2), masks, {})
    images, queries = torch.tensor([[0, 1]]), torch.tensor([[4, 2]])
    expected = torch.stack([masks[0, 4], masks[1, 2]])
    assert torch.equal(matched_logits([output], images, queries, [1, 1]), expected)


def test_no_match_gives_no_mask():
    none = torch.zeros(3, 0, dtype=torch.int64)
    layers = random_output(2, 5, Y=3).layers
    assert matched_logits(layers, none, none, [0, 0]).shape == (0, H // 4, W // 4)


def test_gradients_reach_both_factors_of_matched_queries_alone():
    output = random_output(2, 5)
    embedding, features = output.mask_factors
    matched_logits([output], torch.tensor([[1]]), torch.tensor([[3]]), [0, 1]).sum().backward()
    assert features.grad[1].any()
    assert not features.grad[0].any()
    assert embedding.grad.any(2).nonzero().tolist() == [[1, 3]]


def test_layers_with_features_of_their_own_are_refused():
    one, other = random_output(Y=2), random_output(seed=1)
    assert shared_features(one.layers) is one.mask_factors.features
    with pytest.raises(ValueError, match="must be MaskFactors with the same features, got differ"):
        shared_features([one, other])
