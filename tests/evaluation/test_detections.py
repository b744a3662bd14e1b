"""Results that do not fit their dataset are named."""

import math

import pytest
from evaluation_scenes import (
    APPLE,
    PEAR,
    RIGHT,
    SIZE,
    assert_metrics,
    box_rle,
    evaluate,
    found,
    ground_truth,
    truth,
    without,
)

from mask2former_mt.evaluation.detections import read_parts
from mask2former_mt.evaluation.overlaps import read_detections


def with_counts(counts, **changed):
    result = found(0, **changed)
    return {**result, "segmentation": {**result["segmentation"], "counts": counts}}


def with_probability(probability):
    values = {"style": {"value": "photo", "score": probability}, "ripeness": {"value": "ripe"}}
    return {**found(0), "subcategories": values}


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (without(found(0), "score"), r"results\[1\]: image 1: .*required field `score`; a result"),
        (without(found(0), "image_id"), r"results\[1\]: .* required field `image_id`"),
        ([1, 2], r"results\[1\]: Expected `object`, got `array`; a result must be {.*pycocotools"),
        (found(0, image_id=99), r"results\[1\]: image 99: .* is not one of the 4 images"),
        (
            {**found(0), "image_id": [1]},
            r"results\[1\]: Expected `int .* `array` - at `\$\.image_id",
        ),
        (found(0, category_id=0), r"results\[1\]: image 1: category_id 0 is not in .* \[7, 9\]"),
        (found(0, score=math.nan), r"results\[1\]: image 1: score must be a finite .* nan"),
        (found(0, score=math.inf), r"score must be a finite number, got inf"),
        (found(0, score="0.9"), r"Expected `float`, got `str` - at `\$\.score`"),
        (found(0, score=True), r"Expected `float`, got `bool` - at `\$\.score`"),
        (
            {**found(0), "segmentation": box_rle(0, 0, size=(SIZE, 80))},
            r"results\[1\]: image 1: the mask's size must be \[160, 160\].*got \[160, 80\]",
        ),
        ({**found(0), "segmentation": {"counts": "a"}}, "required field `size` .*segmentation"),
        ({**found(0), "segmentation": [[0, 0, 20, 0, 20, 20]]}, r"`array` - at `\$\.segmentation`"),
        (with_counts([25600]), r"Expected `str`, got `array` - at `\$\.segmentation\.counts`"),
        # 'P' says that the number goes on.
        (with_counts("04P"), r"results\[1\]: image 1: .*compressed text, .* cut short: '04P'"),
        (with_counts(""), r"results\[1\]: image 1: .*compressed text"),
        (with_counts("é0"), r"results\[1\]: image 1: .*compressed text"),
        # Run lengths 1 and 2.
        (with_counts("12"), r"results\[1\]: image 1: .* add up to .* = 25600, got 3"),
        (with_counts("PPPPPPPP0"), r"results\[0\] to results\[1\]: .* 9 characters"),
        (
            found(0, labels={"style": "painting", "ripeness": None}),
            r"results\[1\]: image 1: subcategory 'style' has no value 'painting'",
        ),
        (
            found(0, labels={"style": 7, "ripeness": None}),
            r"'style': index must be in \[-1, 2\] .* got 7",
        ),
        (
            found(0, labels={**RIGHT, "colour": "red"}),
            r"results\[1\]: image 1: subcategory 'colour' is not listed",
        ),
        (found(0, labels={"style": "photo"}), r"results\[1\]: .*no value of .* 'ripeness'"),
        (found(0, labels={"style": -1, "ripeness": None}), r"no value of .* 'style'"),
        (without(found(0), "subcategories"), r"results\[1\]: .*no value of .* 'style'"),
        ({**found(0), "subcategories": RIGHT}, r"got `str` - at `\$\.subcategories\[...\]`"),
        (with_probability(math.nan), "subcategory 'style': score must be a finite .*got nan"),
    ],
)
def test_a_result_that_does_not_fit_is_named(bad, message):
    with pytest.raises(ValueError, match=message):
        evaluate([truth(0)], [found(0), bad])


def test_values_may_be_indices():
    result = found(0, labels={"style": 0, "ripeness": 2})
    truth_ = truth(0, labels={"style": "photo", "ripeness": None})
    metrics = evaluate([truth_], [result])
    assert_metrics(metrics, segm_AP=100, joint_AP=100)


def test_columns_are_in_the_order_of_the_entries():
    labels = {"style": None, "ripeness": "unripe"}
    entries = [
        found(4, 8, score=0.25, image_id=2, category_id=PEAR, labels=labels),
        found(0, side=10, category_id=APPLE),
    ]
    del entries[1]["subcategories"]["style"]["score"]
    ((part, rles),) = read_parts(ground_truth([truth(0)]), entries)
    assert rles == [entry["segmentation"] for entry in entries]
    assert part.places.tolist() == [0, 1]
    assert part.images.tolist() == [1, 0]
    assert part.classes.tolist() == [1, 0]
    assert part.scores.tolist() == [0.25, 0.9]
    assert part.areas.tolist() == [400, 100]
    assert part.extents.tolist() == [[4, 8, 20, 20], [0, 0, 10, 10]]
    assert part.labels.tolist() == [[2, 1], [0, 0]]
    assert part.label_scores[0].tolist() == [0.5, 0.5]
    assert math.isnan(part.label_scores[1, 0])


def test_detections_are_sorted_by_image_and_ranked_within_image_and_class():
    # The entries of one image may be scattered.
    entries = [
        found(0, score=0.5, image_id=2),
        found(0, score=0.4),
        found(0, score=0.9, image_id=2),
        found(0, score=0.4),
        found(0, score=0.1, image_id=2, category_id=PEAR),
    ]
    detections, pairs = read_detections(ground_truth([truth(0)]), iter(entries))
    assert detections.places.tolist() == [1, 3, 0, 2, 4]
    assert detections.images.tolist() == [0, 0, 1, 1, 1]
    # Equal scores keep their order.
    assert detections.ranks.tolist() == [0, 1, 1, 0, 0]
    # Apples .9, .5, .4, .4, then the pear.
    assert detections.by_class.tolist() == [3, 2, 0, 1, 4]
    assert pairs.detections.tolist() == [0, 1]
    assert pairs.objects.tolist() == [0, 0]
    assert pairs.ious.tolist() == [1, 1]


def test_many_parts_are_one():
    # More entries than are read at once; every third one is on the object.
    entries = [found(0 if i % 3 == 0 else 40, score=i / 500) for i in range(450)]
    detections, pairs = read_detections(ground_truth([truth(0)]), iter(entries))
    assert detections.scores.tolist() == [i / 500 for i in range(450)]
    assert pairs.detections.tolist() == list(range(0, 450, 3))


def test_weak_overlaps_and_those_of_other_classes_explain_errors():
    dataset = ground_truth([truth(0)])
    # 10 of 30 columns are common: IoU 1/3. And a pear on the apple.
    results = [found(10), found(0, category_id=PEAR)]
    _, few = read_detections(dataset, results)
    assert len(few.detections) == 0
    _, many = read_detections(dataset, results, explain=True)
    assert many.detections.tolist() == [0, 1]
    assert many.ious.tolist() == [pytest.approx(1 / 3), 1]
    # 2 of 38 columns: IoU .05. And 10 of 20, exactly .5.
    _, weak = read_detections(dataset, [found(18)], explain=True)
    assert len(weak.detections) == 0
    _, exact = read_detections(dataset, [found(0, width=10, height=20)])
    assert exact.ious.tolist() == [0.5]
