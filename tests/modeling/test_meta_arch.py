"""The whole model: losses in training, instances in evaluation, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from detectron2.structures import BitMasks, Boxes, Instances, PolygonMasks
from tiny import (
    NUM_CLASSES,
    NUM_QUERIES,
    SPEC,
    ground_truth,
    random_image,
    rectangles,
    tiny_cfg,
    tiny_model,
)

from mask2former_mt.losses.criterion import Criterion

LOSSES = {"loss_ce", "loss_mask", "loss_dice", "loss_subcategory_colour", "loss_subcategory_fill"}


@pytest.fixture(scope="module")
def model():
    """Shared, so tests leave its parameters alone; each sets the mode that it needs."""
    return tiny_model()


def training_input(height=64, width=64, *, seed=0, objects=2, labelled=True) -> dict:
    masks = rectangles(height, width, [(4 + i, 8, 30 + i, 40) for i in range(objects)])
    # The first object's colour is unknown (-1), the second has no fill (2, none).
    labels = [[3, 2] if i else [-1, 0] for i in range(objects)] if labelled else None
    return {
        "image": random_image(height, width, seed=seed),
        "height": height,
        "width": width,
        "instances": ground_truth(masks, [i % NUM_CLASSES for i in range(objects)], labels),
    }


# --- training ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "batch",
    [
        # The smaller image and its masks are padded.
        [training_input(64, 96), training_input(64, 64, seed=1)],
        [training_input(objects=0), training_input(seed=1)],
        [training_input(objects=0), training_input(objects=0)],
        [training_input(objects=NUM_QUERIES + 2)],
    ],
    ids=["two sizes", "one without objects", "no objects", "more objects than queries"],
)
def test_losses_are_named_finite_and_reach_every_parameter(batch):
    model = tiny_model().train()
    losses = model(batch)
    assert set(losses) == LOSSES
    assert all(loss.dim() == 0 and loss.isfinite() for loss in losses.values())
    # Without a mask to learn, the heads still learn "no object" and none.
    no_masks = not any(len(image["instances"]) for image in batch)
    assert {name for name, loss in losses.items() if loss == 0} == (
        {"loss_mask", "loss_dice"} if no_masks else set()
    )
    sum(losses.values()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_losses_are_weighted_and_summed_over_the_layers(monkeypatch):
    weights = {
        "MODEL.MASK_FORMER.CLASS_WEIGHT": 3.0,
        "MODEL.SUBCATEGORY.LOSS_WEIGHTS": [0.5, 2.0],
    }
    model = tiny_model(tiny_cfg(opts=weights)).train()
    received, compute = {}, Criterion.__call__

    def recorded(criterion, output, targets):
        assert len(output.layers) == 3
        received.update(compute(criterion, output, targets))
        return received

    monkeypatch.setattr(Criterion, "__call__", recorded)
    losses = model([training_input()])
    for name, weight in (
        ("loss_ce", 3.0),
        ("loss_subcategory_colour", 0.5),
        ("loss_subcategory_fill", 2.0),
    ):
        assert received[name].shape == (3,)
        torch.testing.assert_close(losses[name], weight * received[name].sum())


def test_masks_are_padded_like_their_image(model):
    image = training_input(45, 70)
    (target,) = model.targets([image], (64, 96))
    assert target.masks.shape == (2, 64, 96)
    assert torch.equal(target.masks[:, :45, :70], image["instances"].gt_masks)
    assert not target.masks[:, 45:].any()
    assert not target.masks[:, :, 70:].any()


def test_instances_without_subcategories_are_unknown(model):
    (target,) = model.targets([training_input(labelled=False)], (64, 64))
    assert target.subcategories.tolist() == [[-1, -1], [-1, -1]]


def test_bit_masks_of_detectron2_are_taken_and_polygons_refused(model):
    image = training_input()
    masks = image["instances"].gt_masks
    image["instances"].gt_masks = BitMasks(masks)
    (target,) = model.targets([image], (64, 64))
    assert torch.equal(target.masks, masks)
    image["instances"].gt_masks = PolygonMasks([[[0.0, 0, 9, 0, 9, 9]]] * 2)
    with pytest.raises(ValueError, match=r"got PolygonMasks; set INPUT\.MASK_FORMAT='bitmask'"):
        model.train()([image])


def test_masks_of_another_size_are_refused(model):
    image = training_input(64, 96)
    image["image"] = random_image(96, 64)
    match = r"gt_masks must be \(N, 96, 64\) as the image is, got \(2, 64, 96\)"
    with pytest.raises(ValueError, match=match):
        model.train()([image])


def labelled(classes, subcategories) -> dict:
    """A training image whose instances have these labels."""
    masks = torch.zeros(len(classes), 64, 64, dtype=torch.bool)
    instances = Instances((64, 64), gt_masks=masks)
    instances.gt_classes = torch.as_tensor(classes, dtype=None if classes else torch.int64)
    instances.gt_subcategories = torch.as_tensor(subcategories)
    return {"image": random_image(64, 64), "instances": instances}


def test_every_label_of_the_ranges_is_taken(model):
    # Classes 0..2; colour -1..4, fill -1..2.
    labels = [[-1, -1], [0, 0], [1, 1], [2, 2], [3, 0], [4, 0]]
    (target,) = model.targets([labelled([0, 1, 2, 0, 0, 0], labels)], (64, 64))
    assert target.classes.tolist() == [0, 1, 2, 0, 0, 0]
    assert target.subcategories.tolist() == labels


@pytest.mark.parametrize(
    ("classes", "subcategories", "message"),
    [
        ([2, -1], [[0, 0]] * 2, r"gt_classes of image 1 .* must be in \[0, 2\], got -1$"),
        ([2, 3], [[0, 0]] * 2, r"gt_classes of image 1 .* must be in \[0, 2\], got 3$"),
        ([2, 255], [[0, 0]] * 2, r"gt_classes of image 1 .* must be in \[0, 2\], got 255$"),
        # A label of a head without a background slot: colour's none is 4, 5 is nothing.
        ([0], [[5, 0]], r"gt_subcategories 'colour' of image 1 .* in \[-1, 4\], got 5$"),
        ([0], [[-2, 0]], r"gt_subcategories 'colour' of image 1 .* in \[-1, 4\], got -2$"),
        ([0], [[0, 3]], r"gt_subcategories 'fill' of image 1 .* in \[-1, 2\], got 3$"),
        ([0], [[4, -5]], r"gt_subcategories 'fill' of image 1 .* in \[-1, 2\], got -5$"),
        # Strided: the columns are (0, 0) and (1, 3).
        ([0, 1], torch.tensor([[0, 0], [1, 3]]).t(), r"'fill' of image 1 .* got 3$"),
        ([0, 1], [[0], [1]], r"image 1 .* must be torch.int64 \(2, 2\), got torch.int64 \(2, 1\)"),
        # Without instances too: it could not be put beside the other images' labels.
        ([0] * 0, torch.zeros(0, 3).long(), r"torch.int64 \(0, 2\), got torch.int64 \(0, 3\)"),
        ([0], [[0.0, 1.0]], r"gt_subcat.* torch.int64 \(1, 2\), got torch.float32 \(1, 2\)"),
        ([0.5], [[0, 1]], r"gt_classes of image 1 .* torch.int64 \(1,\), got torch.float32 \(1,\)"),
    ],
)
def test_failure_1_labels_that_no_head_has_an_output_for_are_refused(
    model, classes, subcategories, message
):
    good = labelled([0], [[0, 0]])
    with pytest.raises(ValueError, match=message):
        model.train()([good, labelled(classes, subcategories)])


def test_without_subcategories_there_are_the_published_losses_only():
    model = tiny_model(tiny_cfg(subcategories={})).train()
    image = training_input(labelled=False)
    assert set(model([image])) == {"loss_ce", "loss_mask", "loss_dice"}
    with torch.no_grad():
        instances = model.eval()([image])[0]["instances"]
    assert instances.pred_subcategories.shape == (10, 0)
    assert instances.subcategory_scores.shape == (10, 0)


# --- evaluation ----------------------------------------------------------------------------------


def test_predictions_have_the_agreed_fields(model):
    inputs = [
        # Of two sizes, odd, and one larger than the network's image, one smaller.
        {"image": random_image(45, 71), "height": 90, "width": 142},
        {"image": random_image(70, 93, seed=1), "height": 35, "width": 47},
    ]
    with torch.no_grad():
        outputs = model.eval()(inputs)
    for image, output in zip(inputs, outputs, strict=True):
        instances = output["instances"]
        H, W, N, S = image["height"], image["width"], 10, len(SPEC)
        assert instances.image_size == (H, W)
        fields = instances.get_fields()
        assert isinstance(fields["pred_boxes"], Boxes)
        tensors = {k: (tuple(v.shape), v.dtype) for k, v in fields.items() if k != "pred_boxes"}
        assert tensors == {
            "pred_masks": ((N, H, W), torch.bool),
            "scores": ((N,), torch.float32),
            "pred_classes": ((N,), torch.int64),
            "pred_subcategories": ((N, S), torch.int64),
            "subcategory_scores": ((N, S), torch.float32),
        }
        assert (instances.scores.diff() <= 0).all()
        assert instances.pred_classes.max() < NUM_CLASSES
        values = instances.pred_subcategories
        assert ((values >= 0) & (values <= torch.tensor(SPEC.num_classes))).all()


def test_without_height_and_width_the_images_own_size_is_used(model):
    with torch.no_grad():
        (output,) = model.eval()([{"image": random_image(45, 70)}])
    assert output["instances"].pred_masks.shape[1:] == (45, 70)


def test_pixels_are_normalised_and_padding_is_the_mean_colour(model):
    images = model.preprocess([{"image": torch.full((3, 33, 40), 255, dtype=torch.uint8)}])
    # (255 - 127.5) / 127.5 = 1; padded to multiples of 32 with 0, which is the mean colour.
    assert images.tensor.shape == (1, 3, 64, 64)
    assert (images.tensor[..., :33, :40] == 1).all()
    assert images.tensor.sum() == 3 * 33 * 40
