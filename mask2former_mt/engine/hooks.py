"""Hooks of the trainer: what is fed to the model, in numbers and pictures."""

from __future__ import annotations

import json
import logging
import pathlib
from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from detectron2.engine import HookBase
from detectron2.utils import comm

from mask2former_mt.data.monitor import WatchedLoader
from mask2former_mt.structures import GT_CLASSES, GT_MASKS, GT_SUBCATEGORIES, SubcategorySpec
from mask2former_mt.visualization import Label, LabelNames, contact_sheet, draw_instances

LOGGER = logging.getLogger("mask2former_mt")

# H and W of a sample's image.

# Shares are compared and written every so many iterations; a multiple of the writers' 20.
SHARE_PERIOD = 200
PANEL_PICTURES = 8
PANEL_COLUMNS = 4
# Pixels; larger samples are shrunk to it before they are drawn on.
PANEL_SIDE = 512


class SampleHook(HookBase):
    """Warns of classes that are augmented away, writes shares and pictures of samples.

    Shares go to the event storage as `samples/...`, and at the end to `samples/shares.json` with a
    list of the bad samples; pictures to the storage and to `samples/iter_<number>.png`.

    Args:
        loader: that the trainer draws from.
        image_format: "RGB" or "BGR", of the samples.
        output_dir: the run's.
        panel_period: iterations from one picture to the next, after that of the first one; 0: none.
    """

    def __init__(
        self, loader: WatchedLoader, *, image_format: str, output_dir: str, panel_period: int
    ) -> None:
        self.loader = loader
        self.image_format = image_format
        self.folder = pathlib.Path(output_dir) / "samples"
        self.panel_period = panel_period

    def after_step(self) -> None:
        iteration = self.trainer.iter
        is_last = iteration + 1 >= self.trainer.max_iter
        if is_last or (iteration + 1) % SHARE_PERIOD == 0:
            for message in self.loader.watch.new_alarms():
                LOGGER.warning(message)
            self._write_scalars()
        is_first = iteration == self.trainer.start_iter
        due = self.panel_period and (is_first or (iteration + 1) % self.panel_period == 0)
        if due and comm.is_main_process():
            self._write_panel(iteration)

    def after_train(self) -> None:
        watch, ledger = self.loader.watch, self.loader.ledger
        if watch.deep_checks:
            LOGGER.info(
                f"{watch.deep_checks} samples were checked deeply, their lowest alignment IoU is "
                f"{watch.lowest_alignment:.3f}"
            )
        if ledger.counts:
            LOGGER.warning(ledger.summary())
        if not watch.pictures or not comm.is_main_process():
            return
        bad = [{"reason": reason, "times": n} for reason, n in ledger.counts.items()]
        self.folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps({**watch.shares(), "bad_samples": bad}, indent=2)
        (self.folder / "shares.json").write_text(text + "\n", encoding="utf-8")

    def _write_scalars(self) -> None:
        shares = self.loader.watch.shares()
        groups = {"class": shares["classes"], **shares["subcategories"]}
        for group, rows in groups.items():
            for name, row in rows.items():
                for kind in ("instances", "pixels"):
                    self.trainer.storage.put_scalar(
                        f"samples/{kind}/{group}/{name}", row[kind], smoothing_hint=False
                    )

    def _write_panel(self, iteration: int) -> None:
        watch = self.loader.watch
        panel = sample_panel(
            self.loader.latest,
            class_names=watch.class_names,
            spec=watch.spec,
            image_format=self.image_format,
        )
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"iter_{iteration:07d}.png"
        cv2.imwrite(str(path), panel[..., ::-1])
        self.trainer.storage.put_image("samples", np.ascontiguousarray(panel.transpose(2, 0, 1)))
        if iteration == self.trainer.start_iter:
            LOGGER.info(f"samples as the model sees them: {path}")


def sample_panel(
    batch: Sequence[Mapping],
    *,
    class_names: Sequence[str],
    spec: SubcategorySpec,
    image_format: str,
) -> np.ndarray:
    """Training samples with their masks, classes and subcategories.

    Args:
        batch: of the mapper, at least one; the first eight are shown.
        class_names: of the classes.
        spec: the subcategories.
        image_format: "RGB" or "BGR", of the samples.

    Returns:
        uint8 RGB.
    """
    pictures, titles = [], []
    for sample in batch[:PANEL_PICTURES]:
        image = sample["image"].numpy().transpose(1, 2, 0)
        image = image if image_format == "RGB" else image[..., ::-1]
        instances = sample["instances"]
        image, masks = _shrink(image, instances.get(GT_MASKS).numpy())
        classes, values = instances.get(GT_CLASSES), instances.get(GT_SUBCATEGORIES)
        labels = [Label(*label) for label in zip(classes.tolist(), values.tolist(), strict=True)]
        pictures.append(draw_instances(image, masks, labels, LabelNames(class_names, spec)))
        titles.append(f"{pathlib.Path(sample['file_name']).name} ({sample.get('draw')})")
    return contact_sheet(pictures, PANEL_COLUMNS, titles=titles, cell_width=PANEL_SIDE)


def _shrink(image: np.ndarray, masks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    height, width = image.shape[:2]
    factor = PANEL_SIDE / max(height, width)
    if factor >= 1:
        return image, masks
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    smaller = cv2.resize(np.ascontiguousarray(image), size, interpolation=cv2.INTER_AREA)
    nearest = [
        cv2.resize(mask.view(np.uint8), size, interpolation=cv2.INTER_NEAREST) for mask in masks
    ]
    if not nearest:
        return smaller, np.zeros((0, *smaller.shape[:2]), dtype=bool)
    return smaller, np.stack(nearest).astype(bool)
