"""The Mask R-CNN baseline: labels per region, and the geometry that such models get wrong."""

from __future__ import annotations

import pytest
import torch
from detectron2.structures import Boxes, Instances, ROIMasks
from detectron2.utils.events import EventStorage
from tiny import RCNN, ground_truth, random_image, rectangles, tiny_cfg, tiny_model

from mask2former_mt.structures import SubcategorySpec

SIZE = (96, 128)


def tiny_rcnn(**changes):
    return tiny_model(tiny_cfg(opts={**RCNN, **changes}))


@pytest.fixture(scope="module")
def rcnn():
    return tiny_rcnn()


def mapped(masks: torch.Tensor, classes: list[int], subcategories: list[list[int]] | None) -> dict:
    return {
        "image": random_image(*SIZE),
        "instances": ground_truth(masks, classes, subcategories),
        "height": SIZE[0],
        "width": SIZE[1],
    }


# --- geometry -----------------------------------------------------------------------------------


@pytest.mark.parametrize("pooler", ["box_pooler", "mask_pooler"])
@pytest.mark.parametrize("side", [24, 100, 300, 600], ids="level of a side of {} pixels".format)
def test_regions_are_cut_where_they_lie_on_every_level(rcnn, pooler, side):
    # Each feature holds the x and y of its cell's centre in pixels of the image, so what is pooled
    # must be the centres of the region's bins: a wrong scale or half a cell of offset shows.
    strides = [4, 8, 16, 32]
    features = []
    for stride in strides:
        centres = (torch.arange(1024 // stride) + 0.5) * stride
        y, x = torch.meshgrid(centres, centres, indexing="ij")
        features.append(torch.stack((x, y))[None])
    left, top = 160.0, 200.0
    pooled = getattr(rcnn.roi_heads, pooler)(
        features, [Boxes(torch.tensor([[left, top, left + side, top + side / 2]]))]
    )
    bins = pooled.shape[-1]
    steps = (torch.arange(bins) + 0.5) / bins
    torch.testing.assert_close(pooled[0, 0], (left + steps * side).expand(bins, bins))
    torch.testing.assert_close(pooled[0, 1], (top + steps * side / 2)[:, None].expand(bins, bins))


def test_targets_are_boxes_of_corners_and_masks_up_to_the_border(rcnn):
    # Left, top, right, bottom; the second reaches the picture's lower right corner.
    boxes = [(10, 20, 70, 40), (100, 60, 128, 96)]
    targets = rcnn._targets(0, mapped(rectangles(*SIZE, boxes), [0, 2], None))
    assert targets.gt_boxes.tensor.tolist() == [list(map(float, box)) for box in boxes]
    # A mask that fills its box fills the target of its region, the last row and column included.
    assert targets.gt_masks.crop_and_resize(targets.gt_boxes.tensor, 28).all()
    # The left half of a box twice as wide.
    twice = torch.tensor([[10.0, 20.0, 130.0, 40.0]])
    (half,) = targets[:1].gt_masks.crop_and_resize(twice, 28)
    assert half[:, :14].all()
    assert not half[:, 14:].any()


def test_masks_are_pasted_whole_and_then_cut_at_the_picture():
    # The region lies from -20 to 40 and the left half of its mask is set, -20 to 10; the picture
    # shows 0 to 10 of it. Fitting the mask into the visible part, 0 to 40, would give 0 to 20.
    mask = torch.zeros(1, 28, 28)
    mask[..., :14] = 1
    region = Boxes(torch.tensor([[-20.0, 10.0, 40.0, 50.0]]))
    (pasted,) = ROIMasks(mask).to_bitmasks(region, *SIZE).tensor
    assert torch.equal(pasted, rectangles(*SIZE, [(0, 10, 10, 50)])[0])


# --- labels -------------------------------------------------------------------------------------


def test_losses_of_subcategories_leave_out_the_unknown_and_teach_none_to_the_background(rcnn):
    predictor = rcnn.roi_heads.box_predictor
    proposals = Instances(SIZE)
    proposals.proposal_boxes = proposals.gt_boxes = Boxes(torch.tensor([[0.0, 0, 9, 9]] * 4))
    proposals.gt_classes = torch.tensor([0, 1, 2, 3])  # the last one is background
    # colour: value 1, unknown, none (4); the background's label means nothing.
    proposals.gt_subcategories = torch.tensor([[1, 0], [-1, 0], [4, 0], [2, 0]])
    logits = {"colour": torch.randn(4, 5), "fill": torch.zeros(4, 3)}
    with EventStorage():
        losses = predictor.losses((torch.zeros(4, 4), torch.zeros(4, 12), logits), [proposals])
    # Weights 1, 0, 1 and 0.1, targets 1, -, 4 and 4.
    log_probs = logits["colour"].log_softmax(-1)
    expected = -(log_probs[0, 1] + log_probs[2, 4] + 0.1 * log_probs[3, 4]) / 2.1
    torch.testing.assert_close(losses["loss_subcategory_colour"], expected)
    # Of three equally probable outputs each costs log 3.
    torch.testing.assert_close(losses["loss_subcategory_fill"], torch.tensor(3.0).log())


def test_a_picture_without_objects_trains(rcnn):
    empty = mapped(torch.zeros(0, *SIZE, dtype=torch.bool), [], [])
    with EventStorage():
        losses = rcnn.train()([empty])
    assert {"loss_cls", "loss_mask", "loss_subcategory_colour", "loss_rpn_cls"} <= set(losses)
    sum(losses.values()).backward()
    assert all(torch.isfinite(loss) for loss in losses.values())


def test_each_detection_has_the_values_of_its_own_region(rcnn):
    # Two pictures, regions of scattered classes and values: a detection must have the values of the
    # region that its box comes from.
    predictor = rcnn.roi_heads.box_predictor
    counts = (3, 2)
    classes, values = [0, 2, 1, 2, 0], [3, 0, 4, 1, 2]
    scores = 9 * torch.nn.functional.one_hot(torch.tensor(classes), 4).float()
    logits = {
        "colour": 9 * torch.nn.functional.one_hot(torch.tensor(values), 5).float(),
        "fill": torch.zeros(5, 3),
    }
    proposals = []
    for count in counts:
        proposal = Instances(SIZE)
        lefts = 30.0 * torch.arange(count)
        proposal.proposal_boxes = Boxes(
            torch.stack((lefts, lefts * 0, lefts + 20, lefts * 0 + 20), 1)
        )
        proposals.append(proposal)
    detections, _ = predictor.inference((scores, torch.zeros(5, 12), logits), proposals)
    start = 0
    for count, found in zip(counts, detections, strict=True):
        best = found[found.scores > 0.9]
        regions = (best.pred_boxes.tensor[:, 0] / 30).long() + start
        assert sorted(regions.tolist()) == list(range(start, start + count))
        assert best.pred_classes.tolist() == [classes[i] for i in regions]
        assert best.pred_subcategories[:, 0].tolist() == [values[i] for i in regions]
        # One logit of 9 among five.
        expected = torch.tensor([9.0, 0, 0, 0, 0]).softmax(0)[0].expand(count)
        torch.testing.assert_close(best.subcategory_scores[:, 0], expected)
        start += count


def test_outputs_are_those_of_the_query_model(rcnn):
    rcnn.eval()
    image = {"image": random_image(*SIZE), "height": 2 * SIZE[0], "width": 2 * SIZE[1]}
    with torch.no_grad():
        (output,) = rcnn([image])
    instances = output["instances"]
    count = len(instances)
    assert count == 10  # TEST.DETECTIONS_PER_IMAGE
    assert instances.pred_masks.shape == (count, 2 * SIZE[0], 2 * SIZE[1])
    assert instances.pred_masks.dtype == torch.bool
    assert instances.pred_subcategories.shape == instances.subcategory_scores.shape == (count, 2)
    for mask, box in zip(instances.pred_masks, instances.pred_boxes.tensor, strict=True):
        rows, columns = mask.nonzero(as_tuple=True)
        if len(rows):
            edges = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
            assert box.tolist() == [float(edge) for edge in edges]


def test_without_subcategories_it_is_plain_mask_rcnn():
    model = tiny_model(tiny_cfg(subcategories={}, opts=RCNN)).eval()
    assert model.roi_heads.box_predictor.spec == SubcategorySpec()
    with torch.no_grad():
        (output,) = model([{"image": random_image(*SIZE)}])
    assert output["instances"].pred_subcategories.shape == (10, 0)


@pytest.mark.parametrize(
    ("masks", "classes", "subcategories", "message"),
    [
        (rectangles(90, 90, [(0, 0, 9, 9)]), [0], [[0, 0]], r"gt_masks must be \(N, 96, 128\)"),
        (rectangles(*SIZE, [(0, 0, 9, 9)]), [3], [[0, 0]], r"gt_classes .* in \[0, 2\], got 3"),
        (rectangles(*SIZE, [(0, 0, 9, 9)]), [0], [[5, 0]], r"'colour' .* in \[-1, 4\], got 5"),
    ],
)
def test_what_no_head_has_an_output_for_is_refused(rcnn, masks, classes, subcategories, message):
    with pytest.raises(ValueError, match=message):
        rcnn.train()([mapped(masks, classes, subcategories)])


def test_scores_that_are_not_finite_are_refused(rcnn):
    proposal = Instances(SIZE)
    proposal.proposal_boxes = Boxes(torch.tensor([[0.0, 0, 9, 9]]))
    nan = torch.full((1, 4), torch.nan)
    with pytest.raises(ValueError, match="scores or boxes that are not finite"):
        rcnn.roi_heads.box_predictor.inference((nan, torch.zeros(1, 12), {}), [proposal])
