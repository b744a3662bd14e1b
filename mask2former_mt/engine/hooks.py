"""Hook of the trainer that shows which samples the model is trained on."""

from __future__ import annotations

import logging
import pathlib

import cv2
import numpy as np
from detectron2.engine import HookBase
from detectron2.utils import comm

from mask2former_mt.data.monitor import WatchedLoader
from mask2former_mt.files import replacing, write_json
from mask2former_mt.visualization.label_text import LabelNames
from mask2former_mt.visualization.sample_panel import sample_panel

LOGGER = logging.getLogger("mask2former_mt")

# Iterations between comparisons of shares; a multiple of the writers' 20.
SHARE_PERIOD = 200


class SampleHook(HookBase):
    """Warns of classes that augmentation loses; writes shares and pictures of samples.

    Shares go to the event storage as `samples/...`, and at the end to `samples/shares.json`,
    together with the bad samples; pictures go to the storage and to `samples/iter_<number>.png`.

    Args:
        loader: the trainer's.
        image_format: channel order of the samples, "RGB" or "BGR".
        output_dir: output folder of the run.
        panel_period: iterations between pictures, besides that of the first batch; 0: no pictures.
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
        if ledger.counts:
            LOGGER.warning(ledger.summary())
        if not watch.pictures or not comm.is_main_process():
            return
        bad = [{"reason": reason, "times": n} for reason, n in ledger.counts.items()]
        write_json(self.folder / "shares.json", {**watch.shares(), "bad_samples": bad})

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
        names = LabelNames(watch.class_names, watch.spec)
        panel = sample_panel(self.loader.latest, names, self.image_format)
        _, png = cv2.imencode(".png", panel[..., ::-1])
        path = self.folder / f"iter_{iteration:07d}.png"
        with replacing(path) as stream:
            stream.write(png)
        self.trainer.storage.put_image("samples", np.ascontiguousarray(panel.transpose(2, 0, 1)))
        if iteration == self.trainer.start_iter:
            LOGGER.info(f"samples as the model sees them: {path}")
