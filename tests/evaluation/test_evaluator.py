"""The detectron2 evaluator, on a dataset registered from its YAML."""

import json
import logging
import math

import pytest
import torch
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import DatasetEvaluator, print_csv_format
from detectron2.structures import Instances
from detectron2.utils import comm

from mask2former_mt.config import add_mask2former_mt_config
from mask2former_mt.dataset.catalog import register_dataset_files, spec_of
from mask2former_mt.engine.trainer import MultiTaskTrainer
from mask2former_mt.evaluation import evaluator as evaluator_module
from mask2former_mt.evaluation.evaluator import JointCOCOEvaluator, evaluate_file
from mask2former_mt.evaluation.ground_truth import ground_truth_of
from mask2former_mt.evaluation.summary import flat_metrics

HEIGHT, WIDTH = 40, 60
SUBCATEGORIES = [{"name": "style", "values": ["photo", "cartoon"]}]
# The category ids are neither contiguous nor in the JSON's order.
CATEGORIES = [{"id": 9, "name": "pear"}, {"id": 4, "name": "apple"}]


def annotation(annotation_id, image_id, category_id, x, style):
    return {
        "id": annotation_id,
        "image_id": image_id,
        "category_id": category_id,
        "segmentation": [[x, 0, x + 20, 0, x + 20, 20, x, 20]],
        "area": 400,
        "bbox": [x, 0, 20, 20],
        "iscrowd": 0,
        "subcategories": {"style": style},
    }


ANNOTATIONS = [
    annotation(0, 1, 4, 0, "photo"),
    annotation(1, 1, 9, 30, None),
    annotation(2, 2, 4, 10, "cartoon"),
]


@pytest.fixture
def dataset(tmp_path):
    """The name of a registered dataset of three images; the third one has no objects."""
    (tmp_path / "images").mkdir()
    content = {
        "images": [
            {"id": i, "file_name": f"{i}.png", "height": HEIGHT, "width": WIDTH} for i in (1, 2, 3)
        ],
        "categories": CATEGORIES,
        "subcategories": SUBCATEGORIES,
        "annotations": ANNOTATIONS,
    }
    (tmp_path / "val.json").write_text(json.dumps(content), encoding="utf-8")
    (tmp_path / "fruit.yaml").write_text(
        "name: evaluator_test\nroot: .\nval: {images: images, annotations: val.json}\n",
        encoding="utf-8",
    )
    (name,) = register_dataset_files([tmp_path / "fruit.yaml"])
    yield name
    DatasetCatalog.remove(name)
    MetadataCatalog.remove(name)


@pytest.fixture
def change(tmp_path):
    """Changes the dataset's JSON on disk."""

    def apply(function):
        path = tmp_path / "val.json"
        content = json.loads(path.read_text(encoding="utf-8"))
        function(content)
        path.write_text(json.dumps(content), encoding="utf-8")

    return apply


def predict(name, image_id, styles=None):
    """The ground truth as predictions, each with the given style instead, as a model gives them."""
    ids = MetadataCatalog.get(name).thing_dataset_id_to_contiguous_id
    (style,) = spec_of(name)
    objects = [a for a in ANNOTATIONS if a["image_id"] == image_id]
    masks_NHW = torch.zeros(len(objects), HEIGHT, WIDTH, dtype=torch.bool)
    for mask_HW, entry in zip(masks_NHW, objects, strict=True):
        x = entry["bbox"][0]
        mask_HW[:20, x : x + 20] = True
    values = styles or [entry["subcategories"]["style"] for entry in objects]
    instances = Instances(
        (HEIGHT, WIDTH),
        pred_masks=masks_NHW,
        scores=torch.full((len(objects),), 0.9 if styles is None else 0.5),
        pred_classes=torch.tensor([ids[e["category_id"]] for e in objects], dtype=torch.int64),
        pred_subcategories=torch.tensor(
            [[style.value_index(value)] for value in values], dtype=torch.int64
        ).reshape(len(objects), 1),
        subcategory_scores=torch.full((len(objects), 1), 0.5),
    )
    return {"image_id": image_id}, {"instances": instances}


def feed(evaluator, *pairs):
    inputs, outputs = zip(*pairs, strict=True)
    evaluator.process(inputs, outputs)


def test_from_predictions_to_metrics_and_file(dataset, tmp_path):
    evaluator = JointCOCOEvaluator(dataset, output_dir=tmp_path / "out" / "inference")
    assert isinstance(evaluator, DatasetEvaluator)
    evaluator.reset()
    # A batch of two and a batch of one, the apple in image 2 (ranked last) in the wrong style.
    feed(evaluator, predict(dataset, 2, styles=["photo"]), predict(dataset, 3))
    feed(evaluator, predict(dataset, 1))
    metrics = flat_metrics(evaluator.evaluate())

    # Apple: TP, then FP for the joint AP: 51 / 101. Pear: 1. The mean over both classes.
    joint = 100 * (51 / 101 + 1) / 2
    expected = {
        "segm/AP": 100,
        "segm/AP50": 100,
        "segm/AP75": 100,
        "segm/APs": 100,
        "segm/APm": math.nan,
        "segm/APl": math.nan,
        "segm/AP-apple": 100,
        "segm/AP-pear": 100,
        "joint/AP": joint,
        "joint/AP50": joint,
        "joint/AP-style": joint,
        "subcategory/style/accuracy": 100 * 2 / 3,
    }
    assert {key: metrics[key] for key in expected} == pytest.approx(expected, nan_ok=True)
    assert evaluator.evaluation.metrics == pytest.approx(metrics, abs=0, nan_ok=True)

    # The file alone gives the same numbers, offline; its entries are in the dataset's order.
    path = tmp_path / "out" / "inference" / "coco_instances_results.json"
    results = json.loads(path.read_text(encoding="utf-8"))
    assert [(r["image_id"], r["category_id"]) for r in results] == [(1, 4), (1, 9), (2, 4)]
    assert [r["subcategories"]["style"]["value"] for r in results] == ["photo", None, "photo"]
    offline = evaluate_file(path, dataset, tmp_path / "again")
    assert offline.metrics == pytest.approx(metrics, abs=0, nan_ok=True)
    # Apple: a photo found as one, a cartoon taken for one; pear: none, found.
    folders = (tmp_path / "out" / "inference", tmp_path / "again")
    texts = [(folder / "confusion.json").read_text(encoding="utf-8") for folder in folders]
    assert texts[0] == texts[1]
    assert json.loads(texts[0])["style"]["all"] == [[1, 0, 0], [1, 0, 0], [0, 0, 1]]
    # Nothing else is left behind.
    names = sorted(entry.name for entry in folders[0].iterdir())
    assert names == ["coco_instances_results.json", "confusion.json"]


def test_the_engine_is_the_config_s(dataset):
    cfg = get_cfg()
    add_mask2former_mt_config(cfg)
    assert MultiTaskTrainer.build_evaluator(cfg, dataset).engine == "own"
    cfg.TEST.COCO_ENGINE = "pycocotools"
    assert MultiTaskTrainer.build_evaluator(cfg, dataset).engine == "pycocotools"
    with pytest.raises(ValueError, match=r"must be one of \['own', 'pycocotools'\], got 'fast'"):
        JointCOCOEvaluator(dataset, engine="fast")


def test_the_order_and_the_merging_of_images_do_not_matter(dataset):
    pairs = [predict(dataset, 2, styles=["photo"]), predict(dataset, 1), predict(dataset, 3)]
    metrics = []
    for distributed, order in ((True, (0, 1, 2)), (False, (2, 1, 0)), (True, (1, 0, 2))):
        evaluator = JointCOCOEvaluator(dataset, distributed=distributed)
        for i in order:
            feed(evaluator, pairs[i])
        metrics.append(flat_metrics(evaluator.evaluate()))
    assert comm.get_world_size() == 1
    assert metrics[1] == pytest.approx(metrics[0], abs=0, nan_ok=True)
    assert metrics[2] == pytest.approx(metrics[0], abs=0, nan_ok=True)


def test_reset_forgets(dataset):
    evaluator = JointCOCOEvaluator(dataset)
    feed(evaluator, predict(dataset, 1), predict(dataset, 2))
    first = flat_metrics(evaluator.evaluate())
    # Evaluating twice gives the same.
    assert flat_metrics(evaluator.evaluate()) == pytest.approx(first, abs=0, nan_ok=True)
    evaluator.reset()
    metrics = flat_metrics(evaluator.evaluate())
    assert metrics["segm/AP"] == metrics["joint/AP"] == 0
    assert math.isnan(metrics["subcategory/style/accuracy"])


def test_images_that_were_not_predicted_are_reported(dataset, caplog):
    evaluator = JointCOCOEvaluator(dataset)
    feed(evaluator, predict(dataset, 1))
    with caplog.at_level(logging.WARNING):
        evaluator.evaluate()
    assert "2 of the 3 images of dataset 'evaluator_test_val' were not predicted" in caplog.text


def test_detectron2_prints_the_results(dataset, caplog):
    evaluator = JointCOCOEvaluator(dataset)
    feed(evaluator, predict(dataset, 1), predict(dataset, 2), predict(dataset, 3))
    results = evaluator.evaluate()
    with caplog.at_level(logging.INFO):
        print_csv_format(results)
    assert "Task: joint" in caplog.text
    assert "style/accuracy" in caplog.text


def test_an_image_predicted_twice_is_named(dataset):
    evaluator = JointCOCOEvaluator(dataset)
    feed(evaluator, predict(dataset, 1))
    with pytest.raises(ValueError, match=r"dataset .*: image 1 was predicted twice"):
        feed(evaluator, predict(dataset, 1))


def test_an_unregistered_dataset_is_named():
    with pytest.raises(ValueError, match="'nowhere_val' is not registered"):
        JointCOCOEvaluator("nowhere_val")
    assert "nowhere_val" not in MetadataCatalog


def test_an_annotation_that_cannot_be_evaluated_is_named(dataset, change):
    turned = {"size": [WIDTH, HEIGHT], "counts": [2400]}
    change(lambda content: content["annotations"][1].update(segmentation=turned))
    with pytest.raises(
        ValueError, match=r"(?s)'evaluator_test_val': .*val\.json: .*annotation 1 .*size"
    ):
        JointCOCOEvaluator(dataset)


@pytest.mark.parametrize(
    ("key", "entry", "message"),
    [
        ("categories", {"id": 5, "name": "plum"}, r"categories \[4, 5, 9\].* knows \[4, 9\]"),
        (
            "subcategories",
            {"name": "age", "values": ["old"]},
            "subcategories .*'age'.* start again",
        ),
    ],
)
def test_a_json_whose_lists_changed_since_is_refused(dataset, change, key, entry, message):
    change(lambda content: content[key].append(entry))
    with pytest.raises(ValueError, match=f"'evaluator_test_val': .*lists the {message}"):
        JointCOCOEvaluator(dataset)


def test_annotations_of_images_and_categories_that_are_not_listed_are_left_out(dataset, change):
    # As COCO does. Others would make the whole dataset unusable.
    change(lambda content: content["annotations"].append(annotation(3, 7, 4, 0, "photo")))
    change(lambda content: content["annotations"].append(annotation(4, 1, 8, 0, "photo")))
    assert ground_truth_of(dataset).boxes[:, 0].tolist() == [0, 30, 10]


def test_a_dataset_that_others_registered_has_no_subcategories(dataset):
    metadata = MetadataCatalog.get(dataset)
    DatasetCatalog.register("evaluator_test_foreign", list)
    try:
        MetadataCatalog.get("evaluator_test_foreign").set(
            json_file=metadata.json_file,
            image_root=metadata.image_root,
            thing_classes=["Birne", "Apfel"],
            thing_dataset_id_to_contiguous_id={9: 0, 4: 1},
        )
        truth = ground_truth_of("evaluator_test_foreign")
    finally:
        DatasetCatalog.remove("evaluator_test_foreign")
        MetadataCatalog.remove("evaluator_test_foreign")
    # By category id, with the names of the metadata.
    assert truth.class_names == ["Apfel", "Birne"]
    assert truth.labels.shape == (3, 0)


@pytest.mark.parametrize("is_main", [True, False])
def test_an_unknown_image_is_named_also_where_no_objects_are_read(dataset, monkeypatch, is_main):
    # Only the process that computes the metrics needs the objects.
    if not is_main:
        monkeypatch.setattr(comm, "is_main_process", lambda: False)
        monkeypatch.setattr(evaluator_module, "ground_truth_of", None)
    evaluator = JointCOCOEvaluator(dataset)
    feed(evaluator, predict(dataset, 1))
    with pytest.raises(ValueError, match="image_id 77 is not one of the 3 images of dataset"):
        feed(evaluator, ({"image_id": 77}, predict(dataset, 1)[1]))
