"""Who takes which object, and precision and recall from it, worked out by hand."""

import numpy as np
import pytest

from mask2former_mt.evaluation.curves import (
    RECALLS,
    curves,
    mean_percent,
    ranked_by_class,
    recalls_of_first,
)
from mask2former_mt.evaluation.matching import (
    FALSE_POSITIVE,
    IGNORED,
    TRUE_POSITIVE,
    take_objects,
)
from mask2former_mt.evaluation.overlaps import Pairs

TP, FP, IG = TRUE_POSITIVE, FALSE_POSITIVE, IGNORED


def take(pairs, *, order=(0, 1, 2), thresholds=(0.5,), ignored=None, crowds=None, **options):
    """Objects 0 to 2 of one group; pairs are (detection, object, IoU)."""
    columns = list(zip(*pairs, strict=True)) if pairs else [(), (), ()]
    count = len(thresholds)
    ignored = np.zeros(3, dtype=bool) if ignored is None else np.array(ignored, dtype=bool)
    candidates, found = take_objects(
        Pairs(
            np.array(columns[0], dtype=int), np.array(columns[1], dtype=int), np.array(columns[2])
        ),
        np.array(order),
        np.zeros(3, dtype=int),
        thresholds_L=np.array(thresholds),
        ignored_GL=np.repeat(ignored[:, None], count, axis=1),
        crowds_G=np.zeros(3, dtype=bool) if crowds is None else np.array(crowds, dtype=bool),
        **options,
    )
    return dict(zip(candidates.tolist(), found.tolist(), strict=True))


def test_the_first_detection_takes_the_best_object_and_the_next_what_is_left():
    pairs = [(0, 0, 0.6), (0, 1, 0.9), (1, 0, 0.7), (1, 1, 0.95)]
    assert take(pairs) == {0: [1], 1: [0]}
    # The other way round.
    assert take(pairs, order=(1, 0, 2)) == {0: [0], 1: [1]}


def test_each_threshold_has_its_own_matches():
    # At .8 the second detection finds only what is taken; nobody takes the other.
    pairs = [(0, 0, 0.6), (0, 1, 0.9), (1, 0, 0.7), (1, 1, 0.95)]
    assert take(pairs, thresholds=(0.5, 0.8)) == {0: [1, 1], 1: [0, -1]}


def test_of_equal_objects_the_last_is_taken():
    assert take([(0, 0, 0.6), (0, 1, 0.6)]) == {0: [1]}


def test_an_iou_of_1_reaches_a_threshold_of_1():
    assert take([(0, 0, 1.0)], thresholds=(1.0,)) == {0: [0]}
    assert take([(0, 0, 0.5)], thresholds=(0.5, 0.55)) == {0: [0, -1]}


def test_an_ignored_object_is_taken_only_if_there_is_no_other():
    pairs = [(0, 0, 0.9), (0, 1, 0.6), (1, 0, 0.9), (2, 0, 0.9)]
    # It is no crowd: taken once.
    assert take(pairs, ignored=(1, 0, 0)) == {0: [1], 1: [0], 2: [-1]}


def test_a_crowd_is_taken_again():
    pairs = [(0, 0, 0.9), (1, 0, 0.9), (2, 0, 0.9)]
    assert take(pairs, ignored=(1, 0, 0), crowds=(1, 0, 0)) == {0: [0], 1: [0], 2: [0]}


def test_the_second_measure():
    second = {"others_P": np.array([0.9, 0.6]), "other_thresholds_L": np.array([0.5, 0.7, 0.95])}
    # The later object is better by IoU and worse by the other measure: not preferred.
    pairs = [(0, 0, 0.6), (0, 1, 0.8)]
    assert take(pairs, thresholds=(0.5, 0.5, 0.5), **second) == {0: [0, 0, -1]}


def test_no_pairs():
    assert take([]) == {}


def test_precision_at_each_recall():
    # By score: TP, FP, TP of two objects. Precision 1, 1/2, 2/3 at recall 1/2, 1/2, 1.
    statuses = np.array([[[TP, FP, TP]]], dtype=np.int8)
    scores = np.array([0.9, 0.8, 0.7])
    found = curves(
        statuses,
        np.ones((1, 2), dtype=bool),
        np.zeros(2, dtype=int),
        ranked_by_class(np.zeros(3, dtype=int), scores, 2),
        scores,
    )
    precisions = found.precisions[0, 0]
    assert precisions.shape == (len(RECALLS), 2) == (101, 2)
    np.testing.assert_allclose(precisions[:51, 0], 1)
    np.testing.assert_allclose(precisions[51:, 0], 2 / 3)
    np.testing.assert_allclose(found.scores[0, 0, [0, 50, 51, 100], 0], [0.9, 0.9, 0.7, 0.7])
    assert found.recalls[0, 0].tolist() == [1, -1]
    # Nothing to find of the second class.
    assert (precisions[:, 1] == -1).all()
    assert mean_percent(precisions) == pytest.approx(100 * (51 + 50 * 2 / 3) / 101)
    assert np.isnan(mean_percent(precisions[:, 1]))


def test_ignored_detections_count_neither_way_and_objects_that_do_not_count_are_not_missed():
    statuses = np.array([[[IG, TP, IG]]], dtype=np.int8)
    scores = np.array([0.9, 0.8, 0.7])
    ranked = ranked_by_class(np.zeros(3, dtype=int), scores, 1)
    counts = np.array([[True, False]])
    found = curves(statuses, counts, np.zeros(2, dtype=int), ranked, scores)
    np.testing.assert_allclose(found.precisions, 1)


def test_recall_of_the_first():
    statuses = np.array([[FP, TP, TP]], dtype=np.int8)
    zeros = np.zeros(3, dtype=int)
    for limit, recall in ((1, 0), (2, 1 / 3), (3, 2 / 3)):
        found = recalls_of_first(
            statuses, np.ones(3, dtype=bool), zeros, zeros, np.arange(3), 2, limit
        )
        assert found.tolist() == [[pytest.approx(recall), -1]]


def test_equal_scores_keep_their_order():
    (ranked,) = ranked_by_class(np.zeros(4, dtype=int), np.array([0.5, 0.9, 0.5, 0.5]), 1)
    assert ranked.tolist() == [1, 0, 2, 3]
