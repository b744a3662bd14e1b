"""Fashionpedia's AP_IoU+F1, worked out by hand. Two subcategories of two values: a vector of 4."""

import itertools
import math

import numpy as np
import pytest
from evaluation_scenes import PEAR, SPEC, evaluate, evaluation_of, found, truth

from mask2former_mt.evaluation.fashionpedia import attribute_f1

KEY, AT_50 = "fashionpedia/AP_IoU+F1", "fashionpedia/AP_IoU50+F1_50"


def labels(style, ripeness):
    return {"style": style, "ripeness": ripeness}


def f1(annotated, predicted):
    matching = evaluation_of([truth(0, labels=annotated)], [found(0, labels=predicted)])
    return attribute_f1(matching, matching.class_pairs).item()


def test_f1_is_the_mean_of_that_of_yes_and_of_no():
    # 1010 and 1001: yes: one common of 2 and 2, 2*1/(2+2) = 1/2; no: likewise.
    assert f1(labels("photo", "ripe"), labels("photo", "unripe")) == pytest.approx(0.5)
    # 0010 and 1010: yes 2*1/(1+2) = 2/3; no 2*2/(3+2) = 4/5.
    assert f1(labels(None, "ripe"), labels("photo", "ripe")) == pytest.approx((2 / 3 + 4 / 5) / 2)
    # 0000 and 0000: no yes anywhere, all four no agree.
    assert f1(labels(None, None), labels(None, None)) == 1
    # Only the style is asked: 10 and 01, nothing common.
    assert f1({"style": "photo"}, labels("cartoon", "ripe")) == 0
    assert f1({}, labels("cartoon", "ripe")) == 1


def test_f1_is_that_of_scikit_learn():
    sklearn_metrics = pytest.importorskip("sklearn.metrics")

    def vector(values):
        named = [(s, values[s.name]) for s in SPEC]
        return np.array([value == name for s, value in named for name in s.values])

    choices = list(itertools.product(("photo", "cartoon", None), ("ripe", "unripe", None)))
    for annotated, predicted in itertools.product(choices, choices):
        sides = labels(*annotated), labels(*predicted)
        expected = sklearn_metrics.f1_score(*map(vector, sides), average="macro")
        assert f1(*sides) == pytest.approx(expected)


def test_a_match_counts_at_the_thresholds_that_its_f1_reaches():
    # F1 .5: one of ten thresholds, at all IoU.
    metrics = evaluate([truth(0)], [found(0, labels=labels("photo", "unripe"))])
    assert metrics[KEY] == pytest.approx(10)
    assert metrics[AT_50] == pytest.approx(100)
    # F1 .733: .5, .55, ..., .7, five of ten; the mask's IoU .8075: seven of ten.
    detection = found(0, labels=labels("photo", "ripe"), width=17, height=19)
    metrics = evaluate([truth(0, labels=labels(None, "ripe"))], [detection])
    assert metrics[KEY] == pytest.approx(100 * 0.5 * 0.7)


def test_the_object_must_be_at_least_as_good_by_both_measures():
    # Two objects at one place; the detection has IoU 1 with both. The first has F1 1, the second,
    # which COCO would prefer as the later one, .5: it keeps the first.
    annotations = [truth(0), truth(0, labels=labels("photo", "unripe"))]
    metrics = evaluate(annotations, [found(0)])
    # One of two objects, found at all thresholds.
    assert metrics[KEY] == pytest.approx(100 * 51 / 101)


def test_a_class_without_labels_counts_once():
    # Apple: 10 at ten F1 thresholds. Pear, of which nothing is annotated: 100, once.
    annotations = [truth(0), truth(40, labels={}, category_id=PEAR)]
    results = [found(0, labels=labels("photo", "unripe")), found(40, category_id=PEAR)]
    assert evaluate(annotations, results)[KEY] == pytest.approx((10 * 10 + 100) / 11)


def test_a_crowd_costs_nothing_and_nothing_to_find_is_undefined():
    annotations = [truth(0), truth(60, crowd=1, side=60)]
    assert evaluate(annotations, [found(70), found(0, score=0.8)])[KEY] == pytest.approx(100)
    assert evaluate([truth(0)], [])[KEY] == 0
    assert math.isnan(evaluate([], [found(0)])[KEY])
