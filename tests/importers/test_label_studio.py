"""Label Studio's JSON: the round trip, brushes and ellipses, further labels, and every refusal."""

from __future__ import annotations

import json

import numpy as np
import pytest
from importer_scenes import (
    ELL,
    SQUARE,
    Case,
    brush_bytes,
    check_masks_and_classes,
    pairs,
    views,
    write_label_studio,
)
from mask2former_mt.importers.brush_rle import decode_brush


@pytest.fixture
def studio(tmp_path):
    return Case("label-studio", tmp_path / "out", write_label_studio(tmp_path / "in", views()))


def percent(polygon):
    return [[x / 0.64, y / 0.48] for x, y in pairs(polygon)]


def region(kind: str, value: dict, **fields) -> dict:
    usual = {"id": "r", "from_name": "label", "to_name": "image", "type": kind}
    return {**usual, "original_width": 64, "original_height": 48, "value": value, **fields}


SQUARE_REGION = region("polygonlabels", {"points": percent(SQUARE), "polygonlabels": ["dog"]})


def set_results(case: Case, *results: dict) -> None:
    """Gives the one task of validation, v.png of 64x48, these results."""
    case.edit("val", lambda tasks: tasks[0]["annotations"][0].update(result=list(results)))


def test_the_scene_comes_back(studio):
    done = studio.run()
    check_masks_and_classes(studio.load(), views())
    unknown = {"colour": "unknown", "occluded": "unknown"}
    blue = {"colour": "blue", "occluded": "no"}
    assert studio.labels() == [{"colour": "red", "occluded": "yes"}, unknown, blue, blue]
    assert done.notes == []


def test_a_brush_is_its_alpha(studio):
    mask = np.zeros((48, 64), dtype=bool)
    mask[10:20, 30:40] = True
    mask[13:16, 33:36] = False  # a hole
    value = {"format": "rle", "rle": brush_bytes(mask)}
    # The label is a result of its own, as with the controls Brush and Labels.
    set_results(studio, region("brush", value), region("labels", {**value, "labels": ["dog"]}))
    studio.run()
    ((name, found, _),) = studio.load()["val"]["v.png"]
    assert name == "dog"
    assert (found == mask).all()


def test_runs_of_both_kinds():
    # 2 x 1 pixels, 8 values: 8 bits each, lengths of 1, 2, 3 and 4 bits.
    # A run of 4 times 0 (length size 1, 2 bits, holds 3), then 3 times 7 and, one by one, 255.
    bits = f"{8:032b}{7:05b}" + "0000000100100011"
    bits += f"10111{0:08b}" + f"110010{7:08b}" + f"0000{255:08b}"
    bits += "0" * (-len(bits) % 8)
    rle = [int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)]
    assert decode_brush(rle, 1, 2).tolist() == [[False, True]]
    with pytest.raises(ValueError, match="'rle' is cut short"):
        decode_brush(rle[:-2], 1, 2)
    with pytest.raises(ValueError, match=r"must hold 16 values .* got 8; it may belong to another"):
        decode_brush(rle, 2, 2)
    with pytest.raises(ValueError, match="must be a list of bytes, got 'x'"):
        decode_brush("x", 1, 2)
    with pytest.raises(ValueError, match="has a run beyond its end"):
        decode_brush([0, 0, 0, 4, 0x38, 0x00, 0x19, 0xFF, 0xFF, 0xFF], 1, 1)


def test_an_ellipse_is_turned_clockwise(studio):
    value = {"x": 50, "y": 50, "radiusX": 100 * 20 / 64, "radiusY": 100 * 5 / 48, "rotation": 90}
    set_results(studio, region("ellipselabels", {**value, "ellipselabels": ["dog"]}))
    studio.run()
    ((_, mask, _),) = studio.load()["val"]["v.png"]
    # Radii 20 along y and 5 along x: pi * 20 * 5 = 314 pixels.
    ys, xs = np.nonzero(mask)
    assert (np.ptp(ys) + 1, np.ptp(xs) + 1) == (40, 10)
    assert mask.sum() == pytest.approx(314, abs=4)


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        ("choices", {"choices": ["a"]}, "a"),
        ("taxonomy", {"taxonomy": [["a", "b"]]}, "a / b"),
        ("rating", {"rating": 4}, "4"),
        ("number", {"number": 4}, "4"),
        ("textarea", {"text": ["a"]}, "a"),
    ],
)
def test_further_labels_of_a_region(studio, kind, value, text):
    set_results(studio, SQUARE_REGION, region(kind, value, from_name="more"))
    studio.run(subcategories=("more",))
    assert [labels["more"] for labels in studio.labels()] == ["unknown"] * 3 + [text]


def test_labels_of_the_picture_are_named_or_given_to_its_objects(studio):
    weather = region("choices", {"choices": ["sunny"]}, from_name="weather", id="x")
    set_results(studio, SQUARE_REGION, weather)
    (note,) = studio.run().notes
    assert note.startswith("pictures with attributes of the whole picture, which are not read")
    assert note.endswith("{'weather': ['sunny']}")
    studio.run(picture_attributes=True, subcategories=("weather",))
    assert [labels["weather"] for labels in studio.labels()] == ["unknown"] * 3 + ["sunny"]


@pytest.mark.parametrize("annotations", [[], [{"was_cancelled": True, "result": []}]])
def test_why_nothing_is_left_is_told(studio, annotations):
    for split in studio.inputs:
        studio.edit(split, lambda tasks: [t.update(annotations=annotations) for t in tasks])
    studio.refuses("no object has a mask and a label; tasks that nobody annotated, left out")


def test_one_annotation_of_a_task_counts(studio):
    def change(tasks):
        first = tasks[0]["annotations"][0]
        skipped = {"was_cancelled": True, "result": []}
        other = {"ground_truth": True, "result": [SQUARE_REGION]}
        tasks[0]["annotations"] = [skipped, {**first, "result": []}, other]
        tasks.append({"id": 9, "data": {"image": "x.png"}, "annotations": [skipped]})

    studio.edit("val", change)
    done = studio.run()
    check_masks_and_classes(studio.load(), views())
    file = studio.inputs["val"]
    assert done.notes == [
        f"tasks with several annotations, one of them taken: 1, the first {file}: task 1",
        f"tasks that nobody annotated, left out: 1, the first {file}: task 9",
    ]


@pytest.mark.parametrize(
    "name",
    [
        "https://x.org/a/v.png?key=1",
        "s3://bucket/v.png",
        "/data/local-files/?d=some/v.png",
        "C:\\data\\V.PNG",
    ],
)
def test_how_a_picture_may_be_named(studio, name):
    studio.edit("val", lambda tasks: tasks[0].update(data={"id": 3, "image": name}))
    studio.run()
    check_masks_and_classes(studio.load(), views())


@pytest.mark.parametrize(
    ("kind", "value", "match"),
    [
        ("rectanglelabels", {}, "a rectangle has no outline"),
        ("keypointlabels", {}, "a keypoint has no outline"),
        ("polygonlabels", {"points": percent(ELL)[:2]}, "at least 3 points, got 2"),
        ("polygonlabels", {"points": "x"}, r"must be a list of \[x, y\] in percent, got 'x'"),
        ("polygonlabels", {"points": [[0, 0], [150, 0], [0, 50]]}, "must lie inside the image"),
        ("brushlabels", {}, "'rle' must be a list of bytes, got None"),
        ("ellipselabels", {"x": 1, "y": 1, "radiusX": 0, "radiusY": 1}, "radii must be positive"),
        ("ellipselabels", {"x": None}, "'x' must be a number, got None"),
    ],
)
def test_a_region_without_a_mask(studio, kind, value, match):
    broken = region(kind, {**value, kind: ["dog"]}, id="broken")
    set_results(studio, SQUARE_REGION, broken)
    studio.refuses(rf"task 1, region broken: .*{match}.*--unusable skip")
    studio.skips_unusable()


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (
            {"original_width": 48, "original_height": 64},
            "'original_height' must be .*, got 64",
        ),
        ({"image_rotation": 90}, "drawn on a turned picture"),
        ({"value": {"points": percent(SQUARE)}}, r"must have one label.*got \[\]"),
        ({"value": {"points": [], "polygonlabels": ["a", "b"]}}, r"one label.*\['a', 'b'\]"),
        ({"value": []}, "'value' must be a JSON object"),
        ({"type": 3}, "'type' must be a text, got 3"),
    ],
)
def test_a_broken_result_is_named(studio, change, match):
    set_results(studio, {**SQUARE_REGION, **change})
    studio.refuses(rf"tasks.json: task 1.*{match}")


def test_a_broken_file_is_named(studio):
    file = studio.inputs["val"]
    for document, match in [
        ({}, "must hold a list of Label Studio's tasks"),
        ([{"image": "v.png", "label": []}], r"must have 'data' .*\['image', 'label'\]; .*JSON-MIN"),
        ([{"data": 3, "annotations": [{}]}], "task 0: 'data' must be a JSON object, got 3"),
        ([{"data": {"image": "w.png"}, "annotations": [{}]}], "'w.png' is in none of .*--images"),
        ([{"data": {"image": 3}, "annotations": [{}]}], "'data' must name the task's picture"),
        ([{"data": {}, "annotations": 3}], "'annotations' must be a list, got 3"),
    ]:
        file.write_text(json.dumps(document))
        studio.refuses(match)
