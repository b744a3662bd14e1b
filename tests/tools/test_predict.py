"""tools/predict.py with a small, untrained model: what is written, and every refusal."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.modeling import build_model
from PIL import Image
from pycocotools.coco import COCO

from mask2former_mt.engine import predict_files as predict_files_module
from mask2former_mt.engine.checkpoint import MultiTaskCheckpointer
from mask2former_mt.engine.predict_files import find_images, overlay_names
from mask2former_mt.engine.predictor import Predictor
from mask2former_mt.engine.setup import load_config
from mask2former_mt.structures import SubcategorySpec

PROGRAM = Path(__file__).parents[2] / "tools" / "predict.py"
CONFIG = {
    "VERSION": 2,
    "MODEL": {
        "META_ARCHITECTURE": "MultiTaskMaskFormer",
        "DEVICE": "cpu",
        "PIXEL_MEAN": [100.0, 110.0, 120.0],
        "PIXEL_STD": [60.0, 60.0, 60.0],
        "BACKBONE": {"NAME": "build_resnet_backbone"},
        "RESNETS": {
            "DEPTH": 18,
            "RES2_OUT_CHANNELS": 64,
            "OUT_FEATURES": ["res2", "res3", "res4", "res5"],
        },
        "SEM_SEG_HEAD": {
            "NAME": "MaskFormerHead",
            "IN_FEATURES": ["res2", "res3", "res4", "res5"],
            "CONVS_DIM": 32,
            "MASK_DIM": 32,
            "NORM": "GN",
            "TRANSFORMER_ENC_LAYERS": 1,
        },
        "MASK_FORMER": {
            "HIDDEN_DIM": 32,
            "NHEADS": 4,
            "DIM_FEEDFORWARD": 32,
            "DEC_LAYERS": 2,
            "NUM_OBJECT_QUERIES": 6,
        },
    },
    "INPUT": {"FORMAT": "RGB", "MIN_SIZE_TEST": 64, "MAX_SIZE_TEST": 128},
    "TEST": {"DETECTIONS_PER_IMAGE": 4},
}
RECORD = {
    "thing_classes": ["apple", "pear", "plum"],
    "category_ids": [4, 7, 9],
    "subcategories": [{"name": "ripeness", "values": ["unripe", "ripe"]}],
}
COUNTS = [
    *("MODEL.SEM_SEG_HEAD.NUM_CLASSES", "3"),
    *("MODEL.SUBCATEGORY.NAMES", "['ripeness']"),
    *("MODEL.SUBCATEGORY.NUM_CLASSES", "[2]"),
]


@pytest.fixture(scope="module")
def program():
    module_spec = importlib.util.spec_from_file_location("predict_program", PROGRAM)
    module = importlib.util.module_from_spec(module_spec)
    module_spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with config.yaml and two checkpoints, one of which knows its dataset."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG), encoding="utf-8")
    torch.manual_seed(0)
    model = build_model(load_config(str(folder / "config.yaml"), COUNTS))
    MultiTaskCheckpointer(model, str(folder), dataset=RECORD).save("model_final")
    MultiTaskCheckpointer(model, str(folder)).save("nameless")
    return folder


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder with two pictures of different sizes, and a text."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "b.png")
    Image.fromarray(noise[:, :70]).save(folder / "a.JPG")
    (folder / "notes.txt").write_text("not a picture", encoding="utf-8")
    return folder


def arguments(trained: Path, inputs: list, output: Path, *more: str) -> list[str]:
    return [
        *("--config-file", str(trained / "config.yaml")),
        *("--weights", str(trained / "model_final.pth")),
        *("--input", *map(str, inputs)),
        *("--output", str(output)),
        *more,
    ]


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
        assert sorted(p.name for p in output.iterdir()) == ["a.png", "b.png", "predictions.json"]
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
        # two cells of 720
        assert Image.open(sheet).size[0] == 2 * 720 + 24
        results = json.loads((tmp_path / "out" / "predictions.json").read_text())
        assert [image["id"] for image in results["images"]] == [70, 30]

    def test_second_run_replaces_the_first(self, program, trained, pictures, tmp_path):
        for _ in range(2):
            program.main(arguments(trained, [pictures / "b.png"], tmp_path / "out"))
        names = sorted(p.name for p in (tmp_path / "out").iterdir())
        assert names == ["b.png", "predictions.json"]


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

    def test_instances_are_at_the_pictures_size(self, trained):
        cfg = load_config(str(trained / "config.yaml"))
        instances = Predictor(cfg, trained / "model_final.pth")(np.zeros((33, 201, 3), np.uint8))
        assert instances.image_size == (33, 201)
        assert instances.pred_masks.shape == (4, 33, 201)


class TestFindImages:
    def test_files_folders_and_globs_each_once(self, pictures):
        a, b = pictures / "a.JPG", pictures / "b.png"
        assert find_images([pictures]) == [a, b]
        assert find_images([b, pictures, pictures / "*.png"]) == [b, a]
        assert find_images([str(pictures / "*")]) == [a, b]

    def test_file_with_a_globs_letters_in_its_name(self, pictures):
        odd = (pictures / "b.png").rename(pictures / "b[1].png")
        assert find_images([odd]) == [odd]

    def test_overlay_names_differ(self):
        # the second a must not take a_2, which another file has from its stem
        files = [Path(p) for p in ("x/a.jpg", "y/a.png", "y/a_2.png", "z/A.png", "z/b.png")]
        assert overlay_names(files) == ["a.png", "a_3.png", "a_2.png", "A_4.png", "b.png"]


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
            (["missing_*.jpg"], "input missing_*.jpg: no pictures there"),
        ],
    )
    def test_missing_input(self, program, trained, tmp_path, capsys, inputs, message):
        command = arguments(trained, inputs, tmp_path / "out")
        assert message in self.refuse(program, capsys, command, 2)
        assert not (tmp_path / "out").exists()

    def test_folder_without_pictures(self, program, trained, tmp_path, capsys):
        (tmp_path / "empty").mkdir()
        command = arguments(trained, [tmp_path / "empty"], tmp_path / "out")
        assert "empty: no pictures there" in self.refuse(program, capsys, command, 2)

    def test_file_that_is_no_picture(self, program, trained, pictures, tmp_path, capsys):
        command = arguments(trained, [pictures / "b.png", pictures / "notes.txt"], tmp_path / "out")
        assert "notes.txt cannot be read" in self.refuse(program, capsys, command, 2)
        assert not (tmp_path / "out").exists()

    def test_picture_cut_short_leaves_no_json(self, program, trained, pictures, tmp_path, capsys):
        whole = (pictures / "b.png").read_bytes()
        (pictures / "b.png").write_bytes(whole[: len(whole) // 2])
        command = arguments(trained, [pictures], tmp_path / "out")
        assert "b.png cannot be read" in self.refuse(program, capsys, command, 1)
        assert [p.name for p in (tmp_path / "out").iterdir()] == ["a.png"]

    def test_interruption_while_writing_keeps_the_old_json(
        self, program, trained, pictures, tmp_path, monkeypatch
    ):
        command = arguments(trained, [pictures], tmp_path / "out", "--score-threshold", "0")
        program.main(command)
        before = (tmp_path / "out" / "predictions.json").read_bytes()

        def interrupted(*_):
            raise KeyboardInterrupt

        # The rename is the moment that counts: whatever happens before it must change nothing.
        monkeypatch.setattr(predict_files_module.Path, "replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            program.main([*command[:-1], "1"])
        assert (tmp_path / "out" / "predictions.json").read_bytes() == before
        names = sorted(p.name for p in (tmp_path / "out").iterdir())
        assert names == ["a.png", "b.png", "predictions.json"]

    def test_output_among_the_inputs(self, program, trained, pictures, capsys):
        before = (pictures / "b.png").read_bytes()
        command = arguments(trained, [pictures / "b.png"], pictures)
        assert "holds the input" in self.refuse(program, capsys, command, 2)
        assert (pictures / "b.png").read_bytes() == before

    def test_contact_sheet_over_an_input(self, program, trained, pictures, tmp_path, capsys):
        more = ["--contact-sheet", str(pictures / "b.png")]
        command = arguments(trained, [pictures], tmp_path / "out", *more)
        assert "would replace an input" in self.refuse(program, capsys, command, 2)

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
