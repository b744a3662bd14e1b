"""The panoptic quality of a model on a dataset, as one of detectron2's evaluators."""

from __future__ import annotations

import logging
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm

from mask2former_mt.dataset.catalog import labels_of, map_onto
from mask2former_mt.dataset.label_maps import read_segment_ids
from mask2former_mt.evaluation.panoptic_quality import VOID_ID, PanopticQuality, Segment
from mask2former_mt.evaluation.results_by_name import tell_of_left_out
from mask2former_mt.evaluation.summary import format_table, nested_metrics
from mask2former_mt.label_lists import Labels
from mask2former_mt.structures import UNKNOWN, Subcategory

logger = logging.getLogger(__name__)

# H x W pixels, K classes, S subcategories of the dataset


class PanopticEvaluator(DatasetEvaluator):
    """Counts pictures as they are predicted, and keeps none of them.

    Args:
        dataset_name: its records have `pan_seg_file_name`, a PNG of ids R + 256 G + 65536 B, and
            `segments_info`, dicts with `id`, `category_id` (contiguous), `iscrowd` and perhaps
            `subcategories`, S labels in {-1, 0..K_s}. Classes without an id in the metadata's
            `thing_dataset_id_to_contiguous_id` are stuff.
        labels: what the model predicts; the dataset may list a part of them, in any order. None:
            the dataset's own.
        distributed: gather from all processes; False evaluates what this process has seen.

    Raises:
        ValueError: no such dataset, or labels that the model does not know.
    """

    def __init__(
        self, dataset_name: str, *, labels: Labels | None = None, distributed: bool = True
    ) -> None:
        self._dataset_name = dataset_name
        self._dataset = labels_of(dataset_name)
        self._labels = labels or self._dataset
        self._distributed = distributed
        self._records = {record["file_name"]: record for record in DatasetCatalog.get(dataset_name)}
        classes = map_onto(self._labels, dataset_name, "the model").classes
        self._class_of = {theirs: ours for ours, theirs in enumerate(classes)}
        predicted = {s.name: s for s in self._labels.spec}
        # By the dataset's subcategories, the dataset's label of each predicted value.
        self._labels_of = {
            s.name: _labels_by_name(predicted[s.name], s) for s in self._dataset.spec
        }
        self.reset()

    def reset(self) -> None:
        """Forgets all pictures."""
        self._quality = PanopticQuality(len(self._dataset.class_names))
        self._seen: list[str] = []
        self._left_out: Counter[str] = Counter()

    def process(self, inputs: Sequence[Mapping], outputs: Sequence[Mapping]) -> None:
        """Counts a batch.

        Args:
            inputs: per image a dict with `file_name`.
            outputs: per image `panoptic_seg`, as `predict_panoptic` gives it, on any device.

        Raises:
            ValueError: an image that is not in the dataset, or maps that do not fit; with the file.
        """
        for image_input, output in zip(inputs, outputs, strict=True):
            file_name = image_input["file_name"]
            if file_name not in self._records:
                raise ValueError(
                    f"picture {file_name} is not one of the {len(self._records)} of dataset "
                    f"{self._dataset_name!r}; use the loader of that dataset"
                )
            self._seen.append(file_name)
            ids, segments = output["panoptic_seg"]
            self._add(file_name, *self._predicted(ids.cpu().numpy(), segments))

    def evaluate(self) -> OrderedDict[str, dict[str, float]]:
        """Adds up all processes' pictures; those that nobody predicted count as missed.

        Returns:
            `{"panoptic_seg": {"PQ": ...}}` in percent, as of `PanopticQuality.metrics` and, for
            each class, `PQ-<class>`; `{}` on all processes but the first.

        Raises:
            ValueError: a picture that was predicted twice.
        """
        if self._distributed:
            comm.synchronize()
            gathered = comm.gather((self._quality.sums, self._seen, self._left_out))
            if not comm.is_main_process():
                return OrderedDict()
            sums, seen, left_out = zip(*gathered, strict=True)
            self._quality.sums = np.sum(sums, axis=0)
            self._seen = [file_name for part in seen for file_name in part]
            self._left_out = sum(left_out, Counter())
        self._require_each_once()
        tell_of_left_out(self._left_out, self._dataset_name)
        self._count_unseen()
        things = MetadataCatalog.get(self._dataset_name).thing_dataset_id_to_contiguous_id
        metrics = self._quality.metrics(list(things.values()))
        by_class = zip(self._dataset.class_names, self._quality.by_class(), strict=True)
        metrics |= {f"PQ-{name}": quality for name, quality in by_class}
        metrics = {f"panoptic_seg/{name}": value for name, value in metrics.items()}
        table = format_table(metrics, self._dataset.spec)
        logger.info("results on %s:\n%s", self._dataset_name, table)
        return nested_metrics(metrics)

    def _add(self, file_name: str, ids_HW: np.ndarray, segments: Sequence[Segment]) -> None:
        truth_HW, truth = self._truth(self._records[file_name])
        try:
            self._quality.add(ids_HW, segments, truth_HW, truth)
        except ValueError as error:
            raise ValueError(
                f"dataset {self._dataset_name!r}: picture {file_name}: {error}"
            ) from error

    def _predicted(
        self, ids_HW: np.ndarray, segments_info: Sequence[Mapping]
    ) -> tuple[np.ndarray, list[Segment]]:
        """What the dataset can judge of a prediction, in its terms."""
        segments, strange = [], []
        for info in segments_info:
            category = self._class_of.get(info["category_id"])
            if category is None:
                strange.append(info["id"])
                self._left_out[self._labels.class_names[info["category_id"]]] += 1
                continue
            labels = tuple(
                of_value[info["subcategories"][name]] for name, of_value in self._labels_of.items()
            )
            segments.append(Segment(info["id"], category, labels))
        if strange:
            ids_HW = np.where(np.isin(ids_HW, strange), VOID_ID, ids_HW)
        return ids_HW, segments

    def _truth(self, record: Mapping) -> tuple[np.ndarray, list[Segment]]:
        unknown = (UNKNOWN,) * len(self._dataset.spec)
        segments = [
            Segment(
                info["id"],
                info["category_id"],
                tuple(info.get("subcategories", unknown)),
                is_crowd=bool(info.get("iscrowd", 0)),
            )
            for info in record["segments_info"]
        ]
        return read_segment_ids(record["pan_seg_file_name"]), segments

    def _require_each_once(self) -> None:
        file_name, count = (Counter(self._seen).most_common(1) or [("", 0)])[0]
        if count > 1:
            raise ValueError(
                f"dataset {self._dataset_name!r}: picture {file_name} was predicted {count} times; "
                "use a sampler that neither pads nor repeats (detectron2's InferenceSampler), or "
                "reset()"
            )

    def _count_unseen(self) -> None:
        unseen = sorted(set(self._records) - set(self._seen))
        if not unseen:
            return
        logger.warning(
            "%d of the %d images of dataset %r were not predicted (first: %s); they count as "
            "images without predictions",
            len(unseen),
            len(self._records),
            self._dataset_name,
            unseen[0],
        )
        for file_name in unseen:
            shape = self._truth(self._records[file_name])[0].shape
            self._add(file_name, np.full(shape, VOID_ID), [])


def _labels_by_name(predicted: Subcategory, dataset: Subcategory) -> dict[int | None, int]:
    """The dataset's label of each predicted value; None is none.

    A value that the dataset does not list is `UNKNOWN`, which equals no annotated one.
    """
    known = {name: index for index, name in enumerate(dataset.values)}
    labels = {index: known.get(name, UNKNOWN) for index, name in enumerate(predicted.values)}
    return {**labels, None: dataset.none_index}
