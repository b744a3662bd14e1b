"""Predictions as arrays, each checked against its dataset, masks kept no longer than needed."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from mask2former_mt.evaluation.entries import EntryReader
from mask2former_mt.evaluation.ground_truth import GroundTruth
from mask2former_mt.evaluation.overlaps import Pairs, mask_pairs

# D detections, N entries read at once, S subcategories

# So many masks' texts and numbers fit a CPU's cache.
_ENTRIES_AT_ONCE = 200


@dataclasses.dataclass(frozen=True)
class Detections:
    """What was predicted, sorted by image and then as the results list it.

    Args:
        places: int64 (D,): the position of each in the results.
        images, classes: int64 (D,), indices of the ground truth's images and classes.
        scores: float64 (D,).
        areas: float64 (D,), pixels of the masks.
        extents: float64 (D, 4), xywh of the masks, in pixels.
        labels: int64 (D, S), values in 0..K_s.
        label_scores: float64 (D, S), the probability of that value; NaN where not stated.
        ranks: int64 (D,): 0 for the highest score of an image and class, then 1, ...
    """

    places: np.ndarray
    images: np.ndarray
    classes: np.ndarray
    scores: np.ndarray
    areas: np.ndarray
    extents: np.ndarray
    labels: np.ndarray
    label_scores: np.ndarray
    ranks: np.ndarray

    def __len__(self) -> int:
        """D."""
        return len(self.places)


def read_detections(
    truth: GroundTruth,
    results: Iterable[Mapping],
    *,
    least_iou: float = 0.5,
    same_class: bool = True,
) -> tuple[Detections, Pairs]:
    """Checks results against their dataset, some at a time.

    Args:
        truth: the ground truth.
        results: entries as `results.instances_to_results` makes them, in any order; there may be
            none. They are read once and not kept, so a generator needs no memory for the masks.
        least_iou: pairs with a smaller IoU are left out.
        same_class: only pairs of the same class.

    Returns:
        The detections, and the pairs of a detection and an object of its image that overlap.

    Raises:
        ValueError: names the first entry that does not fit.
    """
    reader = EntryReader(truth)
    results = iter(results)
    parts, pairs, count = [], [Pairs.nothing()], 0
    # At least one part, so that there are columns.
    while (entries := list(itertools.islice(results, _ENTRIES_AT_ONCE))) or not parts:
        columns, rles = reader.read(entries, count)
        for rows in _by_image(columns["images"]):
            image = columns["images"][rows.start]
            found = mask_pairs(
                truth,
                slice(*truth.firsts[image : image + 2]),
                rles[rows],
                columns["classes"][rows],
                columns["areas"][rows],
                columns["extents"][rows],
                least_iou=least_iou,
                same_class=same_class,
            )
            place = count + rows.start
            pairs.append(dataclasses.replace(found, detections=found.detections + place))
        parts.append(columns)
        count += len(entries)
    columns = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    order = np.argsort(columns["images"], kind="stable")
    columns = {key: column[order] for key, column in columns.items()}
    groups_D = truth.group_of(columns["images"], columns["classes"])
    new_places = np.empty(count, dtype=np.int64)
    new_places[order] = np.arange(count)
    pairs = Pairs.concatenate(pairs)
    pairs = dataclasses.replace(pairs, detections=new_places[pairs.detections]).sorted()
    detections = Detections(places=order, **columns, ranks=ranks(groups_D, columns["scores"]))
    return detections, pairs


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


def _by_image(images_N: np.ndarray) -> Iterator[slice]:
    """The runs of the same image."""
    starts = np.flatnonzero(np.diff(images_N, prepend=-1)).tolist()
    for start, stop in itertools.pairwise([*starts, len(images_N)]):
        yield slice(start, stop)
