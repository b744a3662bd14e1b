"""Training samples side by side, as the model sees them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from mask2former_mt.structures import GT_CLASSES, GT_MASKS, GT_SUBCATEGORIES
from mask2former_mt.visualization.label_text import Label, LabelNames
from mask2former_mt.visualization.overlay import draw_instances
from mask2former_mt.visualization.sheet import contact_sheet

MAX_PICTURES = 8
COLUMNS = 4
# Pixels; larger samples are shrunk to it before they are drawn on.
MAX_SIDE = 512


def sample_panel(batch: Sequence[Mapping], names: LabelNames, image_format: str) -> np.ndarray:
    """Draws training samples with their masks, classes and subcategories.

    Args:
        batch: samples of the mapper, at least one; the first eight are shown.
        names: of the classes and subcategories.
        image_format: channel order of the samples, "RGB" or "BGR".

    Returns:
        uint8 RGB (H, W, 3).
    """
    pictures = [draw_sample(sample, names, image_format) for sample in batch[:MAX_PICTURES]]
    titles = [f"{Path(s['file_name']).name} ({s.get('draw')})" for s in batch[:MAX_PICTURES]]
    return contact_sheet(pictures, COLUMNS, titles=titles, cell_width=MAX_SIDE)


def draw_sample(sample: Mapping, names: LabelNames, image_format: str) -> np.ndarray:
    """One sample as `sample_panel` shows it: uint8 RGB, at most MAX_SIDE wide and high."""
    image = sample["image"].numpy().transpose(1, 2, 0)
    image = image if image_format == "RGB" else image[..., ::-1]
    instances = sample["instances"]
    masks = instances.get(GT_MASKS).numpy()
    height, width = image.shape[:2]
    factor = MAX_SIDE / max(height, width)
    if factor < 1:
        size = (max(1, round(width * factor)), max(1, round(height * factor)))
        image = cv2.resize(np.ascontiguousarray(image), size, interpolation=cv2.INTER_AREA)
        masks = [
            cv2.resize(mask.view(np.uint8), size, interpolation=cv2.INTER_NEAREST).view(bool)
            for mask in masks
        ]
    classes, values = instances.get(GT_CLASSES), instances.get(GT_SUBCATEGORIES)
    labels = [Label(*label) for label in zip(classes.tolist(), values.tolist(), strict=True)]
    return draw_instances(image, masks, labels, names)
