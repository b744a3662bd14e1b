"""The evaluators of a model on a dataset, by what it predicts and what the dataset has."""

from __future__ import annotations

import functools
import importlib.util
import logging
import pathlib
from collections.abc import Sequence

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.evaluation import (
    CityscapesInstanceEvaluator,
    CityscapesSemSegEvaluator,
    DatasetEvaluator,
    DatasetEvaluators,
)

from mask2former_mt.config.detectron2_keys import predicts_by_queries
from mask2former_mt.dataset.catalog import labels_of
from mask2former_mt.engine.run_description import describe_run
from mask2former_mt.evaluation.evaluator import JointCOCOEvaluator
from mask2former_mt.evaluation.matching import MAX_DETS
from mask2former_mt.evaluation.outputs_by_name import OutputsByName
from mask2former_mt.evaluation.panoptic_evaluator import PanopticEvaluator
from mask2former_mt.evaluation.semantic_evaluator import SemanticEvaluator
from mask2former_mt.label_lists import Labels

LOGGER = logging.getLogger("mask2former_mt")

INSTANCES, SEMANTIC, PANOPTIC = "instances", "sem_seg", "panoptic_seg"
# The outputs that a dataset can judge, by the `evaluator_type` in its metadata; of the panoptic
# ones, further where the metadata says where their truth is. Every other type is of instances.
_SEMANTIC_TYPES = ("sem_seg", "cityscapes_sem_seg")
_PANOPTIC_TYPES = (
    *("joint_panoptic", "coco_panoptic_seg", "ade20k_panoptic_seg", "cityscapes_panoptic_seg"),
    "mapillary_vistas_panoptic_seg",
)
_OF_CITYSCAPES = "cityscapes"
_SCRIPTS = "cityscapesscripts"


def check_outputs(cfg: CfgNode) -> None:
    """Says in the log which outputs cannot be evaluated on a dataset of DATASETS.TEST.

    Raises:
        ValueError: a dataset on which none can.
    """
    predicted = _predicted_outputs(cfg)
    for dataset_name in cfg.DATASETS.TEST:
        judged, scripts = _judged_outputs(cfg, dataset_name), _missing_scripts(dataset_name)
        if not judged:
            raise ValueError(
                f"the model predicts {_named(predicted)}, and of dataset {dataset_name!r} "
                f"{_named(_known_outputs(dataset_name))} can be evaluated{scripts}; set MODEL."
                "MASK_FORMER.TEST.{INSTANCE_ON, SEMANTIC_ON, PANOPTIC_ON}, or DATASETS.TEST"
            )
        if left := [output for output in predicted if output not in judged]:
            LOGGER.warning(f"dataset {dataset_name!r}: {_named(left)} cannot be evaluated{scripts}")
        if scripts and SEMANTIC in judged:
            LOGGER.warning(
                f"dataset {dataset_name!r} is evaluated{scripts}: mIoU is the same measure as "
                "theirs, iIoU is left out"
            )


def build_evaluators(cfg: CfgNode, dataset_name: str, labels: Labels | None) -> DatasetEvaluator:
    """The evaluators of all outputs that can be evaluated, as one.

    Args:
        cfg: the run's, for which `check_outputs` holds.
        dataset_name: of DATASETS.TEST.
        labels: what the model predicts; None: the dataset's own.

    Raises:
        ValueError: labels that do not fit.
    """
    labels = labels or labels_of(dataset_name)
    output_dir = pathlib.Path(cfg.OUTPUT_DIR) / "inference"
    if len(cfg.DATASETS.TEST) > 1:
        output_dir = output_dir / dataset_name
    build = {INSTANCES: _of_instances, SEMANTIC: _of_semantic, PANOPTIC: _of_panoptic}
    evaluators = [
        build[output](cfg, dataset_name, labels, str(output_dir))
        for output in _judged_outputs(cfg, dataset_name)
    ]
    return evaluators[0] if len(evaluators) == 1 else DatasetEvaluators(evaluators)


def _judged_outputs(cfg: CfgNode, dataset_name: str) -> list[str]:
    known = _known_outputs(dataset_name)
    return [output for output in _predicted_outputs(cfg) if output in known]


def _predicted_outputs(cfg: CfgNode) -> tuple[str, ...]:
    if not predicts_by_queries(cfg):
        return (INSTANCES,)
    test = cfg.MODEL.MASK_FORMER.TEST
    switches = {
        INSTANCES: test.INSTANCE_ON,
        SEMANTIC: test.SEMANTIC_ON,
        PANOPTIC: test.PANOPTIC_ON,
    }
    return tuple(output for output, is_on in switches.items() if is_on)


def _known_outputs(dataset_name: str) -> tuple[str, ...]:
    metadata = MetadataCatalog.get(dataset_name)
    kind = metadata.get("evaluator_type", "coco")
    if kind in _SEMANTIC_TYPES:
        return (SEMANTIC,)
    if kind not in _PANOPTIC_TYPES:
        return (INSTANCES,) if not _is_of_cityscapes(dataset_name) or _has_scripts() else ()
    if _is_of_cityscapes(dataset_name):
        return (PANOPTIC, SEMANTIC, INSTANCES) if _has_scripts() else (PANOPTIC,)
    known = [PANOPTIC]
    if metadata.get("sem_seg_root", None) is not None:
        known.append(SEMANTIC)
    if metadata.get("json_file", None) is not None:
        known.append(INSTANCES)
    return tuple(known)


def _of_instances(
    cfg: CfgNode, dataset_name: str, labels: Labels, output_dir: str
) -> DatasetEvaluator:
    if _is_of_cityscapes(dataset_name):
        dataset = labels_of(dataset_name)
        things = {
            name: index
            for index, (name, id_) in enumerate(
                zip(dataset.class_names, dataset.category_ids, strict=True)
            )
            if id_ is not None
        }
        return OutputsByName(
            CityscapesInstanceEvaluator(dataset_name),
            predicted=labels.class_names,
            judged=tuple(things),
            numbers=tuple(things.values()),
        )
    return JointCOCOEvaluator(
        dataset_name,
        labels=labels,
        output_dir=output_dir,
        engine=cfg.TEST.COCO_ENGINE,
        # With fewer, no image has more of a class than COCO counts.
        max_dets=max(MAX_DETS, cfg.TEST.DETECTIONS_PER_IMAGE),
        describe=functools.partial(describe_run, cfg) if cfg.TEST.REPORT else None,
    )


def _of_semantic(
    cfg: CfgNode, dataset_name: str, labels: Labels, output_dir: str
) -> DatasetEvaluator:
    if _is_of_cityscapes(dataset_name) and _has_scripts():
        evaluator = CityscapesSemSegEvaluator(dataset_name)
    else:
        evaluator = SemanticEvaluator(dataset_name, output_dir=output_dir)
    classes = MetadataCatalog.get(dataset_name).stuff_classes
    return OutputsByName(evaluator, predicted=labels.class_names, judged=tuple(classes))


def _of_panoptic(
    cfg: CfgNode, dataset_name: str, labels: Labels, output_dir: str
) -> DatasetEvaluator:
    return PanopticEvaluator(dataset_name, labels=labels)


def _is_of_cityscapes(dataset_name: str) -> bool:
    return MetadataCatalog.get(dataset_name).get("evaluator_type", "").startswith(_OF_CITYSCAPES)


def _has_scripts() -> bool:
    return importlib.util.find_spec(_SCRIPTS) is not None


def _missing_scripts(dataset_name: str) -> str:
    """What a message says of Cityscapes' scripts, where they are missing."""
    if not _is_of_cityscapes(dataset_name) or _has_scripts():
        return ""
    return f" without Cityscapes' own scripts, the package {_SCRIPTS}"


def _named(outputs: Sequence[str]) -> str:
    return " and ".join(outputs) or "nothing"
