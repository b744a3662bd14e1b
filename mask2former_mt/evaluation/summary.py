"""Metrics as detectron2 takes them, as a table of text, and as files."""

from __future__ import annotations

import math
import pathlib
from collections import OrderedDict
from collections.abc import Mapping

from detectron2.evaluation.testing import flatten_results_dict

from mask2former_mt.evaluation.attributes import confusion_json
from mask2former_mt.evaluation.joint import Evaluation
from mask2former_mt.files import write_json
from mask2former_mt.structures import SubcategorySpec

METRICS_FILE = "metrics.json"
CONFUSION_FILE = "confusion.json"
# Rows of the table; Cityscapes' own evaluator calls its mean IoU "IoU".
_SEMANTIC = (
    *(("mIoU", "mIoU"), ("fwIoU", "fwIoU"), ("pixel accuracy", "pACC")),
    *(("IoU", "IoU"), ("iIoU", "iIoU")),
)
_PANOPTIC = ("PQ", "SQ", "RQ", "PQ_th", "PQ_st", "PQ^J")


def write_metrics(metrics: Mapping[str, float], output_dir: str | pathlib.Path) -> pathlib.Path:
    """Writes flat metrics as `metrics.json`, NaN (undefined) as null; returns the file."""
    plain = {k: None if math.isnan(v) else float(v) for k, v in metrics.items()}
    return write_json(pathlib.Path(output_dir) / METRICS_FILE, plain, sort_keys=True)


def write_confusion(evaluation: Evaluation, output_dir: str | pathlib.Path) -> None:
    """Writes the confusion matrices of the subcategories as `confusion.json`."""
    content = confusion_json(evaluation.labels, evaluation.truth.class_names)
    write_json(pathlib.Path(output_dir) / CONFUSION_FILE, content, sort_keys=True)


def nested_metrics(metrics: Mapping[str, float]) -> OrderedDict[str, dict[str, float]]:
    """Groups flat metrics by task, the part before the first slash, as detectron2 takes them."""
    nested: OrderedDict[str, dict[str, float]] = OrderedDict()
    for key, value in metrics.items():
        task, _, metric = key.partition("/")
        nested.setdefault(task, {})[metric] = value
    return nested


def flat_metrics(results: Mapping) -> dict[str, float]:
    """The flat metrics, from the nested ones that the evaluator returned."""
    return {key: float(value) for key, value in flatten_results_dict(results).items()}


def format_table(metrics: Mapping[str, float], spec: SubcategorySpec) -> str:
    """Lays out the headline metrics as plain text, in percent.

    Args:
        metrics: flat, of one evaluator or several.
        spec: the S subcategories.

    Returns:
        Aligned lines under a heading, for what there is of instances (4 + 2 S lines), of semantic
        and of panoptic maps; "n/a" where a metric is undefined (NaN). Where more detections count
        than COCO's 100, a line more, for the AP of the first 100.
    """
    at_limits = [key for key in metrics if key.startswith("segm/AP@")]
    keys = {
        **{key.replace("/", " "): key for key in reversed(at_limits)},
        **({} if at_limits else {"segm AP": "segm/AP"}),
        "segm AP50": "segm/AP50",
        "segm AP75": "segm/AP75",
        "AP^J": "joint/AP",
        **{f"AP^J {name}": f"joint/AP-{name}" for name in spec.names},
        **{f"accuracy {name}": f"subcategory/{name}/accuracy" for name in spec.names},
        **{name: f"sem_seg/{key}" for name, key in _SEMANTIC},
        **{name: f"panoptic_seg/{name}" for name in _PANOPTIC},
    }
    keys = {name: key for name, key in keys.items() if key in metrics}
    texts = [("metric", "percent")]
    for label, key in keys.items():
        texts.append((label, "n/a" if math.isnan(metrics[key]) else f"{metrics[key]:.2f}"))
    label_width, value_width = (max(map(len, column)) for column in zip(*texts, strict=True))
    lines = [f"{label:<{label_width}}  {value:>{value_width}}" for label, value in texts]
    lines.insert(1, f"{'-' * label_width}  {'-' * value_width}")
    return "\n".join(lines)
