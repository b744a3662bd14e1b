"""CVAT's COCO JSON: the round trip, which attributes become subcategories, and every refusal."""

from __future__ import annotations

import json

import pytest
from importer_scenes import (
    LEFT,
    MISSING,
    RIGHT,
    Thing,
    check_masks_and_classes,
    cvat_attributes,
    edit,
    importer,
    load,
    mask_of,
    views,
    write_coco,
)


@pytest.fixture
def cvat(tmp_path):
    """A written dataset with an object of two parts: (inputs, import with options, output)."""
    scene = views()
    scene["val"][0].things.append(Thing("cat", [LEFT, RIGHT], "", MISSING))
    inputs, images = write_coco(tmp_path / "cvat", scene, cvat_attributes)

    out = tmp_path / "out"
    return scene, inputs, importer("coco", inputs, out, images), out


def labels_of(out) -> list[dict]:
    """Of a b.png's two objects, turned.jpg's one, v.png's two."""
    loaded = load(out / "tiny.yaml")
    files = [*(loaded["train"][f] for f in ("a b.png", "turned.jpg")), loaded["val"]["v.png"]]
    return [labels for found in files for _, _, labels in found]


def test_the_scene_comes_back(cvat):
    scene, inputs, run, out = cvat
    done = run()
    check_masks_and_classes(load(out / "tiny.yaml"), scene, least=1.0)
    assert done.spec.to_json() == [
        {"name": "colour", "values": ["blue", "red"]},
        {"name": "occluded", "values": ["no", "yes"]},
    ]
    assert labels_of(out) == [
        {"colour": "red", "occluded": "yes"},
        {"colour": "unknown", "occluded": "unknown"},
        {"colour": "blue", "occluded": "no"},
        {"colour": "blue", "occluded": "no"},
        {"colour": "unknown", "occluded": "unknown"},  # an empty text: nobody chose
    ]
    assert done.notes == [
        "attribute 'keyframe' is left out: it is CVAT's own",
        "attribute 'rotation' is left out: it is CVAT's own",
        "attribute 'track_id' is left out: it is CVAT's own",
    ]
    document = json.loads((out / "val.json").read_text())
    original = json.loads(inputs["val"].read_text())
    for key in ("images", "annotations", "categories"):
        assert [e["id"] for e in document[key]] == [e["id"] for e in original[key]]
    # LEFT: 8 * 20 = 160; RIGHT: a triangle, 18 * 16 / 2 = 144.
    assert document["annotations"][1]["area"] == pytest.approx(304, abs=10)
    assert document["annotations"][1]["area"] == mask_of([LEFT, RIGHT], 48, 64).sum()


@pytest.mark.parametrize(
    ("absent", "cats"),
    [
        ("none", [None, "blue", "unknown"]),
        ("unknown", ["unknown", "blue", "unknown"]),
        # cats have a colour elsewhere: here nobody said.
        ("by-class", ["unknown", "blue", "unknown"]),
    ],
)
def test_what_an_absent_attribute_means(cvat, absent, cats):
    _, _, run, out = cvat
    run(absent=absent)
    assert [labels_of(out)[i]["colour"] for i in (1, 2, 4)] == cats


def test_an_attribute_that_a_class_never_has_does_not_apply_to_it(cvat):
    _, inputs, run, out = cvat

    def only_dogs(document):
        for entry in document["annotations"]:
            if entry["category_id"] == 4:
                entry["attributes"].pop("colour", None)

    for file in inputs.values():
        edit(file, only_dogs)
    run(absent="by-class")
    assert [labels["colour"] for labels in labels_of(out)] == ["red", None, None, "blue", None]


def set_attributes(inputs, values: list, name: str = "grade") -> None:
    """Gives the four objects, in order, these values of an attribute."""
    left = list(values)

    def change(document):
        for entry in document["annotations"]:
            value = left.pop(0)
            if value is not MISSING:
                entry["attributes"][name] = value

    for file in inputs.values():
        edit(file, change)


@pytest.mark.parametrize(
    ("values", "options", "expected", "labels"),
    [
        # A choice by name: none is what the user says it is, and values are in order.
        (
            ["n/a", "b", " a ", "b", None],
            {"none_values": ("n/a",)},
            ["a", "b"],
            [None, "b", "a", "b", "unknown"],
        ),
        # Numbers only on request, in the order of numbers; CVAT writes 10 as 10.0.
        (
            [10.0, 9, 2.5, 9.0, MISSING],
            {"subcategories": ("grade",)},
            ["2.5", "9", "10"],
            ["10", "9", "2.5", "9", "unknown"],
        ),
        # Several choices.
        (
            [["a", "b"], ["b"], [], ["b", "a"], ["a", ""]],
            {},
            ["a", "b"],
            ["unknown", "b", "unknown", "unknown", "a"],
        ),
        (
            [["a", "b"], ["b"], [], ["b", "a"], "a"],
            {"several": "first"},
            ["a", "b"],
            ["a", "b", "unknown", "b", "a"],
        ),
        # Only yes was seen, and is asked for: no is possible all the same.
        (
            [True, True, MISSING, True, True],
            {"subcategories": ("grade",)},
            ["no", "yes"],
            ["yes", "yes", "unknown", "yes", "yes"],
        ),
        (
            ["__undefined__", "x", "y", "x", ""],
            {},
            ["x", "y"],
            ["unknown", "x", "y", "x", "unknown"],
        ),
    ],
)
def test_what_values_become(cvat, values, options, expected, labels):
    _, inputs, run, out = cvat
    set_attributes(inputs, values)
    done = run(**options)
    assert next(s for s in done.spec if s.name == "grade").values == tuple(expected)
    assert [found["grade"] for found in labels_of(out)] == labels


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ([1, 2, 3, 1, 2], "it holds numbers"),
        (["x"] * 5, "it is 'x' wherever it is set"),
        ([""] * 5, "it is set on no object"),
        ([{"a": 1}, "x", "y", "x", "y"], "it holds more than texts, numbers and yes/no"),
        (
            list("abcde"),
            "it has 5 different values, free text rather than a choice; --max-values 5 allows",
        ),
    ],
)
def test_what_cannot_be_a_subcategory_is_left_out_and_named(cvat, values, why):
    _, inputs, run, _ = cvat
    set_attributes(inputs, values)
    done = run(max_values=4)
    assert "grade" not in done.spec.names
    assert any(f"attribute 'grade' is left out: {why}" in note for note in done.notes)


def test_asking_for_what_cannot_be_is_refused(cvat):
    _, inputs, run, _ = cvat
    set_attributes(inputs, [{}, 1, 2, 3, 4])
    with pytest.raises(
        ValueError, match=r"no object has an attribute 'size'; there are .*'colour'"
    ):
        run(subcategories=("size",))
    with pytest.raises(ValueError, match="attribute 'grade' holds more than texts"):
        run(subcategories=("grade",))
    with pytest.raises(ValueError, match="leaves attribute 'colour' without a value"):
        run(subcategories=("colour",), none_values=("red", "blue"))


def test_several_values_can_be_refused(cvat):
    _, inputs, run, _ = cvat
    set_attributes(inputs, [["a", "b"], "a", "b", "a", "b"])
    with pytest.raises(ValueError, match=r"annotation 5: 'grade' must have one value, .*--several"):
        run(several="refuse")


def test_a_dot_in_a_name_is_replaced(cvat):
    _, inputs, run, _ = cvat
    set_attributes(inputs, ["a", "b", "a", "b", "a"], name="v1.grade")
    done = run()
    assert "v1_grade" in done.spec.names
    assert "attribute 'v1.grade' is called 'v1_grade', without the dot" in done.notes


def test_brush_masks_are_crowds_in_cvat(cvat):
    _, inputs, run, out = cvat
    # CVAT's export of a brush mask: uncompressed run lengths and iscrowd 1. Columns 10 to 19.
    rle = {"size": [48, 64], "counts": [480, 480, 48 * 64 - 960]}

    def brush(document):
        document["annotations"][0].update(segmentation=rle, iscrowd=1)

    edit(inputs["val"], brush)
    done = run()
    assert any("marks every brush mask so" in note for note in done.notes)
    assert json.loads((out / "val.json").read_text())["annotations"][0]["iscrowd"] == 1
    assert not any("brush" in note for note in run(crowd="object").notes)
    entry = json.loads((out / "val.json").read_text())["annotations"][0]
    assert (entry["iscrowd"], entry["area"], entry["bbox"]) == (0, 480, [10, 0, 10, 48])
    (_, mask, _), _ = load(out / "tiny.yaml")["val"]["v.png"]
    assert mask[:, 10:20].sum() == mask.sum() == 480


def test_the_pictures_are_found_beside_the_json(cvat):
    _, inputs, run, out = cvat
    for split, file in inputs.items():

        def into_folder(document, split=split):
            for entry in document["images"]:
                # An export from Windows.
                entry["file_name"] = f"{split}\\{entry['file_name']}"

        edit(file, into_folder)
    run(images={})
    assert load(out / "tiny.yaml")["val"]["v.png"]
    assert json.loads((out / "val.json").read_text())["images"][0]["file_name"] == "val/v.png"


def test_where_pictures_were_looked_for_is_said(cvat):
    _, inputs, run, out = cvat
    run(images={})  # images/train, as CVAT has it
    file = inputs["train"]
    above = file.parents[1]
    (above / "images").rename(above / "photos")
    tried = [file.parent, file.parent / "images", above / "images", above / "images" / "train"]
    with pytest.raises(
        FileNotFoundError, match=f"in none of {', '.join(map(str, tried))}; give .* with --images"
    ):
        run(images={})
    with pytest.raises(FileNotFoundError, match=r"--images: .*nowhere is not a folder"):
        run(images={"train": out / "nowhere"})


def test_boxes_without_masks(cvat):
    _, inputs, run, _ = cvat
    edit(inputs["val"], lambda d: d["annotations"][0].update(segmentation=[], bbox=[4, 10, 20, 20]))
    with pytest.raises(
        ValueError, match=r"annotation 5: it has a box but no mask.*--unusable skip"
    ):
        run()
    done = run(unusable="skip")
    assert done.num_instances == {"train": 3, "val": 1}
    assert any(note.startswith("objects left out as boxes without a mask") for note in done.notes)


def test_damaged_run_lengths_can_be_left_out(cvat):
    _, inputs, run, _ = cvat
    # "P?" is 480 = 15 * 32: columns of 0, then of 1, and the last 2112 pixels are missing.
    rle = {"size": [48, 64], "counts": "P?P?"}
    edit(inputs["val"], lambda d: d["annotations"][0].update(segmentation=rle))
    with pytest.raises(ValueError, match=r"annotation 5: RLE counts must .*add up to .* 3072"):
        run()
    done = run(unusable="skip")
    assert done.num_instances == {"train": 3, "val": 1}
    assert any(note.startswith("objects left out as having no sound mask") for note in done.notes)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda d: d.pop("images"), "needs a list 'images', got no such key"),
        (lambda d: d.update(annotations={}), "needs a list 'annotations', got dict"),
        (lambda d: d.update(categories=[1]), "every entry of 'categories' must be a JSON object"),
        (lambda d: d["categories"].append({"id": "1", "name": "x"}), "got {'id': '1'"),
        (lambda d: d["categories"][0].update(name="cow"), "id 4 is listed twice: 'cat' and 'cow'"),
        (lambda d: d["categories"].append({"id": 6, "name": "cat"}), "two categories are named"),
        (lambda d: d.update(images=[]), "'images' is empty; list at least"),
        (lambda d: d["images"][0].update(id=None), "an entry of 'images' must have an integer"),
        (lambda d: d["images"].append(d["images"][0]), "image id 7 is used twice"),
        (lambda d: d["images"][0].update(height=0), "v.png, image 7: 'height' and 'width' must"),
        (lambda d: d["images"][0].update(height=64, width=48), "says 48x64 .* the file is 64x48"),
        (lambda d: d["images"][0].update(file_name="w.png"), "1 of 1 pictures are missing"),
        (lambda d: d["annotations"][0].update(id=True), "must have an integer 'id', got True"),
        (lambda d: d["annotations"][1].update(id=5), "annotation id 5 is used twice"),
        (lambda d: d["annotations"][0].update(image_id=1), "image_id 1 is not listed in 'images'"),
        (lambda d: d["annotations"][0].update(category_id=5), "category_id 5 is not listed"),
        (lambda d: d["annotations"][0].update(attributes=[]), "'attributes' must be an object"),
        (lambda d: d["annotations"][0].update(bbox=[1, 2]), "'bbox' must be"),
        (lambda d: d["annotations"][0].update(segmentation=[[0, 0, 90, 0, 5, 5]]), "lie inside"),
        (lambda d: d.update(subcategories=[]), "has 'subcategories' already and needs no import"),
    ],
)
def test_broken_files_are_named_and_nothing_is_written(cvat, change, match):
    _, inputs, run, out = cvat
    edit(inputs["val"], change)
    with pytest.raises(ValueError, match=match) as caught:
        run()
    assert str(inputs["val"]) in str(caught.value)
    assert not out.exists()


def test_a_file_cut_short_is_named(cvat):
    _, inputs, run, _ = cvat
    inputs["val"].write_bytes(inputs["val"].read_bytes()[:200])
    with pytest.raises(ValueError, match=r"instances_val.json is not valid JSON.*cut short"):
        run()
    inputs["val"].write_text("[]")
    with pytest.raises(ValueError, match=r"must be a COCO file, a JSON object .* got a list"):
        run()
    inputs["val"].write_text("[" * 100_000)
    with pytest.raises(ValueError, match="is not valid JSON"):
        run()
    inputs["val"].unlink()
    with pytest.raises(FileNotFoundError, match=r"instances_val.json does not exist"):
        run()


def test_a_byte_order_mark_and_windows_line_ends(cvat):
    scene, inputs, run, out = cvat
    for file in inputs.values():
        text = json.dumps(json.loads(file.read_text()), indent=1)
        file.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    run()
    check_masks_and_classes(load(out / "tiny.yaml"), scene, least=1.0)


def test_many_problems_are_counted(cvat):
    _, inputs, run, _ = cvat
    edit(
        inputs["val"],
        lambda d: d.update(annotations=[{"id": i, "image_id": -1} for i in range(25)]),
    )
    with pytest.raises(ValueError, match=r"(?s)25 problems, nothing was written.*and 15 more"):
        run()
