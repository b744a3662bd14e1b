"""The mapper: against detectron2's, and without its guard."""

from __future__ import annotations

import pathlib
import tempfile
import time

import cv2
import numpy as np
from detectron2.data import DatasetMapper
from detectron2.data import transforms as T
from detectron2.structures import BoxMode

from benchmarks.pairs import Settings, alternate
from mask2former_mt.data import mapper as mapper_module
from mask2former_mt.data.mapper import MultiTaskInstanceMapper
from mask2former_mt.data.seeding import seeded
from mask2former_mt.structures import SubcategorySpec

PICTURES = 16
HEIGHT, WIDTH = 480, 640


def run(settings: Settings) -> list[dict]:
    """JPEG to image tensor and masks: decode, flip, large-scale jitter, crop, polygons."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        records = make_records(pathlib.Path(folder), settings.objects)
        for size in settings.sizes:
            ours = _ours(records, size)
            peers = {"detectron2": _theirs(records, size)} if settings.peer("detectron2") else {}
            case = f"{PICTURES} JPEGs of {WIDTH}x{HEIGHT}, {settings.objects} objects, crop {size}"
            rows += alternate("data", case, ours, peers, settings)
            rows.append(_guard(records, size, settings))
    return rows


def _guard(records: list[dict], size: int, settings: Settings) -> dict:
    """The mapper with the guard on each sample, against without.

    The guard's share is measured within the runs, since two runs differ by more than that, and
    stands in the row's case.
    """
    check, once = mapper_module.check_sample, _ours(records, size)
    seconds = {"guard": 0.0, "all": 0.0}

    def timed_check(*args, **fields):
        started = time.perf_counter()
        check(*args, **fields)
        seconds["guard"] += time.perf_counter() - started

    def with_check(replacement):
        def run_once():
            mapper_module.check_sample = replacement
            started = time.perf_counter()
            once()
            if replacement is timed_check:
                seconds["all"] += time.perf_counter() - started

        return run_once

    where = f"{PICTURES} samples, {settings.objects} objects, crop {size}"
    peers = {"no guard": with_check(lambda *args, **fields: None)}
    try:
        (row,) = alternate("data", where, with_check(timed_check), peers, settings)
    finally:
        mapper_module.check_sample = check
    share = 100 * seconds["guard"] / seconds["all"]
    return {**row, "case": f"guard: {share:.2f} % of the mapper's time, {where}"}


def _augmentations(size: int) -> list[T.Augmentation]:
    return [T.RandomFlip(), T.ResizeScale(0.1, 2.0, size, size), T.FixedSizeCrop((size, size))]


def _ours(records: list[dict], size: int):
    mapper = MultiTaskInstanceMapper(
        is_train=True,
        augmentations=_augmentations(size),
        image_format="RGB",
        spec=SubcategorySpec(),
        size_divisibility=32,
    )

    def once():
        for draw, record in enumerate(records):
            mapper({**record, "draw": draw})

    return once


def _theirs(records: list[dict], size: int):
    mapper = DatasetMapper(
        is_train=True,
        augmentations=_augmentations(size),
        image_format="RGB",
        use_instance_mask=True,
        instance_mask_format="bitmask",
    )
    # detectron2 draws from NumPy: the same augmentations for both, without the time to seed them.
    states = []
    for draw in range(len(records)):
        with seeded(0, draw):
            states.append(np.random.get_state())  # noqa: NPY002

    def once():
        for record, state in zip(records, states, strict=True):
            np.random.set_state(state)  # noqa: NPY002
            mapper(record)

    return once


def make_records(folder: pathlib.Path, objects: int) -> list[dict]:
    """Smooth random pictures, and star-shaped polygons of 24 corners."""
    rng = np.random.default_rng(0)
    records = []
    for index in range(PICTURES):
        coarse = rng.integers(0, 256, (15, 20, 3), dtype=np.uint8)
        path = folder / f"{index}.jpg"
        cv2.imwrite(str(path), cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC))
        annotations = []
        for _ in range(objects):
            centre = rng.uniform((60, 60), (WIDTH - 60, HEIGHT - 60))
            angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
            radius = rng.uniform(15, 55, (24, 1))
            corners = centre + radius * np.stack((np.cos(angle), np.sin(angle)), axis=1)
            low, high = corners.min(0), corners.max(0)
            annotations.append(
                {
                    "bbox": [*low, *high],
                    "bbox_mode": BoxMode.XYXY_ABS,
                    "category_id": 0,
                    "segmentation": [corners.flatten().tolist()],
                    "subcategories": [],
                    "iscrowd": 0,
                }
            )
        records.append(
            {
                "file_name": str(path),
                "image_id": index,
                "height": HEIGHT,
                "width": WIDTH,
                "annotations": annotations,
            }
        )
    return records
