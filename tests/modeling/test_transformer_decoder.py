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


def assert_same_prediction(one, other, **tolerance) -> None:
    torch.testing.assert_close(one.pred_logits, other.pred_logits, **tolerance)
    torch.testing.assert_close(one.pred_masks, other.pred_masks, **tolerance)
    for name, logits in one.pred_subcategories.items():
        torch.testing.assert_close(logits, other.pred_subcategories[name], **tolerance)


@pytest.mark.parametrize("pre_norm", [False, True])
def test_shapes_and_one_auxiliary_output_per_earlier_prediction(pre_norm):
    output = decoder(pre_norm=pre_norm).train()(*inputs())
    # 4 layers give 5 predictions with the learned queries' own; 4 of them stand before the last.
    assert len(output.aux_outputs) == 4
    assert len(output.layers) == 5
    for layer in output.layers:
        assert layer.pred_logits.shape == (2, NUM_QUERIES, NUM_CLASSES + 1)
        assert layer.pred_masks.shape == (2, NUM_QUERIES, 16, 24)
        assert {name: t.shape[-1] for name, t in layer.pred_subcategories.items()} == {
            "colour": 5,
            "fill": 3,
        }


def test_evaluation_gives_the_same_last_prediction_and_no_other():
    model = decoder()
    with torch.no_grad():
        training = model.train()(*inputs())
        evaluation = model.eval()(*inputs())
    assert evaluation.aux_outputs == []
    assert_same_prediction(evaluation, training, atol=1e-6, rtol=1e-6)


def test_the_first_prediction_is_the_learned_queries_own():
    model = decoder().train()
    first, second = model(*inputs()).aux_outputs[:2]
    normed = model.decoder_norm(model.query_feat.weight)
    torch.testing.assert_close(first.pred_logits[1], model.class_embed(normed))
    # It knows nothing of the image; the next one does.
    assert torch.equal(first.pred_logits[0], first.pred_logits[1])
    assert not torch.equal(second.pred_logits[0], second.pred_logits[1])


def test_masks_are_products_of_embedding_and_features():
    model = decoder(num_layers=1)
    with torch.no_grad():
        for parameter in model.mask_embed.parameters():
            parameter.zero_()
        model.mask_embed.layers[-1].bias[:2] = torch.tensor([2.0, -1.0])
        memories, mask_features = inputs()
        output = model.eval()(memories, mask_features)
    # Every query's embedding is (2, -1, 0, ...): twice channel 0 minus channel 1.
    expected = 2 * mask_features[:, 0] - mask_features[:, 1]
    torch.testing.assert_close(output.pred_masks, expected[:, None].expand(-1, NUM_QUERIES, -1, -1))


def test_attend_mask_is_the_mask_or_everywhere_where_it_is_empty():
    # 1 image, 3 queries with embeddings 1, -1 and 0.5 and 2; 4 positions.
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


def test_queries_whose_masks_are_empty_attend_everywhere():
    model = decoder().eval()
    memories, mask_features = inputs()
    mask_features = torch.ones_like(mask_features)
    outputs = []
    for sign in (1.0, -1.0):
        with torch.no_grad():
            for parameter in model.mask_embed.parameters():
                parameter.zero_()
            model.mask_embed.layers[-1].bias.fill_(sign)
            outputs.append(model(memories, mask_features))
    everywhere, nowhere = outputs
    # 16 channels of +-1: the masks are 16 everywhere, and -16 everywhere.
    assert (everywhere.pred_masks == 16).all()
    assert (nowhere.pred_masks == -16).all()
    assert nowhere.pred_logits.isfinite().all()
    torch.testing.assert_close(nowhere.pred_logits, everywhere.pred_logits)


def test_attention_stays_inside_the_mask():
    model = decoder(num_layers=1).eval()
    memories, mask_features = inputs(batch=1)
    with torch.no_grad():
        for parameter in model.mask_embed.parameters():
            parameter.zero_()
        model.mask_embed.layers[-1].bias[0] = 1.0
        # The mask is the left half; the one layer reads the coarsest memory, 2 x 3.
        mask_features.fill_(-1.0)
        mask_features[..., :12] = 1.0
        before = model(memories, mask_features).pred_logits
        # Stride 4 to 32: the coarse columns' centres lie at 3.5, 11.5 and 19.5 of 24, the second
        # half inside at 11 and half outside at 12: bilinear 0, which counts as inside.
        memories[0][..., 2] += 5.0
        outside = model(memories, mask_features).pred_logits
        memories[0][..., 0] += 5.0
        inside = model(memories, mask_features).pred_logits
    assert torch.equal(outside, before)
    assert not torch.allclose(inside, before, atol=1e-3)


def test_no_gradient_goes_through_the_attention_mask():
    model = decoder(num_layers=1).train()
    memories, mask_features = inputs()
    mask_features.requires_grad_()
    model(memories, mask_features).pred_logits.sum().backward()
    assert mask_features.grad is None or not mask_features.grad.any()


def test_another_number_of_memories_is_refused():
    memories, mask_features = inputs()
    with pytest.raises(ValueError, match="3 memories are needed, got 2"):
        decoder()(memories[:2], mask_features)


def test_no_classes_are_refused():
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
    assert more == {
        f"subcategory_embed.{name}.{kind}"
        for name in ("colour", "fill")
        for kind in ("weight", "bias")
    }


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


def test_the_head_hands_mask_features_and_memories_on():
    model = tiny_model().eval()
    generator = torch.Generator().manual_seed(0)
    maps = {
        name: torch.randn(
            1, shape.channels, 64 // shape.stride, 96 // shape.stride, generator=generator
        )
        for name, shape in model.backbone.output_shape().items()
    }
    with torch.no_grad():
        mask_features, memories = model.sem_seg_head.pixel_decoder(maps)
        expected = model.sem_seg_head.predictor(memories, mask_features)
        assert_same_prediction(model.sem_seg_head(maps), expected)
