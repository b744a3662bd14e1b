"""Precision and recall from matches, worked out by hand."""

from types import SimpleNamespace

import numpy as np
import pytest

from mask2former_mt.evaluation.detections import Detections
from mask2former_mt.evaluation.matching import FALSE_POSITIVE, IGNORED, TRUE_POSITIVE, Matches
from mask2former_mt.evaluation.precision_recall import (
    RECALLS,
    curves,
    mean_percent,
    recalls_of_first,
)

TP, FP, IG = TRUE_POSITIVE, FALSE_POSITIVE, IGNORED
# Two objects of the first of two classes.
TRUTH = SimpleNamespace(classes=np.zeros(2, dtype=int), class_names=["apple", "pear"])


def detections(scores):
    """Detections of the first class in one image."""
    zeros = np.zeros(len(scores), dtype=int)
    columns = dict.fromkeys(("places", "areas", "extents", "labels", "label_scores"), zeros)
    return Detections(images=zeros, classes=zeros, scores=np.array(scores), **columns)


def test_precision_at_each_recall():
    # By score: TP, FP, TP of two objects. Precision 1, 1/2, 2/3 at recall 1/2, 1/2, 1.
    statuses = np.array([[[FP, TP, TP]]], dtype=np.int8)
    both = curves(TRUTH, detections([0.8, 0.9, 0.7]), statuses, np.ones((1, 2), dtype=bool))
    precisions = both.precisions[0, 0]
    assert precisions.shape == (len(RECALLS), 2) == (101, 2)
    np.testing.assert_allclose(precisions[:51, 0], 1)
    np.testing.assert_allclose(precisions[51:, 0], 2 / 3)
    assert both.recalls[0, 0].tolist() == [1, -1]
    # Nothing to find of the second class.
    assert (precisions[:, 1] == -1).all()
    assert mean_percent(precisions) == pytest.approx(100 * (51 + 50 * 2 / 3) / 101)
    assert np.isnan(mean_percent(precisions[:, 1]))


def test_ignored_detections_count_neither_way_and_objects_that_do_not_count_are_not_missed():
    statuses = np.array([[[IG, TP, IG]]], dtype=np.int8)
    one = curves(TRUTH, detections([0.9, 0.8, 0.7]), statuses, np.array([[True, False]]))
    np.testing.assert_allclose(one.precisions[..., 0], 1)


@pytest.mark.parametrize(("limit", "recall"), [(1, 0), (2, 1 / 2), (3, 1)])
def test_recall_of_the_first(limit, recall):
    statuses = np.array([[[FP, TP, TP]]], dtype=np.int8)
    matches = Matches(None, statuses, np.ones((1, 2), dtype=bool))
    recalls = recalls_of_first(TRUTH, detections([0.9, 0.8, 0.7]), matches, limit)
    assert recalls.tolist() == [[pytest.approx(recall), -1]]


def test_equal_scores_keep_their_order():
    assert detections([0.5, 0.9, 0.5, 0.5]).by_class.tolist() == [1, 0, 2, 3]
