"""The report: complete, self-contained, and harmless whatever names are in it."""

from __future__ import annotations

import base64
import html.parser
import io
import json
import re
import xml.dom.minidom

import pytest
from dataset_to_check import polygon_annotation
from PIL import Image

from mask2former_mt import files as writing
from mask2former_mt.check.check import check_dataset
from mask2former_mt.check.check_report import report_html, report_json
from mask2former_mt.check.findings import Finding, findings_text
from mask2former_mt.check.summary import summary_text
from mask2former_mt.visualization.pages import printable

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
        polygon_annotation(200, 10, segmentation=[[5, 5, 15, 15, 15, 5, 5, 15]]),
        polygon_annotation(201, 11, subcategories={NASTY: NASTY}),
        polygon_annotation(202, 11, segmentation={"size": [30, 40], "counts": "x"}),
    ]
    return check_dataset(dataset.write(), draw=True, show_progress=False)


class Links(html.parser.HTMLParser):
    """Collects what a browser would fetch or run."""

    def __init__(self):
        super().__init__()
        self.targets, self.tags = [], set()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.targets += [value for name, value in attrs if name in ("src", "href", "srcset")]


def test_the_page_holds_everything_and_fetches_nothing(result):
    page = report_html(result).decode("utf-8")
    links = Links()
    links.feed(page)
    assert links.tags & {"script", "link", "iframe", "object"} == set()
    assert links.targets
    assert all(target.startswith("data:image/") for target in links.targets)
    assert "@import" not in page
    assert "url(" not in page
    pictures = re.findall(r"data:image/(jpeg|svg\+xml);base64,([^\"]+)", page)
    # Two pictures with annotations as samples, and four faulty annotations: one of them has an RLE
    # that cannot be drawn, but its picture can.
    jpegs = [base64.b64decode(data) for kind, data in pictures if kind == "jpeg"]
    assert len(jpegs) == len(result.samples) + len(result.faults)
    assert len(result.faults) == 3
    for jpeg in jpegs:
        Image.open(io.BytesIO(jpeg)).load()
    charts = [base64.b64decode(data) for kind, data in pictures if kind != "jpeg"]
    # Per split: classes, 2 x (values, class by value), sizes, counts.
    assert len(charts) == 2 * 7
    for chart in charts:
        xml.dom.minidom.parseString(chart)


def test_the_json_lists_every_finding_with_its_place(result):
    content = json.loads(report_json(result))
    assert len(content["findings"]) == len(result.findings)
    for finding in content["findings"]:
        assert list(finding) == [
            "severity",
            "kind",
            "file",
            "image_id",
            "annotation_id",
            "message",
        ]
    severities = [finding["severity"] for finding in content["findings"]]
    assert severities == sorted(severities)  # "error" comes before "warning"
    assert content["counts"]["error"] == severities.count("error") > 0
    assert set(content["statistics"]) == {"train", "val"}
    assert content["suggestions"][0]["settings"]["INPUT.FORMAT"] == "RGB"


def test_the_console_shows_nothing_that_steers_a_terminal(result):
    text = findings_text(result.findings, show=5) + summary_text(result)
    assert "\x1b" not in text
    text.encode("utf-8")  # no half of a character
    assert printable("a\x1b\ud800\n猫") == "a\\x1b\\ud800\n猫"


def test_kinds_are_capped_and_counted():
    findings = [Finding("warning", "out-of-bounds", "f", 1, i, "far") for i in range(12)]
    findings.append(Finding("error", "leakage", "f", 1, None, "twice"))
    lines = findings_text(findings, show=3).splitlines()
    assert lines[0] == "ERRORS (1)"
    assert lines[3] == "WARNINGS (12)"
    assert lines[4].endswith("(12)")
    assert lines[5] == "    f, image 1, annotation 0: far"
    assert lines[-1] == "    ... and 9 more"
    # A headline for the severity and one for the kind, in each, and 1 + 3 + 1 lines.
    assert len(lines) == 2 * 2 + 1 + 3 + 1


def test_an_empty_dataset_gives_a_report(tmp_path):
    result = check_dataset(tmp_path / "x.yaml", draw=True, show_progress=False)
    assert b"bad-dataset-file" in report_html(result)
    assert json.loads(report_json(result))["statistics"] == {}


def test_files_are_written_whole_or_not_at_all(tmp_path, monkeypatch):
    files = {tmp_path / "a": b"new", tmp_path / "b": b"new"}
    (tmp_path / "a").write_bytes(b"old")

    real = writing.Path.write_bytes

    def interrupted(path, content):
        if ".b." in path.name:
            real(path, content[:1])
            raise KeyboardInterrupt
        return real(path, content)

    monkeypatch.setattr(writing.Path, "write_bytes", interrupted)
    with pytest.raises(KeyboardInterrupt):
        writing.write_whole(files)
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == b"old"
    writing.write_whole(files)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        "a": b"new",
        "b": b"new",
    }


def test_an_input_is_not_written_over_by_another_name(tmp_path):
    (tmp_path / "in.json").write_text("{}")
    (tmp_path / "link.json").symlink_to("in.json")
    (tmp_path / "hard.json").hardlink_to(tmp_path / "in.json")
    for name in ("in.json", "link.json", "hard.json", "../" + tmp_path.name + "/in.json"):
        with pytest.raises(ValueError, match="is the input"):
            writing.refuse_inputs([tmp_path / name], [tmp_path / "in.json"])
    writing.refuse_inputs([tmp_path / "out.json"], [tmp_path / "in.json"])
