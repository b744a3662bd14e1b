"""Precision and recall by score threshold."""

import numpy as np
import pytest

from mask2former_mt.evaluation.matching import FALSE_POSITIVE, IGNORED, TRUE_POSITIVE
from mask2former_mt.evaluation.operating_point import score_curve

STATUSES = np.array(
    [FALSE_POSITIVE, TRUE_POSITIVE, FALSE_POSITIVE, IGNORED, TRUE_POSITIVE], dtype=np.int8
)
SCORES = np.array([0.6, 0.9, 0.8, 0.7, 0.8])


def test_by_hand():
    curve = score_curve(STATUSES, SCORES, num_objects=4)
    np.testing.assert_allclose(curve.scores, [0.9, 0.8, 0.6])
    # .9: 1 of 1 right; .8: two come at once, 2 of 3; .6: 2 of 4. The ignored one is nowhere.
    np.testing.assert_allclose(curve.precisions, [1, 2 / 3, 1 / 2])
    np.testing.assert_allclose(curve.recalls, [1 / 4, 1 / 2, 1 / 2])
    # 2 * 1/4 / (5/4), 2 * 1/3 / (7/6), 2 * 1/4 / 1
    np.testing.assert_allclose(curve.f1, [2 / 5, 4 / 7, 1 / 2])
    assert curve.best_score == 0.8


def test_at_other_thresholds():
    curve = score_curve(STATUSES, SCORES, num_objects=4).at(np.array([0.95, 0.9, 0.85, 0.5, 0.0]))
    # Above .9 there is nothing; from .9 to above .8 one; from .6 on all.
    np.testing.assert_allclose(curve.scores, [0.9, 0.85, 0.5, 0.0])
    np.testing.assert_allclose(curve.precisions, [1, 1, 1 / 2, 1 / 2])
    np.testing.assert_allclose(curve.recalls, [1 / 4, 1 / 4, 1 / 2, 1 / 2])


def test_nothing_right_is_no_division_by_zero():
    curve = score_curve(np.array([FALSE_POSITIVE]), np.array([0.5]), num_objects=3)
    assert curve.f1.tolist() == [0]
    assert curve.best_score == 0.5


def test_without_detections_no_threshold_is_best():
    curve = score_curve(np.zeros(0, dtype=np.int8), np.zeros(0), num_objects=3)
    assert curve.best_score == float("inf")


def test_without_objects_the_recall_is_undefined():
    curve = score_curve(np.array([FALSE_POSITIVE]), np.array([0.5]), num_objects=0)
    assert curve.precisions == [0]
    assert np.isnan(curve.recalls).all()
    assert curve.best_score == pytest.approx(0.5)
