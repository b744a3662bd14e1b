"""Which evaluators a dataset gets, and whole evaluations of semantic and panoptic maps."""

from __future__ import annotations

import importlib.machinery
import json
from pathlib import Path

import numpy as np
import pytest
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import (
    CityscapesInstanceEvaluator,
    CityscapesSemSegEvaluator,
    DatasetEvaluators,
)
from map_datasets import write_panoptic, write_semantic
from PIL import Image
from training_files import SIDE, write_config

from mask2former_mt.engine import evaluators
from mask2former_mt.engine.main import main
from mask2former_mt.engine.setup import fill_from_datasets, load_config
from mask2former_mt.engine.trainer import MultiTaskTrainer
from mask2former_mt.structures import SubcategorySpec

NAME = "dense_val"
CLASSES = ["bar", "sky"]
SPEC = SubcategorySpec.from_json([{"name": "tint", "values": ["red", "blue"]}])
TEST = "MODEL.MASK_FORMER.TEST."
ALL = {"INSTANCE_ON": True, "SEMANTIC_ON": True, "PANOPTIC_ON": True}


def register(folder: Path, evaluator_type: str, **metadata) -> None:
    """One picture of which the upper half is a bar and the lower half is sky."""
    Image.fromarray(np.full((SIDE, SIDE, 3), 90, np.uint8)).save(folder / "a.png")
    classes = np.zeros((SIDE, SIDE), np.uint8)
    classes[SIDE // 2 :] = 1
    Image.fromarray(classes).save(folder / "classes.png")
    Image.fromarray(np.stack([classes + 1, classes * 0, classes * 0], -1)).save(folder / "ids.png")
    record = {
        "file_name": str(folder / "a.png"),
        "image_id": 1,
        "height": SIDE,
        "width": SIDE,
        "sem_seg_file_name": str(folder / "classes.png"),
        "pan_seg_file_name": str(folder / "ids.png"),
        "segments_info": [
            {"id": 1, "category_id": 0, "iscrowd": 0, "subcategories": [0]},
            {"id": 2, "category_id": 1, "iscrowd": 0, "subcategories": [2]},
        ],
    }
    DatasetCatalog.register(NAME, lambda: [record])
    MetadataCatalog.get(NAME).set(
        thing_classes=CLASSES,
        stuff_classes=CLASSES,
        thing_dataset_id_to_contiguous_id={1: 0},
        stuff_dataset_id_to_contiguous_id={1: 0, 2: 1},
        ignore_label=255,
        subcategory_spec=SPEC,
        evaluator_type=evaluator_type,
        **metadata,
    )


def written(folder: Path, outputs: dict[str, bool]) -> Path:
    keys = {f"{TEST}{key}": value for key, value in {**ALL, **outputs}.items()}
    keys |= {"DATASETS.TEST": [NAME], "DATASETS.TRAIN": [NAME]}
    return write_config(folder / "c.yaml", changes=keys)


@pytest.fixture
def built(tmp_path):
    """Builds the evaluator of a dataset of a type, for a model with all outputs or some."""

    def build(evaluator_type: str, outputs: dict[str, bool] | None = None, **metadata):
        register(tmp_path, evaluator_type, **metadata)
        cfg = fill_from_datasets(load_config(str(written(tmp_path, outputs or {}))))
        return MultiTaskTrainer.build_evaluator(cfg, NAME)

    return build


def kinds(evaluator) -> list[str]:
    parts = evaluator._evaluators if isinstance(evaluator, DatasetEvaluators) else [evaluator]
    return [type(getattr(part, "_evaluator", part)).__name__ for part in parts]


PQ, SEM = "PanopticEvaluator", "SemanticEvaluator"


@pytest.mark.parametrize(
    ("evaluator_type", "metadata", "outputs", "expected"),
    [
        ("sem_seg", {}, {}, [SEM]),
        ("joint_panoptic", {}, {}, [PQ]),
        ("joint_panoptic", {"sem_seg_root": "."}, {}, [SEM, PQ]),
        ("joint_panoptic", {"sem_seg_root": "."}, {"PANOPTIC_ON": False}, [SEM]),
        ("coco_panoptic_seg", {"sem_seg_root": "."}, {"SEMANTIC_ON": False}, [PQ]),
        ("mapillary_vistas_panoptic_seg", {"sem_seg_root": "."}, {}, [SEM, PQ]),
        ("cityscapes_sem_seg", {}, {}, [SEM]),
        ("cityscapes_panoptic_seg", {}, {}, [PQ]),
    ],
)
def test_evaluators_are_of_what_is_predicted_and_known(
    built, evaluator_type, metadata, outputs, expected
):
    assert kinds(built(evaluator_type, outputs, **metadata)) == expected


def test_cityscapes_own_evaluators_where_its_scripts_are_installed(built, monkeypatch):
    scripts = importlib.machinery.ModuleSpec("cityscapesscripts", None)
    monkeypatch.setattr(evaluators.importlib.util, "find_spec", lambda name: scripts)
    assert kinds(built("cityscapes_panoptic_seg")) == [
        CityscapesInstanceEvaluator.__name__,
        CityscapesSemSegEvaluator.__name__,
        PQ,
    ]


@pytest.mark.parametrize(
    ("evaluator_type", "message"),
    [
        ("sem_seg", "predicts panoptic_seg, and of dataset 'dense_val' sem_seg can be evaluated; "),
        ("cityscapes_instance", "nothing can be evaluated without Cityscapes' own scripts"),
    ],
)
def test_a_dataset_on_which_nothing_can_be_evaluated_is_refused(built, evaluator_type, message):
    with pytest.raises(ValueError, match=message):
        built(evaluator_type, {"INSTANCE_ON": False, "SEMANTIC_ON": False})


def test_outputs_that_cannot_be_evaluated_are_named(built, caplog):
    built("cityscapes_sem_seg")
    assert (
        "dataset 'dense_val': instances and panoptic_seg cannot be evaluated without Cityscapes' "
        "own scripts, the package cityscapesscripts" in caplog.text
    )
    assert "mIoU is the same measure as theirs, iIoU is left out" in caplog.text


def test_an_evaluation_of_maps_writes_and_prints_its_metrics(tmp_path, capsys):
    register(tmp_path, "joint_panoptic", sem_seg_root=str(tmp_path))
    config_file = written(tmp_path, {"INSTANCE_ON": False})
    cfg = fill_from_datasets(load_config(str(config_file)))
    model = MultiTaskTrainer.build_model(cfg)
    (tmp_path / "output").mkdir()
    DetectionCheckpointer(model, str(tmp_path / "output")).save("model_final")
    metrics = main(str(config_file), eval_only=True)
    assert metrics == pytest.approx(
        json.loads((tmp_path / "output" / "metrics.json").read_text()), nan_ok=True
    )
    assert {"panoptic_seg/PQ", "panoptic_seg/PQ^J", "panoptic_seg/PQ-sky"} <= set(metrics)
    assert {"sem_seg/mIoU", "sem_seg/fwIoU", "sem_seg/pACC", "sem_seg/IoU-bar"} <= set(metrics)
    assert not any(key.startswith("segm") for key in metrics)
    table = capsys.readouterr().out.rpartition("\nmetric ")[2]
    rows = [line.rsplit(maxsplit=1)[0].strip() for line in table.splitlines()[2:11]]
    assert rows == [
        *("mIoU", "fwIoU", "pixel accuracy"),
        *("PQ", "SQ", "RQ", "PQ_th", "PQ_st", "PQ^J"),
    ]


@pytest.mark.parametrize(
    ("write", "outputs", "expected"),
    [
        (
            write_semantic,
            {"INSTANCE_ON": False, "PANOPTIC_ON": False},
            {"sem_seg/mIoU", "sem_seg/fwIoU", "sem_seg/pACC", "sem_seg/IoU-sky"},
        ),
        (
            write_panoptic,
            {"INSTANCE_ON": False, "SEMANTIC_ON": False},
            {"panoptic_seg/PQ", "panoptic_seg/PQ_st", "panoptic_seg/PQ^J", "panoptic_seg/PQ-cat"},
        ),
    ],
    ids=["semantic", "panoptic"],
)
def test_a_training_on_maps_ends_with_their_metrics(tmp_path, write, outputs, expected):
    dataset = write(tmp_path / "data")
    names = [f"{dataset.stem}_train"]
    keys = {f"{TEST}{key}": value for key, value in {**ALL, **outputs}.items()}
    keys |= {"DATASETS.FILES": [str(dataset)], "DATASETS.TRAIN": names, "DATASETS.TEST": names}
    config_file = write_config(tmp_path / "c.yaml", changes={**keys, "TEST.EVAL_PERIOD": 1})
    metrics = main(str(config_file))
    assert {"train/seconds"} | expected <= set(metrics)
    again = main(str(config_file), eval_only=True)
    assert again == pytest.approx(metrics, nan_ok=True)
