"""Metrics as detectron2, people and files want them."""

import math

from mask2former_mt.evaluation.summary import (
    flat_metrics,
    format_table,
    nested_metrics,
    write_metrics,
)
from mask2former_mt.structures import SubcategorySpec

SUBCATEGORIES = [{"name": "style", "values": ["photo", "cartoon"]}]


def test_undefined_is_null_in_the_file(tmp_path):
    path = write_metrics({"segm/AP": 12, "joint/AP": math.nan}, tmp_path / "new")
    assert path == tmp_path / "new" / "metrics.json"
    # Sorted, and every number a float.
    assert path.read_text() == '{\n  "joint/AP": null,\n  "segm/AP": 12.0\n}\n'


def test_flat_and_nested_are_inverse():
    metrics = {"segm/AP": 1.0, "segm/AP-a/b": 2.0, "joint/AP": 3.0, "subcategory/x/accuracy": 4.0}
    nested = nested_metrics(metrics)
    assert nested == {
        "segm": {"AP": 1.0, "AP-a/b": 2.0},
        "joint": {"AP": 3.0},
        "subcategory": {"x/accuracy": 4.0},
    }
    assert flat_metrics(nested) == metrics


def test_table():
    metrics = {
        "segm/AP": 45.678,
        "segm/AP50": 100.0,
        "segm/AP75": 50.0,
        "joint/AP": 38.0,
        "joint/AP-style": 40.0,
        "subcategory/style/accuracy": math.nan,
    }
    assert format_table(metrics, SubcategorySpec.from_json(SUBCATEGORIES)).splitlines() == [
        "metric          percent",
        "--------------  -------",
        "segm AP           45.68",
        "segm AP50        100.00",
        "segm AP75         50.00",
        "AP^J              38.00",
        "AP^J style        40.00",
        "accuracy style      n/a",
    ]
    assert len(format_table(metrics, SubcategorySpec()).splitlines()) == 2 + 4


def test_more_detections_than_cocos_stand_beside_those_of_the_first_100():
    metrics = {"segm/AP": 90.0, "segm/AP50": 100.0, "segm/AP75": 50.0, "joint/AP": 38.0}
    metrics |= {"segm/AP@100": 45.0, "segm/AP@300": 90.0, "joint/AP@100": 20.0}
    lines = format_table(metrics, SubcategorySpec()).splitlines()
    assert [line.split() for line in lines[2:4]] == [
        ["segm", "AP@300", "90.00"],
        ["segm", "AP@100", "45.00"],
    ]
    assert len(lines) == 2 + 5
