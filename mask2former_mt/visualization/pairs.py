"""Ground truth beside prediction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mask2former_mt.structures import SubcategorySpec
from mask2former_mt.visualization.overlay import draw_ground_truth, draw_results
from mask2former_mt.visualization.painting import MIN_SIDE
from mask2former_mt.visualization.sheet import side_by_side

TITLES = ("ground truth", "prediction")


def draw_pair(
    image: np.ndarray,
    results: Sequence[Mapping],
    annotations: Sequence[Mapping],
    *,
    class_names: Sequence[str],
    category_ids: Sequence[int],
    spec: SubcategorySpec,
    min_side: int = MIN_SIDE,
    max_side: int = 0,
) -> np.ndarray:
    """The image twice: with its annotations on the left, with its predictions on the right.

    Args:
        image: uint8 RGB (H, W, 3).
        results, category_ids: as of `draw_results`.
        annotations: as of `draw_ground_truth`.
        min_side, max_side: as of `draw_results`, of each of the two.

    Returns:
        uint8 RGB.
    """

    def draw(min_side: int) -> tuple[np.ndarray, np.ndarray]:
        size = {"min_side": min_side, "max_side": max_side}
        names = {"class_names": class_names, "spec": spec}
        truth = draw_ground_truth(image, annotations, **names, **size)
        return truth, draw_results(image, results, category_ids=category_ids, **names, **size)

    truth, prediction = draw(min_side)
    if truth.shape != prediction.shape:
        # One side had more labels than have room, and was enlarged: the other must be as large.
        truth, prediction = draw(max(min(truth.shape[:2]), min(prediction.shape[:2])))
    return side_by_side(truth, prediction, TITLES)
