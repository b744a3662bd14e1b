"""Shares of classes and values among the training samples, compared with the dataset's."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from mask2former_mt.data.bad_samples import BadSampleLedger
from mask2former_mt.structures import GT_CLASSES, GT_SUBCATEGORIES, SubcategorySpec

# K classes, N instances, S subcategories with K_s values each.

# An alarm waits until this many instances of a class were to be expected: with fewer, chance
# decides.
MIN_EXPECTED = 100


class ShareWatch:
    """Counts the instances and pixels of each class and value.

    Args:
        class_names: of the K classes.
        spec: the S subcategories.
        dataset_counts: by class index, the instances in the dataset; empty: not known.
        alarm: a class is reported whose share of the instances falls below this fraction of its
            share in the dataset; 0: none is.
    """

    def __init__(
        self,
        class_names: Sequence[str],
        spec: SubcategorySpec,
        dataset_counts: Mapping[int, int],
        alarm: float,
    ) -> None:
        self.class_names = list(class_names)
        self.spec = spec
        self.alarm = alarm
        counts = np.array([dataset_counts.get(i, 0) for i in range(len(class_names))], float)
        self.dataset_shares = counts / max(counts.sum(), 1.0)
        self.pictures = 0
        # Rows: instances, pixels. Columns: the classes; unknown, the values, none.
        self.classes = np.zeros((2, len(class_names)), dtype=np.int64)
        self.values = [np.zeros((2, k + 2), dtype=np.int64) for k in spec.num_classes]
        self._applies_KS = np.array(spec.applicable(class_names), dtype=bool)
        self._reported: set[int] = set()

    def add(self, batch: Sequence[Mapping]) -> None:
        """Counts the samples of a batch of the mapper; no mask is copied."""
        self.pictures += len(batch)
        batch = [sample for sample in batch if len(sample["instances"])]
        if not batch:
            return
        instances = [sample["instances"] for sample in batch]
        areas_N = np.concatenate([sample["areas"].numpy() for sample in batch])
        classes_N = np.concatenate([i.get(GT_CLASSES).numpy() for i in instances])
        _count(self.classes, classes_N, areas_N)
        labels_NS = np.concatenate([i.get(GT_SUBCATEGORIES).numpy() for i in instances])
        for column, counts in enumerate(self.values):
            of_N = self._applies_KS[classes_N, column]
            _count(counts, labels_NS[of_N, column] + 1, areas_N[of_N])

    def new_alarms(self) -> list[str]:
        """A message for each class that has become too rare and was not reported yet."""
        seen = self.classes[0]
        total = seen.sum()
        expected = self.dataset_shares * total
        rare = (seen < self.alarm * expected) & (expected >= MIN_EXPECTED)
        messages = []
        for index in np.flatnonzero(rare).tolist():
            if index in self._reported:
                continue
            self._reported.add(index)
            messages.append(
                f"class {self.class_names[index]!r} has {seen[index] / total:.2%} of the training "
                f"instances so far, {self.dataset_shares[index]:.2%} in the dataset: its objects "
                "are augmented away. If they are small, raise INPUT.MIN_SCALE or INPUT.IMAGE_SIZE, "
                "or lower INPUT.MIN_VISIBLE; INPUT.SHARE_ALARM 0 ends this message"
            )
        return messages

    def shares(self) -> dict:
        """Shares in [0, 1] so far.

        Returns:
            `pictures`; `classes`, {name: {instances, pixels, dataset_instances}};
            `subcategories`, {name: {value, (none), (unknown): {instances, pixels}}}.
        """
        classes = _shares(self.classes)
        by_class = {
            name: {
                "instances": classes[0, i],
                "pixels": classes[1, i],
                "dataset_instances": self.dataset_shares[i],
            }
            for i, name in enumerate(self.class_names)
        }
        by_subcategory = {}
        for subcategory, counts in zip(self.spec.subcategories, self.values, strict=True):
            names = ["(unknown)", *subcategory.values, "(none)"]
            rows = _shares(counts).T.tolist()
            by_subcategory[subcategory.name] = {
                name: {"instances": row[0], "pixels": row[1]}
                for name, row in zip(names, rows, strict=True)
            }
        return {
            "pictures": self.pictures,
            "classes": by_class,
            "subcategories": by_subcategory,
        }


class WatchedLoader:
    """The loader of `build_train_loader`, whose batches are counted on their way to the model."""

    def __init__(
        self, loader: Iterable[list[dict]], watch: ShareWatch, ledger: BadSampleLedger
    ) -> None:
        self.loader = loader
        self.watch = watch
        self.ledger = ledger
        # The last batch that was handed out.
        self.latest: list[dict] = []

    def start_at(self, draw: int) -> None:
        """Leaves out the samples before `draw`, as the loader does."""
        self.loader.start_at(draw)

    def __iter__(self) -> Iterator[list[dict]]:
        for batch in self.loader:
            for sample in batch:
                self.ledger.add(sample.get("skipped", ()))
            self.watch.add(batch)
            self.latest = batch
            yield batch


@dataclasses.dataclass(frozen=True)
class Contents:
    """What is in the pictures of a dataset, crowds left out.

    Args:
        classes: instances of each class index.
        values: of each subcategory, instances of each label: a value, none, or unknown.
        per_picture: int64, the instances of each picture, without maps of classes.
    """

    classes: Counter[int]
    values: list[Counter[int]]
    per_picture: np.ndarray


def count_contents(records: Iterable[Mapping], spec: SubcategorySpec) -> Contents:
    """Counts what is in dataset dicts; without `subcategories` all labels are unknown.

    What only the pixels of a map of classes show is not counted, nor is its picture.
    """
    classes, values, per_picture = Counter(), [Counter() for _ in spec], []
    for record in records:
        listed = record.get("annotations", record.get("segments_info"))
        if listed is None:
            continue
        objects = [a for a in listed if not a.get("iscrowd", 0)]
        per_picture.append(len(objects))
        for annotation in objects:
            classes[annotation["category_id"]] += 1
            for counts, label in zip(values, annotation.get("subcategories", ()), strict=False):
                counts[label] += 1
    return Contents(classes, values, np.array(per_picture, dtype=np.int64))


def _count(counts: np.ndarray, numbers_N: np.ndarray, areas_N: np.ndarray) -> None:
    columns = counts.shape[1]
    counts[0] += np.bincount(numbers_N, minlength=columns)
    counts[1] += np.bincount(numbers_N, weights=areas_N, minlength=columns).astype(np.int64)


def _shares(counts: np.ndarray) -> np.ndarray:
    return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
