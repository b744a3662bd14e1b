"""Mask logits from factors: the same as from whole masks, without multiplying all out."""

import torch

from mask2former_mt.losses.mask_logits import logits_at_points, matched_logits, shared_features
from mask2former_mt.structures import DecoderOutput, MaskFactors

B, Q, C, H, W = 2, 5, 3, 6, 7


def layers(count=3):
    """Layers with factors, and the same with whole masks."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(B, C, H, W, generator=generator, dtype=torch.float64)
    factored, whole = [], []
    for _ in range(count):
        embedding = torch.randn(B, Q, C, generator=generator, dtype=torch.float64)
        masks = torch.einsum("bqc,bchw->bqhw", embedding, features)
        logits = torch.zeros(B, Q, 2)
        factored.append(DecoderOutput(logits, MaskFactors(embedding, features), {}))
        whole.append(DecoderOutput(logits, masks, {}))
    return factored, whole


def test_pred_masks_are_the_product_of_the_factors():
    factored, whole = layers(1)
    torch.testing.assert_close(factored[0].pred_masks, whole[0].pred_masks)
    # Multiplied out once.
    assert factored[0].pred_masks is factored[0].pred_masks
    assert factored[0].mask_factors is not None
    assert whole[0].mask_factors is None


def test_logits_at_points_are_the_sampled_masks():
    factored, whole = layers()
    # Inside, on the border, outside.
    points = torch.rand(B, 40, 2, dtype=torch.float64) * 1.2 - 0.1
    points[:, 0], points[:, 1] = 0.0, 1.0
    for one, other in zip(
        logits_at_points(factored, points), logits_at_points(whole, points), strict=True
    ):
        assert one.shape == (B, Q, 40)
        torch.testing.assert_close(one, other, atol=1e-12, rtol=1e-12)


def test_matched_logits_are_the_chosen_masks():
    factored, whole = layers()
    # Two matches in image 0, one in image 1, in each layer other queries.
    images = torch.tensor([[0, 0, 1]] * 3)
    queries = torch.tensor([[0, 3, 2], [1, 4, 4], [2, 3, 0]])
    expected = torch.stack(
        [whole[y].pred_masks[images[y, i], queries[y, i]] for y in range(3) for i in range(3)]
    )
    for some in (factored, whole):
        torch.testing.assert_close(matched_logits(some, images, queries, [2, 1]), expected)


def test_no_match_gives_no_mask():
    factored, whole = layers()
    none = torch.zeros(3, 0, dtype=torch.int64)
    for some in (factored, whole):
        assert matched_logits(some, none, none, [0, 0]).shape == (0, H, W)


def test_gradients_reach_both_factors_of_matched_queries_alone():
    features = torch.randn(B, C, H, W, requires_grad=True)
    embedding = torch.randn(B, Q, C, requires_grad=True)
    output = DecoderOutput(torch.zeros(B, Q, 2), MaskFactors(embedding, features), {})
    matched_logits([output], torch.tensor([[1]]), torch.tensor([[3]]), [0, 1]).sum().backward()
    assert features.grad[1].abs().sum() > 0
    assert not features.grad[0].any()
    touched = embedding.grad.abs().sum(-1) > 0
    assert touched.nonzero().tolist() == [[1, 3]]


def test_layers_with_other_features_are_not_mixed_up():
    factored, whole = layers()
    other, _ = layers()
    assert shared_features(factored) is factored[0].mask_factors.features
    assert shared_features([factored[0], other[1]]) is None
    assert shared_features([factored[0], whole[1]]) is None
