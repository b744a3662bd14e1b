"""The Swin backbone against transformers', and what its arguments change."""

import pytest
import torch
from transformers import SwinConfig
from transformers.models.swin.modeling_swin import SwinBackbone

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
    from safetensors.torch import load_file

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
