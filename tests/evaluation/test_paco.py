"""PACO's attribute AP and its bounds, worked out by hand."""

import math

import pytest
from evaluation_scenes import PEAR, assert_metrics, evaluate, found, truth


def detection(x, style, score, probability, **options):
    """A detection that says nothing of the ripeness."""
    result = found(x, score=score, **options)
    result["subcategories"] = {
        "style": {"value": style, "score": probability},
        "ripeness": {"value": None, "score": 1.0},
    }
    return result


def objects(*styles, **options):
    return [truth(40 * i, labels={"style": style}, **options) for i, style in enumerate(styles)]


def test_detections_are_ranked_by_score_times_probability():
    # Both say photo: the first is right, .9 * .5 = .45; the second is wrong, .8 * .9 = .72.
    # (apple, photo): FP TP: precision 1/2 at recall 1, AP 50. (apple, cartoon): nobody says so, 0.
    # The mean over values: 25. The ripeness of no object is known, so AP_att is that of the style.
    results = [detection(0, "photo", 0.9, 0.5), detection(40, "photo", 0.8, 0.9)]
    metrics = evaluate(objects("photo", "cartoon"), results)
    assert_metrics(metrics, paco_AP_att=25, paco_AP_att_style=25)
    assert math.isnan(metrics["paco/AP_att-ripeness"])
    # Lower: both stand for both values, by score. photo: TP FP, 100; cartoon: FP TP, 50.
    assert metrics["paco/AP_att_lower"] == pytest.approx(75)
    # Upper: what finds a photo is first for photo, what finds a cartoon for cartoon.
    assert metrics["paco/AP_att_upper"] == pytest.approx(100)
    # Both values right: the bounds are the same.
    results = [detection(0, "photo", 0.9, 0.8), detection(40, "cartoon", 0.8, 0.8)]
    metrics = evaluate(objects("photo", "cartoon"), results)
    assert_metrics(metrics, paco_AP_att=100, paco_AP_att_lower=75, paco_AP_att_upper=100)


def test_finding_an_object_whose_value_is_unknown_costs_nothing():
    # The first detection, ranked first, finds the object without a style: it is left out.
    annotations = [truth(0, labels={}), *objects("photo")]
    annotations[1]["segmentation"] = truth(40)["segmentation"]
    results = [detection(0, "photo", 0.9, 0.9), detection(40, "photo", 0.5, 0.9)]
    assert evaluate(annotations, results)["paco/AP_att"] == pytest.approx(100)
    # Were its style known, it would be a false positive: precision 1/2.
    annotations[0]["subcategories"] = {"style": "cartoon"}
    # (apple, photo) 50, (apple, cartoon) 0.
    assert evaluate(annotations, results)["paco/AP_att"] == pytest.approx(25)


def test_a_detection_on_a_crowd_costs_nothing():
    annotations = [*objects("photo"), truth(60, labels={"style": "cartoon"}, crowd=1, side=60)]
    results = [detection(70, "photo", 0.9, 0.9), detection(0, "photo", 0.5, 0.9)]
    assert evaluate(annotations, results)["paco/AP_att"] == pytest.approx(100)


def test_none_is_no_value():
    # The none that is found right is in no category; (apple, photo) is missed.
    results = [detection(0, None, 0.9, 0.9)]
    assert evaluate(objects(None, "photo"), results)["paco/AP_att"] == 0
    assert math.isnan(evaluate(objects(None), results)["paco/AP_att"])


def test_values_weigh_the_same_in_however_many_classes_they_occur():
    # photo: apple 100, pear 0, mean 50; cartoon: apple 100. (50 + 100) / 2, not 200 / 3.
    annotations = objects("photo", "cartoon")
    annotations.append(truth(80, labels={"style": "photo"}, category_id=PEAR))
    results = [detection(0, "photo", 0.9, 0.9), detection(40, "cartoon", 0.8, 0.9)]
    assert evaluate(annotations, results)["paco/AP_att"] == pytest.approx(75)


def test_a_duplicate_finds_the_other_object_of_its_value():
    # Matching is anew for each category: the class matching gives the second detection nothing,
    # but the first one, which it prefers, says cartoon.
    results = [detection(0, "cartoon", 0.9, 0.9), detection(0, "photo", 0.8, 0.9)]
    metrics = evaluate(objects("photo"), results)
    assert metrics["paco/AP_att"] == pytest.approx(100)
    assert metrics["joint/AP"] == 0


def test_no_predictions_and_too_many():
    assert evaluate(objects("photo"), [])["paco/AP_att"] == 0
    results = [detection(0, "cartoon", 0.9, 0.9), detection(0, "photo", 0.8, 0.9)]
    # Only the first one counts.
    assert evaluate(objects("photo"), results, max_dets=1)["paco/AP_att"] == 0
    upper = evaluate(objects("photo"), results, max_dets=1)["paco/AP_att_upper"]
    assert upper == pytest.approx(100)
