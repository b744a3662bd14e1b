"""Reads pictures of masks: maps in which every value but 0 is an object."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pycocotools.mask as mask_util
from PIL import Image

from mask2former_mt.dataset.images import DAMAGE
from mask2former_mt.dataset.label_maps import NUMBER_MODES, ids_of_colours

# JPEG and the like change values.
MASK_SUFFIXES = (".png", ".tif", ".tiff", ".bmp", ".gif")
_COLOURS = ("LA", "RGB", "RGBA")
_BORDER = 255


def read_ids(file: Path, height: int, width: int) -> np.ndarray:
    """The values of a mask picture, integers (height, width); of colours `ids_of_colours`.

    Args:
        file: a picture of numbers or colours; what is transparent is 0.
        height, width: of the picture that it belongs to, upright.

    Raises:
        ValueError: no such picture, or one of another size.
    """
    try:
        with Image.open(file) as image:
            mode, values = image.mode, np.asarray(image).astype(np.int64)
    except DAMAGE as error:
        raise ValueError(f"{file} cannot be read as a mask: {error}; save it again") from error
    if mode not in (*NUMBER_MODES, *_COLOURS):
        raise ValueError(f"{file}: a mask must be numbers or colours, got {mode}; save it as PNG")
    if values.shape[:2] != (height, width):
        raise ValueError(
            f"{file} must be {width}x{height} (width x height) as its picture, got "
            f"{values.shape[1]}x{values.shape[0]}"
        )
    if mode in NUMBER_MODES:
        return values
    ids = values[..., 0] if mode == "LA" else ids_of_colours(values)
    return ids if mode == "RGB" else np.where(values[..., -1] == 0, 0, ids)


def without_border(ids: np.ndarray) -> np.ndarray:
    """The ids with 0 for 255 where it marks borders, as in Pascal VOC, and is no object's number.

    It is a number where it is the only one, or follows on 254.
    """
    values = np.unique(ids)
    is_border = values[-1] == _BORDER and _BORDER - 1 not in values and (values != 0).sum() > 1
    return np.where(ids == _BORDER, 0, ids) if is_border else ids


def rles_of_ids(ids: np.ndarray) -> dict[int, dict]:
    """COCO's compressed RLE of each value but 0, by value, in ascending order.

    Args:
        ids: int (height, width).
    """
    height, width = ids.shape
    column_wise = ids.ravel(order="F")
    starts = np.flatnonzero(np.diff(column_wise, prepend=column_wise[0] - 1))
    ends = np.append(starts[1:], column_wise.size)
    run_values = column_wise[starts]
    order = np.argsort(run_values, kind="stable")
    values, firsts = np.unique(run_values[order], return_index=True)
    rles = {}
    for value, runs in zip(values.tolist(), np.split(order, firsts[1:]), strict=True):
        if value != 0:
            edges = np.stack([starts[runs], ends[runs]], axis=1).reshape(-1)
            counts = np.diff(edges, prepend=0, append=column_wise.size).tolist()
            rle = mask_util.frPyObjects({"size": [height, width], "counts": counts}, height, width)
            rles[value] = {"size": [height, width], "counts": rle["counts"].decode("ascii")}
    return rles
