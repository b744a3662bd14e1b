"""The report of an evaluation: complete, self-contained, and written whatever was predicted."""

from __future__ import annotations

import io
import re
import xml.dom.minidom

import pytest
from evaluation_scenes import CLASSES, ERROR_SCENE, SPEC, found, truth, without, write_scene
from html_pages import Page, assert_fetches_nothing, look_at, pictures
from PIL import Image
from registered import restored_datasets

from mask2former_mt.dataset.catalog import register_dataset_files
from mask2former_mt.evaluation.evaluator import evaluate_file
from mask2former_mt.evaluation.report.report import Run
from mask2former_mt.structures import SubcategorySpec

NASTY = "<script>alert('x')</script> $\\frac$ 猫"


@pytest.fixture
def report(tmp_path):
    """Evaluates a scene and reads the report."""

    def make(annotations, results, **options):
        dataset, predictions = write_scene(
            tmp_path / "data", annotations, results, name="report_test", **options
        )
        (name,) = register_dataset_files([dataset])
        run = Run(facts=[("seed", 7)], versions=[("PyTorch", "9.9")], config="SEED: 7\nA: <b>&\n")
        evaluation = evaluate_file(predictions, name, tmp_path / "out", run=run)
        return evaluation, (tmp_path / "out" / "report.html").read_text(encoding="utf-8")

    with restored_datasets():
        yield make


def test_the_page_holds_everything_and_fetches_nothing(report):
    annotations = [*ERROR_SCENE[0], truth(0, image_id=2)]
    results = [*ERROR_SCENE[1], found(0, image_id=2)]
    _, text = report(annotations, results, class_names=[NASTY, "pear"])
    assert_fetches_nothing(text)
    page = Page(text)
    assert page.row(NASTY)[0] == "7"  # objects of the class
    # AP by IoU; 3 curves; costs; classes and 2 subcategories confused; 3 calibrations.
    charts = pictures(text, "svg+xml")
    assert len(charts) == 1 + 3 + 1 + 3 + 3
    for chart in charts:
        xml.dom.minidom.parseString(chart)
    # The image with errors among the worst, the other one among the best, once each, as pairs.
    shown = [Image.open(io.BytesIO(jpeg)) for jpeg in pictures(text, "jpeg")]
    assert len(shown) == 2
    assert all(picture.width > 2 * 512 for picture in shown)
    assert page.headings.index("Worst pictures") < page.headings.index("Best pictures")
    worst, best = re.findall(r"<figcaption>[^<]*/(\d)\.png, image \d: ([^<]*)<", text)
    assert worst == ("1", "1 right, 0 wrong, 5 missed, F1 0.29")
    assert best == ("2", "1 right, 0 wrong, 0 missed, F1 1.00")


def test_the_tables_hold_the_numbers(report):
    evaluation, text = report(*ERROR_SCENE)
    page, metrics = Page(text), evaluation.metrics
    three = [f"{metrics[f'segm/{name}']:.2f}" for name in ("AP", "AP50", "AP75")]
    assert page.row("masks and classes (segm)") == three
    joint = page.row("masks, classes and all subcategories (joint)")
    assert joint[:2] == [f"{metrics['joint/AP']:.2f}", f"{metrics['joint/AP50']:.2f}"]
    assert page.row("masks, classes and style")[0] == f"{metrics['joint/AP-style']:.2f}"
    # Of two found apples one has the right style; one bin of probability .5 for both.
    assert page.row("style") == ["50.00", "50.00", "33.33", "0.00"]
    # 6 small apples, none of another size; pears are nowhere.
    apple = page.row("apple")
    assert apple[0] == "6"
    assert apple[1] == apple[4] == f"{metrics['segm/AP-apple']:.2f}"
    assert apple[5:7] == ["-", "-"]
    assert page.row("pear") == ["0", *["-"] * 9]
    assert page.row("segm")[0] == f"{metrics['segm/AP50']:.2f}"
    assert len(page.row("segm")) == 10
    # Error kinds: all, above the best threshold (.9, where F1 is 2 / (1 + 6)), price.
    assert page.row("subcategory wrong") == ["1", "0", "16.83"]
    assert page.row("missed") == ["2", "2", "8.91"]
    # The chart of confused classes has a row and a column of each.
    (chart,) = [c for c in pictures(text, "svg+xml") if b"(missed)" in c]
    assert all(chart.count(name.encode()) >= 2 for name in CLASSES)
    for name, value in metrics.items():
        assert page.row(name) == ["-" if value != value else f"{value:.2f}"]
    # The run.
    assert page.row("seed") == ["7"]
    assert page.row("PyTorch") == ["9.9"]
    assert page.row("evaluated in")[0].endswith(" s")
    assert page.row("objects to find") == ["6"]
    assert "SEED: 7\nA: &lt;b&gt;&amp;\n" in text


@pytest.mark.parametrize(
    ("annotations", "results"),
    [([], []), ([], [found(0)]), ([truth(0)], []), ([truth(0, crowd=1)], [found(0)])],
    ids=["nothing", "no objects", "no predictions", "only a crowd"],
)
def test_a_report_of_nothing(report, annotations, results):
    _, text = report(annotations, results)
    page = Page(text)
    assert page.row("detections") == [str(len(results))]
    # What lies on a crowd does not count.
    assert ("No detection counts" in text) == (
        not results or any(a["iscrowd"] for a in annotations)
    )
    assert page.row("masks and classes (segm)")[0] == (
        "0.00" if annotations and not results else "-"
    )
    for chart in pictures(text, "svg+xml"):
        xml.dom.minidom.parseString(chart)


def test_plain_coco_has_no_subcategories_and_joint_is_segm(report):
    annotations = [without(a, "subcategories") for a in ERROR_SCENE[0]]
    results = [without(r, "subcategories") for r in ERROR_SCENE[1]]
    _, text = report(annotations, results, spec=SubcategorySpec())
    page = Page(text)
    assert page.row("masks and classes (segm)") == page.row(
        "masks, classes and all subcategories (joint)"
    )
    assert len(pictures(text, "svg+xml")) == 1 + 3 + 1 + 1 + 1


def test_labels_without_scores_have_no_calibration(report):
    results = [
        {**r, "subcategories": {n: {"value": v["value"]} for n, v in r["subcategories"].items()}}
        for r in ERROR_SCENE[1]
    ]
    _, text = report(ERROR_SCENE[0], results)
    assert text.count("undefined, no scores") == len(SPEC)
    assert len(pictures(text, "jpeg")) == 1


def test_a_picture_that_is_gone_is_left_out(report, tmp_path):
    annotations = [truth(0), truth(0, image_id=2), truth(40, image_id=2)]
    _, text = report(annotations, [found(0), found(0, image_id=2)])
    assert len(pictures(text, "jpeg")) == 2
    (tmp_path / "data" / "images" / "1.png").unlink()
    evaluate_file(tmp_path / "data" / "predictions.json", "report_test_val", tmp_path, run=Run())
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert len(pictures(text, "jpeg")) == 1
    assert f"could not be read from {tmp_path}/data/images: 1." in text


def test_a_browser_shows_it_without_a_complaint(report, tmp_path):
    annotations = [*ERROR_SCENE[0], truth(0, image_id=2)]
    _, text = report(annotations, [*ERROR_SCENE[1], found(0, image_id=2)])
    seen = look_at(tmp_path / "out" / "report.html", tmp_path)
    assert seen["console"] == []
    assert len(seen["pictures"]) == text.count("<img ")
    assert min(seen["pictures"]) > 100
    assert seen["overflow"] == 0
    assert seen["headings"] == Page(text).headings
    with Image.open(tmp_path / "page.png") as shot:
        # The page's white, the headings' dark blue, and more than that.
        colours = {colour for _, colour in shot.convert("RGB").getcolors(maxcolors=2**24)}
    assert {(255, 255, 255), (28, 35, 48)} <= colours
    assert len(colours) > 50


def test_the_browser_test_sees_errors(tmp_path):
    broken = tmp_path / "broken.html"
    broken.write_text(
        '<html><body><h1>x</h1><img src="data:image/png;base64,AAAA">'
        '<div style="width: 5000px">y</div><script>nothing.here()</script></body></html>'
    )
    seen = look_at(broken, tmp_path)
    assert len(seen["console"]) == 1
    assert "nothing is not defined" in seen["console"][0]
    assert seen["pictures"] == [0]
    assert seen["overflow"] > 1000
