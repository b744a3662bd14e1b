"""The transformer decoder: what each mode returns, masked attention, names of the parameters."""

from __future__ import annotations

import pytest
import torch
from tiny import CHANNELS, NUM_CLASSES, NUM_QUERIES, SPEC, tiny_cfg, tiny_model

from mask2former_mt.modeling.transformer_decoder import (
    MultiTaskTransformerDecoder,
    attend_mask,
)
from mask2former_mt.structures import SubcategorySpec


def decoder(*, seed: int = 0, **changes) -> MultiTaskTransformerDecoder:
    torch.manual_seed(seed)
    arguments = {
        "in_channels": CHANNELS,
        "num_classes": NUM_CLASSES,
        "spec": SPEC,
        "channels": CHANNELS,
        "num_queries": NUM_QUERIES,
        "num_heads": 4,
        "feedforward_dim": 64,
        "num_layers": 4,
        "pre_norm": False,
        "mask_dim": 16,
        "enforce_input_proj": False,
    }
    return MultiTaskTransformerDecoder(**{**arguments, **changes})


def inputs(height=64, width=96, batch=2, channels=CHANNELS):
    """Memories at strides 32, 16, 8 and mask features at stride 4 of a padded image."""
    generator = torch.Generator().manual_seed(1)

    def normal(c: int, stride: int) -> torch.Tensor:
        return torch.randn(batch, c, height // stride, width // stride, generator=generator)

    return [normal(channels, stride) for stride in (32, 16, 8)], normal(16, 4)


@pytest.mark.parametrize("pre_norm", [False, True])
def test_shapes_and_one_auxiliary_output_per_earlier_prediction(pre_norm):
    output = decoder(pre_norm=pre_norm).train()(*inputs())
    # 4 layers give 5 predictions with the learned queries' own; 4 of them stand before the last.
    assert len(output.aux_outputs) == 4
    assert len(output.layers) == 5
    for layer in output.layers:
        assert layer.pred_logits.shape == (2, NUM_QUERIES, NUM_CLASSES + 1)
        assert layer.pred_masks.shape == (2, NUM_QUERIES, 16, 24)
        widths = {name: t.shape[-1] for name, t in layer.pred_subcategories.items()}
        assert widths == {"colour": 5, "fill": 3}


def test_evaluation_gives_the_same_last_prediction_and_no_other():
    model = decoder()
    with torch.no_grad():
        training = model.train()(*inputs())
        evaluation = model.eval()(*inputs())
    assert evaluation.aux_outputs == []
    for name in ("pred_logits", "pred_masks", "pred_subcategories"):
        one, other = getattr(evaluation, name), getattr(training, name)
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-6)


def test_attend_mask_is_the_mask_or_everywhere_where_it_is_empty():
    # 1 image, 3 queries, 2 channels, 4 positions.
    embedding = torch.tensor([[[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]]])
    features = torch.tensor([[[2.0, 0.0, 3.0, 1.0], [-1.0, 0.5, -2.0, 0.0]]])
    # Query 0: 2, 0, 3, 1: all on, a logit of 0 is a probability of one half.
    # Query 1: -2, -0, -3, -1: on at position 1 only.
    # Query 2: -1, .5, -2, 0: on at positions 1 and 3.
    mask = attend_mask(embedding, features)
    assert mask.tolist() == [
        [[[True, True, True, True], [False, True, False, False], [False, True, False, True]]]
    ]
    # Shifted down, query 1 is off everywhere and so attends everywhere.
    mask = attend_mask(-embedding[:, :1], features.abs() + 1)
    assert mask.tolist() == [[[[True, True, True, True]]]]


def test_no_gradient_goes_through_the_attention_mask():
    model = decoder(num_layers=1).train()
    memories, mask_features = inputs()
    mask_features.requires_grad_()
    model(memories, mask_features).pred_logits.sum().backward()
    assert mask_features.grad is None or not mask_features.grad.any()


def test_another_number_of_memories_and_no_classes_are_refused():
    memories, mask_features = inputs()
    with pytest.raises(ValueError, match="3 memories are needed, got 2"):
        decoder()(memories[:2], mask_features)
    with pytest.raises(ValueError, match=r"NUM_CLASSES must be at least 1, got 0; name a training"):
        decoder(num_classes=0)


def test_memories_are_projected_where_widths_differ_or_on_demand():
    memories, mask_features = inputs(channels=20)
    model = decoder(in_channels=20)
    assert model.input_proj[0].weight.shape == (CHANNELS, 20, 1, 1)
    assert model(memories, mask_features).pred_logits.isfinite().all()
    assert not list(decoder().input_proj.parameters())
    assert len(list(decoder(enforce_input_proj=True).input_proj.parameters())) == 6


def test_without_subcategories_nothing_of_them_is_in_the_state():
    plain = decoder(spec=SubcategorySpec())
    assert not [key for key in plain.state_dict() if "subcategory" in key]
    output = plain.train()(*inputs())
    assert all(layer.pred_subcategories == {} for layer in output.layers)
    more = set(decoder().state_dict()) - set(plain.state_dict())
    heads = [f"subcategory_embed.{name}" for name in ("colour", "fill")]
    assert more == {f"{head}.{kind}" for head in heads for kind in ("weight", "bias")}


def published_keys(num_encoder_layers: int, num_layers: int) -> set[str]:
    """The published model's names under `sem_seg_head`, written out."""

    def affine(*names: str) -> set[str]:
        return {f"{name}.{kind}" for name in names for kind in ("weight", "bias")}

    pixel = affine("mask_features", "adapter_1.norm", "layer_1.norm")
    pixel |= {"adapter_1.weight", "layer_1.weight", "transformer.level_embed"}
    for level in range(3):
        pixel |= affine(f"input_proj.{level}.0", f"input_proj.{level}.1")
    for i in range(num_encoder_layers):
        layer = f"transformer.encoder.layers.{i}"
        pixel |= affine(
            *(f"{layer}.self_attn.{part}" for part in ("sampling_offsets", "attention_weights")),
            *(f"{layer}.self_attn.{part}" for part in ("value_proj", "output_proj")),
            *(f"{layer}.{part}" for part in ("norm1", "linear1", "linear2", "norm2")),
        )
    predictor = {"query_feat.weight", "query_embed.weight", "level_embed.weight"}
    predictor |= affine(
        "class_embed", "decoder_norm", *(f"mask_embed.layers.{i}" for i in range(3))
    )
    for i in range(num_layers):
        for kind, attention in (("self", "self_attn"), ("cross", "multihead_attn")):
            layer = f"transformer_{kind}_attention_layers.{i}"
            predictor |= affine(f"{layer}.norm", f"{layer}.{attention}.out_proj")
            predictor |= {f"{layer}.{attention}.in_proj_{k}" for k in ("weight", "bias")}
        layer = f"transformer_ffn_layers.{i}"
        predictor |= affine(f"{layer}.norm", f"{layer}.linear1", f"{layer}.linear2")
    return {f"pixel_decoder.{k}" for k in pixel} | {f"predictor.{k}" for k in predictor}


def test_the_names_of_the_parameters_are_the_published_ones():
    cfg = tiny_cfg(
        subcategories={},
        opts={
            "MODEL.META_ARCHITECTURE": "MaskFormer",
            "MODEL.MASK_FORMER.TRANSFORMER_DECODER_NAME": "MultiScaleMaskedTransformerDecoder",
            "MODEL.SEM_SEG_HEAD.TRANSFORMER_ENC_LAYERS": 2,
            "MODEL.MASK_FORMER.DEC_LAYERS": 4,
        },
    )
    keys = {k.removeprefix("sem_seg_head.") for k in tiny_model(cfg).state_dict()}
    assert {k for k in keys if not k.startswith("backbone.")} == published_keys(2, 3)
