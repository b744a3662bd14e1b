"""A small dataset on disk that each test bends as it needs."""

from __future__ import annotations

import copy
import json
from pathlib import Path

from dataset_to_check import DatasetToCheck, image_entry, polygon_annotation, rle_annotation

# Two images, 40 wide and 30 high; the second has no objects. Category 3 is never used.
COCO = {
    "images": [image_entry(10, "a.png"), image_entry(11, "b.png")],
    "categories": [{"id": 7, "name": "cat"}, {"id": 3, "name": "cup"}, {"id": 9, "name": "dog"}],
    "subcategories": [
        {"name": "style", "values": ["photo", "cartoon"]},
        {"name": "ripeness", "values": ["green", "yellow", "brown"]},
    ],
    "annotations": [
        polygon_annotation(100, 10, subcategories={"style": "cartoon", "ripeness": None}),
        rle_annotation(101, 10, subcategories={"ripeness": 1}),
    ],
}


class DatasetOnDisk:
    """Writes `images/`, `<split>.json` and `<name>.yaml` under a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "images").mkdir(parents=True)
        for name in ("a.png", "b.png"):
            DatasetToCheck.write_image(folder / "images" / name)
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
