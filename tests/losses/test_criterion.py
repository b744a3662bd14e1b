"""The training loss: its values, how its terms are normalised, layers, and awkward inputs."""

import math

import pytest
import torch
from criterion_tools import (
    LOSSES,
    NO_SPEC,
    NUM_CLASSES,
    SPEC,
    H,
    W,
    changed_output,
    check_mean_over_processes,
    leaves,
    make_criterion,
    mask_points,
    pairs,
    random_image,
    random_output,
    strided,
    total,
)
from torch import nn

from mask2former_mt.layers.point_sampling import sample_binary_masks
from mask2former_mt.losses import criterion as criterion_module
from mask2former_mt.losses.functional import dice_loss, mask_bce_loss
from mask2former_mt.losses.targets import ImageTargets
from mask2former_mt.structures import DecoderOutput, SubcategorySpec

# Y supervised layers, B images, Q queries, K classes, N targets, S subcategories, P points

LN2, LN3 = math.log(2), math.log(3)


# --- shapes and values --------------------------------------------------------------------------


@pytest.mark.parametrize(("spec", "names"), [(SPEC, LOSSES), (NO_SPEC, LOSSES[:3])])
def test_one_number_per_loss_and_layer(spec, names):
    losses = make_criterion(spec)(
        random_output(Y=3, spec=spec), [random_image(2, spec=spec), random_image(3, spec=spec)]
    )
    assert list(losses) == names
    for loss in losses.values():
        assert loss.shape == (3,)
        assert loss.isfinite().all()


def test_hand_computed_losses():
    # One image, two queries, one class; query 1 is matched. ink has two values, none is 2.
    spec = SubcategorySpec.from_counts(["ink"], [2])
    output = DecoderOutput(
        pred_logits=torch.tensor([[[LN3, 0.0], [LN3, 0.0]]]),
        pred_masks=torch.zeros(1, 2, 2, 3),
        pred_subcategories={"ink": torch.tensor([[[0.0, 0.0, LN2], [LN2, 0.0, 0.0]]])},
    )
    target = ImageTargets(
        classes=torch.tensor([0]),
        masks=torch.ones(1, H, W, dtype=torch.bool),
        subcategories=torch.tensor([[1]]),
    )
    # Four points on the inside.
    points = torch.tensor([[0.3, 0.3], [0.5, 0.5], [0.4, 0.6], [0.7, 0.4]]).view(1, 1, 4, 2)
    losses = make_criterion(spec, num_classes=1)(
        output, [target], matches=[pairs([(1, 0)])], points=points
    )
    # Class: (0.75, 0.25) for both. Query 1 costs -ln 0.75, query 0 a tenth of -ln 0.25.
    expected = (math.log(4 / 3) + 0.1 * math.log(4)) / 1.1
    torch.testing.assert_close(losses["loss_ce"], torch.tensor([expected]))
    # Mask logits 0 are probability 0.5, the truth is 1: ln 2, and 1 - (2*2+1)/(2+4+1) = 2/7.
    torch.testing.assert_close(losses["loss_mask"], torch.tensor([LN2]))
    torch.testing.assert_close(losses["loss_dice"], torch.tensor([2 / 7]))
    # ink: query 1 (2, 1, 1)/4 with value 1: ln 4. Query 0 (1, 1, 2)/4 is taught none: ln 2, times
    # 0.25.
    expected = (math.log(4) + 0.25 * LN2) / 1.25
    torch.testing.assert_close(losses["loss_subcategory_ink"], torch.tensor([expected]))


def test_mask_losses_are_the_mean_of_the_matched_pairs():
    # The image without objects counts for nothing: the sum is divided by 3 masks.
    targets = [random_image(2), random_image(1, seed=1), random_image(0)]
    output, points = random_output(B=3), mask_points(1, 3)
    # Targets out of order: points and pairs follow the matches, image by image.
    matches = [pairs([(1, 1), (4, 0)], [(2, 0)], [])]
    losses = make_criterion()(output, targets, matches=matches, points=points)
    expected = {"loss_mask": 0.0, "loss_dice": 0.0}
    for i, (b, q, t) in enumerate([(0, 1, 1), (0, 4, 0), (1, 2, 0)]):
        grid = (2 * points[0, i] - 1)[None, None]
        sampled, truth = (
            nn.functional.grid_sample(x[None, None].double(), grid, align_corners=False)[0, 0, 0]
            for x in (output.pred_masks[b, q], targets[b].masks[t])
        )
        expected["loss_mask"] += mask_bce_loss(sampled, truth) / 3
        expected["loss_dice"] += dice_loss(sampled, truth) / 3
    for name, value in expected.items():
        torch.testing.assert_close(losses[name][0], value)


# --- numbers of targets -------------------------------------------------------------------------


def test_no_targets_in_any_image():
    output = random_output(Y=3)
    losses = make_criterion()(output, [random_image(0), random_image(0)])
    assert torch.equal(losses["loss_mask"], torch.zeros(3, dtype=torch.float64))
    assert torch.equal(losses["loss_dice"], torch.zeros(3, dtype=torch.float64))
    # Every query is "no object", all with the same weight: the plain mean.
    expected = -output.pred_logits.log_softmax(-1)[..., -1].mean()
    torch.testing.assert_close(losses["loss_ce"][-1], expected)
    total(losses).backward()
    # Masks take part with gradient 0, so that distributed training does not wait for them.
    for layer in output.layers:
        assert not layer.mask_factors.embedding.grad.any()
        assert layer.pred_logits.grad.any()
    assert all(x.grad.isfinite().all() for x in leaves(output))


def test_no_targets_in_one_image():
    output = random_output()
    losses = make_criterion()(output, [random_image(0), random_image(3)])
    total(losses).backward()
    assert all(loss.isfinite().all() for loss in losses.values())
    embedding, features = output.mask_factors
    assert not features.grad[0].any()
    # Three queries of image 1 have a mask to learn.
    assert embedding.grad.any(2).sum(1).tolist() == [0, 3]


def test_more_targets_than_queries(monkeypatch):
    num_masks = []

    def count(masks, points, rows):
        num_masks.append(len(masks))
        return sample_binary_masks(masks, points, rows)

    monkeypatch.setattr(criterion_module, "sample_binary_masks", count)
    output, target, points = random_output(1, 2), random_image(5), mask_points(1, 2)
    matches = [pairs([(0, 4), (1, 2)])]
    losses = make_criterion()(output, [target], matches=matches, points=points)
    # The other three masks are not even copied.
    assert num_masks == [2]
    matched = ImageTargets(target.classes[2::2], target.masks[2::2], target.subcategories[2::2])
    matches = [pairs([(0, 1), (1, 0)])]
    alone = make_criterion()(output, [matched], matches=matches, points=points)
    # The same two pairs, but the sum is divided by the 5 masks of the batch instead of 2.
    for name in ("loss_mask", "loss_dice"):
        torch.testing.assert_close(losses[name] * 5, alone[name] * 2)
    torch.testing.assert_close(losses["loss_ce"], alone["loss_ce"])
    # And the matcher finds as many.
    assert all(x.isfinite().all() for x in make_criterion()(output, [target]).values())


def test_processes_share_the_number_of_masks(tmp_path):
    # Process 0 has 3 masks, process 1 none: both divide by 1.5, and neither waits for the other.
    address = f"file://{tmp_path / 'rendezvous'}"
    torch.multiprocessing.spawn(check_mean_over_processes, (address, (3, 0)), nprocs=2)


# --- layers, matches and points -----------------------------------------------------------------


def test_layers_together_equal_each_layer_alone():
    Y, counts = 3, (2, 3)
    output = random_output(Y=Y)
    targets = [random_image(n, seed=n) for n in counts]
    points = mask_points(Y, sum(counts))
    criterion, single = make_criterion(), make_criterion(deep_supervision=False)
    matches = criterion.matcher(output.layers, targets)
    together = criterion(output, targets, matches=matches, points=points)
    total(together).backward()
    gradients = [x.grad.clone() for x in leaves(output)]
    for x in leaves(output):
        x.grad = None
    for i, layer in enumerate(output.layers):
        alone = single(layer, targets, matches=matches[i : i + 1], points=points[i : i + 1])
        for name in LOSSES:
            torch.testing.assert_close(alone[name], together[name][i : i + 1])
        total(alone).backward()
    for x, expected in zip(leaves(output), gradients, strict=True):
        torch.testing.assert_close(x.grad, expected)


def test_matches_come_from_the_matcher():
    output, targets = random_output(Y=2), [random_image(2), random_image(3, seed=1)]
    criterion, points = make_criterion(), mask_points(2, 5)
    torch.manual_seed(3)
    own = criterion(output, targets, points=points)
    torch.manual_seed(3)
    matches = criterion.matcher(output.layers, targets)
    given = criterion(output, targets, matches=matches, points=points)
    for name in LOSSES:
        assert torch.equal(own[name], given[name])


def test_uncertain_points_are_drawn_when_none_are_given():
    # Mask logits: certain (8) left, undecided (0) right; the truth is everywhere 1. Uncertain
    # points lie on the right, where a point costs ln 2 = 0.69, on the left e^-8.
    output = random_output(1, 1, spec=NO_SPEC)
    masks = torch.full((1, 1, 16, 64), 8.0)
    masks[..., 32:] = 0.0
    output = DecoderOutput(output.pred_logits, masks, output.pred_subcategories)
    target = random_image(1, spec=NO_SPEC)
    target.masks = torch.ones(1, 64, 256, dtype=torch.bool)

    def loss(importance):
        torch.manual_seed(0)
        criterion = make_criterion(NO_SPEC, num_points=2000, importance_sample_ratio=importance)
        return criterion(output, [target])["loss_mask"].item()

    # Of 3 P candidates half lie on the right, more than P: all P points do.
    assert loss(1.0) == pytest.approx(LN2, rel=0.05)
    # Uniform: half of them.
    assert loss(0.0) == pytest.approx(LN2 / 2, rel=0.1)


# --- awkward inputs -----------------------------------------------------------------------------


def test_a_padded_image():
    # The image is the left half; its object fills it. The query spills into the padding.
    target = ImageTargets(
        classes=torch.tensor([0]),
        masks=torch.zeros(1, 8, 16, dtype=torch.bool),
        subcategories=torch.zeros(1, 0, dtype=torch.int64),
    )
    target.masks[0, :, :8] = True
    output = DecoderOutput(
        pred_logits=torch.zeros(1, 1, NUM_CLASSES + 1),
        pred_masks=torch.full((1, 1, 2, 4), 100.0),
        pred_subcategories={},
    )
    # One point in the image, one in the padding, both away from the seam at x = 0.5.
    points = torch.tensor([[0.25, 0.5], [0.75, 0.5]]).view(1, 1, 2, 2)
    losses = make_criterion(NO_SPEC)(output, [target], matches=[pairs([(0, 0)])], points=points)
    # One of two points right: dice 1 - (2*1+1)/(2+1+1) = 0.25; bce (0 + 100)/2 = 50.
    torch.testing.assert_close(losses["loss_dice"], torch.tensor([0.25]))
    torch.testing.assert_close(losses["loss_mask"], torch.tensor([50.0]))


def test_memory_layout_does_not_matter():
    output, targets = random_output(), [random_image(2), random_image(3, seed=1)]
    matches, points = [pairs([(0, 0), (4, 1)], [(1, 2), (2, 0), (3, 1)])], mask_points(1, 5)
    expected = make_criterion()(output, targets, matches=matches, points=points)
    turned = changed_output(output, strided)
    assert not turned.pred_logits.is_contiguous()
    targets = [ImageTargets(t.classes, strided(t.masks), strided(t.subcategories)) for t in targets]
    actual = make_criterion()(turned, targets, matches=matches, points=strided(points))
    torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_predictions_give_float32_losses(dtype):
    half = random_output(Y=2, dtype=dtype)
    targets = [random_image(2), random_image(3, seed=1)]
    matches = [pairs([(0, 0), (4, 1)], [(1, 2), (2, 0), (3, 1)])] * 2
    points = mask_points(2, 5).float()
    full = changed_output(half, torch.Tensor.float)
    expected = make_criterion()(full, targets, matches=matches, points=points)
    # As in a training step under autocast.
    with torch.autocast("cpu", dtype=torch.bfloat16):
        actual = make_criterion()(half, targets, matches=matches, points=points)
    for name in LOSSES:
        assert actual[name].dtype == torch.float32
        torch.testing.assert_close(actual[name], expected[name])
    # With matcher and drawn points too it runs and can be differentiated.
    total(make_criterion()(half, targets)).backward()
    assert all(x.grad.isfinite().all() for x in leaves(half))
