"""Masks of results and annotations, decoded within their extents."""

import numpy as np
import pycocotools.mask as mask_util
import pytest

from mask2former_mt.visualization.entry_masks import entry_regions

SIZE = (9, 14)


def rle_of(mask: np.ndarray) -> dict:
    return mask_util.encode(np.asfortranarray(mask, dtype=np.uint8))


@pytest.mark.parametrize(
    "box",
    [(0, 0, 14, 9), (0, 0, 1, 1), (13, 8, 14, 9), (3, 0, 5, 9), (2, 4, 11, 7), (0, 3, 14, 4)],
)
def test_all_kinds_of_segmentations(box):
    x0, y0, x1, y1 = box
    mask = np.zeros(SIZE, dtype=bool)
    mask[y0:y1, x0:x1] = True
    rle = rle_of(mask)
    text = {"size": list(SIZE), "counts": rle["counts"].decode("ascii")}
    flat = mask.reshape(-1, order="F")
    borders = np.flatnonzero(np.diff(flat, prepend=False)).tolist()
    counts = np.diff(borders, prepend=0, append=flat.size).tolist()
    # Empty runs are allowed.
    padded = [0, 0, *counts, 0, 0]
    outline = [[x0, y0, x1, y0, x1, y1, x0, y1]]
    segmentations = [rle, text, {"size": SIZE, "counts": counts}, outline]
    segmentations.append({"size": SIZE, "counts": padded})
    for region in entry_regions([{"segmentation": s} for s in segmentations], SIZE):
        assert region.box == box
        assert region.mask.all()
        assert region.area == (x1 - x0) * (y1 - y0)


def test_many_random_masks_and_empty_ones():
    generator = np.random.default_rng(1)
    shares = generator.choice([0.0, 0.03, 0.5, 0.97, 1.0], (150, 1, 1))
    masks = generator.random((150, *SIZE)) < shares
    entries = [{"segmentation": rle_of(mask)} for mask in masks]
    entries.append({"segmentation": []})
    for mask, region in zip([*masks, np.zeros(SIZE)], entry_regions(entries, SIZE), strict=True):
        whole = np.zeros(SIZE, dtype=bool)
        region.window(whole)[:] = region.mask
        np.testing.assert_array_equal(whole, mask)


@pytest.mark.parametrize("counts", ["84", "00`3", "11M^3"])
def test_damaged_counts(counts):
    # 9 * 14
    with pytest.raises(ValueError, match="height \\* width = 126"):
        list(entry_regions([{"segmentation": {"size": SIZE, "counts": counts}}], SIZE))
