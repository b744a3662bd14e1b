"""What the tests of the prepare scripts share: the scripts themselves, and what they wrote."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
from pycocotools.coco import COCO

DATASETS = Path(__file__).parents[1] / "datasets"


def load_script(name: str) -> ModuleType:
    """A module of the folder of scripts, which is no package."""
    if str(DATASETS) not in sys.path:
        sys.path.insert(0, str(DATASETS))
    return importlib.import_module(name)


def contents(folder: Path) -> dict[str, bytes]:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}


def documents(folder: Path) -> dict[str, dict]:
    return {split: json.loads((folder / f"{split}.json").read_text()) for split in ("train", "val")}


def checked_pictures(
    dataset: Path, split: str, size: tuple[int, int], num_objects: tuple[int, int]
) -> Iterator[tuple[np.ndarray, list[tuple[dict, np.ndarray]]]]:
    """Each picture, uint8 RGB, with its annotations and their masks, all true to each other.

    Args:
        size: (height, width) that every picture must have.
        num_objects: least and greatest number of annotations of a picture.
    """
    coco = COCO(str(dataset / f"{split}.json"))
    for image in coco.loadImgs(coco.getImgIds()):
        picture = cv2.imread(str(dataset / split / image["file_name"]))[..., ::-1]
        assert picture.shape == (image["height"], image["width"], 3) == (*size, 3)
        annotations = coco.loadAnns(coco.getAnnIds(imgIds=image["id"]))
        assert num_objects[0] <= len(annotations) <= num_objects[1]
        masks = [coco.annToMask(annotation).astype(bool) for annotation in annotations]
        assert np.sum(masks, axis=0).max() <= 1  # no pixel belongs to two objects
        for annotation, mask in zip(annotations, masks, strict=True):
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            x, y, w, h = annotation["bbox"]
            assert (x, y) == (columns[0], rows[0])
            assert (x + w - 1, y + h - 1) == (columns[-1], rows[-1])
            assert annotation["area"] == mask.sum()
            assert isinstance(annotation["segmentation"]["counts"], str)
        yield picture, list(zip(annotations, masks, strict=True))
