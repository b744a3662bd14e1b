"""The masks of results and annotations, each decoded within its extent."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import pycocotools.mask as mask_util

from mask2former_mt.dataset.rle import compressed, run_lengths
from mask2former_mt.visualization.regions import EMPTY, Region

# H x W the image's size in pixels.

# Masks whose run lengths are read at once: one by one takes ten times as long. Of large and ragged
# masks fewer, as each character becomes numbers of some 30 bytes.
_BATCH, _BATCH_CHARACTERS = 64, 1 << 18


def entry_regions(entries: Sequence[Mapping], size: tuple[int, int]) -> Iterator[Region]:
    """The masks of results or annotations, one after another, so that one is in memory.

    Args:
        entries: the `segmentation` of each is a list of COCO polygons or an RLE, compressed or not.
        size: H, W of the image.

    Raises:
        ValueError: neither polygons nor RLE, or an RLE that is damaged or of another size.
    """
    height, width = size
    for texts in _batches(_counts(entry["segmentation"], size) for entry in entries):
        lengths, starts = run_lengths(texts)
        sums = np.add.reduceat(lengths, starts[:-1])
        if lengths.min() < 0 or (sums != height * width).any():
            raise ValueError(
                "RLE counts must be run lengths that add up to height * width = "
                f"{height * width}, got {sums.tolist()}; they may be cut short, export them again"
            )
        for start, stop in itertools.pairwise(starts.tolist()):
            yield _region_of_runs(lengths[start:stop], height)


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    for text in texts:
        if len(batch) == _BATCH or (batch and sum(map(len, batch)) > _BATCH_CHARACTERS):
            yield batch
            batch = []
        batch.append(text)
    if batch:
        yield batch


def _counts(segmentation: object, size: tuple[int, int]) -> str:
    """The mask as compressed counts."""
    if isinstance(segmentation, list):
        polygons = mask_util.frPyObjects(segmentation, *size) if segmentation else []
        counts = mask_util.merge(polygons)["counts"] if polygons else _nothing(size)
    elif not (isinstance(segmentation, Mapping) and {"size", "counts"} <= set(segmentation)):
        raise ValueError(
            "a segmentation must be a list of polygons or an RLE with size and counts, "
            f"got {type(segmentation).__name__}"
        )
    elif tuple(segmentation["size"]) != size:
        raise ValueError(
            f"a segmentation must be at the image's size (H, W) {size}, "
            f"got an RLE of {tuple(segmentation['size'])}"
        )
    else:
        counts = compressed(segmentation)["counts"]
    return counts if isinstance(counts, str) else counts.decode("ascii")


def _nothing(size: tuple[int, int]) -> bytes:
    return compressed({"size": list(size), "counts": [size[0] * size[1]]})["counts"]


def _region_of_runs(lengths: np.ndarray, height: int) -> Region:
    """The region of a mask given as run lengths of 0, 1, 0, ... column by column."""
    runs_of_ones = 2 * np.flatnonzero(lengths[1::2]) + 1
    if not len(runs_of_ones):
        return EMPTY
    first, last = runs_of_ones[0], runs_of_ones[-1]
    ends = np.cumsum(lengths)
    left, right = int(ends[first - 1]) // height, (int(ends[last]) - 1) // height + 1
    # From the top of the first column to the bottom of the last one.
    before, behind = ends[first - 1] - left * height, right * height - ends[last]
    runs = np.concatenate(([before], lengths[first : last + 1], [behind]))
    columns = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(right - left, height)
    rows = np.flatnonzero(columns.any(axis=0))
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    return Region(left, top, np.ascontiguousarray(columns[:, top:bottom].T))
