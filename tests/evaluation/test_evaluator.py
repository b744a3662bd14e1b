"""The detectron2 evaluator, on a dataset registered from its YAML."""

import json
import logging
import math

import pytest
import torch
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.structures import Instances
from detectron2.utils import comm
from evaluation_scenes import PEAR, RIGHT, SIZE, SPEC, assert_metrics, found, truth, write_scene
from registered import restored_datasets

from mask2former_mt.config import add_mask2former_mt_config
from mask2former_mt.dataset.catalog import register_dataset_files
from mask2former_mt.engine.trainer import MultiTaskTrainer
from mask2former_mt.evaluation import evaluator as evaluator_module
from mask2former_mt.evaluation.evaluator import JointCOCOEvaluator, evaluate_file
from mask2former_mt.evaluation.ground_truth import ground_truth_of
from mask2former_mt.evaluation.summary import flat_metrics

NAME = "evaluator_test_val"
ANNOTATIONS = [
    truth(0),
    truth(30, labels={**RIGHT, "style": None}, category_id=PEAR),
    truth(10, labels={**RIGHT, "style": "cartoon"}, image_id=2),
]


@pytest.fixture
def content(tmp_path):
    """A dataset of three images, the third without objects: its JSON, to be changed on disk."""
    # The predictions give the dataset its third image.
    dataset, _ = write_scene(tmp_path, ANNOTATIONS, [found(0, image_id=3)], name="evaluator_test")
    path = tmp_path / "val.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    with restored_datasets():
        register_dataset_files([dataset])
        yield document, lambda: path.write_text(json.dumps(document), encoding="utf-8")


dataset = pytest.mark.usefixtures("content")


def predict(image_id, style=None):
    """The ground truth as a model predicts it, in this style if there is one."""
    class_of_id = MetadataCatalog.get(NAME).thing_dataset_id_to_contiguous_id
    objects = [a for a in ANNOTATIONS if a["image_id"] == image_id]
    masks_NHW = torch.zeros(len(objects), SIZE, SIZE, dtype=torch.bool)
    labels_NS = torch.zeros(len(objects), 2, dtype=torch.int64)
    for mask_HW, labels_S, entry in zip(masks_NHW, labels_NS, objects, strict=True):
        x = entry["bbox"][0]
        mask_HW[:20, x : x + 20] = True
        values = entry["subcategories"] | ({} if style is None else {"style": style})
        labels_S[:] = torch.tensor(SPEC.labels_of(values))
    classes = [class_of_id[entry["category_id"]] for entry in objects]
    instances = Instances(
        (SIZE, SIZE),
        pred_masks=masks_NHW,
        scores=torch.full((len(objects),), 0.9 if style is None else 0.5),
        pred_classes=torch.tensor(classes, dtype=torch.int64),
        pred_subcategories=labels_NS,
        subcategory_scores=torch.full((len(objects), 2), 0.5),
    )
    return {"image_id": image_id}, {"instances": instances}


def feed(evaluator, *pairs):
    inputs, outputs = zip(*pairs, strict=True)
    evaluator.process(inputs, outputs)


def test_objects_that_no_detection_is_left_for_are_told(content, caplog):
    document, write = content
    document["annotations"][1]["category_id"] = document["annotations"][0]["category_id"]
    write()  # two apples in the first image
    with caplog.at_level(logging.WARNING):
        JointCOCOEvaluator(NAME, max_dets=2)
        assert caplog.messages == []
        JointCOCOEvaluator(NAME, max_dets=1)
    (message,) = caplog.messages
    assert message.startswith(f"1 times an image of dataset '{NAME}' has more than 1 objects of")


@dataset
def test_from_predictions_to_metrics_and_file(tmp_path):
    folders = tmp_path / "out" / "inference", tmp_path / "again"
    evaluator = JointCOCOEvaluator(NAME, output_dir=folders[0])
    assert isinstance(evaluator, DatasetEvaluator)
    # A batch of two and a batch of one, the apple in image 2 (ranked last) in the wrong style.
    feed(evaluator, predict(2, style="photo"), predict(3))
    feed(evaluator, predict(1))
    metrics = flat_metrics(evaluator.evaluate())
    # Apple: TP, then FP for the joint AP: 51 / 101. Pear: 1. The mean over both classes.
    joint = 100 * (51 / 101 + 1) / 2
    assert_metrics(metrics, segm_AP=100, segm_APm=math.nan, segm_AP_pear=100)
    assert_metrics(metrics, joint_AP=joint, joint_AP_style=joint, joint_AP_ripeness=100)
    assert_metrics(metrics, subcategory_style_accuracy=100 * 2 / 3)
    assert evaluator.evaluation.metrics == pytest.approx(metrics, abs=0, nan_ok=True)

    # The file alone gives the same numbers, offline; its entries are in the dataset's order.
    path = folders[0] / "coco_instances_results.json"
    results = json.loads(path.read_text(encoding="utf-8"))
    assert [(r["image_id"], r["category_id"]) for r in results] == [(1, 7), (1, PEAR), (2, 7)]
    assert [r["subcategories"]["style"]["value"] for r in results] == ["photo", None, "photo"]
    offline = evaluate_file(path, NAME, folders[1])
    assert offline.metrics == pytest.approx(metrics, abs=0, nan_ok=True)
    # Apple: a photo found as one, a cartoon taken for one; pear: none, found.
    texts = [(folder / "confusion.json").read_text(encoding="utf-8") for folder in folders]
    assert texts[0] == texts[1]
    assert json.loads(texts[0])["style"]["all"] == [[1, 0, 0], [1, 0, 0], [0, 0, 1]]
    # Nothing else is left behind.
    names = sorted(entry.name for entry in folders[0].iterdir())
    results = ["coco_instances_results.json", "coco_instances_results.labels.json"]
    assert names == [*results, "confusion.json"]


@dataset
def test_engine_and_detections_are_the_config_s():
    cfg = get_cfg()
    add_mask2former_mt_config(cfg)
    assert MultiTaskTrainer.build_evaluator(cfg, NAME).engine == "own"
    cfg.TEST.COCO_ENGINE = "pycocotools"
    assert MultiTaskTrainer.build_evaluator(cfg, NAME).engine == "pycocotools"
    for limit, counted in ((20, 100), (100, 100), (300, 300)):
        cfg.TEST.DETECTIONS_PER_IMAGE = limit
        assert MultiTaskTrainer.build_evaluator(cfg, NAME).max_dets == counted
    with pytest.raises(ValueError, match=r"must be one of \['own', 'pycocotools'\], got 'fast'"):
        JointCOCOEvaluator(NAME, engine="fast")


@dataset
def test_the_order_of_images_does_not_matter_and_reset_forgets_them(caplog):
    pairs = [predict(2, style="photo"), predict(1), predict(3)]
    metrics = []
    for distributed, order in ((True, (0, 1, 2)), (False, (2, 1, 0)), (True, (1, 0, 2))):
        evaluator = JointCOCOEvaluator(NAME, distributed=distributed)
        feed(evaluator, *(pairs[i] for i in order))
        # Evaluating twice gives the same.
        metrics += [flat_metrics(evaluator.evaluate()) for _ in range(2)]
    assert all(m == pytest.approx(metrics[0], abs=0, nan_ok=True) for m in metrics)
    evaluator.reset()
    feed(evaluator, predict(3))
    with caplog.at_level(logging.WARNING):
        assert_metrics(flat_metrics(evaluator.evaluate()), segm_AP=0, joint_AP=0)
    assert f"2 of the 3 images of dataset '{NAME}' were not predicted" in caplog.text


@dataset
def test_an_image_predicted_twice_is_named():
    evaluator = JointCOCOEvaluator(NAME)
    feed(evaluator, predict(1))
    with pytest.raises(ValueError, match=r"dataset .*: image 1 was predicted twice"):
        feed(evaluator, predict(1))


def test_an_unregistered_dataset_is_named():
    with pytest.raises(ValueError, match="'nowhere_val' is not registered"):
        JointCOCOEvaluator("nowhere_val")
    assert "nowhere_val" not in MetadataCatalog


@pytest.mark.parametrize(
    ("key", "entry", "message"),
    [
        (
            "annotations",
            {**ANNOTATIONS[0], "id": 9, "segmentation": {"size": [80, SIZE], "counts": [12800]}},
            r".*val\.json: .*annotation 9 .*size",
        ),
        ("categories", {"id": 5, "name": "plum"}, r".* categories \[5, 7, 9\].* knows \[7, 9\]"),
        ("subcategories", {"name": "age", "values": ["old"]}, ".* subcat.*'age'.* start again"),
    ],
)
def test_a_json_that_does_not_fit_is_refused(content, key, entry, message):
    document, write = content
    document[key].append(entry)
    write()
    with pytest.raises(ValueError, match=f"(?s)dataset '{NAME}': {message}"):
        JointCOCOEvaluator(NAME)


def test_annotations_of_images_and_categories_that_are_not_listed_are_left_out(content):
    # As COCO does. Others would make the whole dataset unusable.
    document, write = content
    document["annotations"].append({**ANNOTATIONS[0], "id": 8, "image_id": 7})
    document["annotations"].append({**ANNOTATIONS[0], "id": 9, "category_id": 8})
    write()
    assert ground_truth_of(NAME).boxes[:, 0].tolist() == [0, 30, 10]


@dataset
def test_a_dataset_that_others_registered_has_no_subcategories():
    known = MetadataCatalog.get(NAME)
    DatasetCatalog.register("evaluator_test_foreign", list)
    MetadataCatalog.get("evaluator_test_foreign").set(
        json_file=known.json_file,
        image_root=known.image_root,
        thing_classes=["Birne", "Apfel"],
        thing_dataset_id_to_contiguous_id={PEAR: 0, 7: 1},
    )
    arrays = ground_truth_of("evaluator_test_foreign")
    # By category id, with the names of the metadata.
    assert arrays.class_names == ["Apfel", "Birne"]
    assert arrays.labels.shape == (3, 0)


@dataset
@pytest.mark.parametrize("is_main", [True, False])
def test_an_unknown_image_is_named_also_where_no_objects_are_read(monkeypatch, is_main):
    # Only the process that computes the metrics needs the objects.
    if not is_main:
        monkeypatch.setattr(comm, "is_main_process", lambda: False)
        monkeypatch.setattr(evaluator_module, "ground_truth_of", None)
    evaluator = JointCOCOEvaluator(NAME)
    feed(evaluator, predict(1))
    with pytest.raises(ValueError, match="image_id 77 is not one of the 3 images of dataset"):
        feed(evaluator, ({"image_id": 77}, predict(1)[1]))
