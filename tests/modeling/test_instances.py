"""Every instance is what one query of its own image predicts: mask, class, labels, scores."""

from __future__ import annotations

import pytest
import torch
from postprocess_tools import image_sizes
from tiny import NUM_CLASSES, NUM_QUERIES, SPEC, random_image, tiny_model

from mask2former_mt.ops.resize_masks import resize_masks
from mask2former_mt.structures import DecoderOutput


@pytest.fixture(scope="module")
def model():
    return tiny_model().eval()


def handmade_output() -> DecoderOutput:
    """Two images whose every query has its own mask and its own values.

    On the 8 x 8 grid of a 32 x 32 image, query q of image b has the mask of column q + b; colour
    (q + b) mod 5, fill (q + 2 b) mod 3. Query 1 of each image is sure of two classes.
    """
    masks = torch.full((2, NUM_QUERIES, 8, 8), -9.0)
    logits = torch.zeros(2, NUM_QUERIES, NUM_CLASSES + 1)
    colour, fill = torch.zeros(2, NUM_QUERIES, 5), torch.zeros(2, NUM_QUERIES, 3)
    for b in range(2):
        for q in range(NUM_QUERIES):
            masks[b, q, :, q + b] = 9.0
            logits[b, q, q % NUM_CLASSES] = 3.0 + 0.5 * q
            colour[b, q, (q + b) % 5] = 1.0 + q
            fill[b, q, (q + 2 * b) % 3] = 2.0 + q
        logits[b, 1, :2] = 8.0
    return DecoderOutput(
        pred_logits=logits, pred_masks=masks, pred_subcategories={"colour": colour, "fill": fill}
    )


def predicted(model, output: DecoderOutput, index: int, size: tuple[int, int]):
    """The instances of an image that the network sees as it is."""
    return model.inference(output, index, image_sizes(size))["instances"]


def test_failure_3_subcategories_come_from_the_query_that_made_the_mask(model):
    output = handmade_output()
    size = (32, 32)
    seen = []
    for b in range(2):
        instances = predicted(model, output, b, size)
        assert len(instances) == 10
        for i in range(len(instances)):
            # The mask says which query it is: its middle lies in grid column q + b.
            box = instances.pred_boxes.tensor[i]
            q = int((box[0] + box[2]) / 2 // 4) - b
            expected, _, _ = resize_masks(output.pred_masks[b, q : q + 1], image_sizes(size))
            assert torch.equal(instances.pred_masks[i], expected[0])
            assert instances.pred_subcategories[i].tolist() == [(q + b) % 5, (q + 2 * b) % 3]
            for column, logits in enumerate(output.pred_subcategories.values()):
                torch.testing.assert_close(
                    instances.subcategory_scores[i, column], logits[b, q].softmax(-1).max()
                )
            seen.append((b, q, int(instances.pred_classes[i])))
    # Each query's best class is there, and query 1 comes with two.
    for b in range(2):
        assert {(b, q, q % NUM_CLASSES) for q in range(NUM_QUERIES)} <= set(seen)
        assert {(b, 1, 0), (b, 1, 1)} <= set(seen)


def test_failure_3_each_image_gets_its_own_subcategory_logits():
    model = tiny_model().eval()
    inputs = [{"image": random_image(64, 96, seed=seed)} for seed in (1, 2)]

    def logits(batch) -> DecoderOutput:
        with torch.no_grad():
            return model.sem_seg_head(model.backbone(model.preprocess(batch).tensor))

    together, alone = logits(inputs), [logits([image]) for image in inputs]
    assert set(together.pred_subcategories) == set(SPEC.names)
    for name, batch in together.pred_subcategories.items():
        one, other = (output.pred_subcategories[name][0] for output in alone)
        # They depend on the image and not only on the weights ...
        assert (one - other).abs().amax(-1).min() > 1e-3
        # ... and are the same in a batch, in the images' order.
        torch.testing.assert_close(batch[0], one, atol=1e-5, rtol=0)
        torch.testing.assert_close(batch[1], other, atol=1e-5, rtol=0)

    with torch.no_grad():
        predicted = [output["instances"] for output in model(inputs)]
        single = [model([image])[0]["instances"] for image in inputs]
    assert not torch.allclose(predicted[0].subcategory_scores, predicted[1].subcategory_scores)
    for ours, expected in zip(predicted, single, strict=True):
        assert torch.equal(ours.pred_subcategories, expected.pred_subcategories)
        torch.testing.assert_close(
            ours.subcategory_scores, expected.subcategory_scores, atol=1e-5, rtol=0
        )


def test_scores_are_class_probability_times_mean_mask_probability(model):
    output = handmade_output()
    size = (32, 32)
    instances = predicted(model, output, 0, size)
    # Query 5's class 2 has logit 3 + .5 * 5 = 5.5 against three of 0: e^5.5 / (e^5.5 + 3) = .98789,
    # better than query 1's, which is sure of two classes: e^8 / (2 e^8 + 2) = .49983 each.
    # All masks are columns of equal logits, so they score alike.
    column = torch.tensor([9.0])
    middle = [-9 + 18 * w for w in (0.625, 0.875)]  # the two pixels on either side of the centre
    mask_score = torch.tensor([*middle, *middle]).sigmoid().mean()
    assert column.sigmoid() > mask_score
    assert instances.pred_classes[0] == 2
    torch.testing.assert_close(instances.scores[0], 0.98789 * mask_score, atol=1e-5, rtol=0)
