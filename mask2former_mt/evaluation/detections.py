"""Predictions as arrays: entries of the results JSON, each checked against its dataset."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

import msgspec
import numpy as np

from mask2former_mt.dataset.rle import looks_compressed, sums_of_lengths
from mask2former_mt.evaluation.ground_truth import GroundTruth, measure_masks
from mask2former_mt.structures import UNKNOWN

# D detections, N entries of one part, S subcategories

# The masks' texts and numbers of this many entries fit a CPU's cache.
_ENTRIES_PER_PART = 200
Self = TypeVar("Self", bound="Columns")


class Columns:
    """A dataclass of arrays of the same length, one row of them for each thing."""

    @classmethod
    def concatenate(cls: type[Self], parts: Sequence[Self]) -> Self:
        names = [field.name for field in dataclasses.fields(cls)]
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))

    def __len__(self) -> int:
        return len(getattr(self, dataclasses.fields(self)[0].name))

    def select(self: Self, which: np.ndarray | slice) -> Self:
        """The rows at these indices, in this order, or under a mask."""
        names = [field.name for field in dataclasses.fields(self)]
        return type(self)(*(getattr(self, name)[which] for name in names))


@dataclasses.dataclass(frozen=True)
class Detections(Columns):
    """What was predicted.

    Args:
        places: int64 (D,), each one's position in the results.
        images, classes: int64 (D,), indices of the ground truth's images and classes.
        scores: float64 (D,).
        areas: float64 (D,), pixels of the masks.
        extents: float64 (D, 4), xywh of the masks, in pixels.
        labels: int64 (D, S), values in 0..K_s; none where the class has no such subcategory.
        label_scores: float64 (D, S), the probability of that value; NaN where not stated.
    """

    places: np.ndarray
    images: np.ndarray
    classes: np.ndarray
    scores: np.ndarray
    areas: np.ndarray
    extents: np.ndarray
    labels: np.ndarray
    label_scores: np.ndarray

    @functools.cached_property
    def ranks(self) -> np.ndarray:
        """int64 (D,): 0 for the highest score of an image and class, then 1, ..."""
        num_classes = int(self.classes.max(initial=0)) + 1
        return ranks(self.images * num_classes + self.classes, self.scores)

    @functools.cached_property
    def by_class(self) -> np.ndarray:
        """int64 (D,): indices sorted by class, then by score, highest first, then as they are."""
        return np.lexsort((-self.scores, self.classes))


def ranks(groups_D: np.ndarray, scores_D: np.ndarray) -> np.ndarray:
    """The rank of each score within its group, 0 the highest; equal scores keep their order.

    Args:
        groups_D: int64 (D,), not negative.
        scores_D: float64 (D,).

    Returns:
        int64 (D,).
    """
    order = np.lexsort((-scores_D, groups_D))
    starts = np.flatnonzero(np.diff(groups_D[order], prepend=-1))
    sizes = np.diff(starts, append=len(order))
    ranks_D = np.empty(len(order), dtype=np.int64)
    ranks_D[order] = np.arange(len(order)) - np.repeat(starts, sizes)
    return ranks_D


class _Mask(msgspec.Struct):
    size: tuple[int, int]
    counts: str


class _Label(msgspec.Struct):
    value: str | int | None
    score: float | None = None


class _Result(msgspec.Struct):
    """An entry of the results JSON; other keys are ignored."""

    image_id: int | str
    category_id: int | str
    segmentation: _Mask
    score: float
    subcategories: dict[str, _Label] = {}


_FORM = (
    'a result must be {"image_id": ..., "category_id": ..., "score": number, "segmentation": '
    '{"size": [height, width], "counts": text from pycocotools.mask.encode}, '
    '"subcategories": {name: {"value": value or null, "score": number}}}'
)


def read_parts(
    truth: GroundTruth, results: Iterable[Mapping]
) -> Iterator[tuple[Detections, list[Mapping]]]:
    """Checks results against their dataset, some at a time, so that few masks are in memory.

    Args:
        truth: the dataset.
        results: entries as `instances_to_results` makes them, in any order; they are read once.

    Yields:
        N detections in the order of the entries, and their masks as compressed RLE; at least one
        part, which may be empty.

    Raises:
        ValueError: names the first entry that does not fit.
    """
    reader = _EntryReader(truth)
    results, count = iter(results), 0
    while (entries := list(itertools.islice(results, _ENTRIES_PER_PART))) or not count:
        yield reader.read(entries, count)
        count += len(entries)
        if not entries:
            return


class _EntryReader:
    """Checks entries against one dataset."""

    def __init__(self, truth: GroundTruth) -> None:
        self._truth = truth
        self._images = {image_id: i for i, image_id in enumerate(truth.image_ids)}
        self._classes = {category_id: k for k, category_id in enumerate(truth.category_ids)}
        self._sizes = [tuple(size) for size in truth.sizes.tolist()]
        self._applicable = truth.spec.applicable(truth.class_names)

    def read(
        self, entries: Sequence[Mapping], first_place: int
    ) -> tuple[Detections, list[Mapping]]:
        """Checks N entries, the first of which is at `first_place` in the results."""
        rows = []
        for place, entry in enumerate(entries, start=first_place):
            try:
                rows.append(self._row(entry))
            except ValueError as error:
                raise ValueError(f"{_place_of(place, entry)}: {error}") from error
        images, classes, scores, labels, label_scores = (
            zip(*rows, strict=True) if rows else [()] * 5
        )
        places = np.arange(first_place, first_place + len(rows))
        rles = [entry["segmentation"] for entry in entries]
        _check_lengths(rles, entries, places)
        areas, extents = measure_masks(rles)
        shape = (len(rows), len(self._truth.spec))
        detections = Detections(
            places=places,
            images=np.array(images, dtype=np.int64),
            classes=np.array(classes, dtype=np.int64),
            scores=np.array(scores, dtype=np.float64),
            areas=areas,
            extents=extents,
            labels=np.array(labels, dtype=np.int64).reshape(shape),
            label_scores=np.array(label_scores, dtype=np.float64).reshape(shape),
        )
        return detections, rles

    def _row(self, entry: object) -> tuple[int, int, float, list[int], list[float]]:
        """Image, class, score, labels and the labels' probabilities, NaN where not stated."""
        try:
            result = msgspec.convert(entry, _Result)
        except msgspec.ValidationError as error:
            raise ValueError(f"{error}; {_FORM}") from error
        image = self._images.get(result.image_id)
        if image is None:
            raise ValueError(
                f"image_id {result.image_id!r} is not one of the {len(self._images)} images of the "
                "ground truth; are these the predictions for another dataset or split?"
            )
        class_ = self._classes.get(result.category_id)
        if class_ is None:
            raise ValueError(
                f"category_id {result.category_id!r} is not in the ground truth, which lists "
                f"{self._truth.category_ids}; write dataset ids, not contiguous classes"
            )
        mask, size = result.segmentation, self._sizes[image]
        if mask.size != size:
            raise ValueError(
                f"the mask's size must be {list(size)} (height, width), got {list(mask.size)}; "
                "resize the masks to the original image"
            )
        # pycocotools would read a damaged text past its end.
        if not looks_compressed(mask.counts):
            raise ValueError(
                "the mask's counts must be COCO's compressed text, which this is not, or it is cut "
                f"short: {mask.counts[:80]!r}"
            )
        if not math.isfinite(result.score):
            raise ValueError(f"score must be a finite number, got {result.score}")
        predicted, spec = result.subcategories, self._truth.spec
        labels = spec.labels_of({name: label.value for name, label in predicted.items()})
        label_scores = []
        for column, s in enumerate(spec):
            if not self._applicable[class_][column]:
                # None by definition, whatever a model of other classes says.
                labels[column] = s.none_index
                label_scores.append(1.0)
                continue
            if labels[column] == UNKNOWN:
                raise ValueError(
                    f"no value of subcategory {s.name!r}; every result must predict one of "
                    f"{list(s.values)} or null (none) for it"
                )
            score = predicted[s.name].score
            if score is not None and not math.isfinite(score):
                raise ValueError(
                    f"subcategory {s.name!r}: score must be a finite number, got {score}"
                )
            label_scores.append(math.nan if score is None else score)
        return image, class_, result.score, labels, label_scores


def _check_lengths(rles: Sequence[Mapping], entries: Sequence[Mapping], places: np.ndarray) -> None:
    """Refuses masks whose run lengths are not those of their image."""
    try:
        sums = sums_of_lengths([rle["counts"] for rle in rles])
    except ValueError as error:
        where = f"results[{places[0]}] to results[{places[-1]}]"
        raise ValueError(f"{where}: one of the masks: {error}") from error
    for place, entry, rle, total in zip(places, entries, rles, sums.tolist(), strict=True):
        if total != math.prod(rle["size"]):
            raise ValueError(
                f"{_place_of(place, entry)}: the mask's run lengths must add up to height * "
                f"width = {math.prod(rle['size'])}, got {total}; the file may be damaged, "
                "predict again"
            )


def _place_of(place: int, entry: object) -> str:
    known = isinstance(entry, dict) and isinstance(entry.get("image_id"), (int, str))
    return f"results[{place}]" + (f": image {entry['image_id']!r}" if known else "")
