"""A score per class and pixel."""

from __future__ import annotations

import pytest
import torch
from postprocess_tools import image_sizes, output_of, soft_discs

from mask2former_mt.ops import resize_masks as resize_module
from mask2former_mt.postprocess import SemanticOptions, predict_semantic, semantic


def test_class_probabilities_are_added_up_where_the_masks_are():
    masks = torch.tensor([[[[50.0, 50.0, -50.0]], [[-50.0, 50.0, 50.0]]]])
    output = output_of([[[0.7, 0.1, 0.2], [0.3, 0.6, 0.1]]], masks=masks)
    scores = predict_semantic(output, 0, image_sizes((1, 3)))
    # Both masks in the middle: .7 + .3 and .1 + .6.
    expected = torch.tensor([[[0.7, 1.0, 0.3]], [[0.1, 0.7, 0.6]]])
    torch.testing.assert_close(scores, expected)


@pytest.mark.parametrize("chunk", [1, 3 * 131 * 203])
def test_chunks_change_nothing(monkeypatch, chunk):
    output = output_of(
        torch.rand(2, 9, 4, generator=torch.Generator().manual_seed(0)).softmax(-1),
        masks=torch.stack([soft_discs(9, 16, 24, seed=i) for i in (1, 2)]),
    )
    where = image_sizes((64, 96), (60, 91), (131, 203))
    whole = [predict_semantic(output, i, where) for i in range(2)]
    assert whole[0].shape == (3, 131, 203)
    monkeypatch.setattr(semantic, "OTHER_CHUNK_ELEMENTS", chunk)
    for i in range(2):
        torch.testing.assert_close(predict_semantic(output, i, where), whole[i])


def test_masks_first_or_classes_first():
    output = output_of([[[0.9, 0.1]] * 3], masks=soft_discs(3, 16, 16)[None])
    where = image_sizes((64, 64), (50, 61), (91, 120))
    masks_first = predict_semantic(output, 0, where)
    classes_first = predict_semantic(
        output, 0, where, options=SemanticOptions(resize_masks_first=False)
    )
    assert masks_first.shape == classes_first.shape == (1, 91, 120)
    assert not torch.equal(masks_first, classes_first)
    # The same but for the curve of the sigmoid between pixels.
    torch.testing.assert_close(masks_first, classes_first, atol=0.05, rtol=0)
    # Where nothing is resized after the padded image, they are the same.
    for mode in resize_module.MASK_RESIZES:
        one = predict_semantic(
            output, 0, image_sizes((64, 64), (50, 61)), options=SemanticOptions(True, mode)
        )
        other = predict_semantic(
            output, 0, image_sizes((64, 64), (50, 61)), options=SemanticOptions(False, mode)
        )
        torch.testing.assert_close(one, other)


def test_masks_that_are_nan_are_empty_and_class_logits_refused():
    output = output_of([[[0.9, 0.1], [0.5, 0.5]]], masks=torch.full((1, 2, 4, 4), 60.0))
    output.pred_masks[0, 0] = float("nan")
    scores = predict_semantic(output, 0, image_sizes((16, 16), (1, 1)))
    torch.testing.assert_close(scores, torch.tensor([[[0.5]]]))
    output.pred_logits[0, 1] = float("nan")
    with pytest.raises(ValueError, match="not finite"):
        predict_semantic(output, 0, image_sizes((16, 16)))
