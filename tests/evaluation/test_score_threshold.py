"""Precision and recall by score threshold, and images and classes from one score on."""

import numpy as np
import pytest
from evaluation_scenes import ERROR_SCENE, PEAR, evaluation_of, found, truth

from mask2former_mt.evaluation.errors import find_errors
from mask2former_mt.evaluation.matching import FALSE_POSITIVE, IGNORED, TRUE_POSITIVE
from mask2former_mt.evaluation.score_threshold import (
    ImageScores,
    class_confusion,
    image_scores,
    score_curve,
)

STATUSES = np.array(
    [FALSE_POSITIVE, TRUE_POSITIVE, FALSE_POSITIVE, IGNORED, TRUE_POSITIVE], dtype=np.int8
)
SCORES = np.array([0.6, 0.9, 0.8, 0.7, 0.8])


def test_precision_and_recall_from_each_score_on_by_hand():
    curve = score_curve(STATUSES, SCORES, num_objects=4)
    np.testing.assert_allclose(curve.scores, [0.9, 0.8, 0.6])
    # .9: 1 of 1 right; .8: two come at once, 2 of 3; .6: 2 of 4. The ignored one is nowhere.
    np.testing.assert_allclose(curve.precisions, [1, 2 / 3, 1 / 2])
    np.testing.assert_allclose(curve.recalls, [1 / 4, 1 / 2, 1 / 2])
    # 2 * 1/4 / (5/4), 2 * 1/3 / (7/6), 2 * 1/4 / 1
    np.testing.assert_allclose(curve.f1, [2 / 5, 4 / 7, 1 / 2])
    assert curve.best_score == 0.8


def test_a_curve_at_other_thresholds():
    curve = score_curve(STATUSES, SCORES, num_objects=4).at(np.array([0.95, 0.9, 0.85, 0.5, 0.0]))
    # Above .9 there is nothing; from .9 to above .8 one; from .6 on all.
    np.testing.assert_allclose(curve.scores, [0.9, 0.85, 0.5, 0.0])
    np.testing.assert_allclose(curve.precisions, [1, 1, 1 / 2, 1 / 2])
    np.testing.assert_allclose(curve.recalls, [1 / 4, 1 / 4, 1 / 2, 1 / 2])


def test_a_curve_of_little():
    wrong = score_curve(np.array([FALSE_POSITIVE]), np.array([0.5]), num_objects=3)
    assert wrong.f1.tolist() == [0]
    assert wrong.best_score == 0.5
    no_detections = score_curve(np.zeros(0, dtype=np.int8), np.zeros(0), num_objects=3)
    assert no_detections.best_score == float("inf")
    no_objects = score_curve(np.array([FALSE_POSITIVE]), np.array([0.5]), num_objects=0)
    assert no_objects.precisions == [0]
    assert np.isnan(no_objects.recalls).all()
    assert no_objects.best_score == 0.5


def errors_of(annotations, results):
    return find_errors(evaluation_of(annotations, results))


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [
        # Rows apple, pear, nothing; columns apple, pear, missed. Two apples are found, one of them
        # with a wrong label; one is a pear; three are missed; badly placed, twice and on nothing.
        (0.0, [[2, 1, 3], [0, 0, 0], [3, 1, 0]]),
        (0.65, [[2, 1, 3], [0, 0, 0], [0, 0, 0]]),
        (0.95, [[0, 0, 6], [0, 0, 0], [0, 0, 0]]),
    ],
)
def test_class_confusion_by_hand(threshold, expected):
    counts = class_confusion(errors_of(*ERROR_SCENE), threshold)
    assert counts.tolist() == expected


def test_an_object_is_confused_once_and_not_when_it_is_found():
    annotations = [truth(0), truth(40)]
    results = [
        found(0, score=0.5),
        found(0, score=0.9, category_id=PEAR),
        found(40, score=0.8, category_id=PEAR),
        found(40, score=0.7, category_id=PEAR),
    ]
    counts = class_confusion(errors_of(annotations, results), 0.0)
    assert counts.tolist() == [[1, 1, 0], [0, 0, 0], [0, 2, 0]]
    # Above .6 the first apple is not found: the pear that lies there is what it is taken for.
    counts = class_confusion(errors_of(annotations, results), 0.6)
    assert counts.tolist() == [[0, 2, 0], [0, 0, 0], [0, 1, 0]]


def test_image_scores_by_hand():
    annotations = [*ERROR_SCENE[0], truth(0, image_id=2)]
    results = [*ERROR_SCENE[1], found(0, image_id=2, score=0.2)]
    scores = image_scores(errors_of(annotations, results), 0.0)
    assert scores.right.tolist() == [1, 1, 0, 0]
    assert scores.wrong.tolist() == [6, 0, 0, 0]
    assert scores.missed.tolist() == [5, 0, 0, 0]
    # 2 / (2 + 6 + 5); nothing there and nothing said is right.
    np.testing.assert_allclose(scores.f1, [2 / 13, 1, 1, 1])
    assert scores.worst_first().tolist() == [0, 1, 2, 3]
    # An image with nothing in it is no good picture.
    assert scores.best_first().tolist() == [1, 0]
    # Above .5 the second image has lost its object.
    scores = image_scores(errors_of(annotations, results), 0.5)
    assert scores.worst_first()[:2].tolist() == [1, 0]


def test_equal_images_are_ordered_by_how_much_is_in_them():
    scores = ImageScores(*(np.array(x) for x in ([0, 0, 2, 4], [1, 2, 0, 0], [1, 3, 0, 0])))
    assert scores.worst_first()[:2].tolist() == [1, 0]
    assert scores.best_first().tolist() == [3, 2]
