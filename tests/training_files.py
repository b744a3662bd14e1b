"""A dataset, a config and loggers for tests that train a small model within seconds."""

from __future__ import annotations

import contextlib
import copy
import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import yaml
from detectron2.utils.logger import setup_logger
from PIL import Image

SIDE = 64  # pixels
CLASSES = ("bar", "block", "bird")  # no object is a bird, so its AP is undefined
SUBCATEGORIES = (
    {"name": "tint", "values": ["red", "blue"]},
    {"name": "finish", "values": ["matt", "silk", "gloss"]},
)
_COLOURS = {"red": (220, 40, 40), "blue": (40, 40, 220)}
# x, y, width, height, class, labels; a label left out is unknown, None is none.
_PICTURES = (
    (
        (6, 8, 40, 12, "bar", {"tint": "red", "finish": "matt"}),
        (20, 30, 26, 26, "block", {"tint": "blue", "finish": None}),
    ),
    (),  # a picture without objects
    ((4, 40, 50, 14, "bar", {"tint": "blue"}),),
    ((10, 10, 30, 32, "block", {"tint": "red", "finish": "gloss"}),),
)
_SPLITS = {"train": (0, 1, 2, 3), "val": (0, 1)}

CONFIG = {
    "VERSION": 2,
    "SEED": 1,
    "MODEL": {
        "META_ARCHITECTURE": "MultiTaskMaskFormer",
        "DEVICE": "cpu",
        "PIXEL_MEAN": [127.5, 127.5, 127.5],
        "PIXEL_STD": [127.5, 127.5, 127.5],
        "BACKBONE": {"NAME": "build_timm_backbone", "FREEZE_AT": 0},
        "TIMM": {"NAME": "mobilenetv3_small_050"},
        "SEM_SEG_HEAD": {
            "NAME": "MaskFormerHead",
            "IN_FEATURES": ["res2", "res3", "res4", "res5"],
            "CONVS_DIM": 32,
            "MASK_DIM": 32,
            "NORM": "GN",
            "DEFORMABLE_TRANSFORMER_ENCODER_N_HEADS": 4,
            "DEFORMABLE_TRANSFORMER_ENCODER_DIM_FEEDFORWARD": 32,
            "TRANSFORMER_ENC_LAYERS": 1,
        },
        "MASK_FORMER": {
            "HIDDEN_DIM": 32,
            "NHEADS": 4,
            "DIM_FEEDFORWARD": 32,
            "DEC_LAYERS": 3,
            "NUM_OBJECT_QUERIES": 6,
            "TRAIN_NUM_POINTS": 64,
            "DROPOUT": 0.0,
        },
    },
    "SOLVER": {
        "IMS_PER_BATCH": 2,
        "REFERENCE_IMS_PER_BATCH": 2,
        "BASE_LR": 0.001,
        "MAX_ITER": 2,
        "STEPS": [],
        "WARMUP_ITERS": 0,
        "CHECKPOINT_PERIOD": 1,
        "CLIP_GRADIENTS": {"ENABLED": True, "CLIP_TYPE": "full_model", "CLIP_VALUE": 1.0},
    },
    "INPUT": {
        "FORMAT": "RGB",
        "DATASET_MAPPER_NAME": "plain",
        "RANDOM_FLIP": "none",
        "MIN_SIZE_TRAIN": [SIDE],
        "MIN_SIZE_TEST": SIDE,
    },
    "DATALOADER": {"NUM_WORKERS": 0, "FILTER_EMPTY_ANNOTATIONS": False},
    "TEST": {"DETECTIONS_PER_IMAGE": 6, "REPORT": False},
}


def write_dataset(folder: Path, name: str, classes: tuple[str, ...] = CLASSES) -> Path:
    """Writes four pictures of rectangles, two JSONs and the dataset YAML, whose path is returned.

    Splits `<name>_train` (all four) and `<name>_val` (the first two) each have a picture without
    objects.
    """
    (folder / "images").mkdir(parents=True)
    for number, objects in enumerate(_PICTURES):
        picture = np.full((SIDE, SIDE, 3), 90, np.uint8)
        for x, y, w, h, _, labels in objects:
            picture[y : y + h, x : x + w] = _COLOURS[labels["tint"]]
        Image.fromarray(picture).save(folder / "images" / f"{number}.png")
    for split, numbers in _SPLITS.items():
        document = {
            "images": [
                {"id": n, "file_name": f"{n}.png", "height": SIDE, "width": SIDE} for n in numbers
            ],
            "categories": [{"id": i, "name": c} for i, c in enumerate(classes, start=1)],
            "subcategories": list(SUBCATEGORIES),
            "annotations": [],
        }
        for number in numbers:
            for x, y, w, h, class_, labels in _PICTURES[number]:
                document["annotations"].append(
                    {
                        "id": len(document["annotations"]) + 1,
                        "image_id": number,
                        "category_id": classes.index(class_) + 1,
                        "bbox": [x, y, w, h],
                        "area": w * h,
                        "iscrowd": 0,
                        "segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]],
                        "subcategories": labels,
                    }
                )
        (folder / f"{split}.json").write_text(json.dumps(document), encoding="utf-8")
    path = folder / f"{name}.yaml"
    splits = {s: {"images": "images", "annotations": f"{s}.json"} for s in _SPLITS}
    path.write_text(yaml.safe_dump({"name": name, "root": ".", **splits}), encoding="utf-8")
    return path


def write_config(path: Path, dataset: Path | None = None, changes: Mapping | None = None) -> Path:
    """Writes the small config to `path`, with the dataset's splits and OUTPUT_DIR `output` beside.

    Args:
        dataset: of `write_dataset`; None names none.
        changes: {"SECTION.KEY": value}.
    """
    config = copy.deepcopy(CONFIG)
    config["OUTPUT_DIR"] = str(path.parent / "output")
    if dataset is not None:
        name = dataset.stem
        config["DATASETS"] = {
            "FILES": [str(dataset)],
            "TRAIN": [f"{name}_train"],
            "TEST": [f"{name}_val"],
        }
    for key, value in (changes or {}).items():
        *sections, last = key.split(".")
        node = config
        for section in sections:
            node = node.setdefault(section, {})
        node[last] = value
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path


@contextlib.contextmanager
def restored_loggers() -> Iterator[None]:
    """Takes off again what a run hangs onto the loggers: handlers for files that will be gone."""
    loggers = [logging.getLogger(name) for name in ("fvcore", "detectron2", "mask2former_mt")]
    before = [(list(lg.handlers), lg.propagate, lg.level) for lg in loggers]
    yield
    for logger, (handlers, propagate, level) in zip(loggers, before, strict=True):
        for handler in set(logger.handlers) - set(handlers):
            logger.removeHandler(handler)
        logger.propagate = propagate
        logger.setLevel(level)
    setup_logger.cache_clear()
