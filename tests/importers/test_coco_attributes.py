"""CVAT's COCO JSON: the round trip, which attributes become subcategories, and every refusal."""

from __future__ import annotations

import json
import re

import pytest
from importer_scenes import (
    LEFT,
    MISSING,
    RIGHT,
    Case,
    Thing,
    check_masks_and_classes,
    cvat_attributes,
    mask_of,
    views,
    write_coco,
)

UNKNOWN = {"colour": "unknown", "occluded": "unknown"}


def scene_of_parts() -> dict:
    """With an object of two parts, whose colour nobody chose."""
    scene = views()
    scene["val"][0].things.append(Thing("cat", [LEFT, RIGHT], "", MISSING))
    return scene


@pytest.fixture
def cvat(tmp_path):
    """The objects are a b.png's two, turned.jpg's one, v.png's two."""
    written = write_coco(tmp_path / "cvat", scene_of_parts(), cvat_attributes)
    return Case("coco", tmp_path / "out", *written)


def test_the_scene_comes_back(cvat):
    originals = {split: json.loads(file.read_text()) for split, file in cvat.inputs.items()}
    for split, file in cvat.inputs.items():  # as Windows programs write it
        text = json.dumps(originals[split], indent=1).replace("\n", "\r\n")
        file.write_bytes(b"\xef\xbb\xbf" + text.encode())
    done = cvat.run()
    check_masks_and_classes(cvat.load(), scene_of_parts())
    assert done.spec.to_json() == [
        {"name": "colour", "values": ["blue", "red"]},
        {"name": "occluded", "values": ["no", "yes"]},
    ]
    blue = {"colour": "blue", "occluded": "no"}
    assert cvat.labels() == [{"colour": "red", "occluded": "yes"}, UNKNOWN, blue, blue, UNKNOWN]
    assert done.notes == [
        f"attribute {name!r} is left out: it is CVAT's own"
        for name in ("keyframe", "rotation", "track_id")
    ]
    document = cvat.document("val")
    for key in ("images", "annotations", "categories"):
        assert [e["id"] for e in document[key]] == [e["id"] for e in originals["val"][key]]
    # LEFT: 8 * 20 = 160; RIGHT: a triangle, 18 * 16 / 2 = 144.
    assert document["annotations"][1]["area"] == pytest.approx(304, abs=10)
    assert document["annotations"][1]["area"] == mask_of([LEFT, RIGHT], 48, 64).sum()


@pytest.mark.parametrize("only_dogs", [False, True])
@pytest.mark.parametrize("absent", ["none", "unknown", "by-class"])
def test_what_an_absent_attribute_means(cvat, absent, only_dogs):
    def remove_colours_of_cats(document):
        for entry in document["annotations"]:
            if entry["category_id"] == 4:
                entry["attributes"].pop("colour", None)

    if only_dogs:
        for split in cvat.inputs:
            cvat.edit(split, remove_colours_of_cats)
    cvat.run(absent=absent)
    # By class it does not apply where no cat has a colour; where one has, nobody said.
    is_none = absent == "none" or (absent == "by-class" and only_dogs)
    label = None if is_none else "unknown"
    cats = [label, label, label] if only_dogs else [label, "blue", "unknown"]
    assert [cvat.labels()[i]["colour"] for i in (1, 2, 4)] == cats


def set_attributes(case: Case, values: list, name: str = "grade") -> None:
    """Gives the five objects, in order, these values of an attribute."""
    left = list(values)

    def change(document):
        for entry in document["annotations"]:
            value = left.pop(0)
            if value is not MISSING:
                entry["attributes"][name] = value

    for split in case.inputs:
        case.edit(split, change)


GRADE = {"subcategories": ("grade",)}
FIRST = {"several": "first"}
AB = ["a", "b"]


@pytest.mark.parametrize(
    ("values", "options", "expected", "labels"),
    [
        # None is what the user says it is; values are in order.
        (["n/a", "b", " a ", "b", None], {"none_values": ("n/a",)}, AB, [None, "b", "a", "b", "?"]),
        # Numbers only on request, in the order of numbers; CVAT writes 10 as 10.0.
        ([10.0, 9, 2.5, 9.0, MISSING], GRADE, ["2.5", "9", "10"], ["10", "9", "2.5", "9", "?"]),
        # Several choices.
        ([AB, ["b"], [], ["b", "a"], ["a", ""]], {}, AB, ["?", "b", "?", "?", "a"]),
        ([AB, ["b"], [], ["b", "a"], "a"], FIRST, AB, ["a", "b", "?", "b", "a"]),
        # Only yes was seen, and is asked for: no is possible all the same.
        (
            [True, True, MISSING, True, True],
            GRADE,
            ["no", "yes"],
            ["yes", "yes", "?", "yes", "yes"],
        ),
        (["__undefined__", "x", "y", "x", ""], {}, ["x", "y"], ["?", "x", "y", "x", "?"]),
    ],
)
def test_what_values_become(cvat, values, options, expected, labels):
    set_attributes(cvat, values)
    done = cvat.run(**options)
    assert next(s for s in done.spec if s.name == "grade").values == tuple(expected)
    expected_labels = ["unknown" if label == "?" else label for label in labels]
    assert [found["grade"] for found in cvat.labels()] == expected_labels


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ([1, 2, 3, 1, 2], "it holds numbers"),
        (["x"] * 5, "it is 'x' wherever it is set"),
        ([""] * 5, "it is set on no object"),
        ([{"a": 1}, "x", "y", "x", "y"], "it holds more than texts, numbers and yes/no"),
        (list("abcde"), "it has 5 different values, free text .*; --max-values 5 allows"),
    ],
)
def test_what_cannot_be_a_subcategory_is_left_out_and_named(cvat, values, why):
    set_attributes(cvat, values)
    done = cvat.run(max_values=4)
    assert "grade" not in done.spec.names
    assert any(re.match(f"attribute 'grade' is left out: {why}", note) for note in done.notes)


def test_choices_that_cannot_be_are_refused(cvat):
    set_attributes(cvat, [{}, AB, 2, 3, 4])
    cvat.refuses(
        r"no object has an attribute 'size'; there are .*'colour'", subcategories=("size",)
    )
    cvat.refuses("attribute 'grade' holds more than texts", subcategories=("grade",))
    cvat.refuses("leaves attribute 'colour' without a value", none_values=("red", "blue"))
    set_attributes(cvat, [AB, "a", "b", "a", "b"])
    cvat.refuses(r"annotation 5: 'grade' must have one value, .*--several", several="refuse")


def test_a_dot_in_a_name_is_replaced(cvat):
    set_attributes(cvat, ["a", "b", "a", "b", "a"], name="v1.grade")
    done = cvat.run()
    assert "v1_grade" in done.spec.names
    assert "attribute 'v1.grade' is called 'v1_grade', without the dot" in done.notes


def test_brush_masks_are_crowds_in_cvat(cvat):
    # CVAT's export of a brush mask: uncompressed run lengths and iscrowd 1. Columns 10 to 19.
    rle = {"size": [48, 64], "counts": [480, 480, 48 * 64 - 960]}
    cvat.edit("val", lambda d: d["annotations"][0].update(segmentation=rle, iscrowd=1))
    assert any("crowds ('iscrowd': 1) are left out" in note for note in cvat.run().notes)
    assert cvat.document("val")["annotations"][0]["iscrowd"] == 1
    assert not any("are left out" in note for note in cvat.run(crowd="object").notes)
    entry = cvat.document("val")["annotations"][0]
    assert (entry["iscrowd"], entry["area"], entry["bbox"]) == (0, 480, [10, 0, 10, 48])
    (_, mask, _), _ = cvat.load()["val"]["v.png"]
    assert mask[:, 10:20].sum() == mask.sum() == 480


def test_the_pictures_are_found_beside_the_json(cvat):
    cvat.run(images={})  # images/train, as CVAT has it
    for split in cvat.inputs:

        def into_folder(document, split=split):
            for entry in document["images"]:
                # An export from Windows.
                entry["file_name"] = f"{split}\\{entry['file_name']}"

        cvat.edit(split, into_folder)
    cvat.run(images={})
    assert cvat.load()["val"]["v.png"]
    assert cvat.document("val")["images"][0]["file_name"] == "val/v.png"
    file = cvat.inputs["train"]
    above = file.parents[1]
    (above / "images").rename(above / "photos")
    tried = [file.parent, file.parent / "images", above / "images", above / "images" / "train"]
    cvat.refuses(f"in none of {', '.join(map(str, tried))}; give .* with --images", images={})
    cvat.refuses(r"--images: .*nowhere is not a folder", images={"train": above / "nowhere"})


@pytest.mark.parametrize(
    ("change", "match", "kind"),
    [
        (
            {"segmentation": [], "bbox": [4, 10, 20, 20]},
            "a box but no mask",
            "boxes without a mask",
        ),
        # "P?" is 480 = 15 * 32: columns of 0, then of 1, and the last 2112 pixels are missing.
        ({"segmentation": {"size": [48, 64], "counts": "P?P?"}}, "RLE counts must .*add up", None),
        ({"segmentation": [[0, 0, 90, 0, 5, 5]]}, "a polygon must lie inside the image", None),
    ],
)
def test_objects_without_a_sound_mask_can_be_left_out(cvat, change, match, kind):
    cvat.edit("val", lambda d: d["annotations"][0].update(change))
    cvat.refuses(rf"instances_val.json: annotation 5: .*{match}.*--unusable skip")
    done = cvat.run(unusable="skip")
    assert done.num_instances == {"train": 3, "val": 1}
    kind = kind or "having no sound mask"
    assert any(note.startswith(f"objects left out as {kind} (") for note in done.notes)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda d: d.pop("images"), "needs a list 'images', got no such key"),
        (lambda d: d["categories"].append({"id": "x1", "name": "x"}), "got {'id': 'x1'"),
        (lambda d: d["categories"][0].update(name="cow"), "id 4 is listed twice: 'cat' and 'cow'"),
        (lambda d: d.update(images=[]), "'images' is empty; list at least"),
        (
            lambda d: d["images"].append({**d["images"][0], "file_name": "w.png"}),
            "image id 7 is used twice",
        ),
        (lambda d: d["images"][0].update(height=96, width=128), "says 128x96 .* the file is 64x48"),
        (lambda d: d["images"][0].update(file_name="w.png"), "1 of 1 pictures are missing"),
        (lambda d: d["annotations"][0].update(image_id=1), "image_id 1 is not listed in 'images'"),
        (lambda d: d["annotations"][0].update(category_id=5), "category_id 5 is not listed"),
        (lambda d: d["annotations"][0].update(attributes=[]), "'attributes' must be an object"),
        (lambda d: d.update(subcategories=[]), "has 'subcategories' already and needs no import"),
    ],
)
def test_broken_files_are_named_whatever_may_be_left_out(cvat, change, match):
    cvat.edit("val", change)
    cvat.refuses(f"instances_val.json.*{match}", unusable="skip")


def test_many_problems_are_counted(cvat):
    broken = [{"id": i, "image_id": -1} for i in range(25)]
    cvat.edit("val", lambda d: d.update(annotations=broken))
    cvat.refuses(r"(?s)^25 problems, nothing was written.*and 15 more$")
