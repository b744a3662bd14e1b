"""Results that were written with one list of labels, in the terms of a dataset with another."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from mask2former_mt.label_lists import Labels, shown_names

logger = logging.getLogger(__name__)


class ResultsForDataset:
    """Gives entries of a results JSON the dataset's category ids.

    What the dataset does not list cannot be judged by it: entries of such classes, and values of
    such subcategories, are left out.

    Args:
        class_names: K names of the classes that were predicted.
        category_ids: the ids that the entries have for them.
        dataset: the labels of the dataset.

    Attributes:
        left_out: number of entries of each class that was left out.
    """

    def __init__(
        self, class_names: Sequence[str], category_ids: Sequence[int], dataset: Labels
    ) -> None:
        ids = dict(zip(dataset.class_names, dataset.category_ids, strict=True))
        ids = {name: id_ for name, id_ in ids.items() if id_ is not None}
        self._class_names = dict(zip(category_ids, class_names, strict=True))
        self._ids = {i: ids[name] for i, name in self._class_names.items() if name in ids}
        self._subcategories = set(dataset.spec.names)
        self.left_out: Counter[str] = Counter()

    def translate(self, entries: Iterable[Mapping]) -> Iterator[Mapping]:
        """The entries that the dataset can judge; damaged ones pass, for the reader to name.

        Raises:
            ValueError: a category id that is not among those of the predicted classes.
        """
        for entry in entries:
            category_id = entry.get("category_id") if isinstance(entry, Mapping) else None
            if not isinstance(category_id, (int, str)):
                yield entry
            elif category_id not in self._class_names:
                raise ValueError(
                    f"category_id {category_id!r} is not one of those that the predictions list: "
                    f"{shown_names([f'{i}: {name}' for i, name in self._class_names.items()])}"
                )
            elif category_id not in self._ids:
                self.left_out[self._class_names[category_id]] += 1
            else:
                labels = entry.get("subcategories")
                if isinstance(labels, Mapping):
                    labels = {s: labels[s] for s in labels if s in self._subcategories}
                    entry = {**entry, "subcategories": labels}
                yield {**entry, "category_id": self._ids[category_id]}


def tell_of_left_out(counts: Counter[str], dataset_name: str) -> None:
    """Says in the log how many predictions of which classes the dataset does not judge."""
    if counts:
        logger.warning(
            "%d predictions of classes that dataset %r does not list are left out, as it cannot "
            "judge them: %s",
            counts.total(),
            dataset_name,
            shown_names([f"{name} ({count})" for name, count in counts.most_common()]),
        )
