"""Without subcategories the model is the published Mask2Former, as `transformers` has it."""

import contextlib

import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.modeling import build_model
from safetensors.torch import load_file
from transformers import (
    Mask2FormerConfig,
    Mask2FormerForUniversalSegmentation,
    ResNetConfig,
    SwinConfig,
)
from transformers.models.mask2former import modeling_mask2former

from mask2former_mt.config import add_mask2former_mt_config
from mask2former_mt.engine.convert_weights import from_transformers, to_transformers
from mask2former_mt.losses.criterion import Criterion
from mask2former_mt.losses.matcher import HungarianMatcher, MatchCosts
from mask2former_mt.losses.targets import ImageTargets
from mask2former_mt.structures import SubcategorySpec

NUM_CLASSES, NUM_QUERIES, NUM_POINTS = 5, 12, 64
# Not square, and no multiple of 32 before padding.
HEIGHT, WIDTH = 96, 160


STAGES = ["stage1", "stage2", "stage3", "stage4"]
BACKBONES = {
    "resnet": ResNetConfig(
        embedding_size=64,
        hidden_sizes=[256, 512, 1024, 2048],
        depths=[3, 4, 6, 3],
        layer_type="bottleneck",
        out_features=STAGES,
    ),
    "swin": SwinConfig(
        embed_dim=16, depths=[2, 2, 4, 2], num_heads=[1, 2, 4, 8], out_features=STAGES
    ),
}


def transformers_model(backbone: str) -> Mask2FormerForUniversalSegmentation:
    config = Mask2FormerConfig(
        backbone_config=BACKBONES[backbone],
        feature_size=32,
        mask_feature_size=32,
        hidden_dim=32,
        encoder_feedforward_dim=64,
        encoder_layers=2,
        # Nine layers' worth of round-robin over three scales would only take longer.
        decoder_layers=6,
        num_attention_heads=4,
        dim_feedforward=64,
        num_queries=NUM_QUERIES,
        num_labels=NUM_CLASSES,
        train_num_points=NUM_POINTS,
    )
    torch.manual_seed(0)
    model = Mask2FormerForUniversalSegmentation(config)
    # transformers starts sampling offsets and class weights at zero or nearly so: draw all at
    # random, so that no term can hide.
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "pixel_level_module.encoder" in name:
                continue
            parameter.copy_(torch.randn_like(parameter) * (0.5 if parameter.dim() == 1 else 0.25))
    return model.eval()


def our_model(backbone: str) -> torch.nn.Module:
    cfg = get_cfg()
    add_mask2former_mt_config(cfg)
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.META_ARCHITECTURE = "MaskFormer"
    cfg.MODEL.BACKBONE.NAME = "build_resnet_backbone"
    cfg.MODEL.BACKBONE.FREEZE_AT = 0
    cfg.MODEL.RESNETS.STRIDE_IN_1X1 = False
    cfg.MODEL.RESNETS.OUT_FEATURES = ["res2", "res3", "res4", "res5"]
    if backbone == "swin":
        cfg.MODEL.BACKBONE.NAME = "D2SwinTransformer"
        swin = BACKBONES["swin"]
        cfg.MODEL.SWIN.EMBED_DIM, cfg.MODEL.SWIN.DEPTHS = swin.embed_dim, swin.depths
        cfg.MODEL.SWIN.NUM_HEADS, cfg.MODEL.SWIN.DROP_PATH_RATE = swin.num_heads, 0.0
    head = cfg.MODEL.SEM_SEG_HEAD
    head.NAME = "MaskFormerHead"
    head.PIXEL_DECODER_NAME = "MSDeformAttnPixelDecoder"
    head.IN_FEATURES = ["res2", "res3", "res4", "res5"]
    head.NUM_CLASSES, head.CONVS_DIM, head.MASK_DIM, head.NORM = NUM_CLASSES, 32, 32, "GN"
    head.TRANSFORMER_ENC_LAYERS = 2
    head.DEFORMABLE_TRANSFORMER_ENCODER_N_HEADS = 4
    head.DEFORMABLE_TRANSFORMER_ENCODER_DIM_FEEDFORWARD = 64
    former = cfg.MODEL.MASK_FORMER
    former.TRANSFORMER_DECODER_NAME = "MultiScaleMaskedTransformerDecoder"
    former.HIDDEN_DIM, former.DIM_FEEDFORWARD, former.NHEADS = 32, 64, 4
    former.DEC_LAYERS, former.NUM_OBJECT_QUERIES, former.DROPOUT = 6, NUM_QUERIES, 0.0
    return build_model(cfg)


def saved_weights(model: Mask2FormerForUniversalSegmentation, folder) -> dict[str, torch.Tensor]:
    """The weights as transformers writes them, whose names differ from those in memory."""
    model.save_pretrained(folder)
    return load_file(folder / "model.safetensors")


@pytest.fixture(scope="module", params=list(BACKBONES))
def pair(request, tmp_path_factory):
    theirs, ours = transformers_model(request.param), our_model(request.param)
    converted = from_transformers(saved_weights(theirs, tmp_path_factory.mktemp("saved")))
    constants = ("num_batches_tracked", "relative_position_index")
    assert set(converted) == {k for k in ours.state_dict() if not k.endswith(constants)}
    ours.load_state_dict(converted, strict=False)
    return theirs, ours


def predictions(pair, dtype: torch.dtype):
    """Each layer's (class logits, mask logits) of both models on the same two images."""
    theirs, ours = (model.to(dtype) for model in pair)
    image = torch.randn(2, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(1)).to(dtype)
    with torch.no_grad():
        output = theirs(image, output_auxiliary_logits=True)
        # Training mode gives every layer; detectron2's ResNet has frozen norms by default.
        ours.train()
        mine = ours.sem_seg_head(ours.backbone(image))
    expected = [
        *((a["class_queries_logits"], a["masks_queries_logits"]) for a in output.auxiliary_logits),
        (output.class_queries_logits, output.masks_queries_logits),
    ]
    return expected, [(layer.pred_logits, layer.pred_masks) for layer in mine.layers]


def test_all_layers_agree_in_float64(pair):
    expected, actual = predictions(pair, torch.float64)
    assert len(actual) == len(expected) == 6
    for (classes, masks), (our_classes, our_masks) in zip(expected, actual, strict=True):
        # Logits of this model are of the order of 1 to 100: the tolerance is no accident of scale.
        assert masks.std() > 0.1
        torch.testing.assert_close(our_classes, classes, atol=1e-8, rtol=1e-8)
        torch.testing.assert_close(our_masks, masks, atol=1e-8, rtol=1e-8)


def test_all_layers_agree_in_float32_off_the_mask_threshold(pair):
    # A mask logit within rounding of 0 may open or close one position of the attention mask, and
    # everything after it differs. So each query is compared up to the layer before the first
    # mask logit of its image that is that near: all of them unless a bit sits on the threshold.
    expected, actual = predictions(pair, torch.float32)
    compared = 0
    for (classes, masks), (our_classes, our_masks) in zip(expected, actual, strict=True):
        scale = masks.abs().max().clamp(min=1)
        torch.testing.assert_close(our_classes, classes, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(our_masks, masks, atol=1e-4 * float(scale), rtol=1e-4)
        compared += 1
        small = [
            torch.nn.functional.interpolate(
                masks, size=(HEIGHT // s, WIDTH // s), mode="bilinear", align_corners=False
            )
            for s in (8, 16, 32)
        ]
        if min(float(m.abs().min()) for m in small) < 1e-5 * float(scale):
            break
    assert compared >= 1


def test_weights_survive_the_way_there_and_back(pair, tmp_path):
    theirs, ours = pair
    saved = saved_weights(theirs, tmp_path)
    back = to_transformers(ours.state_dict())
    # Of the loss and of Swin's classifier; step counters.
    left_out = ("criterion.empty_weight", "layernorm.weight", "layernorm.bias", "batches_tracked")
    expected = {key: saved[key] for key in saved if key in back or not key.endswith(left_out)}
    assert set(back) == set(expected)
    for key, tensor in expected.items():
        assert torch.equal(back[key].to(tensor.dtype), tensor), key


def test_an_unknown_weight_is_named():
    with pytest.raises(ValueError, match=r"model\.pixel_level_module\.encoder\.patches"):
        from_transformers({"model.pixel_level_module.encoder.patches": torch.zeros(1)})


# --- matcher and losses -------------------------------------------------------------------------


class Scene:
    """Random predictions of two images and their targets, for both implementations."""

    def __init__(self, counts=(3, 5)):
        generator = torch.Generator().manual_seed(3)

        def normal(*shape):
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        self.logits = normal(2, NUM_QUERIES, NUM_CLASSES + 1)
        self.masks = 3 * normal(2, NUM_QUERIES, 24, 40)
        self.labels = [torch.arange(n) % NUM_CLASSES for n in counts]
        self.truth = []
        for n in counts:
            masks = torch.zeros(n, HEIGHT, WIDTH, dtype=torch.bool)
            for i in range(n):
                masks[i, 10 * i : 10 * i + 30, 20 * i : 20 * i + 45] = True
            self.truth.append(masks)

    @property
    def targets(self):
        return [
            ImageTargets(
                classes=labels,
                masks=masks,
                subcategories=torch.zeros(len(labels), 0, dtype=torch.int64),
            )
            for labels, masks in zip(self.labels, self.truth, strict=True)
        ]

    @property
    def output(self):
        from mask2former_mt.structures import DecoderOutput

        return DecoderOutput(pred_logits=self.logits, pred_masks=self.masks, pred_subcategories={})


@contextlib.contextmanager
def fixed_rand(points: torch.Tensor):
    """Makes transformers' matcher draw these points, one row per image."""
    rows = iter(points)
    original = torch.rand
    modeling_mask2former.torch.rand = lambda *_, **__: next(rows)[None]
    try:
        yield
    finally:
        modeling_mask2former.torch.rand = original


def our_matcher() -> HungarianMatcher:
    return HungarianMatcher(
        costs=MatchCosts(class_=2.0, mask=5.0, dice=5.0),
        spec=SubcategorySpec(),
        num_points=NUM_POINTS,
    )


def test_matcher_gives_the_same_indices():
    scene = Scene()
    points = torch.rand(2, NUM_POINTS, 2, dtype=torch.float64)
    theirs = modeling_mask2former.Mask2FormerHungarianMatcher(
        cost_class=2.0, cost_mask=5.0, cost_dice=5.0, num_points=NUM_POINTS
    )
    with fixed_rand(points):
        expected = theirs(scene.masks, scene.logits, scene.truth, scene.labels)
    (actual,) = our_matcher()([scene.output], scene.targets, points)
    for (queries, targets), (our_queries, our_targets) in zip(expected, actual, strict=True):
        assert torch.equal(our_queries, queries)
        assert torch.equal(our_targets, targets)


def test_each_loss_is_the_same_at_the_same_points(pair):
    scene = Scene()
    matches = our_matcher()([scene.output], scene.targets)
    count = sum(len(labels) for labels in scene.labels)
    points = torch.rand(1, count, NUM_POINTS, 2, dtype=torch.float64)

    theirs = modeling_mask2former.Mask2FormerLoss(pair[0].config, {}).double()
    theirs.sample_points_using_uncertainty = lambda *_: points[0]
    truth = [masks.double() for masks in scene.truth]
    expected = {
        **theirs.loss_masks(scene.masks, truth, matches[0], count),
        **theirs.loss_labels(scene.logits, scene.labels, matches[0]),
    }

    criterion = Criterion(
        matcher=our_matcher(),
        num_classes=NUM_CLASSES,
        spec=SubcategorySpec(),
        # 0.1, as float32 holds it.
        no_object_weight=float(theirs.empty_weight[-1]),
        subcategory_no_object_weight=0.1,
        num_points=NUM_POINTS,
        oversample_ratio=3.0,
        importance_sample_ratio=0.75,
    )
    actual = criterion(scene.output, scene.targets, matches=matches, points=points)
    for ours, name in (
        ("loss_ce", "loss_cross_entropy"),
        ("loss_mask", "loss_mask"),
        ("loss_dice", "loss_dice"),
    ):
        np.testing.assert_allclose(actual[ours].item(), expected[name].item(), rtol=1e-10)
