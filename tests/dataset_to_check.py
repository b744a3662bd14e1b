"""A small dataset without a fault, for tests that put one in, and its check."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
from PIL import Image

from mask2former_mt.check.check import check_dataset
from mask2former_mt.dataset.catalog import read_dataset_file
from mask2former_mt.dataset.split import read_split, training_records

HEIGHT, WIDTH = 30, 40
ERROR, WARNING = "error", "warning"
SQUARE = [5, 5, 15, 5, 15, 15, 5, 15]  # 10 x 10 pixels
BOW_TIE = [5, 5, 15, 15, 15, 5, 5, 15]
HEADER = {
    "categories": [{"id": 7, "name": "cat"}, {"id": 9, "name": "dog"}],
    "subcategories": [
        {"name": "style", "values": ["photo", "cartoon"]},
        {"name": "ripeness", "values": ["green", "brown"]},
    ],
}


def polygon_annotation(annotation_id: int, image_id: int, **changes) -> dict:
    """A sound square; `changes` replace its fields."""
    return {
        "id": annotation_id,
        "image_id": image_id,
        "category_id": 7,
        "bbox": [5, 5, 10, 10],
        "area": 100,
        "iscrowd": 0,
        "segmentation": [list(SQUARE)],
        "subcategories": {"style": "photo", "ripeness": "green"},
        **changes,
    }


def rle_annotation(annotation_id: int, image_id: int, **changes) -> dict:
    """Columns 20 to 39 of 30 rows: 20 * 30 = 600 pixels off, then 600 on."""
    return {
        **polygon_annotation(annotation_id, image_id),
        "category_id": 9,
        "bbox": [20, 0, 20, 30],
        "area": 600,
        "segmentation": {"size": [HEIGHT, WIDTH], "counts": [600, 600]},
        "subcategories": {"style": "cartoon", "ripeness": "brown"},
        **changes,
    }


def image_entry(image_id: int, file_name: str, height: int = HEIGHT, width: int = WIDTH) -> dict:
    return {"id": image_id, "file_name": file_name, "height": height, "width": width}


DOCUMENTS = {
    "train": {
        **HEADER,
        "images": [image_entry(10, "a.png"), image_entry(11, "b.png")],
        "annotations": [
            polygon_annotation(100, 10),
            rle_annotation(101, 10),
            polygon_annotation(102, 11, subcategories={"ripeness": None}),
        ],
    },
    "val": {
        **HEADER,
        "images": [image_entry(1, "c.png")],
        "annotations": [polygon_annotation(1, 1)],
    },
}


class DatasetToCheck:
    """Writes `train/`, `val/`, their JSON files and `tiny.yaml` under a folder that it makes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # One by one, or what they have in common would be one object.
        self.documents = {split: copy.deepcopy(DOCUMENTS[split]) for split in DOCUMENTS}
        self.yaml = folder / "tiny.yaml"
        for seed, name in enumerate(("train/a.png", "train/b.png", "val/c.png")):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            self.write_image(folder / name, seed=seed)
        self.yaml.write_text(
            "name: tiny\nroot: .\n"
            "train: {images: train, annotations: train.json}\n"
            "val: {images: val, annotations: val.json}\n",
            encoding="utf-8",
        )

    @property
    def train(self) -> dict:
        return self.documents["train"]

    @property
    def annotation(self) -> dict:
        """The square in `a.png`, whose id is 100."""
        return self.train["annotations"][0]

    def image(self, split: str, name: str) -> Path:
        return self.folder / split / name

    def json_file(self, split: str = "train") -> Path:
        return self.folder / f"{split}.json"

    @staticmethod
    def write_image(path: Path, *, seed: int = 0, size=(HEIGHT, WIDTH), **options) -> None:
        pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path, **options)

    def write(self) -> Path:
        """Writes the documents; returns the YAML."""
        for split, document in self.documents.items():
            self.json_file(split).write_text(json.dumps(document), encoding="utf-8")
        return self.yaml

    def is_refused(self) -> bool:
        """Whether training would refuse the dataset as it is on disk."""
        try:
            dataset = read_dataset_file(self.yaml)
            for split in dataset.entries:
                files = dataset.files_of(split)
                training_records(files, read_split(files).header)
        except (ValueError, FileNotFoundError):
            return True
        return False


def check(dataset, *, num_workers=2, **options):
    """Writes the dataset's documents and checks it."""
    return check_dataset(dataset.write(), num_workers=num_workers, **options)


def kinds_of(result) -> list[tuple[str, str]]:
    return sorted({(problem.severity, problem.kind) for problem in result.problems})


def the_one(result, kind):
    (problem,) = [problem for problem in result.problems if problem.kind == kind]
    return problem
