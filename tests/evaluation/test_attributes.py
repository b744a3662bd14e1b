"""Confusion, accuracy, balanced accuracy and F1 of the labels of matches."""

import json
import math

import numpy as np
import pytest
from evaluation_scenes import (
    CLASSES,
    PEAR,
    RIGHT,
    assert_metrics,
    crowded_scene,
    evaluate,
    evaluation_of,
    found,
    truth,
)

from mask2former_mt.evaluation.attributes import confusion_json
from mask2former_mt.structures import SubcategorySpec

SIDES = [{"style": "photo"}, {"style": "photo"}, {"style": "cartoon"}, {"style": None}]


def scene(predicted, annotated=SIDES, classes=None):
    """Objects with a style only, each found with the style of `predicted`."""
    classes = classes or [7] * len(annotated)
    annotations = [
        truth(40 * i, labels=a, category_id=c)
        for i, (a, c) in enumerate(zip(annotated, classes, strict=True))
    ]
    results = [
        found(40 * i, score=0.9 - i / 10, labels={**RIGHT, "style": style}, category_id=c)
        for i, (style, c) in enumerate(zip(predicted, classes, strict=True))
    ]
    return annotations, results


def test_the_confusion_has_a_row_per_annotated_and_a_column_per_predicted_value():
    annotations, results = scene(["photo", None, "photo", None], classes=[7, 7, PEAR, 7])
    labels = evaluation_of(annotations, results).labels
    assert labels["style"].values == ("photo", "cartoon", None)
    # photo: once right, once none; cartoon, the pear: taken for photo; none: right.
    confusion = confusion_json(labels, CLASSES)
    assert json.loads(json.dumps(confusion))["style"] == {
        "values": ["photo", "cartoon", None],
        "all": [[1, 0, 1], [1, 0, 0], [0, 0, 1]],
        "classes": {
            "apple": [[1, 0, 1], [0, 0, 0], [0, 0, 1]],
            "pear": [[0, 0, 0], [1, 0, 0], [0, 0, 0]],
        },
    }
    # Classes without matches that have the label are left out.
    assert confusion["ripeness"]["classes"] == {}


def test_accuracy_balanced_accuracy_and_macro_f1():
    # 2 of 4 right. photo 1 of 2, cartoon 0 of 1, none 1 of 1: balanced (1/2+0+1)/3 = 1/2.
    # F1 = 2 right / (annotated + predicted): photo 2/(2+2) = 1/2, cartoon 0/(1+0) = 0,
    # none 2/(1+2) = 2/3. Mean 7/18.
    metrics = evaluate(*scene(["photo", None, "photo", None]))
    assert_metrics(metrics, subcategory_style_accuracy=50)
    assert_metrics(metrics, subcategory_style_balanced_accuracy=50)
    assert_metrics(metrics, subcategory_style_macro_f1=100 * 7 / 18)
    # 3 of 4; photo 3/3, cartoon 0/1; F1 6/(3+4), 0.
    annotated = [{"style": "photo"}] * 3 + [{"style": "cartoon"}]
    metrics = evaluate(*scene(["photo"] * 4, annotated))
    assert_metrics(metrics, subcategory_style_accuracy=75, subcategory_style_balanced_accuracy=50)
    assert_metrics(metrics, subcategory_style_macro_f1=100 * (6 / 7) / 2)


def test_only_annotated_matches_count():
    # The second object is unknown, the third missed (found elsewhere), the fourth a crowd.
    annotated = [{"style": "photo"}, {}, {"style": "photo"}, {"style": "photo"}]
    annotations, results = scene(["cartoon", "cartoon", "cartoon", "cartoon"], annotated)
    annotations[3]["iscrowd"] = 1
    results[2] = found(80, 100)
    done = evaluation_of(annotations, results)
    assert done.labels["style"].confusion.sum() == 1
    assert_metrics(done.metrics, subcategory_style_accuracy=0, subcategory_style_macro_f1=0)


def test_nothing_annotated_is_undefined():
    metrics = evaluate([truth(0, labels={})], [found(0)])
    for name in ("accuracy", "balanced_accuracy", "macro_f1", "ECE"):
        assert math.isnan(metrics[f"subcategory/style/{name}"])


@pytest.mark.parametrize("seed", range(3))
def test_the_numbers_are_those_of_scikit_learn(seed):
    sklearn_metrics = pytest.importorskip("sklearn.metrics")
    done = evaluation_of(*crowded_scene(seed))
    for name, found_ in done.labels.items():
        counts = found_.confusion
        annotated, predicted = np.repeat(
            np.stack(counts.nonzero()), counts[counts.nonzero()], axis=1
        )
        assert len(annotated) > 3
        expected = {
            "accuracy": sklearn_metrics.accuracy_score(annotated, predicted),
            "macro_f1": sklearn_metrics.f1_score(annotated, predicted, average="macro"),
            # That is, over the values that are annotated.
            "balanced_accuracy": sklearn_metrics.recall_score(
                annotated, predicted, labels=np.unique(annotated), average="macro"
            ),
        }
        for key, value in expected.items():
            assert done.metrics[f"subcategory/{name}/{key}"] == pytest.approx(100 * value)


def test_what_a_class_does_not_have_is_not_judged():
    spec = SubcategorySpec.from_json(
        [
            {"name": "style", "values": ["photo", "cartoon"], "applies_to": ["apple"]},
            {"name": "ripeness", "values": ["ripe", "unripe"]},
        ]
    )
    ripe = {"ripeness": "ripe"}
    annotations = [
        truth(0),
        truth(40, labels={"style": "cartoon"}),
        # By definition none, whether or not the file says so.
        truth(80, labels=ripe, category_id=PEAR),
        truth(120, labels={**ripe, "style": None}, category_id=PEAR),
    ]
    results = [
        found(0),
        found(40, score=0.8),
        # A value of another model, and none at all, are no mistake.
        found(80, category_id=PEAR),
        found(120, score=0.8, labels=ripe, category_id=PEAR),
    ]
    evaluation = evaluation_of(annotations, results, spec=spec)
    # Two apples, photo found, cartoon taken for photo; no pear is counted.
    assert evaluation.labels["style"].confusion.tolist() == [[1, 0, 0], [1, 0, 0], [0, 0, 0]]
    assert evaluation.labels["style"].bins.counts.sum() == 2
    assert_metrics(
        evaluation.metrics,
        subcategory_style_accuracy=50,
        # Apples: the second is wrong, so one of two is found, at precision 1: 51 of 101 recalls.
        # Pears: 100.
        joint_AP_style=100 * (51 / 101 + 1) / 2,
        joint_AP_ripeness=100,
        joint_AP=100 * (51 / 101 + 1) / 2,
    )
    assert evaluation.detections.labels[:, 0].tolist() == [0, 0, 2, 2]
    confusion = confusion_json(evaluation.labels, CLASSES)
    assert list(confusion["style"]["classes"]) == ["apple"]
