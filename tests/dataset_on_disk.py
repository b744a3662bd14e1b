"""A small dataset on disk that each test bends as it needs."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
from PIL import Image

# Two images, 40 wide and 30 high; the second has no objects. Category 3 is never used.
COCO = {
    "images": [
        {"id": 10, "file_name": "a.png", "height": 30, "width": 40},
        {"id": 11, "file_name": "b.png", "height": 30, "width": 40},
    ],
    "categories": [{"id": 7, "name": "cat"}, {"id": 3, "name": "cup"}, {"id": 9, "name": "dog"}],
    "subcategories": [
        {"name": "style", "values": ["photo", "cartoon"]},
        {"name": "ripeness", "values": ["green", "yellow", "brown"]},
    ],
    "annotations": [
        {
            "id": 100,
            "image_id": 10,
            "category_id": 7,
            "bbox": [5, 5, 10, 10],
            "area": 100,
            "iscrowd": 0,
            "segmentation": [[5, 5, 15, 5, 15, 15, 5, 15]],
            "subcategories": {"style": "cartoon", "ripeness": None},
        },
        {
            "id": 101,
            "image_id": 10,
            "category_id": 9,
            "bbox": [20, 0, 20, 30],
            "area": 600,
            "iscrowd": 0,
            # Columns 20 to 39 of 30 rows: 20 * 30 = 600 pixels off, then 600 on.
            "segmentation": {"size": [30, 40], "counts": [600, 600]},
            "subcategories": {"ripeness": 1},
        },
    ],
}


class DatasetOnDisk:
    """Writes `images/`, `<split>.json` and `<name>.yaml` under a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "images").mkdir(parents=True)
        for name in ("a.png", "b.png"):
            Image.fromarray(np.zeros((30, 40, 3), np.uint8)).save(folder / "images" / name)
        self.document = copy.deepcopy(COCO)

    def write_json(self, split: str = "train") -> Path:
        path = self.folder / f"{split}.json"
        path.write_text(json.dumps(self.document), encoding="utf-8")
        return path

    def write_yaml(self, text: str | None = None) -> Path:
        path = self.folder / "tiny.yaml"
        default = "name: tiny\nroot: .\ntrain: {images: images, annotations: train.json}\n"
        path.write_text(default if text is None else text, encoding="utf-8")
        return path
