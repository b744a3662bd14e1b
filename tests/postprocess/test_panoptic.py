"""Panoptic segments against the published rule, written out; and a hand-made scene."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from postprocess_tools import image_sizes, output_of, soft_discs

from mask2former_mt.ops import resize_masks as resize_module
from mask2former_mt.ops.resize_masks import upsampled_chunks
from mask2former_mt.postprocess import PanopticOptions, predict_panoptic
from mask2former_mt.structures import DecoderOutput, SubcategorySpec

SPEC = SubcategorySpec.from_counts(["fill", "tint"], [2, 1])
NO_LABELS = SubcategorySpec()


def hand_made() -> DecoderOutput:
    """A 4 x 8 grid: a thing, a thing half below it, sky left and right, a query without object."""
    masks = torch.full((1, 5, 4, 8), -9.0)
    masks[0, 0, 1:3, 0:4] = 9.0
    masks[0, 1, 1:3, 2:6] = 9.0
    masks[0, 2, 0:1, :4] = 9.0
    masks[0, 3, 0:1, 4:] = 9.0
    masks[0, 4] = 9.0
    classes = [
        [0.9, 0.05, 0.05],
        [0.7, 0.1, 0.2],
        [0.1, 0.8, 0.1],
        [0.2, 0.6, 0.2],
        [0.1, 0.1, 0.8],
    ]
    labels = {
        "fill": [[[0.1, 0.8, 0.1], [0.2, 0.2, 0.6]] + [[0.9, 0.05, 0.05]] * 3],
        "tint": [[[0.6, 0.4], [0.3, 0.7]] + [[0.9, 0.1]] * 3],
    }
    return output_of([classes], labels, masks)


def test_segments_of_things_and_stuff():
    panoptic, segments = predict_panoptic(
        hand_made(), 0, image_sizes((4, 8)), spec=SPEC, options=PanopticOptions(stuff_classes=(1,))
    )
    # The surer of two things has what both claim; the sky's two queries are one segment; what
    # nobody but the query without object claims is nobody's.
    assert panoptic.tolist() == [
        [3, 3, 3, 3, 3, 3, 3, 3],
        [1, 1, 1, 1, 2, 2, 0, 0],
        [1, 1, 1, 1, 2, 2, 0, 0],
        [0, 0, 0, 0, 0, 0, 0, 0],
    ]
    assert panoptic.dtype == torch.int32
    sure = torch.tensor(9.0).sigmoid().item()
    expected = [
        # Query 0: fill 1, tint 0; query 1 has neither.
        (1, True, 0, 0.9, {"fill": 1, "tint": 0}),
        (2, True, 0, 0.7, {"fill": None, "tint": None}),
        (3, False, 1, 0.8, {"fill": 0, "tint": 0}),
    ]
    assert len(segments) == 3
    for segment, (number, is_thing, category, prob, labels) in zip(segments, expected, strict=True):
        assert segment["id"] == number
        assert segment["isthing"] is is_thing
        assert segment["category_id"] == category
        assert segment["subcategories"] == labels
        assert segment["score"] == pytest.approx(prob * sure, abs=1e-5)


def test_thresholds():
    def ids(**options) -> list[int]:
        panoptic, segments = predict_panoptic(
            hand_made(), 0, image_sizes((4, 8)), spec=SPEC, options=PanopticOptions(**options)
        )
        assert [s["id"] for s in segments] == list(range(1, len(segments) + 1))
        return panoptic.unique().tolist()

    assert ids(object_mask_threshold=0.65) == [0, 1, 2, 3]
    # Query 1 keeps 4 of its 8 pixels: half is enough for a threshold of .5 and no more.
    assert ids(overlap_threshold=0.5) == [0, 1, 2, 3, 4]
    assert ids(overlap_threshold=0.51) == [0, 1, 2, 3]
    # None is surer than .9, and what is not above the threshold is left out.
    assert ids(object_mask_threshold=0.9) == [0]


def published_rule(output, index, where, options) -> tuple[torch.Tensor, list[tuple]]:
    """The published rule step by step, all masks at once."""
    probs, classes = output.pred_logits[index].softmax(-1).max(-1)
    no_object = output.pred_logits.shape[-1] - 1
    kept = (classes != no_object) & (probs > options.object_mask_threshold)
    (chunk,) = upsampled_chunks(output.pred_masks[index][kept], where, chunk_elements=2**40)
    masks = chunk[1].sigmoid()
    owner = (probs[kept][:, None, None] * masks).argmax(0)
    result, segments, stuff = torch.zeros_like(owner, dtype=torch.int32), [], {}
    for k, category in enumerate(classes[kept].tolist()):
        own, whole = owner == k, masks[k] >= 0.5
        if not (own & whole).any() or own.sum() / whole.sum() < options.overlap_threshold:
            continue
        if category in stuff:
            result[own & whole] = stuff[category]
            continue
        segments.append((len(segments) + 1, category))
        result[own & whole] = len(segments)
        if category in options.stuff_classes:
            stuff[category] = len(segments)
    return result, segments


@pytest.mark.parametrize("chunk", [1, 3 * 131 * 203, 2**40])
@pytest.mark.parametrize("overlap", [0.0, 0.6])
def test_chunks_give_what_the_published_rule_gives(monkeypatch, chunk, overlap):
    monkeypatch.setitem(resize_module.CHUNK_ELEMENTS, "cpu", chunk)
    generator = torch.Generator().manual_seed(3)
    output = DecoderOutput(
        pred_logits=2 * torch.randn(2, 14, 5, generator=generator),
        pred_masks=torch.stack([soft_discs(14, 16, 24, seed=i) for i in (1, 2)]),
        pred_subcategories={},
    )
    where = image_sizes((64, 96), (60, 91), (131, 203))
    options = PanopticOptions(0.2, overlap, stuff_classes=(2, 3))
    for index in range(2):
        panoptic, segments = predict_panoptic(output, index, where, spec=NO_LABELS, options=options)
        expected, expected_segments = published_rule(output, index, where, options)
        assert torch.equal(panoptic, expected)
        assert [(s["id"], s["category_id"]) for s in segments] == expected_segments
        assert len(segments) >= 3
        assert all(0.1 < s["score"] < 1 and s["subcategories"] == {} for s in segments)


@pytest.mark.parametrize("chunk", [1, 2**40])
def test_of_two_that_are_equally_sure_the_first_has_the_pixel(monkeypatch, chunk):
    monkeypatch.setitem(resize_module.CHUNK_ELEMENTS, "cpu", chunk)
    # Two queries of the same mask and the same probability, of classes 1 and 0.
    output = output_of([[[0.1, 0.8, 0.1], [0.8, 0.1, 0.1]]], masks=torch.full((1, 2, 4, 4), 2.0))
    panoptic, segments = predict_panoptic(output, 0, image_sizes((16, 16)), spec=NO_LABELS)
    assert [(s["id"], s["category_id"]) for s in segments] == [(1, 1)]
    assert (panoptic == 1).all()


def test_nothing_is_sure_enough():
    output = output_of([[[0.1, 0.9], [0.2, 0.8]]])
    panoptic, segments = predict_panoptic(output, 0, image_sizes((16, 16), (9, 5)), spec=NO_LABELS)
    assert panoptic.shape == (9, 5)
    assert panoptic.dtype == torch.int32
    assert not panoptic.any()
    assert segments == []


def test_empty_masks_and_a_picture_of_one_pixel():
    output = output_of([[[0.9, 0.1], [0.8, 0.2]]], masks=torch.full((1, 2, 4, 4), -1.0))
    panoptic, segments = predict_panoptic(output, 0, image_sizes((16, 16), (1, 1)), spec=NO_LABELS)
    assert (panoptic.tolist(), segments) == ([[0]], [])
    output.pred_masks[0, 1] = 1.0
    panoptic, segments = predict_panoptic(output, 0, image_sizes((16, 16), (1, 1)), spec=NO_LABELS)
    # .8 * sigmoid(1) = .585 against .9 * sigmoid(-1) = .242.
    assert panoptic.tolist() == [[1]]
    assert segments[0]["score"] == pytest.approx(0.8 * 0.731059, abs=1e-5)


def test_masks_that_are_nan_are_empty_and_class_logits_refused():
    output = hand_made()
    output.pred_masks[0, 0] = float("nan")
    panoptic, segments = predict_panoptic(output, 0, image_sizes((4, 8)), spec=SPEC)
    # As if the mask were empty: query 1 has all of its own.
    assert panoptic[1].tolist() == [0, 0, 1, 1, 1, 1, 0, 0]
    assert len(segments) == 3
    output.pred_logits[0, 0] = float("nan")
    with pytest.raises(ValueError, match="not finite"):
        predict_panoptic(output, 0, image_sizes((4, 8)), spec=SPEC)


def test_segments_of_classes_without_a_subcategory_have_none_of_it():
    applies = ((True, False), (False, True))
    options = PanopticOptions(stuff_classes=(1,))
    plain, limited = (
        predict_panoptic(hand_made(), 0, image_sizes((4, 8)), spec=SPEC, options=o)[1]
        for o in (options, dataclasses.replace(options, applies=applies))
    )
    assert [s["category_id"] for s in limited] == [0, 0, 1]
    fill, tint = ([s["subcategories"][name] for s in plain] for name in SPEC.names)
    assert [s["subcategories"] for s in limited] == [
        {"fill": fill[0], "tint": None},
        {"fill": fill[1], "tint": None},
        {"fill": None, "tint": tint[2]},
    ]
    # The heads did say something.
    assert (tint[0], fill[2]) == (0, 0)
