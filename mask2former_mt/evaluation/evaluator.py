"""The detectron2 evaluator of segm AP, AP^J and subcategory accuracy, and the table it prints."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import math
import pathlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence

from detectron2.data import MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.evaluation.testing import flatten_results_dict
from detectron2.utils import comm
from pycocotools.coco import COCO

from mask2former_mt.data.catalog import spec_of
from mask2former_mt.evaluation.joint_coco import evaluate_joint
from mask2former_mt.evaluation.results import instances_to_results
from mask2former_mt.structures import SubcategorySpec

logger = logging.getLogger(__name__)

RESULTS_FILE = "coco_instances_results.json"


class JointCOCOEvaluator(DatasetEvaluator):
    """Collects predictions, writes them as results JSON and computes the metrics.

    Each process keeps the encoded predictions of its images; `evaluate` merges them once. The
    numbers depend neither on the number of processes nor on the order of images.

    Args:
        dataset_name: a registered dataset whose metadata has `json_file`, `thing_classes` and
            `thing_dataset_id_to_contiguous_id`.
        output_dir: where `coco_instances_results.json` is written; None writes nothing.
        distributed: gather from all processes; False evaluates what this process has seen.

    Raises:
        ValueError: no such dataset, or the JSON's categories are not those of the metadata.
    """

    def __init__(
        self,
        dataset_name: str,
        *,
        output_dir: str | pathlib.Path | None = None,
        distributed: bool = True,
    ) -> None:
        self._spec = spec_of(dataset_name)
        metadata = MetadataCatalog.get(dataset_name)
        self._dataset_name = dataset_name
        self._output_dir = None if output_dir is None else pathlib.Path(output_dir)
        self._distributed = distributed
        with contextlib.redirect_stdout(io.StringIO()):
            self._coco_gt = COCO(metadata.json_file)
        class_of_id = metadata.thing_dataset_id_to_contiguous_id
        if set(class_of_id) != set(self._coco_gt.cats):
            raise ValueError(
                f"dataset {dataset_name!r}: {metadata.json_file} lists the categories "
                f"{sorted(self._coco_gt.cats)}, but the metadata knows {sorted(class_of_id)}; "
                "training and evaluation need the same list of categories"
            )
        self._category_ids = sorted(class_of_id, key=class_of_id.__getitem__)
        self._class_names = [
            metadata.thing_classes[class_of_id[category_id]] for category_id in sorted(class_of_id)
        ]
        self.reset()

    def reset(self) -> None:
        """Forgets all predictions."""
        self._results_of_image: dict[int | str, list[dict]] = {}

    def process(self, inputs: Sequence[Mapping], outputs: Sequence[Mapping]) -> None:
        """Encodes the predictions of a batch.

        Args:
            inputs: per image a dict with `image_id`.
            outputs: per image `{"instances": Instances}` with the fields that
                `instances_to_results` asks for, on any device.

        Raises:
            ValueError: an image that is not in the dataset or comes a second time, or predictions
                that do not fit (see `instances_to_results`).
        """
        for image_input, output in zip(inputs, outputs, strict=True):
            image_id = image_input["image_id"]
            if image_id not in self._coco_gt.imgs:
                raise ValueError(
                    f"image_id {image_id!r} is not one of the {len(self._coco_gt.imgs)} images of "
                    f"dataset {self._dataset_name!r}; use the loader of that dataset"
                )
            self._add(
                image_id,
                instances_to_results(
                    output["instances"],
                    image_id,
                    spec=self._spec,
                    category_ids=self._category_ids,
                ),
            )

    def evaluate(self) -> OrderedDict[str, dict[str, float]]:
        """Merges all processes' predictions, writes them and computes the metrics.

        Returns:
            `{"segm": {"AP": ...}, "joint": {"AP": ...}, "subcategory": {"style/accuracy": ...}}` in
            percent, which detectron2 flattens to the keys of `evaluate_joint`; `{}` on all
            processes but the first.

        Raises:
            ValueError: an image that two processes have seen, or predictions that do not fit.
        """
        if self._distributed:
            comm.synchronize()
            shards = comm.gather(self._results_of_image, dst=0)
            if not comm.is_main_process():
                return OrderedDict()
            self.reset()
            for shard in shards:
                for image_id, results in shard.items():
                    self._add(image_id, results)

        missing = [i for i in self._coco_gt.imgs if i not in self._results_of_image]
        if missing:
            logger.warning(
                "%d of the %d images of dataset %r were not predicted (first: %r); "
                "they count as images without predictions",
                len(missing),
                len(self._coco_gt.imgs),
                self._dataset_name,
                missing[0],
            )
        # In the dataset's order, so that the file is the same for any number of processes.
        results = [
            result
            for image_id in self._coco_gt.imgs
            for result in self._results_of_image.get(image_id, ())
        ]
        if self._output_dir is not None:
            self._output_dir.mkdir(parents=True, exist_ok=True)
            path = self._output_dir / RESULTS_FILE
            path.write_text(json.dumps(results), encoding="utf-8")
            logger.info("wrote %d predictions to %s", len(results), path)
        metrics = evaluate_joint(self._coco_gt, results, self._spec, self._class_names)
        logger.info("results on %s:\n%s", self._dataset_name, format_table(metrics, self._spec))
        return nested_metrics(metrics)

    def _add(self, image_id: int | str, results: list[dict]) -> None:
        if image_id in self._results_of_image:
            raise ValueError(
                f"image {image_id!r} of dataset {self._dataset_name!r} was predicted twice; use a "
                "sampler that neither pads nor repeats (detectron2's InferenceSampler), or reset()"
            )
        self._results_of_image[image_id] = results


def nested_metrics(metrics: Mapping[str, float]) -> OrderedDict[str, dict[str, float]]:
    """Groups flat metrics by task, the part before the first slash, as detectron2 wants them."""
    nested: OrderedDict[str, dict[str, float]] = OrderedDict()
    for key, value in metrics.items():
        task, _, metric = key.partition("/")
        nested.setdefault(task, {})[metric] = value
    return nested


def flat_metrics(results: Mapping) -> dict[str, float]:
    """The flat metrics that `evaluate_joint` computed, from what the evaluator returned."""
    return {key: float(value) for key, value in flatten_results_dict(results).items()}


def format_table(metrics: Mapping[str, float], spec: SubcategorySpec) -> str:
    """Lays out the headline metrics as plain text, in percent.

    Args:
        metrics: flat, as `evaluate_joint` returns them.
        spec: the S subcategories.

    Returns:
        4 + 2 S aligned lines under a heading; "n/a" where a metric is undefined (NaN).
    """
    rows = [
        ("segm AP", metrics["segm/AP"]),
        ("segm AP50", metrics["segm/AP50"]),
        ("segm AP75", metrics["segm/AP75"]),
        ("AP^J", metrics["joint/AP"]),
        *((f"AP^J {name}", metrics[f"joint/AP-{name}"]) for name in spec.names),
        *((f"accuracy {name}", metrics[f"subcategory/{name}/accuracy"]) for name in spec.names),
    ]
    texts = [
        ("metric", "percent"),
        *((label, "n/a" if math.isnan(value) else f"{value:.2f}") for label, value in rows),
    ]
    label_width, value_width = (max(map(len, column)) for column in zip(*texts, strict=True))
    lines = [f"{label:<{label_width}}  {value:>{value_width}}" for label, value in texts]
    lines.insert(1, f"{'-' * label_width}  {'-' * value_width}")
    return "\n".join(lines)
