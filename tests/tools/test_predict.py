"""tools/predict.py with a small, untrained model: what is written, and every refusal."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image
from predict_tools import COUNTS, RECORD, arguments
from pycocotools.coco import COCO

from mask2former_mt.engine.setup import load_config
from mask2former_mt.predict import journal
from mask2former_mt.predict.media import find_inputs
from mask2former_mt.predict.outputs import overlay_names
from mask2former_mt.predict.predictor import Predictor
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


class TestWhatIsWritten:
    def test_overlays_and_json(self, program, trained, pictures, tmp_path, capsys):
        output = tmp_path / "new" / "folder"
        program.main(arguments(trained, [pictures], output, "--score-threshold", "0"))
        names = ["predictions.json", "predictions.jsonl", "settings.json"]
        assert sorted(p.name for p in output.iterdir()) == ["a.png", "b.png", *names]
        # The shorter sides, 70 and 90, are enlarged to 512: 90 * 512 / 70 = 658.3 and
        # 120 * 512 / 90 = 682.7 (width, height).
        assert Image.open(output / "a.png").size == (512, 658)
        assert Image.open(output / "b.png").size == (683, 512)

        results = json.loads((output / "predictions.json").read_text(encoding="utf-8"))
        assert results["images"] == [
            {"id": 1, "file_name": (pictures / "a.JPG").as_posix(), "height": 90, "width": 70},
            {"id": 2, "file_name": (pictures / "b.png").as_posix(), "height": 90, "width": 120},
        ]
        assert results["categories"] == [
            {"id": 4, "name": "apple"},
            {"id": 7, "name": "pear"},
            {"id": 9, "name": "plum"},
        ]
        assert results["subcategories"] == RECORD["subcategories"]
        # four detections in each of the two pictures
        assert len(results["annotations"]) == 8
        for annotation in results["annotations"]:
            assert annotation["category_id"] in (4, 7, 9)
            assert set(annotation["subcategories"]) == {"ripeness"}
            assert annotation["subcategories"]["ripeness"]["value"] in ("unripe", "ripe", None)
            assert 0 <= annotation["subcategories"]["ripeness"]["score"] <= 1
        last_line = capsys.readouterr().out.splitlines()[-1]
        assert last_line == (
            f"2 pictures, 8 instances with score >= 0: overlays in {output}, "
            f"{output / 'predictions.json'}"
        )

    def test_json_is_a_coco_dataset(self, program, trained, pictures, tmp_path):
        program.main(arguments(trained, [pictures], tmp_path / "out", "--score-threshold", "0"))
        coco = COCO(str(tmp_path / "out" / "predictions.json"))
        (annotation, *_) = coco.loadAnns(coco.getAnnIds(imgIds=[2]))
        mask = coco.annToMask(annotation)
        assert mask.shape == (90, 120)
        assert mask.sum() == annotation["area"]

    def test_score_threshold_and_overrides(self, program, trained, pictures, tmp_path):
        # Eight instances without threshold, two with one detection per picture, none at 1.
        for name, more, count in (
            ("few", ["--score-threshold", "0", "TEST.DETECTIONS_PER_IMAGE", "1"], 2),
            ("none", ["--score-threshold", "1"], 0),
        ):
            program.main(arguments(trained, [pictures], tmp_path / name, *more))
            results = json.loads((tmp_path / name / "predictions.json").read_text())
            assert len(results["annotations"]) == count
            assert len(results["images"]) == 2

    def test_ground_truth_beside_prediction_and_contact_sheet(
        self, program, trained, pictures, dataset, tmp_path
    ):
        sheet = tmp_path / "sheets" / "all.png"
        more = ["--ground-truth", dataset, "--contact-sheet", str(sheet)]
        program.main(arguments(trained, [pictures], tmp_path / "out", *more))
        # two pictures of 512, three gaps of 8; the titles' 36 pixels and two gaps of 8 in height
        assert Image.open(tmp_path / "out" / "a.png").size == (2 * 512 + 24, 658 + 36 + 16)
        # Two cells, each of two pictures whose longer sides, 658 and 683, are below 720: the wider
        # is b's, 2 * 683 and three gaps.
        assert Image.open(sheet).size[0] == 2 * (2 * 683 + 24) + 24
        results = json.loads((tmp_path / "out" / "predictions.json").read_text())
        assert [image["id"] for image in results["images"]] == [70, 30]

    def test_only_disagreements(self, program, trained, pictures, dataset, tmp_path):
        sheet = tmp_path / "sheets" / "wrong.png"
        more = ["--ground-truth", dataset, "--only-disagreements", "--contact-sheet", str(sheet)]
        program.main(arguments(trained, [pictures], tmp_path / "out", *more))
        # Below the picture of 512 x 658 stands the legend: 14 pixels, and lines of 18.
        width, height = Image.open(tmp_path / "out" / "a.png").size
        assert width == 512
        assert (height - 658 - 14) % 18 == 0
        assert height > 658 + 14
        # The annotated square is found by no untrained model, so both are on the sheet.
        assert Image.open(sheet).size[0] > 512 + 683

    def test_contact_sheet_may_lie_in_the_output_folder(self, program, trained, pictures, tmp_path):
        out = tmp_path / "out"
        program.main(arguments(trained, [pictures], out, "--contact-sheet", str(out / "s.png")))
        assert (out / "s.png").is_file()

    def test_large_overlays_are_reduced(self, program, trained, tmp_path):
        Image.new("RGB", (900, 600)).save(tmp_path / "large.png")
        more = ["--max-side", "300"]
        program.main(arguments(trained, [tmp_path / "large.png"], tmp_path / "out", *more))
        assert Image.open(tmp_path / "out" / "large.png").size == (300, 200)
        results = json.loads((tmp_path / "out" / "predictions.json").read_text())
        assert results["images"][0]["width"] == 900

    def test_filters_reach_the_model(self, program, trained, pictures, tmp_path):
        more = ["--score-threshold", "0", "--top-k", "1"]
        program.main(arguments(trained, [pictures], tmp_path / "out", *more))
        results = json.loads((tmp_path / "out" / "predictions.json").read_text())
        assert [a["image_id"] for a in results["annotations"]] == [1, 2]

    def test_picture_is_turned_upright(self, program, trained, pictures, tmp_path):
        exif = Image.Exif()
        exif[0x0112] = 6  # the camera was held on its side: shown, it is 90 wide and 120 high
        Image.open(pictures / "b.png").save(tmp_path / "turned.jpg", exif=exif)
        program.main(arguments(trained, [tmp_path / "turned.jpg"], tmp_path / "out"))
        results = json.loads((tmp_path / "out" / "predictions.json").read_text())
        assert (results["images"][0]["height"], results["images"][0]["width"]) == (120, 90)
        assert Image.open(tmp_path / "out" / "turned.png").size == (512, 683)

    @pytest.mark.parametrize("size", [(1, 1), (2, 31), (1, 700), (700, 1)])
    def test_tiny_and_thin_pictures(self, program, trained, tmp_path, size):
        Image.new("RGB", size).save(tmp_path / "odd.png")
        more = ["--score-threshold", "0"]
        program.main(arguments(trained, [tmp_path / "odd.png"], tmp_path / "out", *more))
        results = json.loads((tmp_path / "out" / "predictions.json").read_text())
        assert (results["images"][0]["width"], results["images"][0]["height"]) == size

    def test_pictures_of_one_name(self, program, trained, pictures, tmp_path):
        for folder in ("one", "two"):
            (tmp_path / folder).mkdir()
            (tmp_path / folder / "b.png").write_bytes((pictures / "b.png").read_bytes())
        inputs = [tmp_path / "one", tmp_path / "two"]
        program.main(arguments(trained, inputs, tmp_path / "out"))
        assert sorted(p.name for p in (tmp_path / "out").glob("*.png")) == ["b.png", "b_2.png"]
        results = json.loads((tmp_path / "out" / "predictions.json").read_text())
        assert len(results["images"]) == 2


class TestPredictor:
    def test_names_and_counts_come_from_the_checkpoint(self, trained):
        predictor = Predictor(
            load_config(str(trained / "config.yaml")), trained / "model_final.pth"
        )
        assert predictor.class_names == ["apple", "pear", "plum"]
        assert predictor.category_ids == [4, 7, 9]
        assert predictor.spec.names == ("ripeness",)

    def test_without_names_they_are_numbers_and_it_says_so(self, trained, caplog):
        cfg = load_config(str(trained / "config.yaml"), COUNTS)
        predictor = Predictor(cfg, trained / "nameless.pth")
        assert predictor.class_names == ["0", "1", "2"]
        assert predictor.category_ids == [0, 1, 2]
        assert predictor.spec.to_json() == [{"name": "ripeness", "values": ["0", "1"]}]
        messages = [r.message for r in caplog.records if "named by their numbers" in r.message]
        assert len(messages) == 1

    def test_without_names_and_counts(self, trained):
        with pytest.raises(ValueError, match=r"NUM_CLASSES is 0 .*nameless.pth does not say"):
            Predictor(load_config(str(trained / "config.yaml")), trained / "nameless.pth")

    def test_counts_of_another_dataset(self, trained):
        cfg = load_config(str(trained / "config.yaml"), ["MODEL.SEM_SEG_HEAD.NUM_CLASSES", "8"])
        with pytest.raises(ValueError, match=r"NUM_CLASSES must be 3, as .* got 8"):
            Predictor(cfg, trained / "model_final.pth")

    def test_weights_of_another_model(self, trained):
        cfg = load_config(
            str(trained / "config.yaml"), ["MODEL.MASK_FORMER.NUM_OBJECT_QUERIES", "9"]
        )
        with pytest.raises(ValueError, match=r"does not fit the model[\s\S]*query_feat"):
            Predictor(cfg, trained / "model_final.pth")

    def test_image_format_is_respected(self, trained):
        weights = trained / "model_final.pth"
        image = np.random.default_rng(1).integers(0, 256, (64, 80, 3), dtype=np.uint8)
        config_file = str(trained / "config.yaml")
        rgb = Predictor(load_config(config_file), weights)(image)
        bgr = Predictor(load_config(config_file, ["INPUT.FORMAT", "BGR"]), weights)
        # Given the channels the other way round, the BGR model sees the same numbers.
        torch.testing.assert_close(
            bgr(np.ascontiguousarray(image[:, :, ::-1])).scores, rgb.scores, rtol=0, atol=0
        )
        assert not torch.equal(bgr(image).scores, rgb.scores)

    def test_batch_of_one_size_predicts_as_one_by_one(self, trained):
        cfg = load_config(str(trained / "config.yaml"))
        predictor = Predictor(cfg, trained / "model_final.pth")
        images = np.random.default_rng(1).integers(0, 256, (3, 64, 80, 3), dtype=np.uint8)
        batch = predictor.predict([predictor.prepare(image) for image in images])
        for image, instances in zip(images, batch, strict=True):
            torch.testing.assert_close(instances.scores, predictor(image).scores)

    def test_batch_of_several_sizes(self, trained):
        cfg = load_config(str(trained / "config.yaml"))
        predictor = Predictor(cfg, trained / "model_final.pth")
        shapes = [(40, 90, 3), (64, 64, 3), (1, 1, 3)]
        batch = predictor.predict([predictor.prepare(np.zeros(s, np.uint8)) for s in shapes])
        assert [tuple(i.pred_masks.shape[1:]) for i in batch] == [s[:2] for s in shapes]

    def test_settings_change_with_what_decides_the_predictions(self, trained):
        def settings(*opts: str, weights: str = "model_final.pth") -> dict:
            cfg = load_config(str(trained / "config.yaml"), opts)
            return Predictor(cfg, trained / weights).settings()

        usual = settings()
        assert json.loads(json.dumps(usual)) == usual
        assert settings("OUTPUT_DIR", "elsewhere", "SOLVER.BASE_LR", "1.0") == usual
        for key, value in (
            ("INPUT.MIN_SIZE_TEST", "96"),
            ("TEST.DETECTIONS_PER_IMAGE", "3"),
            ("MODEL.MASK_FORMER.TEST.SCORE_THRESHOLD", "0.3"),
        ):
            other = settings(key, value)
            assert {k for k in usual if usual[k] != other[k]} == {key}
        other = settings(*COUNTS, weights="nameless.pth")
        assert other["weights"] != usual["weights"]

    def test_instances_are_at_the_pictures_size(self, trained):
        cfg = load_config(str(trained / "config.yaml"))
        instances = Predictor(cfg, trained / "model_final.pth")(np.zeros((33, 201, 3), np.uint8))
        assert instances.image_size == (33, 201)
        assert instances.pred_masks.shape == (4, 33, 201)


class TestFindInputs:
    def test_files_folders_and_globs_each_once(self, pictures):
        a, b = pictures / "a.JPG", pictures / "b.png"
        assert find_inputs([pictures]) == [a, b]
        assert find_inputs([b, pictures, pictures / "*.png"]) == [b, a]
        assert find_inputs([str(pictures / "*")]) == [a, b]

    def test_file_with_a_globs_letters_in_its_name(self, pictures):
        odd = (pictures / "b.png").rename(pictures / "b[1].png")
        assert find_inputs([odd]) == [odd]

    def test_overlay_names_differ(self):
        # the second a must not take a_2, which another file has from its stem
        files = [Path(p) for p in ("x/a.jpg", "y/a.png", "y/a_2.png", "z/A.png", "z/b.png")]
        assert overlay_names(files) == ["a.png", "a_3.png", "a_2.png", "A_4.png", "b.png"]

    def test_overlay_names_of_videos(self):
        files = [Path(p) for p in ("x/a.jpg", "x/a.mp4", "y/a.AVI")]
        assert overlay_names(files) == ["a.png", "a_2.mp4", "a_3.mp4"]

    def test_overlay_names_given_before_stay(self):
        files = [Path("/x/a.jpg"), Path("/y/a.jpg"), Path("/z/b.jpg")]
        before = {"/y/a.jpg": "a.png", "/gone/b.jpg": "b.png"}
        assert overlay_names(files, before) == ["a_2.png", "a.png", "b_2.png"]

    def test_overlay_names_are_short_enough_for_any_disk(self):
        files = [Path("x") / ("果" * 80 + ".png"), Path("y") / ("果" * 80 + ".png")]
        first, second = overlay_names(files)
        assert first != second
        assert max(len(name.encode()) for name in (first, second)) <= 210


class TestRefusals:
    """Each names the thing, ends with an exit code that is not 0, and writes nothing."""

    def refuse(self, program, capsys, command: list[str], code: int) -> str:
        with pytest.raises(SystemExit) as caught:
            program.main(command)
        if isinstance(caught.value.code, str):  # Python prints it and exits with 1
            assert code == 1
            return caught.value.code
        assert caught.value.code == code
        return capsys.readouterr().err

    @pytest.mark.parametrize(
        ("inputs", "message"),
        [
            (["missing.jpg"], "input missing.jpg does not exist"),
            (["missing_*.jpg"], "input missing_*.jpg: no pictures or videos there"),
        ],
    )
    def test_missing_input(self, program, trained, tmp_path, capsys, inputs, message):
        command = arguments(trained, inputs, tmp_path / "out")
        assert message in self.refuse(program, capsys, command, 2)
        assert not (tmp_path / "out").exists()

    def test_folder_without_pictures(self, program, trained, tmp_path, capsys):
        (tmp_path / "empty").mkdir()
        command = arguments(trained, [tmp_path / "empty"], tmp_path / "out")
        assert "empty: no pictures or videos there" in self.refuse(program, capsys, command, 2)

    def test_file_that_is_no_picture(self, program, trained, pictures, tmp_path, capsys):
        command = arguments(trained, [pictures / "b.png", pictures / "notes.txt"], tmp_path / "out")
        assert "notes.txt cannot be read" in self.refuse(program, capsys, command, 2)
        assert not (tmp_path / "out").exists()

    def test_pictures_that_cannot_be_read_are_left_out(
        self, program, trained, pictures, tmp_path, capsys
    ):
        whole = (pictures / "b.png").read_bytes()
        (pictures / "b.png").write_bytes(whole[: len(whole) // 2])
        (pictures / "c.png").write_bytes(b"nothing")
        (pictures / "d.png").write_bytes(whole)
        command = arguments(trained, [pictures], tmp_path / "out")
        message = self.refuse(program, capsys, command, 1)
        assert "2 of 4 inputs could not be read" in message
        assert "b.png cannot be read" in message
        assert "c.png cannot be read" in message
        results = json.loads((tmp_path / "out" / "predictions.json").read_text())
        assert [Path(image["file_name"]).name for image in results["images"]] == ["a.JPG", "d.png"]
        # Told again, not taken for done.
        assert "2 of 4 inputs could not be read" in self.refuse(program, capsys, command, 1)

    def test_interruption_while_writing_keeps_the_old_json(
        self, program, trained, pictures, tmp_path, monkeypatch
    ):
        command = arguments(trained, [pictures], tmp_path / "out", "--score-threshold", "0")
        program.main(command)
        before = (tmp_path / "out" / "predictions.json").read_bytes()

        def interrupted(*_):
            raise KeyboardInterrupt

        # The rename is the moment that counts: whatever happens before it must change nothing.
        monkeypatch.setattr(journal.Path, "replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            program.main([*command[:-1], "1", "--overwrite"])
        assert (tmp_path / "out" / "predictions.json").read_bytes() == before
        names = sorted(p.name for p in (tmp_path / "out").iterdir())
        assert [name for name in names if name.endswith("part")] == []

    def test_output_among_the_inputs(self, program, trained, pictures, capsys):
        before = (pictures / "b.png").read_bytes()
        command = arguments(trained, [pictures / "b.png"], pictures)
        assert "holds the input" in self.refuse(program, capsys, command, 2)
        assert (pictures / "b.png").read_bytes() == before

    def test_contact_sheet_over_an_input(self, program, trained, pictures, tmp_path, capsys):
        more = ["--contact-sheet", str(pictures / "b.png")]
        command = arguments(trained, [pictures], tmp_path / "out", *more)
        assert "would replace an input" in self.refuse(program, capsys, command, 2)

    def test_contact_sheet_over_an_overlay(self, program, trained, pictures, tmp_path, capsys):
        more = ["--contact-sheet", str(tmp_path / "out" / "a.png")]
        command = arguments(trained, [pictures], tmp_path / "out", *more)
        assert "would replace an overlay" in self.refuse(program, capsys, command, 1)

    def test_disagreements_without_ground_truth(self, program, trained, pictures, tmp_path, capsys):
        command = arguments(trained, [pictures], tmp_path / "out", "--only-disagreements")
        assert "needs --ground-truth" in self.refuse(program, capsys, command, 2)

    @pytest.mark.parametrize("option", [["--batch", "0"], ["--max-side", "-1"]])
    def test_numbers_out_of_range(self, program, trained, pictures, tmp_path, capsys, option):
        command = arguments(trained, [pictures], tmp_path / "out", *option)
        assert f"got {option[1]}" in self.refuse(program, capsys, command, 2)

    def test_output_is_a_file(self, program, trained, pictures, tmp_path, capsys):
        (tmp_path / "out").write_text("mine", encoding="utf-8")
        command = arguments(trained, [pictures], tmp_path / "out")
        assert "must be a folder, got a file" in self.refuse(program, capsys, command, 2)
        assert (tmp_path / "out").read_text(encoding="utf-8") == "mine"

    def test_threshold_out_of_range(self, program, trained, pictures, tmp_path, capsys):
        command = arguments(trained, [pictures], tmp_path / "out", "--score-threshold", "50")
        assert "must be in [0, 1], got 50" in self.refuse(program, capsys, command, 2)

    def test_missing_weights(self, program, trained, pictures, tmp_path, capsys):
        command = arguments(trained, [pictures], tmp_path / "out", "--weights", "no.pth")
        assert "weights no.pth do not exist" in self.refuse(program, capsys, command, 1)
        assert not (tmp_path / "out").exists()

    def test_weights_that_are_none(self, program, trained, pictures, tmp_path, capsys):
        more = ["--weights", str(pictures / "b.png")]
        command = arguments(trained, [pictures], tmp_path / "out", *more)
        assert "b.png cannot be read" in self.refuse(program, capsys, command, 1)

    def test_unknown_config_key(self, program, trained, pictures, tmp_path, capsys):
        command = arguments(trained, [pictures], tmp_path / "out", "MODEL.NO_SUCH_KEY", "1")
        assert "NO_SUCH_KEY" in self.refuse(program, capsys, command, 1)

    def test_ground_truth_not_registered(self, program, trained, pictures, tmp_path, capsys):
        command = arguments(trained, [pictures], tmp_path / "out", "--ground-truth", "nothing_val")
        assert "'nothing_val' is not registered" in self.refuse(program, capsys, command, 1)
        assert not (tmp_path / "out").exists()

    def test_ground_truth_without_the_input(
        self, program, trained, pictures, dataset, tmp_path, capsys
    ):
        other = tmp_path / "other.png"
        other.write_bytes((pictures / "b.png").read_bytes())
        command = arguments(trained, [other], tmp_path / "out", "--ground-truth", dataset)
        expected = f"other.png is not among the 2 images of dataset '{dataset}'"
        assert expected in self.refuse(program, capsys, command, 1)

    def test_ground_truth_with_other_classes(
        self, program, trained, pictures, dataset, tmp_path, capsys
    ):
        MetadataCatalog.remove(dataset)
        MetadataCatalog.get(dataset).set(thing_classes=["cat"])
        command = arguments(trained, [pictures], tmp_path / "out", "--ground-truth", dataset)
        assert "must have the model's classes ['apple'" in self.refuse(program, capsys, command, 1)
