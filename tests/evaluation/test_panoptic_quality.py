"""PQ and PQ^J, on maps small enough to count by hand."""

import math

import numpy as np
import pytest

from mask2former_mt.evaluation.panoptic_quality import PanopticQuality, Segment

THING, STUFF = 0, 1


def ids(text: str) -> np.ndarray:
    """A map of one row from digits."""
    return np.array([[int(digit) for digit in text]])


def metrics(predicted: str, detections, true: str, truth, num_classes=2) -> dict[str, float]:
    quality = PanopticQuality(num_classes)
    quality.add(ids(predicted), detections, ids(true), truth)
    return quality.metrics(things=[THING])


def test_quality_is_the_matches_iou_over_matches_and_half_of_what_is_wrong():
    # Thing 1: 4 of 5 pixels shared, IoU 4/5. Thing 2 is missed, prediction 7 is nothing's.
    # PQ = (4/5) / (1 + 1/2 + 1/2) = 0.4, SQ = 0.8, RQ = 1/2. Stuff: IoU 1.
    result = metrics(
        "1111007733",
        [Segment(1, THING), Segment(7, THING), Segment(3, STUFF)],
        "1111122099",
        [Segment(1, THING), Segment(2, THING), Segment(9, STUFF)],
    )
    # Of prediction 7's pixels one is on thing 2, IoU 1/3 (one void pixel does not count: 1/2).
    assert result == pytest.approx(
        {
            "PQ_th": 40,
            "SQ_th": 80,
            "RQ_th": 50,
            "PQ_st": 100,
            "SQ_st": 100,
            "RQ_st": 100,
            "PQ": 70,
            "SQ": 90,
            "RQ": 75,
            "PQ^J": 70,
        }
    )


def test_an_iou_of_one_half_is_no_match():
    # Prediction 1 covers things 1 and 3 by half each: no match, one false positive, two misses.
    result = metrics(
        "111122",
        [Segment(1, THING), Segment(2, STUFF)],
        "113322",
        [Segment(1, THING), Segment(3, THING), Segment(2, STUFF)],
    )
    assert (result["PQ_th"], result["PQ_st"]) == (0, 100)


def test_what_a_match_covers_of_void_is_not_held_against_it():
    # Two of the prediction's three pixels are on the thing, one on void: IoU 2 / (3 + 2 - 2 - 1).
    assert metrics("111", [Segment(1, THING)], "440", [Segment(4, THING)])["SQ"] == 100


@pytest.mark.parametrize(
    ("crowd_class", "false_positives"), [(THING, 0), (STUFF, 1)], ids=["its class", "another"]
)
def test_a_crowd_is_no_miss_and_forgives_its_own_class(crowd_class, false_positives):
    quality = PanopticQuality(2)
    truth = [Segment(5, crowd_class, is_crowd=True)]
    quality.add(ids("1111"), [Segment(1, THING)], ids("5555"), truth)
    assert quality.sums[0].tolist() == [[0, 0, false_positives, 0], [0, 0, 0, 0]]


def test_a_prediction_mostly_on_void_is_forgiven():
    # Three of four pixels are void.
    result = metrics("1111", [Segment(1, THING)], "2000", [Segment(2, STUFF)])
    assert math.isnan(result["PQ_th"])
    assert result["PQ_st"] == 0


@pytest.mark.parametrize(
    ("annotated", "predicted", "joint"),
    [
        ((2, 0), (2, 0), 100),
        ((2, 0), (2, 1), 0),  # the match is a false positive and a miss
        ((2, -1), (2, 1), 100),  # unknown is not verified
        ((), (), 100),
    ],
    ids=["right", "wrong", "unknown", "no subcategories"],
)
def test_labels_are_verified_after_matching(annotated, predicted, joint):
    result = metrics(
        "11", [Segment(1, THING, predicted)], "44", [Segment(4, THING, annotated)], num_classes=1
    )
    assert result["PQ"] == 100
    assert result["PQ^J"] == joint


def test_pictures_add_up_and_classes_that_never_occur_do_not_count():
    quality = PanopticQuality(3)
    quality.add(ids("11"), [Segment(1, THING)], ids("11"), [Segment(1, THING)])
    quality.add(ids("00"), [], ids("11"), [Segment(1, THING)])
    # One of two found: 1 / (1 + 1/2).
    assert quality.metrics([THING])["PQ"] == pytest.approx(100 / 1.5)
    other = PanopticQuality(3)
    other.add(ids("11"), [Segment(1, THING)], ids("11"), [Segment(1, THING)])
    other.add(ids("00"), [], ids("11"), [Segment(1, THING)])
    quality.sums += other.sums  # of another process
    assert quality.metrics([THING])["PQ"] == pytest.approx(100 / 1.5)
    assert math.isnan(PanopticQuality(3).metrics([])["PQ"])


def test_maps_that_do_not_fit_are_refused():
    quality = PanopticQuality(1)
    with pytest.raises(ValueError, match=r"must be \(1, 2\) as the ground truth is, got \(1, 3\)"):
        quality.add(ids("111"), [Segment(1, 0)], ids("11"), [Segment(1, 0)])
    with pytest.raises(ValueError, match="map of the prediction has id 2, which no segment has"):
        quality.add(ids("12"), [Segment(1, 0)], ids("11"), [Segment(1, 0)])
