"""The whole model: losses in training, instances in evaluation, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from detectron2.modeling import META_ARCH_REGISTRY, SEM_SEG_HEADS_REGISTRY
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
    boxes = [(4, 8, 30, 40), (20, 30, 60, 50)][:objects]
    # The first object's colour is unknown (-1), the second has no fill (2, none).
    labels = [[-1, 0], [3, 2]][:objects] if labelled else None
    masks = rectangles(height, width, boxes)
    return {
        "image": random_image(height, width, seed=seed),
        "height": height,
        "width": width,
        "instances": ground_truth(masks, [0, 2][:objects], labels),
    }


# --- registration --------------------------------------------------------------------------------


def test_published_names_and_ours_are_registered_with_detectron2():
    published = META_ARCH_REGISTRY.get("MaskFormer")
    assert issubclass(published, META_ARCH_REGISTRY.get("MultiTaskMaskFormer"))
    for name in ("MaskFormerHead", "MSDeformAttnPixelDecoder"):
        assert SEM_SEG_HEADS_REGISTRY.get(name).__name__ == name


# --- training ------------------------------------------------------------------------------------


def test_losses_are_named_finite_and_reach_every_parameter():
    model = tiny_model().train()
    # Two sizes in a batch: the smaller image and its masks are padded.
    losses = model([training_input(64, 96), training_input(64, 64, seed=1)])
    assert set(losses) == LOSSES
    assert all(loss.dim() == 0 and loss.isfinite() and loss > 0 for loss in losses.values())
    sum(losses.values()).backward()
    without = [name for name, p in model.named_parameters() if p.grad is None]
    assert without == []


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


def test_images_without_objects_train():
    model = tiny_model().train()
    losses = model([training_input(objects=0), training_input(objects=0, seed=1)])
    assert set(losses) == LOSSES
    assert all(loss.isfinite() for loss in losses.values())
    # No mask to learn; the class and subcategory heads learn "no object" and none.
    assert losses["loss_mask"] == losses["loss_dice"] == 0
    assert losses["loss_ce"] > 0
    assert losses["loss_subcategory_colour"] > 0
    sum(losses.values()).backward()
    assert model.sem_seg_head.predictor.class_embed.weight.grad.abs().sum() > 0
    # Beside an image with objects too.
    assert all(v.isfinite() for v in model([training_input(objects=0), training_input()]).values())


def test_an_image_with_more_objects_than_queries_trains(model):
    boxes = [(i, i, i + 20, i + 20) for i in range(NUM_QUERIES + 2)]
    masks = rectangles(64, 64, boxes)
    count = len(boxes)
    instances = ground_truth(masks, [0] * count, [[0, 0]] * count)
    losses = model.train()([{"image": random_image(64, 64), "instances": instances}])
    assert all(loss.isfinite() for loss in losses.values())


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
    losses = model.train()([training_input(labelled=False)])
    assert all(loss.isfinite() for loss in losses.values())


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
    assert len(target) == 6
    (target,) = model.targets([labelled([0] * 0, torch.zeros(0, 2).long())], (64, 64))
    assert len(target) == 0


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
        assert set(instances.get_fields()) == {
            "pred_masks",
            "pred_boxes",
            "scores",
            "pred_classes",
            "pred_subcategories",
            "subcategory_scores",
        }
        assert (instances.pred_masks.shape, instances.pred_masks.dtype) == ((N, H, W), torch.bool)
        assert isinstance(instances.pred_boxes, Boxes)
        assert instances.scores.dtype == torch.float32
        assert (instances.scores.diff() <= 0).all()
        assert instances.pred_classes.dtype == torch.int64
        assert instances.pred_classes.max() < NUM_CLASSES
        values = instances.pred_subcategories
        assert (values.shape, values.dtype) == ((N, S), torch.int64)
        assert (values >= 0).all()
        assert (values <= torch.tensor(SPEC.num_classes)).all()
        assert instances.subcategory_scores.shape == (N, S)
        # The best of K_s + 1 probabilities is at least their mean.
        assert (instances.subcategory_scores >= 1 / (torch.tensor(SPEC.num_classes) + 1)).all()


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


def test_a_subcategory_called_mask_leaves_the_mask_loss_alone():
    model = tiny_model(tiny_cfg(subcategories={"mask": 2, "ce": 2}))
    assert {"loss_ce", "loss_mask", "loss_dice"} <= set(model.loss_weights)
    assert {"loss_subcategory_mask", "loss_subcategory_ce"} <= set(model.loss_weights)
    assert len(model.loss_weights) == 5
