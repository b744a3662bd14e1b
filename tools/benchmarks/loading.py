"""Reading and checking a large COCO JSON, and the start of a training on it.

pycocotools reads the file as well, and checks nothing; detectron2 makes a training loader of it."""

from __future__ import annotations

import contextlib
import ctypes
import io
import json
import multiprocessing
import os
import pathlib
import platform
import tempfile

import cv2
import numpy as np
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog, build_detection_train_loader
from detectron2.data.datasets import register_coco_instances
from pycocotools.coco import COCO

from benchmarks.memory import reset_peak, resident
from benchmarks.pairs import Settings, alternate
from mask2former_mt.config import add_mask2former_mt_config
from mask2former_mt.data.loader import build_train_loader
from mask2former_mt.dataset import catalog
from mask2former_mt.dataset.document import read_document
from mask2former_mt.dataset.split import Split, SplitFiles

HEIGHT, WIDTH = 480, 640
PER_PICTURE = 8
CORNERS = 24
LISTS = {
    "categories": [{"id": i + 1, "name": f"class {i}"} for i in range(80)],
    "subcategories": [{"name": "style", "values": ["photo", "cartoon"]}],
}


def run(settings: Settings) -> list[dict]:
    """Time with and without opening the images, which pycocotools never does; then memory."""
    count = settings.annotations
    with tempfile.TemporaryDirectory() as folder:
        json_file, images = make_dataset(pathlib.Path(folder), count)
        peers = {"pycocotools": lambda: _theirs(json_file)} if settings.peer("pycocotools") else {}
        rows = []
        for check_images, what in ((False, ""), (True, f", {_pictures(count)} images opened")):
            rows += alternate(
                "data",
                f"JSON of {count} annotations{what}",
                lambda check=check_images: _ours(json_file, images, check),
                peers,
                settings,
            )
        rows += _start_up(json_file, images, settings)
        ours = _peak("ours", json_file, images)
        theirs = _peak("pycocotools", json_file, images) if peers else None
    rows.append(
        {
            "benchmark": "data",
            "case": f"JSON of {count} annotations, peak memory",
            "peer": "pycocotools" if peers else None,
            "ours_s": None,
            "peer_s": None,
            "ours_bytes": ours,
            "peer_bytes": theirs,
            "ratio": theirs / ours if peers else None,
        }
    )
    return rows


def _start_up(json_file: pathlib.Path, images: pathlib.Path, settings: Settings) -> list[dict]:
    """From a dataset YAML to a loader that could give its first batch.

    Ours reads and checks every annotation and the header of every picture on the way.
    """
    yaml_file = json_file.with_name("large.yaml")
    yaml_file.write_text(
        f"name: large\nroot: .\ntrain: {{images: {images.name}, annotations: {json_file.name}}}\n",
        encoding="utf-8",
    )
    cfg = get_cfg()
    add_mask2former_mt_config(cfg)
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.DATASETS.TRAIN = ("large_train",)

    def ours() -> None:
        os.utime(json_file)  # a changed file is read anew, as in a process that has just begun
        catalog.register_dataset_files([yaml_file])
        catalog.check_registered("large_train")
        build_train_loader(cfg, dict)
        forget()

    def theirs() -> None:
        register_coco_instances("large_train", {}, str(json_file), str(images))
        with contextlib.redirect_stdout(io.StringIO()):
            build_detection_train_loader(cfg, mapper=dict)
        forget()

    def forget() -> None:
        DatasetCatalog.remove("large_train")
        MetadataCatalog.remove("large_train")

    peers = {"detectron2": theirs} if settings.peer("detectron2") else {}
    case = f"start of a training on {settings.annotations} annotations"
    return alternate("data", case, ours, peers, settings)


def make_dataset(folder: pathlib.Path, count: int) -> tuple[pathlib.Path, pathlib.Path]:
    """Writes the JSON and its images, all of them the same file; returns JSON and image folder."""
    images = folder / "images"
    images.mkdir()
    picture = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
    cv2.imwrite(str(folder / "picture.jpg"), picture)
    for index in range(_pictures(count)):
        os.link(folder / "picture.jpg", images / f"{index}.jpg")
    rng = np.random.default_rng(0)
    angles = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)
    directions = np.stack((np.cos(angles), np.sin(angles)), axis=1)
    annotations = []
    for index in range(count):
        centre = rng.uniform((60, 60), (WIDTH - 60, HEIGHT - 60))
        points = np.round(centre + rng.uniform(15, 55, (CORNERS, 1)) * directions, 2)
        low, extent = points.min(axis=0), np.ptp(points, axis=0)
        annotations.append(
            {
                "id": index + 1,
                "image_id": index // PER_PICTURE,
                "category_id": index % 80 + 1,
                "iscrowd": 0,
                "area": float(extent.prod()) / 2,
                "bbox": [*low.tolist(), *extent.tolist()],
                "segmentation": [points.reshape(-1).tolist()],
                "subcategories": {"style": "photo" if index % 2 else "cartoon"},
            }
        )
    document = {
        "images": [
            {"id": i, "file_name": f"{i}.jpg", "height": HEIGHT, "width": WIDTH}
            for i in range(_pictures(count))
        ],
        **LISTS,
        "annotations": annotations,
    }
    (folder / "train.json").write_text(json.dumps(document))
    return folder / "train.json", images


def _pictures(count: int) -> int:
    return -(-count // PER_PICTURE)


def _ours(json_file: pathlib.Path, images: pathlib.Path, check_images: bool) -> Split:
    # Not `read_split`, which keeps what it has read.
    files, document = SplitFiles("train", images, json_file), read_document(json_file)
    split = Split(files, document, opens_pictures=check_images)
    assert not split.problems
    assert not split.image_problems
    return split


def _theirs(json_file: pathlib.Path) -> COCO:
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(json_file))


def _peak(side: str, json_file: pathlib.Path, images: pathlib.Path) -> int:
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(sender, side, json_file, images))
    process.start()
    sender.close()
    try:
        return receiver.recv()
    except EOFError:
        raise SystemExit(f"error: {side} did not come to its end") from None
    finally:
        process.join()


def _child(sender, side: str, json_file: pathlib.Path, images: pathlib.Path) -> None:
    if platform.system() != "Linux":
        raise SystemExit("error: peak memory is read from /proc, which only Linux has")
    ctypes.CDLL(None).malloc_trim(0)
    reset_peak()
    before = resident("VmRSS")
    result = _ours(json_file, images, True) if side == "ours" else _theirs(json_file)
    sender.send(resident("VmHWM") - before)
    del result
