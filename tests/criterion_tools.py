"""Predictions and targets that the tests of matcher and criterion share."""

import math

import torch
from process_group import leave_process_group

from mask2former_mt.losses.criterion import Criterion
from mask2former_mt.losses.matcher import HungarianMatcher, MatchCosts
from mask2former_mt.losses.targets import ImageTargets
from mask2former_mt.structures import DecoderOutput, MaskFactors, SubcategorySpec

# Y supervised layers, B images, Q queries, K classes, N targets, S subcategories, P points

H, W = 8, 12
NUM_CLASSES, NUM_POINTS, NUM_CHANNELS = 3, 16, 4
# None is 3 for ink, 1 for size, 5 for state.
SPEC = SubcategorySpec.from_counts(["ink", "size", "state"], [3, 1, 5])
NO_SPEC = SubcategorySpec()
LOSSES = ["loss_ce", "loss_mask", "loss_dice"]
LOSSES += [f"loss_subcategory_{name}" for name in SPEC.names]


def make_criterion(spec=SPEC, **changed):
    costs = MatchCosts(class_=2.0, mask=5.0, dice=5.0, subcategories=(1.0,) * len(spec))
    arguments = {
        "matcher": HungarianMatcher(costs=costs, spec=spec, num_points=NUM_POINTS),
        "num_classes": NUM_CLASSES,
        "spec": spec,
        "no_object_weight": 0.1,
        "subcategory_no_object_weight": 0.25,
        "num_points": NUM_POINTS,
        "oversample_ratio": 3.0,
        "importance_sample_ratio": 0.75,
    }
    return Criterion(**arguments | changed)


def random_output(B=2, Q=5, Y=1, seed=0, spec=SPEC, dtype=torch.float64):
    """Predictions of Y layers that share their mask features; their tensors are leaves."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        x = torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)
        return x.requires_grad_()

    features = normal(B, NUM_CHANNELS, H // 4, W // 4)
    layers = [
        DecoderOutput(
            pred_logits=normal(B, Q, NUM_CLASSES + 1),
            pred_masks=MaskFactors(normal(B, Q, NUM_CHANNELS), features),
            pred_subcategories={s.name: normal(B, Q, s.num_values + 1) for s in spec},
        )
        for _ in range(Y)
    ]
    layers[-1].aux_outputs = layers[:-1]
    return layers[-1]


def changed_output(output, change):
    """The same layers with every tensor changed; they still share their mask features."""
    features = change(output.mask_factors.features)
    layers = [
        DecoderOutput(
            pred_logits=change(layer.pred_logits),
            pred_masks=MaskFactors(change(layer.mask_factors.embedding), features),
            pred_subcategories={k: change(x) for k, x in layer.pred_subcategories.items()},
        )
        for layer in output.layers
    ]
    layers[-1].aux_outputs = layers[:-1]
    return layers[-1]


def leaves(output):
    """The tensors of all layers."""
    tensors = [output.mask_factors.features]
    for layer in output.layers:
        tensors += [layer.pred_logits, layer.mask_factors.embedding]
        tensors += layer.pred_subcategories.values()
    return tensors


def strided(x):
    """The same numbers, not contiguous."""
    return x.transpose(0, -1).contiguous().transpose(0, -1)


def random_image(N, seed=0, spec=SPEC):
    """N instances whose labels may be unknown or none."""
    generator = torch.Generator().manual_seed(seed)
    columns = [torch.randint(-1, s.none_index + 1, (N, 1), generator=generator) for s in spec]
    return ImageTargets(
        classes=torch.randint(NUM_CLASSES, (N,), generator=generator),
        masks=torch.rand(N, H, W, generator=generator) < 0.4,
        subcategories=torch.cat([torch.zeros(N, 0, dtype=torch.int64), *columns], dim=1),
    )


def pairs(*matches):
    """One layer's matches from lists of (query, target) per image."""
    return [
        (
            torch.tensor([q for q, _ in image], dtype=torch.int64),
            torch.tensor([t for _, t in image], dtype=torch.int64),
        )
        for image in matches
    ]


def mask_points(Y, N, P=NUM_POINTS, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(Y, N, P, 2, generator=generator, dtype=torch.float64)


def total(losses):
    return sum(loss.sum() for loss in losses.values())


def check_mean_over_processes(rank, address, counts):
    """Checks that both processes divide by the mean number of masks.

    It stands here because a spawned process imports it by name.
    """
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=address, rank=rank, world_size=2)
    # Mask logits 0 cost ln 2 per mask, whatever the truth.
    output = changed_output(random_output(1, 5, dtype=torch.float32), torch.zeros_like)
    losses = make_criterion()(output, [random_image(counts[rank])])
    expected = math.log(2) * counts[rank] / (sum(counts) / 2)
    torch.testing.assert_close(losses["loss_mask"], torch.tensor([expected]))
    leave_process_group()
