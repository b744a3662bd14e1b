"""What a training says before it starts of settings and data that do not go together."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from detectron2.config import CfgNode

from mask2former_mt.config.detectron2_keys import predicts_by_queries
from mask2former_mt.data.monitor import Contents
from mask2former_mt.label_lists import Labels, shown_names


def warnings_at_start(cfg: CfgNode, labels: Labels, contents: Contents) -> Iterator[str]:
    """Texts about a training, each with its numbers and keys.

    Args:
        cfg: its config.
        labels: what it learns.
        contents: what is in its pictures.
    """
    if predicts_by_queries(cfg):
        yield from _of_crowded_pictures(cfg, contents.per_picture)
    yield from _of_schedule(cfg)
    yield from _of_unseen_labels(labels, contents)


def _of_crowded_pictures(cfg: CfgNode, per_picture: np.ndarray) -> Iterator[str]:
    for key, limit, consequence in (
        (
            "MODEL.MASK_FORMER.NUM_OBJECT_QUERIES",
            cfg.MODEL.MASK_FORMER.NUM_OBJECT_QUERIES,
            "can be neither learned nor found",
        ),
        ("TEST.DETECTIONS_PER_IMAGE", cfg.TEST.DETECTIONS_PER_IMAGE, "could not be predicted"),
    ):
        over = np.maximum(per_picture - limit, 0)
        if over.any():
            yield (
                f"{key} is {limit}, and {np.count_nonzero(over)} of {len(over)} training pictures "
                f"have more objects, up to {per_picture.max()}: {over.sum()} of "
                f"{per_picture.sum()} objects {consequence}; raise it"
            )


def _of_schedule(cfg: CfgNode) -> Iterator[str]:
    solver = cfg.SOLVER
    if solver.WARMUP_ITERS >= solver.MAX_ITER:
        yield (
            f"SOLVER.WARMUP_ITERS is {solver.WARMUP_ITERS}, and the training ends after "
            f"SOLVER.MAX_ITER {solver.MAX_ITER} iterations: it never reaches SOLVER.BASE_LR; warm "
            "up for a few per cent of it"
        )
    if solver.OPTIMIZER == "SGD":
        yield (
            f"SOLVER.OPTIMIZER is 'SGD' (MOMENTUM {solver.MOMENTUM}, NESTEROV {solver.NESTEROV}): "
            "the published learning rates and schedules are those of 'ADAMW'; look for a "
            f"SOLVER.BASE_LR of its own, got {solver.BASE_LR}"
        )


def _of_unseen_labels(labels: Labels, contents: Contents) -> Iterator[str]:
    if not len(contents.per_picture):
        return  # maps of classes, whose pixels nobody counted
    lists = [("classes", labels.class_names, contents.classes)]
    lists += [
        (f"values of subcategory {s.name!r}", s.values, counts)
        for s, counts in zip(labels.spec, contents.values, strict=True)
    ]
    for what, names, counts in lists:
        unseen = [name for index, name in enumerate(names) if not counts[index]]
        if unseen:
            yield (
                f"{len(unseen)} of {len(names)} {what} have no object in DATASETS.TRAIN, and are "
                f"never learned: {shown_names(unseen)}"
            )
