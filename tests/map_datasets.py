"""Two small datasets without a fault, one with maps of classes and one with panoptic segments."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

# Of each of two pictures: 3 rows of 4 pixels.
CLASSES = np.array([[0, 0, 1, 1], [0, 255, 1, 1], [2, 2, 2, 255]], np.uint8)
# 300 is 44 + 256 * 1, 65537 is 1 + 65536 * 1; 0 is void.
SEGMENTS = np.array([[300, 300, 65537, 65537], [300, 300, 65537, 0], [7, 7, 7, 0]])


def write_picture(path: Path, seed: int = 0, size: tuple[int, int] = CLASSES.shape) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def write_segments(path: Path, ids: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    colours = np.stack([ids >> shift & 255 for shift in (0, 8, 16)], axis=-1)
    Image.fromarray(colours.astype(np.uint8)).save(path)


def write_semantic(folder: Path) -> Path:
    """Pictures a.jpg and deep/b.png, each with a map; returns the dataset YAML."""
    for seed, name in enumerate(("a.bmp", "deep/b.png")):
        write_picture(folder / "images" / name, seed)
        map_file = (folder / "maps" / name).with_suffix(".png")
        map_file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(CLASSES).save(map_file)
    yaml_file = folder / "streets.yaml"
    yaml_file.write_text(
        "name: streets\nroot: .\nclasses: [road, tree, sky]\n"
        "train: {images: images, semantic: maps, ignore: 255}\n"
    )
    return yaml_file


def panoptic_document() -> dict:
    """Two pictures of a cat, which is a photo or of unknown style, a crowd of cats, and grass."""
    segments = [
        {"id": 300, "category_id": 5, "iscrowd": 0, "subcategories": {"style": "photo"}},
        {"id": 65537, "category_id": 8, "iscrowd": 0},
        {"id": 7, "category_id": 5, "iscrowd": 1},
    ]
    return {
        "images": [{"id": i, "file_name": f"{i}.png", "height": 3, "width": 4} for i in (1, 2)],
        "annotations": [
            {"image_id": i, "file_name": f"{i}_map.png", "segments_info": segments} for i in (1, 2)
        ],
        "categories": [
            {"id": 5, "name": "cat", "isthing": 1},
            {"id": 8, "name": "grass", "isthing": 0},
        ],
        "subcategories": [{"name": "style", "values": ["photo", "cartoon"], "applies_to": ["cat"]}],
    }


def write_panoptic(folder: Path, document: dict | None = None) -> Path:
    """Pictures and maps of `panoptic_document`, and a JSON; returns the dataset YAML."""
    for i in (1, 2):
        write_picture(folder / "images" / f"{i}.png", seed=i)
        write_segments(folder / "maps" / f"{i}_map.png", SEGMENTS)
    (folder / "panoptic.json").write_text(json.dumps(document or panoptic_document()))
    yaml_file = folder / "garden.yaml"
    yaml_file.write_text(
        "name: garden\nroot: .\ntrain: {images: images, panoptic: panoptic.json, segments: maps}\n"
    )
    return yaml_file
