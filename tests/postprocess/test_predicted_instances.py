"""Instances with each filter, on its own and before or after the resize; awkward pictures."""

from __future__ import annotations

import pytest
import torch
from postprocess_tools import image_sizes, output_of, soft_discs

from mask2former_mt.evaluation.results_json import instances_to_results
from mask2former_mt.ops import resize_masks as resize_module
from mask2former_mt.ops.encode_masks import encode_masks
from mask2former_mt.postprocess import (
    Filters,
    InstanceOptions,
    predict_instances,
    predicted_instances,
)
from mask2former_mt.structures import SubcategorySpec

# On a 6 x 8 grid of a 24 x 32 picture: a square of 2 x 2 cells, the same again, one beside of 2 x 3
# cells that shares no cell with them, and none.
BOXES = [(1, 1, 3, 3), (1, 1, 3, 3), (4, 1, 6, 4), (0, 0, 0, 0)]
CLASSES = [
    [0.9, 0.05, 0.05],
    [0.7, 0.1, 0.2],
    [0.1, 0.8, 0.1],
    [0.6, 0.1, 0.3],
]
LABELS = {
    # K_s = 2; the third is none.
    "fill": [[0.1, 0.8, 0.1], [0.2, 0.2, 0.6], [0.9, 0.05, 0.05], [0.4, 0.3, 0.3]],
    # K_s = 1.
    "tint": [[0.55, 0.45], [0.95, 0.05], [0.3, 0.7], [0.5, 0.5]],
}
SIZE = (24, 32)
SPEC = SubcategorySpec.from_counts(["fill", "tint"], [2, 1])


def scene():
    masks = torch.full((1, 4, 6, 8), -9.0)
    for query, (left, top, right, bottom) in enumerate(BOXES):
        masks[0, query, top:bottom, left:right] = 9.0
    return output_of([CLASSES], {name: [probs] for name, probs in LABELS.items()}, masks)


def predicted(output=None, sizes=None, *, options=None, **filters):
    """The instances of an output, by default the scene's, with one class per query."""
    options = {"one_class_per_query": True, **(options or {}), "filters": Filters(**filters)}
    sizes = sizes or image_sizes(SIZE)
    return predict_instances(output or scene(), 0, sizes, options=InstanceOptions(**options))


def queries_of(instances):
    """The scene's query that each instance comes from, which its labels tell."""
    labels = [[1, 0], [2, 0], [0, 1], [0, 0]]
    return [labels.index(own) for own in instances.pred_subcategories.tolist()]


def test_without_filters_all_are_there_best_first():
    instances = predicted()
    # The empty one scores 0.
    assert queries_of(instances) == [0, 2, 1, 3]
    assert instances.pred_classes.tolist() == [0, 1, 0, 0]
    assert instances.pred_subcategories.tolist() == [[1, 0], [0, 1], [2, 0], [0, 0]]
    assert instances.scores[3] == 0
    assert not instances.pred_masks[3].any()
    # Cell columns 1 and 2 of 4 pixels: 4 to 12, rows alike; then columns 4 and 5, rows 1 to 3.
    assert instances.pred_boxes.tensor.tolist()[:2] == [[4, 4, 12, 12], [16, 4, 24, 16]]


@pytest.mark.parametrize(
    ("filters", "queries"),
    [
        # Pixels near an edge are less sure: of .9, .8 and .7 remain .840, .759 and .654.
        ({"score": 0.75}, [0, 2]),
        ({"score": 0.85}, []),
        ({"class_score": 0.65}, [0, 2, 1]),
        ({"subcategory_scores": (0.7, 0.0)}, [0, 2]),
        ({"subcategory_scores": (0.0, 0.6)}, [2, 1]),
        # Query 1 has no fill, query 2 no tint.
        ({"needs_value": (True, False), "num_values": (2, 1)}, [0, 2, 3]),
        ({"needs_value": (True, True), "num_values": (2, 1)}, [0, 3]),
        # 8 * 8 pixels without their 4 corners, which are more outside than in: 60; and 8 * 12 - 4.
        ({"min_area": 1}, [0, 2, 1]),
        ({"min_area": 60}, [0, 2, 1]),
        ({"min_area": 61}, [2]),
        ({"min_area": 93}, []),
        ({"keep": 2}, [0, 2]),
        # The same mask and the same class, less sure.
        ({"nms": "hard", "nms_threshold": 0.9}, [0, 2, 3]),
        # IoU 1 with a better one: linear lowers its score to 0, which is still not left out.
        ({"nms": "linear", "keep": 2}, [0, 2]),
        ({"nms": "linear", "score": 0.01}, [0, 2]),
        # exp(-1 / .5) = .135 times .654 is .088.
        ({"nms": "gaussian", "score": 0.08}, [0, 2, 1]),
        ({"nms": "gaussian", "score": 0.1}, [0, 2]),
        ({"nms": "hard", "min_area": 61, "class_score": 0.5}, [2]),
    ],
)
def test_each_filter(filters, queries):
    instances = predicted(**filters)
    assert queries_of(instances) == queries
    # What remains is as it was, but for what a soft NMS takes.
    everything = predicted()
    for i, query in enumerate(queries):
        j = queries_of(everything).index(query)
        assert torch.equal(instances.pred_masks[i], everything.pred_masks[j])
        assert torch.equal(instances.pred_boxes.tensor[i], everything.pred_boxes.tensor[j])
        assert instances.pred_subcategories[i].tolist() == everything.pred_subcategories[j].tolist()
        if filters.get("nms") != "gaussian":
            assert instances.scores[i] == everything.scores[j]


def test_a_soft_nms_lowers_the_score_and_ranks_anew():
    # The second of two equal masks sinks below the other mask's 0.1.
    output = scene()
    output.pred_logits = torch.tensor(
        [[[0.9, 0.01, 0.09], [0.5, 0.01, 0.49], [0.2, 0.01, 0.79], [0.01, 0.01, 0.98]]]
    ).log()
    before = predicted(output, options={"top_k": 3})
    after = predicted(output, options={"top_k": 3}, nms="gaussian", nms_sigma=0.5)
    assert queries_of(before) == [0, 1, 2]
    assert queries_of(after) == [0, 2, 1]
    # exp(-1^2 / .5) = .135335.
    torch.testing.assert_close(after.scores[2], 0.135335 * before.scores[1], atol=1e-5, rtol=0)


@pytest.mark.parametrize(("class_aware", "count"), [(True, 2), (False, 1)])
def test_nms_is_class_aware_or_not(class_aware, count):
    # One query, two classes: one mask.
    output = output_of([[[0.5, 0.4, 0.1]]], masks=torch.full((1, 1, 4, 4), 5.0))
    options = {"one_class_per_query": False}
    instances = predicted(output, options=options, nms="hard", nms_class_aware=class_aware)
    assert instances.pred_classes.tolist() == [0, 1][:count]


def test_nms_sees_nothing_of_the_padding():
    # In the picture, the upper half of the grid, the masks are one above the other; in the padding
    # they are the same.
    masks = torch.full((1, 2, 8, 4), -5.0)
    masks[0, :, 4:] = 5.0
    masks[0, 0, :2] = 5.0
    masks[0, 1, 2:4] = 5.0
    output = output_of([[[0.9, 0.1], [0.8, 0.2]]], masks=masks)
    for image, count in (((16, 16), 2), ((32, 16), 1)):
        kept = predicted(output, image_sizes((32, 16), image), nms="hard", nms_threshold=0.1)
        assert len(kept.scores) == count


def test_only_masks_that_remain_are_resized(monkeypatch):
    resized = []

    def recorded(mask_logits, *arguments, **options):
        resized.append(len(mask_logits))
        return resize_module.resize_masks(mask_logits, *arguments, **options)

    monkeypatch.setattr(predicted_instances, "resize_masks", recorded)
    predicted()
    # By class: one is left out before; by NMS and for being empty: the copy and the empty one.
    predicted(class_score=0.65)
    predicted(nms="hard", min_area=1)
    # A score of .85 cannot come of a class of .8.
    predicted(score=0.85)
    assert resized == [4, 3, 2, 1]
    # Several classes of a query are one mask.
    resized.clear()
    assert len(predicted(options={"one_class_per_query": False}).scores) == 8
    assert resized == [4]


def test_the_score_follows_the_ranking():
    by_class, by_sum = predicted(), predicted(options={"ranking": "sum"})
    # Query 0: (.9 + .8 + .55) / 3 = .75; its mask score is its score over .9.
    mask_score = by_class.scores[0] / 0.9
    where = queries_of(by_sum).index(0)
    torch.testing.assert_close(by_sum.scores[where], 0.75 * mask_score)


@pytest.mark.parametrize("mode", ["parity", "direct"])
def test_the_resize_is_the_one_asked_for(mode):
    output = output_of([[[0.9, 0.1]] * 5], masks=soft_discs(5, 16, 24)[None])
    where = image_sizes((64, 96), (60, 91), (131, 203))
    instances = predicted(output, where, options={"mask_resize": mode})
    expected, scores, _ = resize_module.resize_masks(output.pred_masks[0], where, mode=mode)
    scores, order = (0.9 * scores).sort(descending=True)
    assert torch.equal(instances.pred_masks, expected[order])
    torch.testing.assert_close(instances.scores, scores)


@pytest.mark.parametrize("options", [{}, {"one_class_per_query": False, "min_area": 30}])
def test_encoded_masks_are_the_same(monkeypatch, options):
    filters = {"min_area": options.pop("min_area", 0)}
    whole = predicted(options=options, **filters)
    # One mask of 24 x 32 pixels at a time.
    monkeypatch.setattr(predicted_instances, "_MASKS_AT_A_TIME", 1)
    monkeypatch.setattr(predicted_instances, "_MASK_BYTES_AT_A_TIME", 24 * 32)
    encoded = predicted(options={**options, "encoded": True}, **filters)
    assert not encoded.has("pred_masks")
    assert list(encoded.pred_rles) == encode_masks(whole.pred_masks)
    assert torch.equal(encoded.scores, whole.scores)
    assert torch.equal(encoded.pred_boxes.tensor, whole.pred_boxes.tensor)
    assert list(encoded[encoded.scores > 0.5].pred_rles) == encode_masks(
        whole[whole.scores > 0.5].pred_masks
    )
    results = [
        instances_to_results(instances, 1, spec=SPEC, category_ids=[1, 2, 3])
        for instances in (whole, encoded)
    ]
    assert results[0] == results[1]


# --- awkward pictures ----------------------------------------------------------------------------


@pytest.mark.parametrize("nms", ["none", "hard", "linear", "gaussian"])
def test_nothing_remains(nms):
    instances = predicted(class_score=0.99, nms=nms, min_area=1)
    assert instances.pred_masks.shape == (0, *SIZE)
    assert instances.pred_boxes.tensor.shape == (0, 4)
    assert instances.scores.shape == instances.pred_classes.shape == (0,)
    assert instances.pred_subcategories.shape == instances.subcategory_scores.shape == (0, 2)


# Filters, which no NaN passes, do not hide it.
@pytest.mark.parametrize("filters", [{}, {"score": 0.5}])
@pytest.mark.parametrize("bad", ["class", "label"])
def test_class_or_label_logits_that_are_nan_are_refused(bad, filters):
    output = scene()
    logits = output.pred_logits if bad == "class" else output.pred_subcategories["tint"]
    logits[0, 1, 0] = float("nan")
    with pytest.raises(ValueError, match="logits of image 0 of the batch are not finite; the wei"):
        predicted(output, **filters)
