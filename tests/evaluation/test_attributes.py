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
