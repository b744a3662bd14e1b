"""Pictures that say where each of their pixels was, and records of objects in them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pycocotools.mask as mask_util
from detectron2.data import transforms as T
from PIL import Image

from mask2former_mt.data.augment import named_augmentations
from mask2former_mt.data.mapper import MultiTaskInstanceMapper
from mask2former_mt.structures import SubcategorySpec

SPEC = SubcategorySpec.from_counts(["style", "size"], [2, 3])
HEIGHT, WIDTH = 100, 150
# Corners, none of them convex alone: a star, a bar, a hook that reaches the border.
OUTLINES = [
    [
        (30, 10),
        (36, 28),
        (55, 28),
        (40, 40),
        (46, 60),
        (30, 48),
        (12, 60),
        (20, 40),
        (5, 28),
        (24, 28),
    ],
    [(70.5, 20.5), (140.5, 30.5), (139.5, 44.5), (69.5, 34.5)],
    [(80, 60), (150, 60), (150, 100), (130, 100), (130, 75), (80, 75)],
]


def flat(points: list[tuple[float, float]]) -> list[float]:
    return [float(v) for point in points for v in point]


def inside(
    points: list[tuple[float, float]], size: tuple[int, int] = (HEIGHT, WIDTH)
) -> np.ndarray:
    """Bool (H, W): pixel centres with an odd number of edges to their left; no rasteriser."""
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    odd = np.zeros(size, bool)
    for (x0, y0), (x1, y1) in zip(points, points[1:] + points[:1], strict=True):
        if y0 != y1:
            crosses = (min(y0, y1) <= y) & (y < max(y0, y1))
            odd ^= crosses & (x0 + (y - y0) * (x1 - x0) / (y1 - y0) < x)
    return odd


def rle(mask: np.ndarray) -> dict:
    return mask_util.encode(np.asfortranarray(mask.astype(np.uint8)))


def annotation(segmentation, *, labels=(0, 0), category=0, number=1) -> dict:
    return {
        "id": number,
        "bbox": [0, 0, 1, 1],
        "bbox_mode": 1,
        "segmentation": segmentation,
        "category_id": category,
        "iscrowd": 0,
        "subcategories": list(labels),
    }


def write_coordinates(path: Path) -> Path:
    """A picture whose red is each pixel's x, its green y, and its blue 0."""
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[..., 1], image[..., 0] = np.mgrid[:HEIGHT, :WIDTH]
    Image.fromarray(image).save(path)
    return path


def record_of(path: Path, *, kinds: str = "ppp") -> dict:
    """The three objects in order; kinds: "p" a polygon, "r" an RLE."""
    annotations = [
        annotation(
            [flat(points)] if kind == "p" else rle(inside(points)),
            labels=(i % 2, i),
            category=i,
            number=100 + i,
        )
        for i, (points, kind) in enumerate(zip(OUTLINES, kinds, strict=True))
    ]
    return {
        "file_name": str(path),
        "height": HEIGHT,
        "width": WIDTH,
        "image_id": 7,
        "annotations": annotations,
    }


def mapper_of(entries: list[dict], **fields) -> MultiTaskInstanceMapper:
    """A training mapper of INPUT.AUGMENTATIONS `entries`."""
    augmentations: list[T.Augmentation] = named_augmentations(entries, image_format="RGB")
    arguments = {"is_train": True, "image_format": "RGB", "spec": SPEC, "seed": 3, **fields}
    return MultiTaskInstanceMapper(augmentations=augmentations, **arguments)
