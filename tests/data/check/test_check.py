"""Each kind of fault is found, named with its place, and judged as training judges it."""

from __future__ import annotations

import io
import re
import shutil
import tracemalloc

import numpy as np
import pytest
from dataset_to_check import HEADER, SQUARE, image_entry, polygon_annotation, rle_annotation
from PIL import Image

from mask2former_mt.data.check.check import check_dataset
from mask2former_mt.data.check.findings import KINDS, exit_code

ERROR, WARNING = "error", "warning"


def check(dataset, **options):
    options.setdefault("num_workers", 2)
    return check_dataset(dataset.write(), show_progress=False, **options)


def kinds_of(result) -> list[tuple[str, str]]:
    return sorted({(finding.severity, finding.kind) for finding in result.findings})


def the_one(result, kind):
    (finding,) = [finding for finding in result.findings if finding.kind == kind]
    return finding


def test_a_sound_dataset_has_no_finding(dataset):
    result = check(dataset)
    assert result.findings == []
    assert exit_code(result.findings) == 0
    assert not dataset.is_refused()


BOW_TIE = [5, 5, 15, 15, 15, 5, 5, 15]
# (fields of annotation 100, severity, kind, message)
POLYGON_FAULTS = [
    ({"category_id": 5}, ERROR, "unknown-category", r"5 is not listed.*\[7, 9\].*correct"),
    ({"category_id": [7]}, ERROR, "unknown-category", r"\[7\] is not listed"),
    ({"subcategories": {"colour": "red"}}, ERROR, "unknown-subcategory", "'colour' is not listed"),
    ({"subcategories": ["photo"]}, ERROR, "unknown-subcategory", "must be an object"),
    ({"subcategories": {"style": "oil"}}, ERROR, "unknown-value", "no value 'oil'.*or correct"),
    ({"subcategories": {"style": 3}}, ERROR, "unknown-value", r"index must be in \[-1, 2\]"),
    ({"segmentation": []}, ERROR, "zero-area", "is empty; draw"),
    ({"segmentation": None}, ERROR, "bad-annotation", "got None; boxes alone teach no masks"),
    ({"segmentation": [[1, 1, 9, 9]]}, ERROR, "too-few-points", "at least 3 points, got 2"),
    ({"segmentation": [[1, 1, 9, 9, 5]]}, ERROR, "bad-polygon", "a flat list of numbers"),
    ({"segmentation": [["1", 1, 9, 9, 5, 1]]}, ERROR, "bad-polygon", "a flat list of numbers"),
    ({"segmentation": [[float("nan"), 1, 9, 9, 5, 1]]}, ERROR, "bad-polygon", "must be finite"),
    ({"segmentation": [[10**400, 1, 9, 9, 5, 1]]}, ERROR, "bad-polygon", "a polygon must be"),
    (
        {"segmentation": [[30, 5, 43, 5, 43, 15]]},
        ERROR,
        "out-of-bounds",
        r"leaves the 40x30 picture .*x in \[30, 43\].*another picture or size",
    ),
    # The picture is 40 wide: one pixel too far is cut off by training.
    (
        {"segmentation": [[30, 5, 41, 5, 41, 15, 30, 15]], "bbox": [30, 5, 10, 10]},
        WARNING,
        "out-of-bounds",
        "training cuts it off, --write-clean does so",
    ),
    ({"bbox": [100, 100, 5, 5]}, ERROR, "out-of-bounds", r"'bbox' leaves .*\[100, 105\]"),
    ({"bbox": [5, 5, -1, 5]}, ERROR, "bad-box", r"must be \[x, y, width, height\]"),
    ({"bbox": [5, 5, 10]}, ERROR, "bad-box", r"got \[5, 5, 10\]; remove it"),
    ({"bbox": [5, 5, 10**400, 5]}, ERROR, "bad-box", "must be"),
    # 10 x 10 at (5, 5) against 10 x 10 at (9, 5): 60 shared of 140 pixels.
    ({"bbox": [9, 5, 10, 10]}, WARNING, "box-unlike-mask", r"\[9, 5, 10, 10\], the mask's own is"),
    ({"area": 300}, WARNING, "area-unlike-mask", "'area' is 300, the mask has 100 pixels"),
    ({"area": "big"}, WARNING, "area-unlike-mask", "'area' is 'big'"),
    (
        {"segmentation": [BOW_TIE], "area": 50},
        WARNING,
        "self-intersecting",
        r"near \(10, 10\).*draw it again",
    ),
    ({"segmentation": [[5, 5, 9, 9, 15, 15]]}, ERROR, "zero-area", "encloses nothing"),
    (
        {"segmentation": [SQUARE, [5, 5, 9, 9, 15, 15]]},
        WARNING,
        "zero-area",
        "a part .*3 points in a line; remove the part",
    ),
    # 0.4 x 0.4 between the centres at 5.5 and 6.5.
    (
        {"segmentation": [[5.6, 5.6, 6, 5.6, 6, 6, 5.6, 6]]},
        ERROR,
        "zero-area",
        "no pixel's centre lies inside",
    ),
    # 3 x 3 = 9 pixels, a cell has 4 x 4 = 16.
    (
        {"segmentation": [[5, 5, 8, 5, 8, 8, 5, 8]], "bbox": [5, 5, 3, 3], "area": 9},
        WARNING,
        "smaller-than-stride",
        "has 9 pixels, less than one cell .4 x 4.*larger input size",
    ),
    ({"iscrowd": 2}, ERROR, "bad-annotation", "'iscrowd' must be 0 or 1"),
    # Read as pixels, all of it lies in the first one.
    (
        {"segmentation": [[0.1, 0.1, 0.9, 0.1, 0.9, 0.9]], "bbox": [0.1, 0.1, 0.8, 0.8]},
        ERROR,
        "zero-area",
        "no pixel's centre|normalised",
    ),
    ({"id": None}, ERROR, "bad-annotation", "must have an integer 'id', got None"),
    ({"id": 101}, ERROR, "duplicate-annotation-id", "101 is used twice; ids must be unique"),
    ({"image_id": 99}, ERROR, "unknown-image", "image_id 99 is not listed"),
    ({"image_id": [10]}, ERROR, "unknown-image", r"image_id \[10\] is not listed"),
]


@pytest.mark.parametrize(("fields", "severity", "kind", "match"), POLYGON_FAULTS)
def test_a_faulty_annotation_is_named(dataset, fields, severity, kind, match):
    dataset.train["annotations"][0].update(fields)
    # Further labels, so that the fault is the only thing wrong.
    dataset.train["annotations"] += [polygon_annotation(103, 11, segmentation=[[1, 1, 9, 1, 9, 9]])]
    for field in ("bbox", "area"):
        dataset.train["annotations"][-1].pop(field)
    result = check(dataset)
    found = [f for f in result.findings if (f.severity, f.kind) == (severity, kind)]
    assert found, result.findings
    assert any(re.search(match, finding.message) for finding in found), found
    for finding in found:
        if isinstance(fields.get("image_id", 10), int) and fields.get("image_id") != 99:
            assert finding.file.endswith("a.png") or "twice" in finding.message
    # What training refuses is an error; a warning it takes.
    assert not dataset.is_refused() or exit_code(result.findings) == 2
    if severity == WARNING:
        assert not dataset.is_refused()
        assert exit_code(result.findings) == 1


def test_a_finding_names_file_image_and_annotation(dataset):
    dataset.train["annotations"][0]["segmentation"] = [[1, 1, 9, 9]]
    finding = the_one(check(dataset), "too-few-points")
    assert finding.file == str(dataset.image("train", "a.png"))
    assert (finding.image_id, finding.annotation_id) == (10, 100)


RLE_FAULTS = [
    ({"size": [40, 30], "counts": [600, 600]}, "rle-size-mismatch", r"\[30, 40\], got \[40, 30\]"),
    ({"counts": [600, 600]}, "bad-rle", "RLE size must be"),
    ({"size": [30, 40]}, "bad-rle", "must be a list or text, got None"),
    ({"size": [30, 40], "counts": [600, 599]}, "bad-rle", "add up to height .* = 1200, got 1199"),
    ({"size": [30, 40], "counts": [600, 10**400]}, "bad-rle", "from 0 to"),
    ({"size": [30, 40], "counts": [1200]}, "zero-area", "the RLE has no pixel"),
    # "hb0" is 600 in COCO's text: 0x18 | more, 0x12 | more, 0; without "0" it has no end.
    ({"size": [30, 40], "counts": "hb0hb"}, "bad-rle", "compressed text"),
    ({"size": [30, 40], "counts": "hb0"}, "bad-rle", "got 600"),
    ({"size": [30, 40], "counts": "\u00e9"}, "bad-rle", "compressed text"),
]


@pytest.mark.parametrize(("rle", "kind", "match"), RLE_FAULTS)
def test_faulty_run_lengths_are_named(dataset, rle, kind, match):
    dataset.train["annotations"][1]["segmentation"] = rle
    result = check(dataset)
    finding = the_one(result, kind)
    assert finding.severity == ERROR
    assert finding.annotation_id == 101
    assert re.search(match, finding.message)
    assert dataset.is_refused()


def test_crossing_is_told_from_a_seam(dataset):
    # A frame: out, in along a seam, around the hole the other way, back. It encloses 100 - 36.
    seam = [5, 5, 15, 5, 15, 15, 5, 15, 5, 5, 7, 7, 7, 13, 13, 13, 13, 7, 7, 7]
    dataset.train["annotations"][0].update(segmentation=[seam], area=64)
    assert check(dataset).findings == []


def test_normalised_numbers_declared_as_such_are_sound(dataset):
    for document in dataset.documents.values():
        for annotation in document["annotations"]:
            x, y, w, h = annotation["bbox"]
            annotation["bbox"] = [x / 40, y / 30, w / 40, h / 30]
            if isinstance(annotation["segmentation"], list):
                xy = annotation["segmentation"][0]
                annotation["segmentation"] = [
                    [v / (40, 30)[i % 2] for i, v in enumerate(xy)],
                ]
    with dataset.yaml.open("a", encoding="utf-8") as file:
        file.write("box_coords: normalized\npolygon_coords: normalized\n")
    result = check(dataset)
    assert result.findings == []
    assert result.statistics["train"].sides[0] == pytest.approx(10)  # of 10 x 10 pixels


def test_pixels_declared_normalised_are_an_error(dataset):
    with dataset.yaml.open("a", encoding="utf-8") as file:
        file.write("polygon_coords: normalized\n")
    result = check(dataset)
    found = [f for f in result.findings if f.kind == "out-of-bounds"]
    assert {f.annotation_id for f in found} == {100, 102, 1}
    assert "polygon_coords: pixel" in found[0].message
    assert dataset.is_refused()


def test_one_object_annotated_twice(dataset):
    dataset.train["annotations"].append({**dataset.train["annotations"][1], "id": 105})
    finding = the_one(check(dataset), "duplicate-annotation")
    assert (finding.severity, finding.annotation_id) == (WARNING, 105)
    # Another label is another opinion, not the same annotation.
    dataset.train["annotations"][-1]["subcategories"] = {"style": "photo"}
    assert check(dataset).findings == []


# --- files ---


def truncate(dataset):
    path = dataset.image("train", "a.png")
    path.write_bytes(path.read_bytes()[:-500])


def truncate_jpeg(dataset):
    path = dataset.image("train", "a.jpg")
    dataset.write_image(path, seed=5, size=(480, 640), format="JPEG")
    path.write_bytes(path.read_bytes()[:-2000])
    dataset.train["images"][0].update(file_name="a.jpg", height=480, width=640)
    dataset.train["annotations"] = [polygon_annotation(100, 10), *dataset.train["annotations"][2:]]


def rotate(dataset):
    exif = Image.Exif()
    exif[0x0112] = 6
    dataset.write_image(dataset.image("train", "a.png"), seed=0, size=(WIDTH, HEIGHT), exif=exif)


def rotate_wrongly(dataset):
    exif = Image.Exif()
    exif[0x0112] = 6
    dataset.write_image(dataset.image("train", "a.png"), seed=0, exif=exif)


HEIGHT, WIDTH = 30, 40
FILE_FAULTS = [
    (lambda d: d.image("train", "a.png").unlink(), ERROR, "missing-image", "does not exist; check"),
    (
        lambda d: d.image("train", "a.png").write_text("no picture"),
        ERROR,
        "unreadable-image",
        "cannot be read as an image",
    ),
    (
        lambda d: d.image("train", "a.png").write_bytes(b""),
        ERROR,
        "unreadable-image",
        "cannot be read as an image",
    ),
    (truncate, ERROR, "truncated-image", "cannot be decoded to its end.*put the whole file back"),
    (truncate_jpeg, ERROR, "truncated-image", "cannot be decoded to its end"),
    (rotate, WARNING, "exif-rotation", "turned by 90 degrees .EXIF orientation 6.*save it upright"),
    (
        rotate_wrongly,
        ERROR,
        "size-mismatch",
        "says 40x30 .*, the file is 30x40 once it is turned upright",
    ),
    (
        lambda d: d.write_image(d.image("train", "a.png"), seed=0, size=(30, 41)),
        ERROR,
        "size-mismatch",
        "the JSON says 40x30 .*, the file is 41x30; correct the JSON",
    ),
    (
        lambda d: shutil.copy(d.image("train", "b.png"), d.image("train", "a.png")),
        WARNING,
        "duplicate-image",
        "list it once",
    ),
    (
        lambda d: d.train["images"].append(image_entry(12, "a.png")),
        WARNING,
        "duplicate-image",
        "listed twice, first as image 10",
    ),
    (
        lambda d: shutil.copy(d.image("train", "a.png"), d.image("val", "c.png")),
        ERROR,
        "leakage",
        "is in split 'train' as .*a.png.*remove it from 'val' or 'train'",
    ),
    (
        lambda d: d.train["images"].append(image_entry(11, "a.png")),
        ERROR,
        "duplicate-image-id",
        "image id 11 is used twice",
    ),
    (
        lambda d: d.train["images"][0].update(height=0),
        ERROR,
        "bad-image-entry",
        "must be integers from 1",
    ),
    (
        lambda d: d.train["images"][0].update(height=10**300),
        ERROR,
        "bad-image-entry",
        "must be integers from 1",
    ),
    (lambda d: d.train["images"][0].update(file_name=None), ERROR, "bad-image-entry", "file_name"),
    (lambda d: d.train["images"][0].pop("id"), ERROR, "bad-image-entry", 'integer "id"'),
    (
        lambda d: d.train["images"][0].update(file_name="\0\ud800"),
        ERROR,
        "missing-image",
        "does not exist",
    ),
    (
        lambda d: d.train.update(images=[], annotations=[]),
        ERROR,
        "bad-annotation-file",
        "'images' is empty",
    ),
]


@pytest.mark.parametrize(("change", "severity", "kind", "match"), FILE_FAULTS)
def test_a_faulty_file_or_entry_is_named(dataset, change, severity, kind, match):
    change(dataset)
    result = check(dataset)
    found = [f for f in result.findings if (f.severity, f.kind) == (severity, kind)]
    assert found, result.findings
    assert re.search(match, found[0].message), found[0]
    assert not dataset.is_refused() or exit_code(result.findings) == 2


def test_without_reading_contents_only_paths_are_compared(dataset):
    shutil.copy(dataset.image("train", "a.png"), dataset.image("val", "c.png"))
    assert check(dataset, by_content=False).findings == []
    dataset.documents["val"]["images"][0]["file_name"] = "../train/a.png"
    assert kinds_of(check(dataset, by_content=False)) == [(ERROR, "leakage")]


@pytest.mark.parametrize(
    ("change", "kind", "match"),
    [
        (
            lambda d: d["categories"].append({"id": 7, "name": "x"}),
            "bad-categories",
            "listed twice",
        ),
        (lambda d: d["subcategories"][0].update(values=[]), "bad-categories", "has 0 values"),
        (lambda d: d["categories"].append({"id": 8, "name": "x"}), "splits-differ", "the same"),
    ],
)
def test_faulty_lists_are_named_and_the_rest_is_checked(dataset, change, kind, match):
    change(dataset.train)
    dataset.image("train", "a.png").unlink()
    dataset.train["annotations"][2]["segmentation"] = [[1, 1, 2, 2]]
    result = check(dataset)
    assert re.search(match, the_one(result, kind).message)
    assert the_one(result, "missing-image").image_id == 10
    assert the_one(result, "too-few-points").annotation_id == 102


@pytest.mark.parametrize(
    "content",
    [
        b'{"images": [',
        b"",
        b"\xff\xd8\xff",
        b"[]",
        b'{"images": []}',
        b"[" * 100_000,
        b'{"images": [' + b"9" * 5000 + b"]}",
        b'{"images": [1], "annotations": [], "categories": []}',
    ],
)
def test_a_broken_json_is_one_finding_and_the_other_split_is_checked(dataset, content):
    dataset.documents["val"]["annotations"][0]["category_id"] = 8
    dataset.write()
    dataset.json_file("train").write_bytes(content)
    result = check_dataset(dataset.yaml, show_progress=False)
    finding = the_one(result, "bad-annotation-file")
    assert finding.file == str(dataset.json_file("train"))
    assert the_one(result, "unknown-category").annotation_id == 1
    assert exit_code(result.findings) == 2


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"{", "not valid YAML"),
        (b"\xff\xfe\x00", "not valid YAML"),
        (b"[]", "must hold 'name'"),
        (b"name: tiny\nroot: .\n", "names no split"),
        (b"name: tiny\ntrain: {images: train, annotations: train.json}\n", "'root' must be a text"),
        (b"name: tiny\nroot: .\ntrain: {images: train, annotations: x.json}\n", "does not exist"),
        (
            b"name: tiny\nroot: .\nbox_coords: inch\n"
            b"train: {images: train, annotations: train.json}\n",
            "'pixel' or 'normalized'",
        ),
    ],
)
def test_a_broken_yaml_is_one_finding(dataset, content, match):
    dataset.write()
    dataset.yaml.write_bytes(content)
    result = check_dataset(dataset.yaml, show_progress=False)
    assert re.search(match, the_one(result, "bad-dataset-file").message)
    assert exit_code(result.findings) == 2


def test_no_yaml_is_a_finding(tmp_path):
    result = check_dataset(tmp_path / "x.yaml", show_progress=False)
    assert kinds_of(result) == [(ERROR, "bad-dataset-file")]


def test_one_bad_split_does_not_hide_the_other(dataset):
    dataset.write()
    dataset.json_file("val").unlink()
    dataset.image("train", "b.png").unlink()
    result = check_dataset(dataset.yaml, show_progress=False)
    assert kinds_of(result) == [(ERROR, "bad-dataset-file"), (ERROR, "missing-image")]


# --- labels ---


def test_what_is_never_seen_and_never_varies_is_told(dataset):
    dataset.train["categories"].append({"id": 12, "name": "owl"})
    dataset.documents["val"]["categories"].append({"id": 12, "name": "owl"})
    dataset.train["annotations"][1]["subcategories"] = {"style": "photo"}
    dataset.documents["val"]["annotations"][0]["subcategories"] = {"style": "cartoon"}
    messages = {(f.kind, f.message) for f in check(dataset).findings}
    text = "\n".join(f"{kind}: {message}" for kind, message in sorted(messages))
    assert {kind for kind, _ in messages} == {
        "class-never-seen",
        "value-never-seen",
        "label-never-varies",
    }
    assert "class 'owl' has no object in split 'train'; add pictures" in text
    assert "value 'cartoon' of subcategory 'style' has no object in split 'train', but 1 in" in text
    # ripeness: green and none are left, so it varies; brown is not there any more.
    assert "value 'brown' of subcategory 'ripeness'" in text
    assert "all 2 labels of subcategory 'style' in split 'train' are 'photo'" in text


def test_a_subcategory_without_a_label_is_told_once(dataset):
    for annotation in dataset.train["annotations"]:
        annotation["subcategories"].pop("style", None)
    finding = the_one(check(dataset), "value-never-seen")
    assert "no object of split 'train' has a label of subcategory 'style'" in finding.message


def test_a_plain_coco_file_without_annotations_is_checked(dataset):
    for document in dataset.documents.values():
        document.pop("subcategories")
        document["annotations"] = []
    assert kinds_of(check(dataset)) == [(WARNING, "class-never-seen")]


# --- numbers ---


def test_numbers_are_counted(dataset):
    dataset.train["annotations"].append(rle_annotation(104, 11, iscrowd=1))
    flat = np.zeros((30, 40, 3), np.uint8)
    flat[...] = (10, 20, 30)
    Image.fromarray(flat).save(dataset.image("train", "a.png"))
    flat[...] = (30, 20, 10)
    Image.fromarray(flat).save(dataset.image("train", "b.png"))
    result = check(dataset)
    numbers = result.statistics["train"].to_json()
    assert numbers["images"] == numbers["images_decoded"] == 2
    assert numbers["instances"] == 3
    assert numbers["crowds"] == 1
    assert numbers["instances_per_class"] == {"cat": 2, "dog": 1}
    style, ripeness = numbers["subcategories"]
    assert style["instances_per_value"] == {"photo": 1, "cartoon": 1}
    assert style["share_unknown"] == pytest.approx(1 / 3)
    assert ripeness["share_none"] == pytest.approx(1 / 3)
    # Rows cat and dog; columns photo, cartoon, none, unknown.
    assert style["class_by_value"] == [[1, 0, 0, 1], [0, 1, 0, 0]]
    # Red is 10 in one picture and 30 in the other: mean 20, deviation 10.
    assert numbers["colour_mean_rgb"] == [20, 20, 20]
    assert numbers["colour_std_rgb"] == [10, 0, 10]
    assert numbers["instances_per_image"]["mean"] == 1.5


def test_settings_are_suggested_from_the_training_split(dataset):
    dataset.train["annotations"] += [
        polygon_annotation(200 + i, 10, segmentation=[[i, 1, i + 5, 1, i + 5, 9, i, 9]])
        for i in range(30)
    ]
    for annotation in dataset.train["annotations"][3:]:
        annotation.pop("bbox")
        annotation.pop("area")
    settings = {}
    for suggestion in check(dataset).suggestions:
        settings.update(suggestion.settings)
    assert settings["INPUT.FORMAT"] == "RGB"
    # Noise over 0..255: mean 127.5, deviation 255 / sqrt(12) = 73.6.
    assert settings["MODEL.PIXEL_MEAN"] == pytest.approx([127.5] * 3, abs=6)
    assert settings["MODEL.PIXEL_STD"] == pytest.approx([73.6] * 3, abs=4)
    # 32 and 1 objects: of two numbers 99 % is 1 + 0.99 * 31 = 31.69; twice that is 63.4, so 70.
    assert settings["MODEL.MASK_FORMER.NUM_OBJECT_QUERIES"] == 70
    # Most are 5 x 8 pixels, sqrt(40) / 30 = 0.21 of the short side: 16 / 0.21 = 76 would do, but
    # twice the short side is 60, and 64 the next multiple of 32.
    assert settings["INPUT.MIN_SIZE_TEST"] == 64


def test_reduced_decoding_keeps_mean_and_nearly_the_deviation(dataset):
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (60, 80, 3), dtype=np.uint8)
    pixels = np.asarray(Image.fromarray(coarse).resize((640, 480)))
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(dataset.image("train", "a.jpg"), quality=95)
    Image.fromarray(pixels).save(buffer, "JPEG", quality=95)
    dataset.train["images"] = [{"id": 10, "file_name": "a.jpg", "height": 480, "width": 640}]
    dataset.train["annotations"] = [polygon_annotation(100, 10)]
    mean, deviation = check(dataset).statistics["train"].colours
    expected = np.asarray(Image.open(buffer)).reshape(-1, 3)
    np.testing.assert_allclose(mean, expected.mean(axis=0), atol=0.3)
    np.testing.assert_allclose(deviation, expected.std(axis=0), rtol=0.03)


def test_any_number_of_workers_finds_the_same(dataset):
    dataset.train["images"] += [image_entry(20 + i, f"{i}.png") for i in range(50)]
    results = [check(dataset, num_workers=n).findings for n in (1, 2, 7)]
    assert results[0] == results[1] == results[2]
    assert len(results[0]) == 50


def test_every_kind_is_described():
    assert all(KINDS.values())
    assert HEADER["categories"]


def test_memory_does_not_grow_with_the_pictures(dataset):
    path = dataset.image("train", "large.png")
    dataset.write_image(path, seed=1, size=(480, 640))
    entry = {"file_name": path.name, "height": 480, "width": 640}
    dataset.train["images"] = [{"id": i, **entry} for i in range(200)]
    dataset.train["annotations"] = [polygon_annotation(i, i) for i in range(200)]
    dataset.write()
    tracemalloc.start()
    check_dataset(dataset.yaml, num_workers=2, show_progress=False)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # A decoded picture has 480 * 640 * 3 = 0.92 MB; all 200 of them would be 184 MB.
    assert peak < 40e6
