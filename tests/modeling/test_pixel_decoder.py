"""The pixel decoder: positions, the FPN down to stride 4, shapes and what it refuses."""

from __future__ import annotations

import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import SEM_SEG_HEADS_REGISTRY
from tiny import CHANNELS, tiny_cfg

from mask2former_mt.modeling.pixel_decoder import MSDeformAttnPixelDecoder, reference_points

STRIDES = {"res2": 4, "res3": 8, "res4": 16, "res5": 32}
WIDTHS = {"res2": 6, "res3": 8, "res4": 10, "res5": 12}
SHAPES = {name: ShapeSpec(channels=WIDTHS[name], stride=STRIDES[name]) for name in STRIDES}


def pixel_decoder(input_shape=SHAPES, **changes) -> MSDeformAttnPixelDecoder:
    torch.manual_seed(0)
    arguments = {
        "transformer_in_features": ["res3", "res4", "res5"],
        "conv_dim": CHANNELS,
        "mask_dim": 16,
        "norm": "GN",
        "common_stride": 4,
        "num_encoder_layers": 1,
        "num_heads": 4,
        "num_points": 4,
        "feedforward_dim": 64,
        "dropout": 0.0,
    }
    return MSDeformAttnPixelDecoder(input_shape, **{**arguments, **changes})


def features(height: int, width: int, batch: int = 2, names=STRIDES) -> dict[str, torch.Tensor]:
    """Random maps of an image (height, width), sizes rounded up as backbones do."""
    generator = torch.Generator().manual_seed(1)
    return {
        name: torch.randn(
            batch,
            WIDTHS[name],
            -(-height // STRIDES[name]),
            -(-width // STRIDES[name]),
            generator=generator,
        )
        for name in names
    }


def test_reference_points_are_the_centres_of_all_levels():
    points = reference_points(((1, 2), (2, 1)), torch.device("cpu"), torch.float32)
    # 1 x 2: y = .5 / 1, x = .5 / 2 and 1.5 / 2. 2 x 1: x = .5, y = .25 and .75. xy order.
    expected = torch.tensor([[0.25, 0.5], [0.75, 0.5], [0.5, 0.25], [0.5, 0.75]])
    torch.testing.assert_close(points, expected[None, :, None])


@pytest.mark.parametrize(
    ("size", "encoded", "mask_size", "memory_sizes"),
    [
        ((64, 96), 3, (16, 24), [(2, 3), (4, 6), (8, 12)]),
        # Rounded up, 75 / 8 is 10 and 75 / 4 is 19: the FPN must not simply double. 93: 12 and 24.
        ((75, 93), 3, (19, 24), [(3, 3), (5, 6), (10, 12)]),
        # res5, res4, and the first of the two maps of the FPN.
        ((64, 96), 2, (16, 24), [(2, 3), (4, 6), (8, 12)]),
    ],
)
def test_shapes_coarse_to_fine(size, encoded, mask_size, memory_sizes):
    names = list(STRIDES)
    decoder = pixel_decoder(transformer_in_features=names[-encoded:])
    assert decoder.fpn_features == names[:-encoded]
    mask_features, memories = decoder(features(*size))
    assert mask_features.shape == (2, 16, *mask_size)
    assert [tuple(m.shape) for m in memories] == [(2, CHANNELS, *size) for size in memory_sizes]


def test_fpn_adds_the_lateral_map_and_the_upsampled_memory():
    decoder = pixel_decoder(mask_dim=CHANNELS, norm="", num_encoder_layers=0)
    with torch.no_grad():
        for conv in (decoder.input_proj[-1][0], decoder.adapter_1, decoder.layer_1):
            conv.weight.zero_()
            conv.bias.zero_()
        # Of the stride-8 map's and the stride-4 map's channel 0, and each pixel as it is.
        decoder.input_proj[-1][0].weight[:, 0] = 1.0
        decoder.adapter_1.weight[:, 0] = 1.0
        decoder.layer_1.weight[range(CHANNELS), range(CHANNELS), 1, 1] = 1.0
        decoder.mask_features.weight.copy_(torch.eye(CHANNELS)[..., None, None])
    maps = features(64, 64, batch=1)
    maps["res3"] = torch.tensor([[3.0, 5.0]]).expand(1, WIDTHS["res3"], 1, 2)
    maps["res2"] = torch.zeros(1, WIDTHS["res2"], 2, 4)
    maps["res2"][..., 1, 0] = 2.0
    # 32 norm groups of one channel: (3, 5) has mean 4 and deviation 1, so it becomes (-1, 1).
    # Bilinear x2: -1, -.5, .5, 1 in both rows. Plus 2 at row 1, column 0; then the ReLU.
    expected = torch.tensor([[0.0, 0.0, 0.5, 1.0], [1.0, 0.0, 0.5, 1.0]])
    mask_features, _ = decoder(maps)
    torch.testing.assert_close(mask_features, expected.expand(1, CHANNELS, 2, 4), atol=1e-4, rtol=0)


def test_dropout_acts_in_training_only():
    decoder = pixel_decoder(dropout=0.5)
    maps = features(32, 32)
    first, second = (decoder.train()(maps)[0] for _ in range(2))
    assert not torch.equal(first, second)
    first, second = (decoder.eval()(maps)[0] for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["res2", "res3", "res4"], r"gives \['res2', 'res3', 'res4'\], not 'res5'"),
        (["res3", "res4", "res5"], r"stride 4 need backbone features of strides \[4\], got \[8\]"),
    ],
)
def test_features_that_do_not_serve_are_refused(names, message):
    with pytest.raises(ValueError, match=message):
        pixel_decoder({name: SHAPES[name] for name in names})


def test_a_feature_that_the_config_does_not_list_is_left_alone():
    decoder_class = SEM_SEG_HEADS_REGISTRY.get("MSDeformAttnPixelDecoder")
    shapes = {**SHAPES, "stem": ShapeSpec(channels=3, stride=2)}
    assert decoder_class(tiny_cfg(), shapes).fpn_features == ["res2"]
