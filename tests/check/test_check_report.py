"""The report: complete, self-contained, and harmless whatever names are in it."""

from __future__ import annotations

import io
import json
import xml.dom.minidom
from pathlib import Path

import numpy as np
import pytest
from dataset_to_check import BOW_TIE, check, polygon_annotation
from html_pages import assert_fetches_nothing, pictures
from PIL import Image

from mask2former_mt.check.check import CheckResult, check_dataset
from mask2former_mt.check.check_report import (
    problems_text,
    report_html,
    report_json,
    summary_text,
)
from mask2former_mt.dataset.problems import Problem

NASTY = "<script>alert('x')</script> $\\frac$ \x1b[31m \ud800 猫"


@pytest.fixture
def result(dataset):
    for document in dataset.documents.values():
        document["categories"][0]["name"] = NASTY
        document["subcategories"][0]["values"][0] = NASTY
        for annotation in document["annotations"]:
            if annotation["subcategories"].get("style") == "photo":
                annotation["subcategories"]["style"] = NASTY
    dataset.train["annotations"] += [
        polygon_annotation(200, 10, segmentation=[BOW_TIE]),
        polygon_annotation(201, 11, subcategories={NASTY: NASTY}),
        polygon_annotation(202, 11, segmentation={"size": [30, 40], "counts": "x"}),
    ]
    return check(dataset, draw=True)


def test_the_page_holds_everything_and_fetches_nothing(result):
    page = report_html(result).decode("utf-8")
    assert_fetches_nothing(page)
    # Samples, and three faulty annotations: one of them has an RLE that cannot be drawn, but its
    # picture can.
    jpegs = pictures(page, "jpeg")
    assert len(jpegs) == len(result.samples) + len(result.faults)
    assert len(result.faults) == 3
    for jpeg in jpegs:
        Image.open(io.BytesIO(jpeg)).load()
    charts = pictures(page, "svg+xml")
    # Per split: classes, 2 x (values, class by value), sizes, counts.
    assert len(charts) == 2 * 7
    for chart in charts:
        xml.dom.minidom.parseString(chart)


def test_the_json_lists_every_finding_with_its_place(result):
    content = json.loads(report_json(result))
    assert len(content["findings"]) == len(result.problems)
    keys = ["severity", "kind", "file", "image_id", "annotation_id", "message"]
    assert all(list(finding) == keys for finding in content["findings"])
    severities = [finding["severity"] for finding in content["findings"]]
    assert severities == sorted(severities)  # "error" comes before "warning"
    assert content["counts"]["error"] == severities.count("error") > 0
    assert set(content["statistics"]) == {"train", "val"}
    assert content["suggestions"][0]["settings"]["INPUT.FORMAT"] == "RGB"


def test_the_console_shows_nothing_that_steers_a_terminal(result):
    text = problems_text(result, show=5) + summary_text(result)
    assert "\x1b" not in text
    text.encode("utf-8")  # no half of a character


def test_a_faulty_annotation_is_drawn_as_far_as_it_can_be_read(dataset):
    Image.new("RGB", (40, 30), "grey").save(dataset.image("train", "a.png"))
    dataset.train["annotations"][0].update(
        segmentation=[[20, 5, 60, 5, 20, 15], [1, 1]], bbox=[5, 5, 10, 10]
    )
    (panel,) = check(dataset, draw=True).faults
    assert "a polygon must lie inside the image" in panel.caption
    assert "at least 3 points" in panel.caption
    pixels = np.asarray(Image.open(io.BytesIO(panel.jpeg))).astype(int)
    red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    is_outline, is_box = (red > 200) & (green < 80), (red > 200) & (green > 150) & (blue < 100)
    scale = 240 / 30
    # The outline starts at x = 20, the box ends at x = 15.
    assert is_outline.nonzero()[1].min() == pytest.approx(20 * scale, abs=3)
    assert is_box.nonzero()[1].max() == pytest.approx(15 * scale, abs=3)


def test_kinds_are_capped_and_counted():
    problems = [Problem("warning", "out-of-bounds", "f", "far", "", 1, i) for i in range(12)]
    problems.append(Problem("error", "leakage", "f", "twice", "remove one", 1))
    assert problems_text(CheckResult(Path("x.yaml"), problems), show=2).splitlines() == [
        "ERRORS (1)",
        "  leakage: pictures that are in two splits (1)",
        "    f, image 1: twice; remove one",
        "WARNINGS (12)",
        "  out-of-bounds: outlines or boxes that leave the picture (12)",
        "    f, image 1, annotation 0: far",
        "    f, image 1, annotation 1: far",
        "    ... and 10 more",
    ]


def test_a_dataset_that_is_not_there_gives_a_report(tmp_path):
    result = check_dataset(tmp_path / "x.yaml", draw=True)
    assert [problem.kind for problem in result.problems] == ["bad-dataset-file"]
    assert b"x.yaml does not exist" in report_html(result)
    assert json.loads(report_json(result))["statistics"] == {}
