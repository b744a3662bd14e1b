"""Broken datasets are refused before training, with the file, the annotation and the remedy."""

from __future__ import annotations

import re

import pytest
from detectron2.data import DatasetCatalog

from mask2former_mt.data.rasterize import rasterize
from mask2former_mt.dataset import catalog, listed_pictures, split
from mask2former_mt.dataset.packed_records import PackedRecords
from mask2former_mt.dataset.split import SplitFiles, read_split


def _load(dataset):
    path = dataset.write_json()
    catalog.register_dataset_files([dataset.write_yaml()])
    return path, lambda: DatasetCatalog.get("tiny_train")


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b'{"images": [', "is not valid JSON: .*cut short"),
        (b'{"images": [], "annotations": [], "categories": []}', "'categories' is empty"),
    ],
)
def test_an_unusable_file_is_refused_when_the_dataset_is_registered(dataset, content, match):
    path = dataset.write_json()
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"(?s){re.escape(str(path))}.*{match}"):
        catalog.register_dataset_files([dataset.write_yaml()])


SQUARE = [5, 5, 15, 5, 15, 15, 5, 15]
POINTS = [[5, 5], [15, 5], [15, 15], [5, 15]]
POLYGON, RLE = 0, 1  # which of the dataset's two annotations: id 100 and id 101


@pytest.mark.parametrize(
    ("which", "fields", "match"),
    [
        (POLYGON, {"category_id": 5}, r"category_id 5 is not listed .* \[3, 7, 9\]"),
        (POLYGON, {"subcategories": {"colour": "red"}}, "'colour' is not listed; listed are"),
        (POLYGON, {"subcategories": {"style": "oil"}}, "'style' has no value 'oil'; listed are"),
        # style has 2 values: -1 is unknown, 0 and 1 are values, 2 is none.
        (POLYGON, {"subcategories": {"style": 3}}, r"index must be in \[-1, 2\].*got 3"),
        (POLYGON, {"subcategories": {"style": -2}}, r"index must be in \[-1, 2\].*got -2"),
        (POLYGON, {"subcategories": {"style": True}}, "a name, an index or null, got True"),
        (POLYGON, {"subcategories": ["photo"]}, "'subcategories' must be an object"),
        (POLYGON, {"segmentation": []}, "'segmentation' is empty"),
        (POLYGON, {"segmentation": None}, "must be a list of polygons or an RLE.*got None"),
        (POLYGON, {"segmentation": [[1, 1, 9, 9]]}, "at least 3 points, got 2"),
        (POLYGON, {"segmentation": [[1, 1, 9, 9, 5, 1, 3]]}, "list of finite numbers"),
        (POLYGON, {"segmentation": [["1", 1, 9, 9, 5, 1]]}, "list of finite numbers"),
        (POLYGON, {"segmentation": [[float("nan"), 1, 9, 9, 5, 1]]}, "finite numbers"),
        # No float can hold them, though their sum is 16.
        (POLYGON, {"segmentation": [[10**400, 1, -(10**400), 9, 5, 1]]}, "finite numbers"),
        (POLYGON, {"segmentation": ["", [5, 5, 15, 5, 15, 15]]}, "list of finite .* got ''"),
        # The image is 40 wide; up to 2 px beyond it are rounding, 3 px are not.
        (
            POLYGON,
            {"segmentation": [[30, 5, 43, 5, 43, 15]]},
            r"a polygon must lie inside the image, x in \[0, 40\].*got x in \[30, 43\]",
        ),
        (POLYGON, {"segmentation": [[-3, 5, 9, 5, 9, 15]]}, r"got x in \[-3, 9\]"),
        (POLYGON, {"segmentation": [[1, 5, 9, 5, 9, 33]]}, r"got .*y in \[5, 33\]"),
        # Height and width exchanged.
        (
            RLE,
            {"segmentation": {"size": [40, 30], "counts": [600, 600]}},
            r"RLE size must be the image's .*\[30, 40\], got \[40, 30\]; export it",
        ),
        (RLE, {"segmentation": {"counts": [600, 600]}}, "RLE size must be .* got None"),
        (
            RLE,
            {"segmentation": {"size": [30, 40], "counts": [600, 599]}},
            "run lengths that add up to height .* width = 1200, got 1199",
        ),
        (RLE, {"segmentation": {"size": [30, 40], "counts": [1200]}}, "the RLE has no pixel"),
        (RLE, {"segmentation": {"size": [30, 40]}}, "RLE counts must be a list .*None"),
        # "hb0" is 600 in COCO's text: 0x18 | more, 0x12 | more, 0; without "0" it has no end.
        (RLE, {"segmentation": {"size": [30, 40], "counts": "hb0hb"}}, "COCO's compressed text"),
        (RLE, {"segmentation": {"size": [30, 40], "counts": "\u00e9"}}, "COCO's compressed text"),
    ],
)
def test_a_bad_annotation_is_named(dataset, which, fields, match):
    dataset.document["annotations"][which].update(fields)
    path, load = _load(dataset)
    with pytest.raises(
        ValueError, match=f"annotation {100 + which} of image 10 .a.png.: .*{match}"
    ):
        load()
    with pytest.raises(ValueError, match=re.escape(str(path))):
        load()


def test_two_pixels_beyond_the_image_are_rounding(dataset):
    dataset.document["annotations"][0]["segmentation"] = [[30, 5, 42, 5, 42, 32, 30, 32]]
    _, load = _load(dataset)
    assert len(load()[0]["annotations"]) == 2


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda d: d["annotations"][1].update(id=100), "annotation id 100 is used twice"),
        (lambda d: d["annotations"][0].pop("id"), "must have an integer 'id', got None"),
        (
            lambda d: d["annotations"][0].pop("segmentation"),
            "no such key; boxes alone teach no",
        ),
        (lambda d: d["annotations"][0].update(image_id=99), "100: image_id 99 is not listed"),
        (lambda d: d["annotations"][0].update(image_id=[1]), r"100: image_id \[1\] is not listed"),
        (lambda d: d["images"][1].update(id=10), r"image id 10 is used twice, last by b\.png"),
        (lambda d: d["images"][1].pop("id"), r"'images' must have an integer \"id\""),
        (lambda d: d.update(images=[], annotations=[]), "'images' is empty"),
    ],
)
def test_ids_and_images_that_do_not_fit_are_named(dataset, change, match):
    change(dataset.document)
    path, load = _load(dataset)
    with pytest.raises(ValueError, match=f"(?s){re.escape(str(path))}.*{match}"):
        load()


def test_missing_images_are_counted_and_the_first_named(dataset):
    dataset.document["images"] += [
        {"id": 20 + i, "file_name": f"{i}.png", "height": 30, "width": 40} for i in range(5)
    ]
    _, load = _load(dataset)
    match = r"5 of 7 image files are missing from .*images: 0\.png, .*2\.png and 2 more; check the"
    with pytest.raises(ValueError, match=match):
        load()


def test_all_problems_are_told_at_once_ten_in_words(dataset):
    good = dataset.document["annotations"][0]
    dataset.document["annotations"] = [{**good, "id": i, "category_id": 1} for i in range(12)]
    dataset.document["images"][1]["file_name"] = "c.png"
    path, load = _load(dataset)
    with pytest.raises(ValueError, match="13 problems") as caught:
        load()
    lines = str(caught.value).splitlines()
    # A headline, ten of the 1 + 12 problems, and how many more there are.
    assert len(lines) == 1 + 10 + 1
    assert lines[0] == f"{path.resolve()}: 13 problems"
    assert lines[1].startswith("  1 of 2 image files are missing")
    assert lines[2].startswith("  annotation 0 of image 10 (a.png): category_id 1 is not listed")
    assert lines[-1] == "  ... and 3 more"


def test_all_faults_of_an_annotation_are_told(dataset):
    fields = {"id": None, "category_id": 5, "subcategories": [], "segmentation": [[1, 1, 9, 9]]}
    dataset.document["annotations"][0].update(fields)
    _, load = _load(dataset)
    with pytest.raises(ValueError, match="4 problems"):
        load()


def test_a_text_cut_between_two_run_lengths_is_found(dataset):
    # "hb0hb0" is 600, 600.
    segmentation = {"size": [30, 40], "counts": "hb0hb0"}
    dataset.document["annotations"][1].update(segmentation=segmentation, bbox=[20, 0, 20, 30])
    _, load = _load(dataset)
    assert len(load()[0]["annotations"]) == 2
    # 500 = 0b01111_10100: "d" (20 + 32 + 48), "?" (15 + 48); bit 4 of 15 is 0: not negative.
    segmentation["counts"] = "hb0d?"
    _, load = _load(dataset)
    match = r"annotation 101 of image 10 \(a.png\): RLE counts must .*= 1200, got 1100; they may be"
    with pytest.raises(ValueError, match=match):
        load()
    # Of an annotation that has another fault it is told, too.
    dataset.document["annotations"][1]["category_id"] = 5
    found = _read(dataset)
    assert [(p.kind, p.index) for p in found.problems] == [("unknown-category", 1), ("bad-rle", 1)]
    (unsound,) = found.unsound[0]
    assert (unsound["index"], unsound["segmentation"]) == (1, None)


def test_equal_labels_are_looked_up_once_but_not_shared(dataset):
    first = dataset.document["annotations"][0]
    # True equals 1, and only one of them is a label.
    dataset.document["annotations"] = [
        {**first, "id": 1, "subcategories": {"style": 1}},
        {**first, "id": 2, "subcategories": {"style": 1}},
    ]
    _, load = _load(dataset)
    one, two = load()[0]["annotations"]
    assert one["subcategories"] == two["subcategories"] == [1, -1]
    assert one["subcategories"] is not two["subcategories"]
    dataset.document["annotations"][1]["subcategories"] = {"style": True}
    _, load = _load(dataset)
    with pytest.raises(ValueError, match=r"annotation 2 .*got True"):
        load()


def test_many_images_are_reported_in_the_lists_order(dataset):
    dataset.document["images"] = [
        {"id": i, "file_name": "a.png", "height": 30, "width": 40} for i in range(200)
    ]
    for i in (70, 150):
        dataset.document["images"][i].update(height=31, width=41)
    dataset.document["annotations"] = []
    _, load = _load(dataset)
    with pytest.raises(ValueError, match="2 problems") as caught:
        load()
    lines = str(caught.value).splitlines()
    assert lines[1].startswith("  image 70 (a.png): the JSON says 41x31")
    assert lines[2].startswith("  image 150 (a.png)")


def _read(dataset):
    return read_split(SplitFiles("train", dataset.folder / "images", dataset.write_json()))


def test_what_cannot_be_trained_on_stands_apart(dataset):
    dataset.document["annotations"][0].update(category_id=5, segmentation=[[1, 1, 9, 9], SQUARE])
    found = _read(dataset)
    assert [a["id"] for a in found.records[0]["annotations"]] == [101]
    # The part of two points is gone, the other can still be looked at.
    (unsound,) = found.unsound[0]
    assert (unsound["id"], unsound["index"], unsound["segmentation"]) == (100, 0, [SQUARE])
    assert [(p.kind, p.annotation_id, p.index) for p in found.problems] == [
        ("too-few-points", 100, 0),
        ("unknown-category", 100, 0),
    ]
    assert found.problems[0].file == str(dataset.folder / "images" / "a.png")


@pytest.mark.parametrize(
    ("fields", "kind", "match"),
    [
        # As corners; negative; of another picture; too few; no numbers; too large for any float.
        (
            {"bbox": [5, 5, 15, 15]},
            "box-unlike-mask",
            r"is \[5, 5, 15, 15\].*own is \[5, 5, 10",
        ),
        ({"bbox": [5, 5, -1, 5]}, "bad-box", r"'bbox' must be \[x, y, width, height\]"),
        ({"bbox": [100, 100, 5, 5]}, "box-unlike-mask", r"\[100, 100, 5, 5\]"),
        ({"bbox": [5, 5, 5]}, "bad-box", r"got \[5, 5, 5\]"),
        ({"bbox": ["5", "5", "10", "10"]}, "bad-box", "got .'5', "),
        ({"bbox": [float("nan"), 5, 10, 10]}, "bad-box", "got .nan"),
        ({"bbox": [5, float("nan"), 10, 10]}, "bad-box", "got .5, nan"),
        ({"bbox": [10**400, 5, 5, 5]}, "bad-box", "got .1000"),
        ({"bbox": None}, "bad-box", "got None"),
        *(
            ({"area": area}, "area-unlike-mask", "'area' must be a number of pixels .* 1200, got")
            for area in ("big", None, 10**400, float("nan"), -5, 0, True, 1201)
        ),
        ({"iscrowd": 2}, "bad-crowd-mark", "'iscrowd' must be 0 or 1, got 2: taken for one object"),
        ({"iscrowd": None}, "bad-crowd-mark", "got None: taken for one object"),
        ({"iscrowd": "0"}, "bad-crowd-mark", "got '0': taken for one object"),
        ({"segmentation": [SQUARE, [1, 1, 9, 9]]}, "too-few-points", "this part is left out"),
        ({"segmentation": [[], SQUARE, []]}, "too-few-points", r"got 0: \[\]"),
        ({"segmentation": SQUARE}, "bad-polygon", r"is one flat list \[x1, y1, "),
        ({"segmentation": POINTS}, "bad-polygon", "a polygon is a list of points"),
        ({"segmentation": [POINTS]}, "bad-polygon", "a polygon is a list of points"),
    ],
)
def test_what_follows_from_the_outline_is_taken_from_it_and_told(dataset, fields, kind, match):
    dataset.document["annotations"][0].update(fields)
    found = _read(dataset)
    annotation = found.records[0]["annotations"][0]
    assert annotation["segmentation"] == [SQUARE]
    assert (annotation["bbox"], annotation["iscrowd"]) == ([5, 5, 10, 10], 0)
    assert annotation["has_bbox"] == ("bbox" not in fields)
    assert annotation["area"] == (None if "area" in fields else 100)
    (problem,) = found.problems
    assert (problem.severity, problem.kind, problem.annotation_id) == ("warning", kind, 100)
    assert re.search(f"{match}.*--write-clean", problem.text)


def test_a_warning_is_logged_once_for_each_kind_and_the_training_goes_on(dataset, caplog):
    for annotation in dataset.document["annotations"]:
        annotation.update(bbox=[0, 0, 1, 1], area="big")
    path, load = _load(dataset)
    assert len(load()[0]["annotations"]) == len(load()[0]["annotations"]) == 2
    (record,) = caplog.records
    lines = record.getMessage().splitlines()
    assert lines[0] == f"{path} is used, but:"
    assert lines[1].startswith(
        "  2 x boxes that do not fit their outline; the first: annotation 100"
    )
    assert lines[2].startswith(
        "  2 x areas that do not fit their outline; the first: annotation 100"
    )
    assert len(lines) == 3


@pytest.mark.parametrize("write", [str, float])
def test_ids_that_say_an_integer_are_read_as_it_and_told_once_for_each_key(dataset, write):
    document = dataset.document
    for entry in (*document["images"], *document["categories"], *document["annotations"]):
        for key in ("id", "image_id", "category_id"):
            if key in entry:
                entry[key] = write(entry[key])
    found = _read(dataset)
    assert [record["image_id"] for record in found.records] == [10, 11]
    # The categories 3, 7 and 9 are the classes 0, 1 and 2.
    annotations = [(a["id"], a["category_id"]) for a in found.records[0]["annotations"]]
    assert annotations == [(100, 1), (101, 2)]
    assert [(p.severity, p.kind) for p in found.problems] == [("warning", "id-as-text")] * 5
    assert "'id' must be an integer, but 3 entries of 'categories' have such as" in (
        found.problems[0].message
    )


def test_an_id_that_is_another_text_is_named_as_text(dataset):
    dataset.document["annotations"][0]["image_id"] = "a.png"
    (problem,) = _read(dataset).problems
    assert problem.message == "image_id must be an integer, got the text 'a.png'"


def test_crowds_are_counted_by_class_unless_they_are_meant_as_objects(dataset):
    square, rle = dataset.document["annotations"]
    rle["iscrowd"] = 1
    dataset.document["annotations"].append({**square, "id": 102, "category_id": 9})
    (problem,) = _read(dataset).problems
    assert (problem.severity, problem.kind) == ("warning", "crowd")
    assert problem.message == "crowds ('iscrowd': 1) are left out of training: 1 of 2 'dog'"
    assert "'crowd: object'" in problem.remedy
    dataset.write_json()
    yaml = "name: tiny\nroot: .\ntrain: {images: images, annotations: train.json}\ncrowd: object\n"
    catalog.register_dataset_files([dataset.write_yaml(yaml)])
    annotations = DatasetCatalog.get("tiny_train")[0]["annotations"]
    assert [annotation["iscrowd"] for annotation in annotations] == [0, 0, 0]


def test_a_polygon_inside_another_one_is_a_hole_where_the_dataset_says_so(dataset):
    # 20 x 20 pixels, in them a hole of 10 x 10 with an island of 4 x 4; 5 x 5 pixels beside it.
    squares = [[2, 2, 20], [7, 7, 10], [10, 10, 4], [30, 2, 5]]
    outline = [[x, y, x + a, y, x + a, y + a, x, y + a] for x, y, a in squares]
    dataset.document["annotations"][0].update(segmentation=outline, bbox=[2, 2, 33, 20], area=341)
    areas = []
    for keys in ("", "holes: even-odd\n"):
        dataset.write_json()
        yaml = f"name: tiny\nroot: .\ntrain: {{images: images, annotations: train.json}}\n{keys}"
        catalog.register_dataset_files([dataset.write_yaml(yaml)])
        annotation = DatasetCatalog.get("tiny_train")[0]["annotations"][0]
        areas.append(int(rasterize([annotation["segmentation"]], size=(30, 40)).sum()))
    # 400 + 25; 400 - 100 + 16 + 25 = 341
    assert areas == [425, 341]


def test_records_are_unpacked_one_by_one():
    records = PackedRecords({"image_id": i, "annotations": [i]} for i in range(3))
    assert len(records) == 3
    assert records[1] == {"image_id": 1, "annotations": [1]}
    assert [record["image_id"] for record in records] == [0, 1, 2]
    assert records[-1]["image_id"] == 2
    with pytest.raises(IndexError):
        records[3]


@pytest.fixture
def read_files(monkeypatch) -> list:
    """The JSON files and pictures that are opened from now on."""
    opened = []
    for module, name in ((split, "read_document"), (listed_pictures, "read_picture_header")):
        real = getattr(module, name)
        monkeypatch.setattr(module, name, lambda path, real=real: opened.append(path) or real(path))
    return opened


def test_each_file_is_read_once_until_it_changes(dataset, read_files):
    _, load = _load(dataset)
    load()
    load()
    assert catalog.split_of("tiny_train").header.class_names == ("cup", "cat", "dog")
    assert len(read_files) == 1 + 2
    dataset.document["annotations"].pop()
    _, load = _load(dataset)
    assert len(load()[0]["annotations"]) == 1
    assert len(read_files) == 2 * (1 + 2)


def test_a_dataset_that_is_not_needed_keeps_nothing_and_can_still_be_read(dataset, read_files):
    dataset.write_json()
    catalog.register_dataset_files([dataset.write_yaml()], needed=())
    assert len(read_files) == 1
    assert len(DatasetCatalog.get("tiny_train")[0]["annotations"]) == 2
    assert len(read_files) == 1 + 1 + 2


@pytest.mark.parametrize(
    ("outline", "is_told"),
    [
        ([[5, 5, 9, 9, 15, 15]], True),
        ([[5, 5, 5, 5, 5, 5]], True),
        ([[5, 5, 9, 5, 12, 5, 15, 5, 9, 5], [1, 1, 2, 2, 3, 3]], True),
        ([[5, 5, 9, 9, 15, 15], SQUARE], False),
        # The first three points are in a line.
        ([[5, 5, 10, 5, 15, 5, 15, 15, 5, 15]], False),
    ],
)
def test_an_outline_without_an_inside_is_told_when_training_starts(dataset, outline, is_told):
    dataset.document["annotations"][POLYGON].update(segmentation=outline)
    dataset.write_json()
    content = read_split(catalog.read_dataset_file(dataset.write_yaml()).files_of("train"))
    told = "encloses nothing: training drops the object; draw the outline"
    assert (told in content.warnings) == is_told
