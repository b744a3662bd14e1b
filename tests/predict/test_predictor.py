"""A predictor built of a config and a checkpoint: names, channels, batches, settings."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from PIL import Image
from predict_tools import COUNTS, RECORD

from mask2former_mt.engine.setup import load_config
from mask2former_mt.label_lists import Labels
from mask2former_mt.predict.predictor import Predictor, build_predictor

KNOWS = "model_final.pth"  # the checkpoint that knows its dataset
MODEL = "MODEL.MASK_FORMER"


@pytest.fixture
def build(trained):
    def build(*opts: str, weights: str = KNOWS, assumed: Labels | None = None) -> Predictor:
        cfg = load_config(str(trained / "config.yaml"), opts)
        return build_predictor(cfg, trained / weights, assumed)

    return build


def predict(predictor: Predictor, *images: np.ndarray) -> list:
    return predictor.predict([predictor.prepare(image) for image in images])


def test_names_and_counts_come_from_the_checkpoint(build):
    names = build().names
    assert names.classes == ["apple", "pear", "plum"]
    assert names.category_ids == [4, 7, 9]
    assert names.spec.names == ("ripeness",)


def test_without_names_they_are_numbers_and_it_says_so(build, caplog):
    names = build(*COUNTS, weights="nameless.pth").names
    assert names.classes == ["0", "1", "2"]
    assert names.category_ids == [0, 1, 2]
    assert names.spec.to_json() == [{"name": "ripeness", "values": ["0", "1"]}]
    messages = [r.message for r in caplog.records if "they are taken by number" in r.message]
    assert len(messages) == 1


def test_a_checkpoint_without_names_takes_those_that_are_assumed(build, caplog):
    labels = Labels.from_record(RECORD)
    assert build(weights="nameless.pth", assumed=labels).names.classes == ["apple", "pear", "plum"]
    assert "they are taken by number, as ['apple', 'pear', 'plum']" in caplog.text
    # What a checkpoint says itself wins.
    other = dataclasses.replace(labels, class_names=("a", "b", "c"))
    assert build(assumed=other).names.classes == ["apple", "pear", "plum"]


@pytest.mark.parametrize(
    ("opts", "weights", "message"),
    [
        ([], "nameless.pth", r"NUM_CLASSES is 0 .*nameless.pth does not say"),
        (
            ["MODEL.SEM_SEG_HEAD.NUM_CLASSES", "8"],
            KNOWS,
            r"NUM_CLASSES is 8, but .*model_final.pth has 3",
        ),
        ([f"{MODEL}.NUM_OBJECT_QUERIES", "9"], KNOWS, r"does not fit the model[\s\S]*query_feat"),
        (
            [f"{MODEL}.TEST.INSTANCE_ON", "False", f"{MODEL}.TEST.SEMANTIC_ON", "True"],
            KNOWS,
            "INSTANCE_ON must be True",
        ),
    ],
)
def test_config_and_checkpoint_that_do_not_fit(build, opts, weights, message):
    with pytest.raises(ValueError, match=message):
        build(*opts, weights=weights)


def test_image_format_is_respected(build):
    image = np.random.default_rng(1).integers(0, 256, (64, 80, 3), dtype=np.uint8)
    (rgb,) = predict(build(), image)
    bgr = build("INPUT.FORMAT", "BGR")
    (as_it_is,) = predict(bgr, image)
    # Given the channels the other way round, the BGR model sees the same numbers.
    (turned,) = predict(bgr, np.ascontiguousarray(image[:, :, ::-1]))
    torch.testing.assert_close(turned.scores, rgb.scores, rtol=0, atol=0)
    assert not torch.equal(as_it_is.scores, rgb.scores)


def test_deep_pictures_are_read_by_the_configs_range(build, tmp_path):
    Image.fromarray(np.full((4, 5), 1000, np.uint16)).save(tmp_path / "a.png")
    # 1000 / 65535 * 255 = 3.9; 1000 / 4000 * 255 = 63.75.
    for opts, value in (((), 4), (("INPUT.DEPTH_RANGE", "[0, 4000]"), 64)):
        predictor = build(*opts)
        assert np.unique(predictor.read(tmp_path / "a.png")).tolist() == [value]
        assert ("INPUT.DEPTH_RANGE" in predictor.settings) == bool(opts)


def test_batch_of_one_size_predicts_as_one_by_one(build):
    predictor = build()
    images = np.random.default_rng(1).integers(0, 256, (3, 64, 80, 3), dtype=np.uint8)
    for image, instances in zip(images, predict(predictor, *images), strict=True):
        torch.testing.assert_close(instances.scores, predict(predictor, image)[0].scores)


def test_instances_are_at_each_pictures_size(build):
    shapes = [(40, 90, 3), (33, 201, 3), (1, 1, 3)]
    batch = predict(build(), *(np.zeros(shape, np.uint8) for shape in shapes))
    # four detections in each
    sizes = [[rle["size"] for rle in instances.pred_rles] for instances in batch]
    assert sizes == [[list(shape[:2])] * 4 for shape in shapes]
    assert [i.image_size for i in batch] == [shape[:2] for shape in shapes]


def test_settings_change_with_what_decides_the_predictions(build):
    usual = build().settings
    assert json.loads(json.dumps(usual)) == usual
    assert build("OUTPUT_DIR", "elsewhere", "SOLVER.BASE_LR", "1.0").settings == usual
    for key, value in (
        ("INPUT.MIN_SIZE_TEST", "96"),
        ("TEST.DETECTIONS_PER_IMAGE", "3"),
        ("MODEL.MASK_FORMER.TEST.SCORE_THRESHOLD", "0.3"),
    ):
        other = build(key, value).settings
        assert {k for k in usual if usual[k] != other[k]} == {key}
    assert build(*COUNTS, weights="nameless.pth").settings["weights"] != usual["weights"]
