"""The Swin backbone against transformers', and what its arguments change."""

import pytest
import torch
from config_tools import changed, rows
from detectron2.config import get_cfg
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_backbone
from safetensors.torch import load_file
from transformers import SwinConfig
from transformers.models.swin.modeling_swin import SwinBackbone

from mask2former_mt.config import add_mask2former_mt_config
from mask2former_mt.engine.convert_weights import from_transformers
from mask2former_mt.modeling.backbone.swin import D2SwinTransformer

FEATURES = ("res2", "res3", "res4", "res5")
SMALL = {"embed_dim": 8, "depths": [2, 2, 2, 2], "num_heads": [1, 2, 2, 4], "window_size": 4}


def swin(**kwargs) -> D2SwinTransformer:
    torch.manual_seed(0)
    options = {"freeze_at": 0, "drop_path_rate": 0.0, "use_checkpoint": False}
    return D2SwinTransformer(**({"out_features": FEATURES} | options | SMALL | kwargs))


@pytest.mark.parametrize("size", [(70, 90), (224, 33)], ids=str)
def test_swin_t_is_that_of_transformers(size, tmp_path):
    # Neither side of 70 x 90 patches of 4, nor of any later stage, is a multiple of the window, 7.
    theirs = SwinBackbone(SwinConfig(out_features=["stage1", "stage2", "stage3", "stage4"]))
    # Random biases of positions, which start at zero there.
    for name, parameter in theirs.named_parameters():
        if "relative_position_bias_table" in name:
            torch.nn.init.normal_(parameter)
    theirs.save_pretrained(tmp_path)
    saved = load_file(tmp_path / "model.safetensors")
    converted = from_transformers(
        {f"model.pixel_level_module.encoder.{key}": tensor for key, tensor in saved.items()}
    )
    tiny = {"embed_dim": 96, "depths": [2, 2, 6, 2], "num_heads": [3, 6, 12, 24], "window_size": 7}
    ours = swin(**tiny)
    report = ours.load_state_dict(
        {key.removeprefix("backbone."): tensor for key, tensor in converted.items()}, strict=False
    )
    assert not report.unexpected_keys
    assert all(key.endswith("relative_position_index") for key in report.missing_keys)
    image = torch.randn(2, 3, *size, dtype=torch.float64)
    with torch.no_grad():
        expected = theirs.double().eval()(image).feature_maps
        actual = ours.double().eval()(image)
    for name, tensor in zip(FEATURES, expected, strict=True):
        assert tensor.std() > 0.1
        torch.testing.assert_close(actual[name], tensor, atol=1e-8, rtol=1e-8)


def test_output_shape_says_what_comes_out():
    backbone = swin(out_features=("res5", "res3")).eval()
    features = backbone(torch.randn(1, 3, 64, 96))
    assert list(features) == ["res3", "res5"]
    for name, shape in backbone.output_shape().items():
        assert features[name].shape == (1, shape.channels, 64 // shape.stride, 96 // shape.stride)
    assert backbone.size_divisibility == 32


def test_checkpointing_gives_the_same_gradients_from_fewer_kept_tensors():
    image = torch.randn(1, 3, 64, 64)
    gradients, kept = [], []
    for use_checkpoint in (False, True):
        backbone = swin(use_checkpoint=use_checkpoint, drop_path_rate=0.5).train()
        count = 0

        def keep(tensor):
            nonlocal count
            count += tensor.numel()
            return tensor

        torch.manual_seed(1)  # of stochastic depth, which the second pass must draw alike
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            loss = sum(feature.square().sum() for feature in backbone(image).values())
        kept.append(count)
        loss.backward()
        gradients.append([p.grad for p in backbone.parameters()])
    assert kept[1] < kept[0] / 2
    torch.testing.assert_close(gradients[0], gradients[1])


@pytest.mark.parametrize(
    ("freeze_at", "first_trained"),
    [(0, "patch_embed.proj.weight"), (1, "layers.0.blocks.0.norm1.weight"), (2, "layers.1")],
)
def test_freeze_at_counts_as_for_other_backbones(freeze_at, first_trained):
    names = [n for n, p in swin(freeze_at=freeze_at).named_parameters() if p.requires_grad]
    assert names[0].startswith(first_trained)


def test_stochastic_depth_grows_from_nothing_to_the_rate():
    blocks = [block for layer in swin(drop_path_rate=0.7).layers for block in layer.blocks]
    rates = [getattr(block.drop_path, "p", 0.0) for block in blocks]
    # Eight blocks: steps of a seventh of 0.7.
    assert rates == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7])


def test_an_unknown_feature_is_refused():
    with pytest.raises(ValueError, match=r"OUT_FEATURES has 'p3', known are \['res2'"):
        swin(out_features=("res2", "p3"))


def configured(*change) -> D2SwinTransformer:
    """The backbone of a small config with one key changed."""
    cfg = get_cfg()
    add_mask2former_mt_config(cfg)
    cfg.MODEL.BACKBONE.NAME, cfg.MODEL.BACKBONE.FREEZE_AT = "D2SwinTransformer", 0
    for key, value in SMALL.items():
        cfg.MODEL.SWIN[key.upper()] = value
    return build_backbone(changed(*change, cfg) if change else cfg, ShapeSpec(channels=3))


def first_block(backbone: D2SwinTransformer) -> torch.nn.Module:
    return backbone.layers[0].blocks[0]


SWIN = "MODEL.SWIN."
FIRST_BIASES = "layers.0.blocks.0.attn.relative_position_bias_table"


@rows(
    [
        (SWIN + "APE", True, lambda b: "absolute_pos_embed" in b.state_dict(), True),
        (SWIN + "PATCH_NORM", False, "patch_embed.norm", None),
        (SWIN + "EMBED_DIM", 16, lambda b: b.output_shape()["res5"].channels, 128),
        (SWIN + "DEPTHS", [1, 2, 3, 1], lambda b: [len(x.blocks) for x in b.layers], [1, 2, 3, 1]),
        (SWIN + "NUM_HEADS", [2, 2, 2, 4], lambda b: first_block(b).attn.num_heads, 2),
        # Offsets from -4 to 4 in either direction.
        (SWIN + "WINDOW_SIZE", 5, lambda b: len(b.state_dict()[FIRST_BIASES]), 81),
        (SWIN + "MLP_RATIO", 2.0, lambda b: first_block(b).mlp.fc1.out_features, 16),
        (SWIN + "QKV_BIAS", False, lambda b: first_block(b).attn.qkv.bias, None),
        (SWIN + "QK_SCALE", 0.5, lambda b: first_block(b).attn.scale),
        (SWIN + "DROP_RATE", 0.2, "pos_drop.p"),
        (SWIN + "ATTN_DROP_RATE", 0.2, lambda b: first_block(b).attn.attn_drop.p),
        (SWIN + "DROP_PATH_RATE", 0.5, lambda b: b.layers[-1].blocks[-1].drop_path.p),
        (SWIN + "OUT_FEATURES", ["res4"], lambda b: list(b.output_shape())),
        (SWIN + "USE_CHECKPOINT", True, lambda b: "forward" in vars(first_block(b)), True),
        ("MODEL.BACKBONE.FREEZE_AT", 1, "patch_embed.proj.weight.requires_grad", False),
    ]
)
def test_a_key_changes_the_backbone(key, value, look, expected):
    assert look(configured()) != expected
    assert look(configured(key, value)) == expected


def test_a_position_embedding_has_the_grid_of_its_training_pictures():
    def grid(size: int) -> tuple[int, ...]:
        cfg = changed("MODEL.SWIN.PRETRAIN_IMG_SIZE", size)
        cfg.MODEL.BACKBONE.NAME, cfg.MODEL.SWIN.APE = "D2SwinTransformer", True
        return tuple(build_backbone(cfg, ShapeSpec(channels=3)).absolute_pos_embed.shape[2:])

    assert (grid(224), grid(96)) == ((56, 56), (24, 24))
