"""Results that do not fit their dataset are named."""

import math

import pytest
from evaluation_scenes import (
    APPLE,
    PEAR,
    RIGHT,
    SIZE,
    SPEC,
    assert_metrics,
    box_rle,
    coco,
    evaluate,
    found,
    truth,
    without,
)

from mask2former_mt.evaluation.detections import read_detections
from mask2former_mt.evaluation.entries import EntryReader
from mask2former_mt.evaluation.ground_truth import read_ground_truth


def with_counts(counts, **changed):
    result = found(0, **changed)
    return {**result, "segmentation": {**result["segmentation"], "counts": counts}}


def with_probability(probability):
    values = {"style": {"value": "photo", "score": probability}, "ripeness": {"value": "ripe"}}
    return {**found(0), "subcategories": values}


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (without(found(0), "score"), r"results\[1\]: image 1: no 'score'"),
        (without(found(0), "image_id"), r"results\[1\]: no 'image_id'"),
        ([1, 2], r"results\[1\]: a result must be an object .* got '\[1, 2\]'"),
        (found(0, image_id=99), r"results\[1\]: image 99: .* is not one of the 1 images"),
        ({**found(0), "image_id": [1]}, r"results\[1\]: image_id \[1\] is not one of the 1 images"),
        (found(0, category_id=0), r"results\[1\]: image 1: category_id 0 is not in .* \[7, 9\]"),
        (found(0, category_id=None), "category_id None is not in the ground truth"),
        (found(0, score=math.nan), r"results\[1\]: image 1: score must be a finite .* nan"),
        (found(0, score=math.inf), r"score must be a finite number, got inf"),
        (found(0, score="0.9"), r"score must be a finite number, got '0\.9'"),
        (found(0, score=True), r"score must be a finite number, got True"),
        (
            {**found(0), "segmentation": box_rle(0, 0, size=(SIZE, 80))},
            r"results\[1\]: image 1: the mask's size must be \[160, 160\].*got \[160, 80\]",
        ),
        ({**found(0), "segmentation": {"counts": "a"}}, r"size must be \[160, 160\].*got None"),
        (
            {**found(0), "segmentation": [[0, 0, 20, 0, 20, 20]]},
            r"results\[1\]: image 1: segmentation must be a compressed RLE",
        ),
        (with_counts([25600]), r"results\[1\]: image 1: segmentation must be a compressed RLE"),
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
        ({**found(0), "subcategories": RIGHT}, r"results\[1\]: image 1: subcategories must be"),
        ({**found(0), "subcategories": None}, r"results\[1\]: image 1: subcategories must be"),
        (with_probability(math.nan), "subcategory 'style': score must be a finite .*got nan"),
        (with_probability("high"), "subcategory 'style': score must be a finite .*got 'high'"),
    ],
)
def test_a_result_that_does_not_fit_is_named(bad, message):
    with pytest.raises(ValueError, match=message):
        evaluate([truth(0)], [found(0), bad])


def test_values_may_be_indices_and_counts_bytes():
    result = found(0, labels={"style": 0, "ripeness": 2})
    counts = result["segmentation"]["counts"].encode()
    truth_ = truth(0, labels={"style": "photo", "ripeness": None})
    metrics = evaluate(
        [truth_], [{**result, "segmentation": {"size": (160, 160), "counts": counts}}]
    )
    assert_metrics(metrics, segm_AP=100, joint_AP=100)


def test_columns_are_in_the_order_of_the_entries():
    dataset = read_ground_truth(coco([truth(0)], num_images=2), SPEC, ["apple", "pear"])
    labels = {"style": None, "ripeness": "unripe"}
    entries = [
        found(4, 8, score=0.25, image_id=2, category_id=PEAR, labels=labels),
        found(0, side=10, category_id=APPLE),
    ]
    del entries[1]["subcategories"]["style"]["score"]
    columns, rles = EntryReader(dataset).read(entries, 0)
    assert rles == [entry["segmentation"] for entry in entries]
    assert columns["images"].tolist() == [1, 0]
    assert columns["classes"].tolist() == [1, 0]
    assert columns["scores"].tolist() == [0.25, 0.9]
    assert columns["areas"].tolist() == [400, 100]
    assert columns["extents"].tolist() == [[4, 8, 20, 20], [0, 0, 10, 10]]
    assert columns["labels"].tolist() == [[2, 1], [0, 0]]
    assert columns["label_scores"][0].tolist() == [0.5, 0.5]
    assert math.isnan(columns["label_scores"][1, 0])


def test_detections_are_sorted_by_image_and_ranked_within_image_and_class():
    dataset = read_ground_truth(coco([truth(0)], num_images=2), SPEC, ["apple", "pear"])
    entries = [
        found(0, score=0.5, image_id=2),
        found(0, score=0.4),
        found(0, score=0.9, image_id=2),
        found(0, score=0.4),
        found(0, score=0.1, image_id=2, category_id=PEAR),
    ]
    detections, pairs = read_detections(dataset, iter(entries))
    assert detections.places.tolist() == [1, 3, 0, 2, 4]
    assert detections.images.tolist() == [0, 0, 1, 1, 1]
    # Equal scores keep their order.
    assert detections.ranks.tolist() == [0, 1, 1, 0, 0]
    assert pairs.detections.tolist() == [0, 1]
    assert pairs.objects.tolist() == [0, 0]
    assert pairs.ious.tolist() == [1, 1]


def test_entries_of_one_image_may_be_scattered():
    annotations = [truth(0), truth(0, image_id=2), truth(40)]
    results = [found(0), found(0, image_id=2, score=0.7), found(40, score=0.8)]
    dataset = coco(annotations, num_images=2)
    truth_ = read_ground_truth(dataset, SPEC, ["apple", "pear"])
    scattered, _ = read_detections(truth_, results)
    sorted_, _ = read_detections(truth_, [results[0], results[2], results[1]])
    assert scattered.scores.tolist() == sorted_.scores.tolist() == [0.9, 0.8, 0.7]


def test_overlaps_of_other_classes_and_lower_iou_can_be_asked_for():
    dataset = read_ground_truth(coco([truth(0)]), SPEC, ["apple", "pear"])
    # 10 of 30 columns are common: IoU 1/3. And a pear on the apple.
    results = [found(10), found(0, category_id=PEAR)]
    _, few = read_detections(dataset, results)
    assert len(few.detections) == 0
    _, many = read_detections(dataset, results, least_iou=0.1, same_class=False)
    assert many.detections.tolist() == [0, 1]
    assert many.ious.tolist() == [pytest.approx(1 / 3), 1]
    _, exact = read_detections(dataset, results, least_iou=1 / 3)
    assert exact.ious.tolist() == [pytest.approx(1 / 3)]
