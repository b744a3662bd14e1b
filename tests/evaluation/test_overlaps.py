"""Pairs of masks and of boxes that overlap, found without comparing each with each."""

import numpy as np
import pycocotools.mask as mask_util
import pytest

from mask2former_mt.evaluation import overlaps
from mask2former_mt.evaluation.ground_truth import measure_masks

SIZE = (120, 160)


def box_masks(boxes: np.ndarray) -> list[dict]:
    rles = []
    for x, y, width, height in boxes.tolist():
        mask = np.zeros(SIZE, dtype=np.uint8, order="F")
        mask[y : y + height, x : x + width] = 1
        rles.append(mask_util.encode(mask))
    return rles


def random_boxes(count: int, seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    corners = generator.integers(0, (120, 80), (count, 2))
    return np.concatenate([corners, generator.integers(1, 40, (count, 2))], axis=1)


@pytest.mark.parametrize("by_class", [False, True])
@pytest.mark.parametrize("least_iou", [0.1, 0.5])
def test_pairs_are_those_of_all_comparisons(by_class, least_iou):
    ours, theirs = box_masks(random_boxes(80, 0)), box_masks(random_boxes(60, 1))
    crowds = np.arange(60) % 5 == 0
    classes = (np.arange(80) % 3, np.arange(60) % 3)
    ious = mask_util.iou(ours, theirs, crowds.tolist())
    wanted = ious >= least_iou
    if by_class:
        wanted &= classes[0][:, None] == classes[1]
    assert wanted.any()
    finder = overlaps.ObjectFinder(theirs, *measure_masks(theirs), crowds)
    pairs = finder.pairs(
        ours, *measure_masks(ours), least_iou=least_iou, classes=classes if by_class else None
    )
    order = np.lexsort((pairs.objects, pairs.detections))
    expected = wanted.nonzero()
    np.testing.assert_array_equal((pairs.detections[order], pairs.objects[order]), expected)
    np.testing.assert_array_equal(pairs.ious[order], ious[expected])


def test_masks_far_from_each_other_are_not_compared(monkeypatch):
    # 40 x 30 boxes of 3 pixels, 4 apart: each overlaps with itself alone.
    corners = np.stack(np.meshgrid(np.arange(40), np.arange(30)), axis=-1).reshape(-1, 2) * 4
    rles = box_masks(np.concatenate([corners, np.full((1200, 2), 3)], axis=1))
    compared = []
    iou = overlaps.mask_utils.iou

    def count(ours, theirs, crowds):
        compared.append((len(ours), len(theirs)))
        return iou(ours, theirs, crowds)

    monkeypatch.setattr(overlaps.mask_utils, "iou", count)
    finder = overlaps.ObjectFinder(rles, *measure_masks(rles), np.zeros(1200, dtype=bool))
    areas, extents = measure_masks(rles[600:800])
    pairs = finder.pairs(rles[600:800], areas, extents, least_iou=0.1)
    assert compared == [(200, 200)]
    np.testing.assert_array_equal(pairs.objects, pairs.detections + 600)
