"""The detectron2 evaluator: collects predictions on disk, then computes every metric."""

from __future__ import annotations

import dataclasses
import logging
import pathlib
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence

from detectron2.data import MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm

from mask2former_mt.evaluation.coco import check_engine
from mask2former_mt.evaluation.joint import Evaluation, evaluate
from mask2former_mt.evaluation.predictions import RESULTS_FILE, PredictionStore, write_predictions
from mask2former_mt.evaluation.registered import ground_truth_of
from mask2former_mt.evaluation.report.report import EXPLAINING, Run, write_report
from mask2former_mt.evaluation.results import instances_to_results
from mask2former_mt.evaluation.summary import format_table, nested_metrics, write_confusion

logger = logging.getLogger(__name__)


class JointCOCOEvaluator(DatasetEvaluator):
    """Collects predictions, writes them as results JSON and computes the metrics.

    Each process writes the encoded predictions of its images to a temporary file, so memory does
    not grow with them; `evaluate` merges them once. The numbers depend neither on the number of
    processes nor on the order of images.

    Args:
        dataset_name: a registered dataset whose metadata has `json_file`, `thing_classes` and
            `thing_dataset_id_to_contiguous_id`.
        output_dir: where `coco_instances_results.json`, `confusion.json` and `report.html` are
            written, and the temporary files are; None writes nothing there.
        distributed: gather from all processes; False evaluates what this process has seen.
        engine: of `engines.ENGINES`.
        describe: says what the report tells of the run, when it is written; None writes no report,
            nor does an `output_dir` of None.

    Raises:
        ValueError: no such dataset or engine, the JSON's categories are not those of the metadata,
            or an annotation that cannot be evaluated.
    """

    def __init__(
        self,
        dataset_name: str,
        *,
        output_dir: str | pathlib.Path | None = None,
        distributed: bool = True,
        engine: str = "own",
        describe: Callable[[], Run] | None = None,
    ) -> None:
        check_engine(engine)
        self._describe = describe
        self._dataset_name = dataset_name
        self._output_dir = None if output_dir is None else pathlib.Path(output_dir)
        self._distributed = distributed
        self.engine = engine
        self._truth = ground_truth_of(dataset_name)
        self._image_ids = frozenset(self._truth.image_ids)
        class_of_id = MetadataCatalog.get(dataset_name).thing_dataset_id_to_contiguous_id
        self._category_ids = sorted(class_of_id, key=class_of_id.__getitem__)
        # What `evaluate` found out, in the process that it returns metrics in.
        self.evaluation: Evaluation | None = None
        self.reset()

    def reset(self) -> None:
        """Forgets all predictions."""
        self._store = PredictionStore(self._output_dir)
        self.evaluation = None
        self._started = time.monotonic()

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
            if image_id not in self._image_ids:
                raise ValueError(
                    f"image_id {image_id!r} is not one of the {len(self._image_ids)} images of "
                    f"dataset {self._dataset_name!r}; use the loader of that dataset"
                )
            if image_id in self._store:
                raise self._predicted_twice(f"image {image_id!r} was predicted twice")
            results = instances_to_results(
                output["instances"],
                image_id,
                spec=self._truth.spec,
                category_ids=self._category_ids,
            )
            self._store.add(image_id, results)

    def evaluate(self) -> OrderedDict[str, dict[str, float]]:
        """Merges all processes' predictions, writes them and computes the metrics.

        Returns:
            `{"segm": {"AP": ...}, "joint": {"AP": ...}, "subcategory": {"style/accuracy": ...}}` in
            percent, which detectron2 flattens to the keys of `joint_coco.evaluate`; `{}` on all
            processes but the first.

        Raises:
            ValueError: an image that two processes have seen, or predictions that do not fit.
        """
        store = self._store
        if self._distributed:
            comm.synchronize()
            try:
                store = store.gather()
            except ValueError as error:
                raise self._predicted_twice(str(error)) from error
            if store is None:
                return OrderedDict()

        missing = [i for i in self._truth.image_ids if i not in store]
        if missing:
            logger.warning(
                "%d of the %d images of dataset %r were not predicted (first: %r); "
                "they count as images without predictions",
                len(missing),
                len(self._truth.image_ids),
                self._dataset_name,
                missing[0],
            )
        # In the dataset's order, so that the file is the same for any number of processes.
        if self._output_dir is not None:
            path = self._output_dir / RESULTS_FILE
            write_predictions(store, self._truth.image_ids, path)
            logger.info("wrote the predictions to %s", path)
        with_report = self._output_dir is not None and self._describe is not None
        predicted = time.monotonic()
        evaluation = evaluate(
            self._truth,
            store.entries(self._truth.image_ids),
            engine=self.engine,
            **(EXPLAINING if with_report else {}),
        )
        if self._output_dir is not None and len(self._truth.spec):
            write_confusion(evaluation, self._output_dir)
        self.evaluation = evaluation
        table = format_table(evaluation.metrics, self._truth.spec)
        logger.info("results on %s:\n%s", self._dataset_name, table)
        if with_report:
            times = (
                ("predicted in", f"{predicted - self._started:.1f} s"),
                ("evaluated in", f"{time.monotonic() - predicted:.1f} s"),
            )
            run = self._describe()
            report = write_report(
                self._output_dir,
                evaluation,
                dataset_name=self._dataset_name,
                predictions=path,
                run=dataclasses.replace(run, facts=(*run.facts, *times)),
            )
            logger.info("wrote the report to %s", report)
        return nested_metrics(evaluation.metrics)

    def _predicted_twice(self, message: str) -> ValueError:
        return ValueError(
            f"dataset {self._dataset_name!r}: {message}; use a sampler that neither pads nor "
            "repeats (detectron2's InferenceSampler), or reset()"
        )
