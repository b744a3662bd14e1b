"""Precision and recall from matches, worked out by hand."""

import numpy as np
import pytest
from evaluation_scenes import ground_truth, truth

from mask2former_mt.evaluation.detections import Detections
from mask2former_mt.evaluation.matching import FALSE_POSITIVE, IGNORED, TRUE_POSITIVE, Matching
from mask2former_mt.evaluation.overlaps import Pairs
from mask2former_mt.evaluation.precision_recall import (
    RECALLS,
    curves,
    mean_percent,
    recalls_of_first,
)

TP, FP, IG = TRUE_POSITIVE, FALSE_POSITIVE, IGNORED
# Two objects of the first of two classes.
TRUTH = ground_truth([truth(0), truth(40)])
BOTH = np.ones(2, dtype=bool)


def detections(scores):
    """Detections of the first class in one image."""
    zeros = np.zeros(len(scores), dtype=int)
    columns = dict.fromkeys(("places", "areas", "extents", "labels", "label_scores"), zeros)
    return Detections(images=zeros, classes=zeros, scores=np.array(scores), **columns)


def test_precision_at_each_recall():
    # By score: TP, FP, TP of two objects. Precision 1, 1/2, 2/3 at recall 1/2, 1/2, 1.
    both = curves(TRUTH, detections([0.8, 0.9, 0.7]), np.array([[FP, TP, TP]]), BOTH)
    (precisions,) = both.precisions
    assert precisions.shape == (len(RECALLS), 2) == (101, 2)
    np.testing.assert_allclose(precisions[:51, 0], 1)
    np.testing.assert_allclose(precisions[51:, 0], 2 / 3)
    assert both.recalls.tolist() == [[1, -1]]
    # Nothing to find of the second class.
    assert (precisions[:, 1] == -1).all()
    assert mean_percent(precisions) == pytest.approx(100 * (51 + 50 * 2 / 3) / 101)
    assert np.isnan(mean_percent(precisions[:, 1]))


def test_ignored_detections_and_objects_count_neither_way():
    statuses, to_find = np.array([[IG, TP, IG]]), np.array([True, False])
    one = curves(TRUTH, detections([0.9, 0.8, 0.7]), statuses, to_find)
    np.testing.assert_allclose(one.precisions[..., 0], 1)


@pytest.mark.parametrize(("limit", "recall"), [(1, 0), (2, 1 / 2), (3, 1)])
def test_recall_of_the_first(limit, recall):
    statuses, three = np.array([[[FP, TP, TP]]]), detections([0.9, 0.8, 0.7])
    no_pairs = Pairs(*np.zeros((3, 0), dtype=int))
    matching = Matching(TRUTH, three, no_pairs, 100, None, statuses, BOTH[None])
    assert recalls_of_first(matching, limit).tolist() == [[pytest.approx(recall), -1]]
