"""Mask logits of the matched queries, from factors that are not multiplied out before."""

import pytest
import torch
from criterion_tools import random_output

from mask2former_mt.losses.mask_logits import matched_logits, shared_features


def test_matched_logits_are_the_chosen_masks():
    layers = random_output(2, 5, Y=3).layers
    # Two matches in image 0, one in image 1, in each layer other queries.
    images = torch.tensor([[0, 0, 1]] * 3)
    queries = torch.tensor([[0, 3, 2], [1, 4, 4], [2, 3, 0]])
    expected = [layer.pred_masks[b, q] for layer, b, q in zip(layers, images, queries, strict=True)]
    actual = matched_logits(layers, images, queries, [2, 1])
    torch.testing.assert_close(actual, torch.cat(expected))


def test_layers_with_features_of_their_own_are_refused():
    one, other = random_output(Y=2), random_output(seed=1)
    assert shared_features(one.layers) is one.mask_factors.features
    with pytest.raises(ValueError, match="must be MaskFactors with the same features, got differ"):
        shared_features([one, other])
