"""Who takes which object, worked out by hand."""

import numpy as np
import pytest

from mask2former_mt.evaluation.matching import take_objects
from mask2former_mt.evaluation.overlaps import Pairs


def take(
    pairs, *, order=(0, 1, 2), thresholds=(0.5,), ignored=(0, 0, 0), crowds=(0, 0, 0), **options
):
    """Objects 0 to 2 of one group; pairs are (detection, object, IoU)."""
    detections, objects, ious = np.array(pairs).reshape(-1, 3).T
    candidates, objects = take_objects(
        Pairs(detections.astype(int), objects.astype(int), ious),
        np.array(order),
        np.zeros(3, dtype=int),
        thresholds_L=np.array(thresholds),
        ignored_GL=np.array(ignored, dtype=bool)[:, None],
        crowds_G=np.array(crowds, dtype=bool),
        **options,
    )
    return dict(zip(candidates.tolist(), objects.tolist(), strict=True))


def test_the_first_detection_takes_the_best_object_and_the_next_what_is_left():
    pairs = [(0, 0, 0.6), (0, 1, 0.9), (1, 0, 0.7), (1, 1, 0.95)]
    assert take(pairs) == {0: [1], 1: [0]}
    # The other way round.
    assert take(pairs, order=(1, 0, 2)) == {0: [0], 1: [1]}

    # At .8 the second detection finds only what is taken; nobody takes the other.
    assert take(pairs, thresholds=(0.5, 0.8)) == {0: [1, 1], 1: [0, -1]}


def test_of_equal_objects_the_last_is_taken_and_an_iou_of_1_reaches_a_threshold_of_1():
    assert take([(0, 0, 0.6), (0, 1, 0.6)]) == {0: [1]}
    assert take([(0, 0, 1.0)], thresholds=(1.0,)) == {0: [0]}
    assert take([(0, 0, 0.5)], thresholds=(0.5, 0.55)) == {0: [0, -1]}


def test_an_ignored_object_is_taken_only_if_there_is_no_other_and_a_crowd_again():
    pairs = [(0, 0, 0.9), (0, 1, 0.6), (1, 0, 0.9), (2, 0, 0.9)]
    # It is no crowd: taken once.
    assert take(pairs, ignored=(1, 0, 0)) == {0: [1], 1: [0], 2: [-1]}
    pairs = [(0, 0, 0.9), (1, 0, 0.9), (2, 0, 0.9)]
    assert take(pairs, ignored=(1, 0, 0), crowds=(1, 0, 0)) == {0: [0], 1: [0], 2: [0]}


@pytest.mark.parametrize(("least_other", "object_"), [(0.5, 0), (0.7, 0), (0.95, -1)])
def test_the_second_measure(least_other, object_):
    # The later object is better by IoU and worse by the other measure: not preferred.
    pairs = [(0, 0, 0.6), (0, 1, 0.8)]
    others = np.array([0.9, 0.6])
    assert take(pairs, others_P=others, least_other=least_other) == {0: [object_]}


def test_no_pairs():
    assert take([]) == {}
