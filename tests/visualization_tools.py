"""Hand-made masks, and the labels that are drawn for them."""

import numpy as np
import pycocotools.mask as mask_util

from mask2former_mt.structures import Subcategory, SubcategorySpec
from mask2former_mt.visualization import LabelNames, SizeLimits

SPEC = SubcategorySpec(
    (
        Subcategory("ink", ("black", "red")),
        Subcategory("size", ("small", "medium", "large")),
    )
)
NO_SPEC = SubcategorySpec()
CLASSES = [str(i) for i in range(10)]
NAMES = LabelNames(CLASSES, SPEC, range(10, 20))
OWN_SIZE = SizeLimits(min_side=0)


def grey(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), 128, dtype=np.uint8)


def box_masks(height: int, width: int, boxes: list[tuple[int, int, int, int]]) -> np.ndarray:
    masks = np.zeros((len(boxes), height, width), dtype=bool)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
        mask[y0:y1, x0:x1] = True
    return masks


def mask_of(size: tuple[int, int], *boxes: tuple[int, int, int, int]) -> np.ndarray:
    """One mask of all boxes together."""
    return box_masks(*size, list(boxes)).any(axis=0)


def result(mask: np.ndarray, category_id: int, score: float, **labels: tuple) -> dict:
    """An entry of a results JSON; labels are pairs of a value's name and its score."""
    rle = mask_util.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {
        "category_id": category_id,
        "segmentation": {"size": rle["size"], "counts": rle["counts"].decode("ascii")},
        "score": score,
        "subcategories": {name: {"value": v, "score": s} for name, (v, s) in labels.items()},
    }


def lines_of(drawn: list) -> list[str]:
    return [line for lines, _, _ in drawn for line in lines]


def inside(box: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    return box[0] >= 0 and box[1] >= 0 and box[2] <= shape[1] and box[3] <= shape[0]


def overlap(a: tuple[int, ...], b: tuple[int, ...]) -> int:
    """Pixels that two boxes x0, y0, x1, y1 have in common."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return max(0, width) * max(0, height)


def any_overlap(drawn: list) -> bool:
    boxes = [box for _, box, _ in drawn]
    return any(overlap(a, b) for i, a in enumerate(boxes) for b in boxes[:i])
