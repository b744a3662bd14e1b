"""Training and evaluation: detectron2's trainer with our loaders, optimizer and evaluator."""

from __future__ import annotations

import logging
import pathlib
import time
import weakref
from collections.abc import Mapping

import torch
from detectron2.config import CfgNode
from detectron2.data import build_detection_test_loader
from detectron2.engine import (
    AMPTrainer,
    DefaultTrainer,
    SimpleTrainer,
    TrainerBase,
    create_ddp_model,
)
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils.events import CommonMetricPrinter, JSONWriter, TensorboardXWriter
from torch import nn

from mask2former_mt.config import require_device
from mask2former_mt.data.augment import flips_of
from mask2former_mt.data.bad_samples import BadSampleLedger, SkipBadSamples
from mask2former_mt.data.loader import build_records, build_train_loader
from mask2former_mt.data.mapper import MultiTaskInstanceMapper
from mask2former_mt.data.monitor import ShareWatch, WatchedLoader
from mask2former_mt.data.side_names import unflipped_sides
from mask2former_mt.data.target_kinds import target_of
from mask2former_mt.dataset.catalog import spec_of
from mask2former_mt.engine.checkpoint import MultiTaskCheckpointer
from mask2former_mt.engine.evaluators import build_evaluators
from mask2former_mt.engine.hooks import SampleHook
from mask2former_mt.engine.setup import labels_of_run
from mask2former_mt.engine.start_warnings import warnings_at_start
from mask2former_mt.label_lists import Labels
from mask2former_mt.modeling.backbone.timm_backbone import TimmBackbone, load_timm_weights
from mask2former_mt.modeling.whole_model import build_whole_model
from mask2former_mt.solver.optimizer import (
    build_optimizer,
    check_state,
    match_memory_layout,
    scales_gradients,
)
from mask2former_mt.solver.schedule import build_lr_scheduler

LOGGER = logging.getLogger("mask2former_mt")


def _runs_amp(cfg: CfgNode) -> bool:
    """Whether detectron2's trainer casts to float16; to bfloat16 the model casts by itself.

    Raises:
        ValueError: float16 on a CPU.
    """
    if not scales_gradients(cfg):
        return False
    if cfg.MODEL.DEVICE.startswith("cuda"):
        return True
    if cfg.SOLVER.AMP.DTYPE == "float16":
        raise ValueError(
            "SOLVER.AMP.DTYPE 'float16' needs a GPU: its gradients are scaled there; set it to "
            "'bfloat16', or SOLVER.AMP.ENABLED to False"
        )
    LOGGER.info(
        "SOLVER.AMP.DTYPE 'auto' is float32 on a CPU; where it multiplies bfloat16 fast, set it to "
        "'bfloat16'"
    )
    return False


class MultiTaskTrainer(DefaultTrainer):
    """Trains, checkpoints, evaluates; writes scalars to `training.jsonl` and TensorBoard.

    Args:
        cfg: result of `engine.setup.fill_from_datasets`.
    """

    def __init__(self, cfg: CfgNode) -> None:
        TrainerBase.__init__(self)
        # Before the model is built: the loader reads and checks the whole annotation file.
        data_loader = self.build_train_loader(cfg)
        model = self.build_model(cfg)
        optimizer = self.build_optimizer(cfg, model)
        self._trainer = (AMPTrainer if _runs_amp(cfg) else SimpleTrainer)(
            create_ddp_model(model, broadcast_buffers=False), data_loader, optimizer
        )
        self.scheduler = build_lr_scheduler(cfg, optimizer)
        self.checkpointer = MultiTaskCheckpointer(
            model,
            cfg.OUTPUT_DIR,
            labels=labels_of_run(cfg),
            trainer=weakref.proxy(self),
        )
        self.start_iter = 0
        self.max_iter = cfg.SOLVER.MAX_ITER
        self.cfg = cfg
        # Wall-clock seconds of all training steps (data, forward, backward, update), those before
        # an interruption included, without evaluation and checkpoints.
        self.train_seconds = 0.0
        self.register_hooks(self.build_hooks())

    @property
    def results(self) -> dict:
        """What the last evaluation gave: as `test`."""
        return self._last_eval_results

    def run_step(self) -> None:
        started = time.monotonic()
        super().run_step()
        self.train_seconds += time.monotonic() - started

    def state_dict(self) -> dict:
        return {**super().state_dict(), "train_seconds": self.train_seconds}

    def load_state_dict(self, state_dict: Mapping) -> None:
        """Takes over the state of an earlier training.

        Raises:
            ValueError: it is incomplete, or of another optimizer, other parameter groups or another
                precision.
        """
        needed = ("iteration", "_trainer", "train_seconds")
        missing = [key for key in needed if key not in state_dict]
        if missing or "optimizer" not in state_dict["_trainer"]:
            raise ValueError(
                f"the checkpoint's state of the training lacks {missing or ['optimizer']}; start a "
                "new training with it in MODEL.WEIGHTS"
            )
        check_state(state_dict["_trainer"], self._trainer.state_dict())
        super().load_state_dict(state_dict)
        match_memory_layout(self._trainer.optimizer)
        self.train_seconds = state_dict["train_seconds"]

    def resume_or_load(self, resume: bool = True) -> None:
        """Goes on from the last checkpoint, or starts from MODEL.WEIGHTS or MODEL.TIMM.WEIGHTS.

        Raises:
            ValueError: when resuming, a checkpoint that does not fit the model.
        """
        if resume and not self.checkpointer.has_checkpoint():
            LOGGER.info(f"{self.cfg.OUTPUT_DIR} holds no checkpoint to resume from: starting anew")
            resume = False
        self.checkpointer.strict = resume
        if not resume and not self.cfg.MODEL.WEIGHTS:
            weights = self.cfg.MODEL.TIMM.WEIGHTS
            # Also below a feature pyramid.
            for module in self.checkpointer.model.backbone.modules():
                if isinstance(module, TimmBackbone) and weights:
                    count = load_timm_weights(module, weights)
                    LOGGER.info(f"backbone: {count} tensors from {weights}")
        super().resume_or_load(resume)
        if resume:
            # Before the first batch: it goes on behind the samples that were trained on.
            self._trainer.data_loader.start_at(self.start_iter * self.cfg.SOLVER.IMS_PER_BATCH)
            LOGGER.info(f"resuming at iteration {self.start_iter} of {self.max_iter}")

    def build_hooks(self) -> list:
        watched = SampleHook(
            self._trainer.data_loader,
            image_format=self.cfg.INPUT.FORMAT,
            output_dir=self.cfg.OUTPUT_DIR,
            panel_period=self.cfg.INPUT.PANEL_PERIOD,
        )
        # First, so that the writers, which are last, write what it puts, and its summary is in the
        # log even if the evaluation at the end fails.
        return [watched, *super().build_hooks()]

    def build_writers(self) -> list:
        """A progress line with ETA; scalars beside it. `metrics.json` is the evaluation's name."""
        output = pathlib.Path(self.cfg.OUTPUT_DIR)
        return [
            CommonMetricPrinter(self.max_iter),
            JSONWriter(str(output / "training.jsonl")),
            TensorboardXWriter(str(output)),
        ]

    @classmethod
    def build_model(cls, cfg: CfgNode) -> nn.Module:
        require_device(cfg)
        model = build_whole_model(cfg)
        # The evaluator writes run lengths; the whole masks of large pictures need not fit.
        if hasattr(model, "encode_masks"):
            model.encode_masks()
        count = sum(p.numel() for p in model.parameters()) / 1e6
        trained = sum(p.numel() for p in model.parameters() if p.requires_grad) / 1e6
        LOGGER.info(
            f"{type(model).__name__}: {count:.2f} M parameters, {trained:.2f} M trained, "
            f"on {cfg.MODEL.DEVICE}"
        )
        return model

    @classmethod
    def build_optimizer(cls, cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
        return build_optimizer(cfg, model)

    @classmethod
    def build_train_loader(cls, cfg: CfgNode):
        labels, limit = labels_of_run(cfg), cfg.DATALOADER.MAX_BAD_SAMPLES
        records = build_records(cfg)
        target = target_of(cfg.INPUT.DATASET_MAPPER_NAME, records)
        mapper = MultiTaskInstanceMapper(cfg, is_train=True, spec=labels.spec, target=target)
        if flips_of(mapper.augmentations.augs):
            for message, remedy in unflipped_sides(labels.class_names, labels.spec):
                LOGGER.warning(f"DATASETS.TRAIN: {message}; {remedy}")
        if cfg.DATALOADER.ON_BAD_SAMPLE == "skip":
            mapper = SkipBadSamples(mapper, limit=limit)
        loader = build_train_loader(cfg, mapper, records)
        for text in warnings_at_start(cfg, labels, loader.contents):
            LOGGER.warning(text)
        counts, alarm = loader.contents.classes, cfg.INPUT.SHARE_ALARM
        watch = ShareWatch(labels.class_names, labels.spec, counts, alarm)
        return WatchedLoader(loader, watch, BadSampleLedger(limit))

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str):
        mapper = MultiTaskInstanceMapper(cfg, is_train=False, spec=spec_of(dataset_name))
        return build_detection_test_loader(cfg, dataset_name, mapper=mapper)

    @classmethod
    def build_evaluator(
        cls, cfg: CfgNode, dataset_name: str, labels: Labels | None = None
    ) -> DatasetEvaluator:
        """The evaluators of a model that predicts `labels`; see `build_evaluators`.

        None: those of DATASETS.TRAIN, or without any, the dataset's own.
        """
        if labels is None and cfg.DATASETS.TRAIN:
            labels = labels_of_run(cfg)
        return build_evaluators(cfg, dataset_name, labels)
