"""tools/predict.py with a small, untrained model: what is written, and every refusal."""

import json
from pathlib import Path

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image
from predict_tools import RECORD
from pycocotools.coco import COCO

from mask2former_mt.predict import journal
from mask2former_mt.structures import SubcategorySpec


@pytest.fixture
def dataset(pictures: Path):
    """The pictures as a registered dataset with other image ids than a count would give."""
    square = [[10, 10, 60, 10, 60, 60, 10, 60]]
    records = [
        {
            "file_name": str(pictures / name),
            "image_id": image_id,
            "height": 90,
            "width": width,
            "annotations": [{"segmentation": square, "category_id": 1, "subcategories": [-1]}],
        }
        for name, image_id, width in (("a.JPG", 70, 70), ("b.png", 30, 120))
    ]
    name = "predict_test_val"
    DatasetCatalog.register(name, lambda: records)
    spec = SubcategorySpec.from_json(RECORD["subcategories"])
    MetadataCatalog.get(name).set(thing_classes=RECORD["thing_classes"], subcategory_spec=spec)
    yield name
    DatasetCatalog.remove(name)
    MetadataCatalog.remove(name)


class TestWhatIsTold:
    def test_what_is_converted_and_what_is_left_out(self, predict, pictures, capsys):
        image = Image.new("RGB", (70, 90))
        image.save(pictures / "c.gif", save_all=True, append_images=[Image.new("RGB", (70, 90), 9)])
        Image.new("I;16", (70, 90), 5000).save(pictures / "d.png")
        (pictures / "e.heic").write_bytes(b"")
        assert len(predict([pictures])["images"]) == 4
        told = capsys.readouterr().out.splitlines()[-4:-1]
        assert told == [
            f"1 pictures of 16-bit integers (such as {pictures / 'd.png'}) are read as 8 bits: "
            "0 to 65535, the range of their type",
            f"1 pictures have several frames or pages (such as {pictures / 'c.gif'}): the first "
            "is read",
            "1 file left out: .heic, a format that the installed Pillow does not read; 1 file left "
            "out: not named like a picture or a video",
        ]


class TestWhatIsWritten:
    def test_overlays_and_json(self, predict, pictures, tmp_path, capsys):
        results = predict([pictures], "--score-threshold", 0, out="new/folder")
        output = tmp_path / "new" / "folder"
        last_line = capsys.readouterr().out.splitlines()[-1]
        assert last_line == (
            f"2 pictures, 8 instances with score >= 0: overlays in {output}, "
            f"{output / 'predictions.json'}"
        )
        written = ["a.png", "b.png", "predictions.json", "predictions.jsonl", "settings.json"]
        assert sorted(p.name for p in output.iterdir()) == written
        # The shorter sides, 70 and 90, are enlarged to 512: 90 * 512 / 70 = 658.3 and
        # 120 * 512 / 90 = 682.7 (width, height).
        assert Image.open(output / "a.png").size == (512, 658)
        assert Image.open(output / "b.png").size == (683, 512)

        assert results["images"] == [
            {"id": 1, "file_name": (pictures / "a.JPG").as_posix(), "height": 90, "width": 70},
            {"id": 2, "file_name": (pictures / "b.png").as_posix(), "height": 90, "width": 120},
        ]
        names = {4: "apple", 7: "pear", 9: "plum"}
        assert results["categories"] == [{"id": i, "name": name} for i, name in names.items()]
        assert results["subcategories"] == RECORD["subcategories"]
        # four detections in each of the two pictures
        assert len(results["annotations"]) == 8
        for annotation in results["annotations"]:
            assert annotation["category_id"] in names
            (ripeness,) = annotation["subcategories"].values()
            assert ripeness["value"] in ("unripe", "ripe", None)
            assert 0 <= ripeness["score"] <= 1
        (annotation, *_) = [a for a in results["annotations"] if a["image_id"] == 2]
        mask = COCO(str(output / "predictions.json")).annToMask(annotation)
        assert mask.shape == (90, 120)
        assert mask.sum() == annotation["area"]

    @pytest.mark.parametrize(
        ("options", "image_ids"),
        [
            (["--score-threshold", 0, "TEST.DETECTIONS_PER_IMAGE", 1], [1, 2]),
            (["--score-threshold", 0, "--top-k", 1], [1, 2]),
            (["--score-threshold", 1], []),
        ],
        ids=["config key", "filter", "score threshold"],
    )
    def test_options_reach_the_model(self, predict, pictures, options, image_ids):
        results = predict([pictures], *options)
        assert [a["image_id"] for a in results["annotations"]] == image_ids
        assert len(results["images"]) == 2

    def test_ground_truth_beside_prediction_and_contact_sheet(
        self, predict, pictures, dataset, tmp_path
    ):
        sheet = tmp_path / "sheets" / "all.png"
        results = predict([pictures], "--ground-truth", dataset, "--contact-sheet", sheet)
        # two pictures of 512, three gaps of 8; the titles' 36 pixels and two gaps of 8 in height
        assert Image.open(tmp_path / "out" / "a.png").size == (2 * 512 + 24, 658 + 36 + 16)
        # Two cells, each of two pictures whose longer sides, 658 and 683, are below 720: the wider
        # is b's, 2 * 683 and three gaps.
        assert Image.open(sheet).size[0] == 2 * (2 * 683 + 24) + 24
        assert [image["id"] for image in results["images"]] == [70, 30]

    @pytest.mark.parametrize("option", [(), ("--only-disagreements",)])
    def test_ground_truth_is_known_by_name(self, predict, pictures, dataset, tmp_path, option):
        """Another order of fewer classes and of the values makes the same overlay."""
        records = DatasetCatalog.get(dataset)
        records[0]["annotations"][0]["subcategories"] = [1]  # ripe
        predict([pictures], "--ground-truth", dataset, *option)
        before = (tmp_path / "out" / "a.png").read_bytes()

        values = [{"name": "ripeness", "values": ["ripe", "unripe"]}]
        MetadataCatalog.remove(dataset)
        MetadataCatalog.get(dataset).set(
            thing_classes=["pear", "plum", "apple"],
            subcategory_spec=SubcategorySpec.from_json(values),
        )
        records[0]["annotations"][0] |= {"category_id": 0, "subcategories": [0]}
        records[1]["annotations"][0]["category_id"] = 0
        predict([pictures], "--ground-truth", dataset, *option, "--overwrite")
        assert (tmp_path / "out" / "a.png").read_bytes() == before

    def test_only_disagreements(self, predict, pictures, dataset, tmp_path):
        sheet = tmp_path / "sheets" / "wrong.png"
        options = ["--ground-truth", dataset, "--only-disagreements", "--contact-sheet", sheet]
        predict([pictures], *options)
        # Below the picture of 512 x 658 stands the legend: 14 pixels, and lines of 18.
        width, height = Image.open(tmp_path / "out" / "a.png").size
        assert width == 512
        assert (height - 658 - 14) % 18 == 0
        assert height > 658 + 14
        # No untrained model finds the annotated square, so both pictures are on the sheet.
        assert Image.open(sheet).size[0] > 512 + 683

    def test_large_overlays_are_reduced(self, predict, tmp_path):
        Image.new("RGB", (900, 600)).save(tmp_path / "large.png")
        results = predict([tmp_path / "large.png"], "--max-side", 300)
        assert Image.open(tmp_path / "out" / "large.png").size == (300, 200)
        assert results["images"][0]["width"] == 900

    def test_tiny_thin_and_turned_pictures(self, predict, pictures, tmp_path):
        sizes = [(1, 1), (2, 31), (1, 700), (700, 1)]
        for i, size in enumerate(sizes):
            Image.new("RGB", size).save(tmp_path / f"{i}.png")
        exif = Image.Exif()
        exif[0x0112] = 6  # the camera was held on its side: shown, it is 90 wide and 120 high
        Image.open(pictures / "b.png").save(tmp_path / "turned.jpg", exif=exif)
        inputs = [tmp_path / "*.png", tmp_path / "turned.jpg"]
        images = predict(inputs, "--score-threshold", 0)["images"]
        assert [(image["width"], image["height"]) for image in images] == [*sizes, (90, 120)]
        assert Image.open(tmp_path / "out" / "turned.png").size == (512, 683)

    def test_interruption_while_writing_keeps_the_old_json(
        self, predict, pictures, tmp_path, monkeypatch
    ):
        predict([pictures], "--score-threshold", 0)
        before = (tmp_path / "out" / "predictions.json").read_bytes()

        def interrupted(_):
            raise KeyboardInterrupt

        monkeypatch.setattr(journal.mask_util, "area", interrupted)
        with pytest.raises(KeyboardInterrupt):
            predict([pictures], "--score-threshold", 0, "--top-k", 1, "--overwrite")
        assert (tmp_path / "out" / "predictions.json").read_bytes() == before
        assert [p.name for p in (tmp_path / "out").iterdir() if p.name.endswith("part")] == []


class TestRefusals:
    """Each names the thing, ends with an exit code that is not 0, and writes nothing."""

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ("missing.jpg", "missing.jpg does not exist"),
            ("missing_*.jpg", "missing_*.jpg: no pictures or videos there"),
            ("empty", "empty: no pictures or videos there"),
            ("notes.txt", "notes.txt cannot be read"),
        ],
    )
    def test_input_that_is_no_picture(self, refuse, pictures, tmp_path, given, message):
        (pictures / "empty").mkdir()
        assert message in refuse(2, [pictures / "b.png", pictures / given])
        assert not (tmp_path / "out").exists()

    def test_pictures_that_cannot_be_read_are_left_out(self, refuse, pictures, tmp_path):
        whole = (pictures / "b.png").read_bytes()
        (pictures / "b.png").write_bytes(whole[: len(whole) // 2])
        (pictures / "c.png").write_bytes(b"nothing")
        (pictures / "d.png").write_bytes(whole)
        for _ in range(2):  # told again, not taken for done
            message = refuse(1, [pictures])
            assert "2 of 4 inputs could not be read" in message
            assert "b.png cannot be read" in message
            assert "c.png cannot be read" in message
        results = json.loads((tmp_path / "out" / "predictions.json").read_text())
        assert [Path(image["file_name"]).name for image in results["images"]] == ["a.JPG", "d.png"]

    def test_nothing_of_the_users_is_replaced(self, refuse, pictures, tmp_path):
        before = (pictures / "b.png").read_bytes()
        assert "holds the input" in refuse(2, [pictures / "b.png"], "--output", pictures)
        message = refuse(2, [pictures], "--contact-sheet", pictures / "b.png")
        assert "would replace an input" in message
        assert (pictures / "b.png").read_bytes() == before
        message = refuse(1, [pictures], "--contact-sheet", tmp_path / "out" / "a.png")
        assert "would replace an overlay" in message
        (tmp_path / "file").write_text("mine", encoding="utf-8")
        message = refuse(2, [pictures], "--output", tmp_path / "file")
        assert "must be a folder, got a file" in message
        assert (tmp_path / "file").read_text(encoding="utf-8") == "mine"

    @pytest.mark.parametrize(
        ("options", "code", "message"),
        [
            (["--only-disagreements"], 2, "needs --ground-truth"),
            (["--weights", "no.pth"], 1, "weights no.pth do not exist"),
            (["--weights", "{pictures}/b.png"], 1, "b.png cannot be read"),
            (["MODEL.NO_SUCH_KEY", "1"], 1, "NO_SUCH_KEY"),
            (["--ground-truth", "nothing_val"], 1, "'nothing_val' is not registered"),
        ],
    )
    def test_options_that_do_not_fit(self, refuse, pictures, tmp_path, options, code, message):
        options = [option.format(pictures=pictures) for option in options]
        assert message in refuse(code, [pictures], *options)
        assert not (tmp_path / "out").exists()

    def test_ground_truth_of_other_pictures_or_classes(self, refuse, pictures, dataset):
        Image.new("RGB", (9, 9)).save(pictures / "c.png")
        expected = f"c.png is not among the 2 images of dataset '{dataset}'"
        assert expected in refuse(1, [pictures], "--ground-truth", dataset)
        MetadataCatalog.remove(dataset)
        MetadataCatalog.get(dataset).set(thing_classes=["cat"])
        message = refuse(1, [pictures], "--ground-truth", dataset)
        assert "lists classes that the model does not: ['cat']" in message
