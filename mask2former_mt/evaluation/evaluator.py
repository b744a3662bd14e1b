"""The detectron2 evaluator, and the same for a file of predictions."""

from __future__ import annotations

import logging
import os
import pathlib
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm

from mask2former_mt.dataset.catalog import labels_of, split_of
from mask2former_mt.evaluation.coco import check_engine
from mask2former_mt.evaluation.ground_truth import GroundTruth, ground_truth_of
from mask2former_mt.evaluation.joint import Evaluation, evaluate
from mask2former_mt.evaluation.matching import MAX_DETS
from mask2former_mt.evaluation.prediction_store import PredictionStore, write_predictions
from mask2former_mt.evaluation.report.report import Run, write_report
from mask2former_mt.evaluation.results_by_name import ResultsForDataset, tell_of_left_out
from mask2former_mt.evaluation.results_json import (
    instances_to_results,
    read_labels_of,
    read_predictions,
    write_labels,
)
from mask2former_mt.evaluation.summary import (
    format_table,
    nested_metrics,
    write_confusion,
    write_metrics,
)
from mask2former_mt.label_lists import Labels

RESULTS_FILE = "coco_instances_results.json"
logger = logging.getLogger(__name__)


class JointCOCOEvaluator(DatasetEvaluator):
    """Collects predictions, writes them as results JSON and computes the metrics.

    Each process writes the encoded predictions of its images to a temporary file, so memory does
    not grow with them; `evaluate` merges them once. The numbers depend neither on the number of
    processes nor on the order of images.

    Args:
        dataset_name: see `ground_truth_of`.
        labels: what the model predicts; the dataset may list a part of them, in any order. None:
            the dataset's own.
        output_dir: where `coco_instances_results.json`, the labels that it was written with,
            `confusion.json`, `report.html` and the temporary files are written; None writes
            nothing.
        distributed: gather from all processes; False evaluates what this process has seen.
        engine: one of `coco.ENGINES`.
        max_dets: detections that count per image and class.
        describe: gives the facts of the run for the report; None writes no report.

    Attributes:
        evaluation: what `evaluate` found, in the process that it returns metrics in.

    Raises:
        ValueError: no such dataset or engine, the JSON's categories are not those of the metadata,
            labels that the model does not know, or an annotation that cannot be evaluated.
    """

    def __init__(
        self,
        dataset_name: str,
        *,
        labels: Labels | None = None,
        output_dir: str | pathlib.Path | None = None,
        distributed: bool = True,
        engine: str = "own",
        max_dets: int = MAX_DETS,
        describe: Callable[[], Run] | None = None,
    ) -> None:
        check_engine(engine)
        self.engine = engine
        self.max_dets = max_dets
        self._dataset = labels_of(dataset_name)
        self._labels = labels or self._dataset
        self._describe = describe if output_dir is not None else None
        self._dataset_name = dataset_name
        self._output_dir = None if output_dir is None else pathlib.Path(output_dir)
        self._distributed = distributed
        # Only the process that computes the metrics needs the objects.
        is_needed = not distributed or comm.is_main_process()
        self._truth = ground_truth_of(dataset_name, self._labels) if is_needed else None
        if self._truth is not None:
            _warn_of_objects_beyond(max_dets, self._truth, dataset_name)
        self._image_ids = {record["image_id"] for record in split_of(dataset_name).records}
        self.reset()

    def reset(self) -> None:
        """Forgets all predictions."""
        self._store = PredictionStore(self._output_dir)
        classes = self._labels.class_names
        self._results = ResultsForDataset(classes, range(len(classes)), self._dataset)
        self.evaluation: Evaluation | None = None
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
                spec=self._labels.spec,
                category_ids=range(len(self._labels.class_names)),
            )
            self._store.add(image_id, list(self._results.translate(results)))

    def evaluate(self) -> OrderedDict[str, dict[str, float]]:
        """Merges all processes' predictions, writes them and computes the metrics.

        Returns:
            `{"segm": {"AP": ...}, "joint": {"AP": ...}, "subcategory": {"style/accuracy": ...}}` in
            percent, which detectron2 flattens to the keys of `joint.evaluate`; `{}` on all
            processes but the first.

        Raises:
            ValueError: an image that two processes have seen, or predictions that do not fit.
        """
        store, left_out = self._store, self._results.left_out
        if self._distributed:
            comm.synchronize()
            left_out = sum(comm.gather(left_out), Counter())
            try:
                store = store.gather()
            except ValueError as error:
                raise self._predicted_twice(str(error)) from error
            if store is None:
                return OrderedDict()

        tell_of_left_out(left_out, self._dataset_name)
        # In the dataset's order, so that the file is the same for any number of processes.
        image_ids = self._truth.image_ids
        missing = [image_id for image_id in image_ids if image_id not in store]
        if missing:
            logger.warning(
                "%d of the %d images of dataset %r were not predicted (first: %r); "
                "they count as images without predictions",
                len(missing),
                len(image_ids),
                self._dataset_name,
                missing[0],
            )
        path = None
        if self._output_dir is not None:
            path = self._output_dir / RESULTS_FILE
            write_predictions(store, image_ids, path)
            write_labels(self._dataset.with_values_of(self._labels), path)
            logger.info("wrote the predictions to %s", path)
        predicted = time.monotonic()
        self.evaluation = evaluate(
            self._truth,
            store.entries(image_ids),
            engine=self.engine,
            max_dets=self.max_dets,
            explain=self._describe is not None,
        )
        evaluated = time.monotonic()
        table = format_table(self.evaluation.metrics, self._dataset.spec)
        logger.info("results on %s:\n%s", self._dataset_name, table)
        if self._output_dir is not None:
            run = None
            if self._describe is not None:
                run = self._describe().with_facts(
                    ("predicted in", f"{predicted - self._started:.1f} s"),
                    ("evaluated in", f"{evaluated - predicted:.1f} s"),
                )
            _write_outputs(self.evaluation, self._dataset_name, path, self._output_dir, run)
        return nested_metrics(self.evaluation.metrics)

    def _predicted_twice(self, message: str) -> ValueError:
        return ValueError(
            f"dataset {self._dataset_name!r}: {message}; use a sampler that neither pads nor "
            "repeats (detectron2's InferenceSampler), or reset()"
        )


def evaluate_file(
    predictions: str | os.PathLike,
    dataset_name: str,
    output_dir: str | os.PathLike,
    *,
    engine: str = "own",
    max_dets: int = MAX_DETS,
    run: Run | None = None,
) -> Evaluation:
    """Computes the metrics that the run which wrote the predictions computed.

    Args:
        predictions: a file that `read_predictions` reads. With the labels that it was written with,
            see `read_labels_of`, it is mapped onto the dataset by name; else by number.
        dataset_name: a registered dataset.
        output_dir: made where missing; gets `metrics.json`, and with subcategories
            `confusion.json`.
        engine: one of `coco.ENGINES`.
        max_dets: detections that count per image and class.
        run: facts of the run for `report.html`; None writes no report.

    Raises:
        FileNotFoundError: no such file.
        ValueError: predictions that are damaged or not of this dataset, an annotation that cannot
            be evaluated, or an unknown engine.
    """
    started, entries = time.monotonic(), read_predictions(predictions)
    labels, results = read_labels_of(predictions), None
    truth = ground_truth_of(dataset_name, labels)
    _warn_of_objects_beyond(max_dets, truth, dataset_name)
    if labels is None:
        logger.warning(
            "%s comes without the names of its labels: category ids are taken as those of %r",
            predictions,
            dataset_name,
        )
    else:
        results = ResultsForDataset(
            labels.class_names, labels.category_ids, labels_of(dataset_name)
        )
        entries = results.translate(entries)
    try:
        evaluation = evaluate(
            truth, entries, engine=engine, max_dets=max_dets, explain=run is not None
        )
    except ValueError as error:
        path = os.fspath(predictions)
        raise ValueError(str(error) if path in str(error) else f"{path}: {error}") from error
    if results is not None:
        tell_of_left_out(results.left_out, dataset_name)
    if run is not None:
        run = run.with_facts(("evaluated in", f"{time.monotonic() - started:.1f} s"))
    write_metrics(evaluation.metrics, output_dir)
    _write_outputs(evaluation, dataset_name, predictions, output_dir, run)
    return evaluation


def _warn_of_objects_beyond(max_dets: int, truth: GroundTruth, dataset_name: str) -> None:
    """Says in how many images objects can't be found, as no more detections count."""
    _, counts = np.unique(truth.groups[~truth.crowds], return_counts=True)
    if (counts > max_dets).any():
        logger.warning(
            "%d times an image of dataset %r has more than %d objects of one class, up to %d; only "
            "%d detections of an image and class count. Set TEST.DETECTIONS_PER_IMAGE, or "
            "evaluate.py's --max-detections, to more",
            (counts > max_dets).sum(),
            dataset_name,
            max_dets,
            counts.max(),
            max_dets,
        )


def _write_outputs(
    evaluation: Evaluation,
    dataset_name: str,
    predictions: str | os.PathLike,
    output_dir: str | os.PathLike,
    run: Run | None,
) -> None:
    """Writes `confusion.json` where there are subcategories, and the report of a run."""
    if len(evaluation.truth.spec):
        write_confusion(evaluation, output_dir)
    if run is not None:
        report = write_report(
            output_dir, evaluation, dataset_name=dataset_name, predictions=predictions, run=run
        )
        logger.info("wrote the report to %s", report)
