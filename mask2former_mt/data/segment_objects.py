"""What is in a picture, as objects with a class and a mask: instances, classes, or segments."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mask2former_mt.data.instances import objects_of
from mask2former_mt.data.target_kinds import INSTANCES, SEMANTIC
from mask2former_mt.dataset.label_maps import read_class_map, read_segment_ids

# H and W of the picture.

# Of a pixel that nothing is learned from, among the classes.
IGNORED = -1


class PictureObjects(NamedTuple):
    """The objects of a picture.

    Args:
        annotations: detectron2's, with a bitmap for a mask where it is from a map.
        classes: float32 (H, W), the class of each pixel or `IGNORED`; None of instances. A float,
            because detectron2 resizes no integers but uint8.
    """

    annotations: list[Mapping]
    classes: np.ndarray | None = None


def read_objects(record: Mapping, target: str, size: tuple[int, int]) -> PictureObjects:
    """The objects of a dataset dict: what is void, ignored or a crowd is none.

    Args:
        record: has `annotations`; or `sem_seg_file_name`, with `ignore_label` (255 without it) and
            `semantic_classes`, the class of each number below its length (without it, itself); or
            `pan_seg_file_name` with `segments_info`.
        target: which of these to take, see `target_kinds`.
        size: (H, W) of the picture.

    Raises:
        FileNotFoundError: no such map.
        ValueError: a map that cannot be read, of another size than the picture, or with numbers
            that are no class; names the file.
    """
    if target == INSTANCES:
        return PictureObjects(objects_of(record))
    path = record[target]
    numbers_HW = (read_class_map if target == SEMANTIC else read_segment_ids)(path)
    if numbers_HW.shape != size:
        raise ValueError(
            f"{path} must be as large as its picture {Path(record['file_name']).name}, "
            f"{size[1]}x{size[0]}, got {numbers_HW.shape[1]}x{numbers_HW.shape[0]}"
        )
    listed = _classes_in(record, numbers_HW) if target == SEMANTIC else _segments_in(record)
    classes_HW = np.full(size, IGNORED, np.float32)
    annotations = []
    for number, annotation in listed.items():
        mask_HW = numbers_HW == number
        classes_HW[mask_HW] = annotation["category_id"]
        annotations.append({**annotation, "segmentation": mask_HW})
    return PictureObjects(annotations, classes_HW)


def _classes_in(record: Mapping, numbers_HW: np.ndarray) -> dict[int, dict]:
    """An annotation without a mask for each class in a map, by its number there."""
    ignored, classes = record.get("ignore_label", 255), record.get("semantic_classes")
    present = [number for number in np.unique(numbers_HW).tolist() if number != ignored]
    unlisted = [n for n in present if classes is not None and not 0 <= n < len(classes)]
    if unlisted:
        raise ValueError(
            f"{record[SEMANTIC]} must hold numbers of classes, 0 to {len(classes) - 1}, or "
            f"{ignored} where nothing is learned, got {unlisted[:8]}"
        )
    return {n: {"id": n, "category_id": n if classes is None else classes[n]} for n in present}


def _segments_in(record: Mapping) -> dict[int, Mapping]:
    """The segments of a picture that are learned, by their id."""
    return {s["id"]: s for s in record["segments_info"] if not s.get("iscrowd", 0)}
