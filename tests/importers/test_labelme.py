"""LabelMe folders: the round trip, every kind of shape, and every refusal."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
from importer_scenes import (
    ELL,
    LEFT,
    RIGHT,
    SQUARE,
    Case,
    Thing,
    View,
    check_masks_and_classes,
    iou,
    labelme_shape,
    mask_of,
    pairs,
    png_base64,
    save_picture,
    views,
    write_labelme,
    write_labelme_file,
)

HEIGHT, WIDTH = 48, 64


class OnePicture(Case):
    """A folder with a single picture, and the shapes that a test writes."""

    def __init__(self, folder: Path, out: Path) -> None:
        super().__init__("labelme", out, {"train": folder})
        self.folder, self.view = folder, View("a.png", WIDTH, HEIGHT, [])
        save_picture(folder / "a.png", self.view)

    def write(self, *shapes, **fields) -> Path:
        write_labelme_file(self.folder / "a.json", self.view, **{"shapes": [*shapes]} | fields)
        return self.folder / "a.json"

    def objects(self, **options) -> list[tuple[str, np.ndarray, dict]]:
        """Imports it; returns (class, mask, labels) of each object."""
        self.run(**options)
        return self.load()["train"]["a.png"]


@pytest.fixture
def one(tmp_path):
    return OnePicture(tmp_path / "one", tmp_path / "out")


def test_the_scene_comes_back(tmp_path):
    scene = views()
    scene["val"][0].things.append(Thing("cat", [LEFT, RIGHT], "red", True))
    case = Case("labelme", tmp_path / "out", write_labelme(tmp_path / "in", scene))
    done = case.run()
    check_masks_and_classes(case.load(), scene)
    assert done.spec.to_json() == [
        {"name": "colour", "values": ["blue", "red"]},
        {"name": "occluded", "values": ["no", "yes"]},
    ]
    red, blue = {"colour": "red", "occluded": "yes"}, {"colour": "blue", "occluded": "no"}
    assert case.labels() == [red, {"colour": "unknown", "occluded": "unknown"}, blue, blue, red]
    document = case.document("val")
    assert document["categories"] == [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    assert [a["id"] for a in document["annotations"]] == [1, 2]
    assert len(document["annotations"][1]["segmentation"]) == 2
    assert [(i["id"], i["file_name"]) for i in case.document("train")["images"]] == [
        (1, "a b.png"),
        (2, "empty.png"),
        (3, "turned.jpg"),
    ]


def test_every_shape_with_an_area(one):
    crop = np.zeros((10, 12), dtype=bool)
    crop[2:8, 3:9] = True
    crop[4:6, 4:6] = False  # a hole, not in the middle
    one.write(
        labelme_shape("a", [[4, 10], [24, 30]], shape_type="rectangle"),
        labelme_shape("b", [[24, 30], [4, 10]], shape_type="rectangle"),  # drawn from below
        labelme_shape("c", pairs(SQUARE), shape_type="rectangle"),  # as X-AnyLabeling has it
        labelme_shape("d", pairs(SQUARE), shape_type="oriented_rectangle"),
        labelme_shape("e", pairs(SQUARE), shape_type="rotation"),
        labelme_shape("f", [[20, 7], [31, 16]], shape_type="mask", mask=png_base64(crop)),
        labelme_shape("g", [[30, 24], [40, 24]], shape_type="circle"),
        labelme_shape("h", pairs(ELL), shape_type=None),
    )
    found = one.objects()
    masks = {name: mask for name, mask, _ in found}
    square = mask_of([SQUARE], HEIGHT, WIDTH)
    for name in "abcde":
        assert (masks[name] == square).all()
    expected = np.zeros((HEIGHT, WIDTH), dtype=bool)
    expected[7:17, 20:32] = crop
    assert (masks["f"] == expected).all()
    # 6 * 6 - 2 * 2 = 32 pixels.
    assert masks["f"].sum() == 32
    ys, xs = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    assert iou(masks["g"], np.hypot(xs - 30, ys - 24) <= 10) > 0.95
    assert masks["g"].sum() == pytest.approx(math.pi * 100, rel=0.03)
    assert (masks["h"] == mask_of([ELL], HEIGHT, WIDTH)).all()


def test_a_circle_is_cut_off_at_the_edge(one):
    one.write(labelme_shape("a", [[64, 24], [64, 4]], shape_type="circle"))
    ((_, mask, _),) = one.objects()
    ys, xs = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    assert iou(mask, np.hypot(xs - 64, ys - 24) <= 20) > 0.95


def test_a_mask_that_reaches_over_the_edge(one):
    crop = np.zeros((4, 5), dtype=bool)
    crop[:, 1:3] = True
    one.write(labelme_shape("a", [[-1, -1], [3, 2]], shape_type="mask", mask=png_base64(crop)))
    ((_, mask, _),) = one.objects()
    # Rows -1 to 2 and columns 0 to 1: 3 * 2 pixels are inside.
    assert mask[:3, :2].all()
    assert mask.sum() == 6


def test_groups_are_one_object_of_each_label(one):
    mask = np.ones((4, 4), dtype=bool)
    one.write(
        labelme_shape("a", pairs(LEFT), group_id=1, flags={"big": True}),
        labelme_shape("b", pairs(SQUARE), group_id=1, flags={"big": False}),
        labelme_shape(
            "a", [[60, 0], [63, 3]], shape_type="mask", mask=png_base64(mask), group_id=1
        ),
        labelme_shape("a", pairs(RIGHT), flags={"big": False}),
        labelme_shape("a", pairs(RIGHT), group_id=None, flags={}),
    )
    found = one.objects()
    assert [(name, labels["big"]) for name, _, labels in found] == [
        ("a", "yes"),
        ("b", "no"),
        ("a", "no"),
        ("a", "unknown"),
    ]
    both = mask_of([LEFT], HEIGHT, WIDTH)
    both[:4, 60:] = True
    assert (found[0][1] == both).all()


def test_parts_that_differ(one):
    one.write(
        labelme_shape("a", pairs(LEFT), group_id=1, flags={"big": True, "wet": False}),
        labelme_shape("a", pairs(RIGHT), group_id=1, flags={"big": False}),
        labelme_shape("a", pairs(SQUARE), flags={"big": False, "wet": True}),
    )
    done = one.run()
    assert one.labels() == [
        {"big": "unknown", "wet": "no"},
        {"big": "no", "wet": "yes"},
    ]
    assert done.notes[0].startswith("objects with several values of 'big', now unknown: 1, the fi")
    found = one.objects(several="first")
    assert found[0][2] == {"big": "yes", "wet": "no"}


def test_descriptions_are_free_text_unless_asked_for(one):
    one.write(
        labelme_shape("a", pairs(LEFT), description="old"),
        labelme_shape("a", pairs(RIGHT), description="new"),
        labelme_shape("a", pairs(SQUARE)),
    )
    found = one.objects(subcategories=("description",))
    assert [labels["description"] for _, _, labels in found] == ["old", "new", "unknown"]
    done = one.run(max_values=1)
    assert len(done.spec) == 0
    assert done.notes[0].startswith("attribute 'description' is left out: it has 2 different")


def test_what_is_no_object_is_left_out_and_counted(one):
    save_picture(one.folder / "later.png", View("later.png", 8, 8, []))
    file = one.write(
        labelme_shape("a", pairs(LEFT)),
        labelme_shape("__ignore__", pairs(RIGHT)),
        labelme_shape("_background_", pairs(RIGHT)),
        flags={"blurred": True},
    )
    done = one.run()
    assert len(one.labels()) == 1
    assert done.notes == [
        "pictures with attributes of the whole picture, which are not read (--picture-attributes "
        f"gives them to each object): 1, the first {file}: {{'blurred': [True]}}",
        f"shapes labelled '__ignore__', left out as no objects: 1, the first {file}: shape 1",
        f"shapes labelled '_background_', left out as no objects: 1, the first {file}: shape 2",
        "pictures without JSON, left out as not annotated: 1, the first "
        f"{one.folder / 'later.png'}",
    ]


def test_flags_of_the_picture_are_given_to_its_objects(one):
    one.write(labelme_shape("a", pairs(LEFT)), flags={"blurred": True})
    one.run(picture_attributes=True, subcategories=("blurred",))
    assert one.labels() == [{"blurred": "yes"}]


@pytest.mark.parametrize("kind", ["point", "points", "line", "linestrip"])
def test_shapes_without_an_area(one, kind):
    one.write(
        labelme_shape("a", pairs(LEFT)), labelme_shape("b", [[1, 1], [9, 9]], shape_type=kind)
    )
    one.refuses(rf"a.json: shape 1 \(b\): a {kind} has no area; draw the")
    (note,) = one.run(unusable="skip").notes
    assert len(one.labels()) == 1
    plural = "points" if kind == "points" else f"{kind}s"
    start = f"objects left out as {plural} without area (learned as background): 1, the first"
    assert note.startswith(start)


@pytest.mark.parametrize("name", ["a.png", ".\\a.png", "..\\one\\a.png", "C:\\photos\\a.png"])
def test_the_picture_is_found(one, name):
    one.write(labelme_shape("a", pairs(LEFT)), imagePath=name, imageData="AAAA", imageHeight=None)
    assert len(one.objects()) == 1


def test_pictures_elsewhere(one):
    one.write(labelme_shape("a", pairs(LEFT)), imageData="AAAA")
    photos = one.folder.with_name("photos")
    photos.mkdir()
    (one.folder / "a.png").rename(photos / "a.png")
    one.refuses(r"the picture 'a.png' is not there; put it back, or give .*'imageData' holds it")
    assert len(one.objects(images={"train": photos})) == 1


PNG = png_base64(np.ones((4, 4), dtype=bool))
MASK = {"shape_type": "mask", "points": [[0, 0], [3, 3]], "mask": PNG}


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"label": None}, "shape 0: 'label' must be a text, got None"),
        ({"group_id": [1]}, "'group_id' must be a number or null"),
        ({"flags": [True]}, "'flags' must be a JSON object, got"),
        ({"attributes": "red"}, "'attributes' must be a JSON object, got 'red'"),
        ({"shape_type": "spline"}, "'shape_type' must be one of polygon, .*got 'spline'"),
        ({"shape_type": []}, r"'shape_type' must be one of polygon, .*got \[\]"),
        ({"points": None}, r"'points' must be a list of \[x, y\] in pixels, got None"),
        ({"points": [[1, 2], [3]]}, "'points' must be a list"),
        ({"points": [[1, "2"], [3, 4], [5, 6]]}, "'points' must be a list"),
        ({"points": [[1, 10**400], [3, 4], [5, 6]]}, "'points' must be a list"),
        ({"points": [[1, 2], [3, 4]]}, "a polygon must have at least 3 points, got 2"),
        ({"points": [[1, 2], [90, 4], [5, 6]]}, "a polygon must lie inside the image"),
        ({"shape_type": "circle"}, "a circle must have 2 points, got 4"),
        (
            {"shape_type": "circle", "points": [[1, 1], [1, 1]]},
            "radii must be .* got 0 and 0",
        ),
        ({"shape_type": "rectangle", "points": [[1, 1]]}, "must have 2 or 4 points, got 1"),
        ({"shape_type": "mask"}, "a mask must have 2 points, got 4"),
        (MASK | {"mask": None}, "'mask' must be a PNG in base64, got 'None'"),
        (MASK | {"mask": "AAAA"}, "must be a PNG"),
        (MASK | {"mask": "*"}, "must be a PNG"),
        (MASK | {"mask": PNG[:40]}, "must be a PNG"),
        (MASK | {"points": [[0, 0], [4, 3]]}, r"must be 5x4 .width x height. as .*got 4x4"),
        (MASK | {"points": [[70, 0], [73, 3]]}, "inside the picture of 64x48, got x from 70 to 73"),
    ],
)
def test_a_bad_shape_is_named(one, fields, match):
    file = one.write(labelme_shape("a", pairs(LEFT)) | fields)
    one.refuses(f"{re.escape(str(file))}: .*{match}")


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"shapes": None}, "is no LabelMe file: it needs a list of JSON objects 'shapes'"),
        ({"shapes": [1]}, "is no LabelMe file"),
        ({"imagePath": None}, "'imagePath' must name the picture, got None"),
        ({"imagePath": "b.png"}, "the picture 'b.png' is not there"),
        ({"imagePath": "a\0.png"}, "'imagePath' must name the picture"),
        ({"imageHeight": 64}, "'imageHeight' must be the picture's, got 64, .* is 64x48 .width x"),
        ({"imageWidth": 48}, "'imageWidth' must be the picture's, got 48"),
    ],
)
def test_a_bad_file_is_named(one, fields, match):
    file = one.write(labelme_shape("a", pairs(LEFT)), **fields)
    one.refuses(f"{re.escape(str(file))}.*{match}")


def test_broken_json_and_broken_pictures_are_named(one):
    file = one.write(labelme_shape("a", pairs(LEFT)))
    (one.folder / "b.json").write_bytes(file.read_bytes()[:150])
    (one.folder / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    one.refuses(
        r"(?s)2 problems.*a.png: the file cannot be read as an image.*b.json is not valid JSON"
    )


def test_two_files_of_one_picture_are_refused(one):
    file = one.write(labelme_shape("a", pairs(LEFT)))
    (one.folder / "copy.json").write_bytes(file.read_bytes())
    one.refuses(r"copy.json: a.json is of the same picture")


def test_folders_without_anything(one):
    one.refuses("no JSON files there; is it the right folder")
    one.write()
    one.refuses("no object has a mask and a label")
    one.inputs = {"train": one.folder / "nowhere"}
    one.refuses("nowhere is not a folder")


def test_the_folder_of_the_input_is_not_written_to(one):
    file = one.write(labelme_shape("a", pairs(LEFT)))
    one.out = one.folder
    with pytest.raises(ValueError, match="is the input's own folder; give another one"):
        one.run()
    assert sorted(one.folder.iterdir()) == [file, one.folder / "a.png"]
