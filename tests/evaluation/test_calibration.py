"""The expected calibration error against numbers worked out by hand."""

import math

import numpy as np
import pytest
from evaluation_scenes import RIGHT, assert_metrics, evaluate, found, truth

from mask2former_mt.evaluation.calibration import NUM_BINS, bin_scores


def test_scores_are_sorted_into_15_bins():
    # 1/15 = .0667 is still in the first bin; .07 in the second; 1 in the last.
    bins = bin_scores(np.array([0, 0.05, 1 / 15, 0.07, 1.0]), np.array([0, 1, 0, 1, 1], dtype=bool))
    assert NUM_BINS == len(bins.counts) == 15
    assert bins.counts[[0, 1, 14]].tolist() == [3, 1, 1]
    assert bins.counts.sum() == 5
    np.testing.assert_allclose(bins.scores[[0, 1, 14]], [(0.05 + 1 / 15) / 3, 0.07, 1])
    np.testing.assert_allclose(bins.right[[0, 1, 14]], [1 / 3, 1, 1])
    assert np.isnan(bins.scores[2])


def test_the_error_is_the_mean_gap_weighed_by_the_scores_in_a_bin():
    # Bin of .9: three scores, two right: |.9 - 2/3|. Bin of .5: one score, wrong: |.5 - 0|.
    bins = bin_scores(np.array([0.9, 0.9, 0.9, 0.5]), np.array([1, 1, 0, 0], dtype=bool))
    assert bins.error_percent == pytest.approx(100 * (3 * (0.9 - 2 / 3) + 0.5) / 4)
    # Right as often as the score says.
    right = np.arange(10) < 7
    assert bin_scores(np.full(10, 0.7), right).error_percent == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("scores", [[], [0.5, 1.5], [-0.1], [0.5, math.nan]])
def test_what_is_no_probability_is_undefined(scores):
    bins = bin_scores(np.array(scores), np.ones(len(scores), dtype=bool))
    assert not bins.defined
    assert math.isnan(bins.error_percent)


def test_scores_of_detections():
    # .9 right; .8 beside everything; one on a crowd is left out.
    annotations = [truth(0), truth(60, crowd=1, side=60)]
    results = [found(0), found(30, 100, score=0.8), found(70, score=0.3)]
    metrics = evaluate(annotations, results)
    # Two bins of one: |.9 - 1| and |.8 - 0|.
    assert_metrics(metrics, calibration_ECE=100 * (0.1 + 0.8) / 2)
    # The match's labels are right, with a stated probability of .5.
    assert_metrics(metrics, subcategory_style_ECE=50)


def test_probabilities_that_are_not_stated_or_above_1_leave_the_error_undefined():
    result = found(0)
    result["subcategories"] = {name: {"value": value} for name, value in RIGHT.items()}
    metrics = evaluate([truth(0)], [result])
    assert_metrics(metrics, subcategory_style_ECE=math.nan, subcategory_style_accuracy=100)
    assert_metrics(metrics, paco_AP_att=math.nan, calibration_ECE=10)
    # Nor are scores above 1 probabilities.
    assert_metrics(evaluate([truth(0)], [found(0, score=2)]), calibration_ECE=math.nan, segm_AP=100)
