"""From a config file and overrides to a checked config and a run that is set up."""

from __future__ import annotations

import argparse
import contextlib
import logging
import pathlib
import sys
from collections.abc import Callable, Iterator, Sequence

import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.data import MetadataCatalog
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng
from detectron2.utils.logger import setup_logger

from mask2former_mt.config import (
    add_mask2former_mt_config,
    check_config,
    fill_labels,
    replace_gone_values,
    say_what_has_no_effect,
)
from mask2former_mt.config.config_rules import Rule, at_least
from mask2former_mt.dataset.catalog import labels_of, map_onto, register_dataset_files
from mask2former_mt.engine.config_file import merge_file, merge_overrides
from mask2former_mt.engine.error_lines import (
    USER_ERRORS,
    line_of,
    shows_tracebacks,
    without_traceback,
)
from mask2former_mt.engine.evaluators import check_outputs
from mask2former_mt.engine.memory import keep_large_blocks
from mask2former_mt.files import write_whole
from mask2former_mt.label_lists import Labels, differences, shown_names
from mask2former_mt.solver.lr_scaling import scale_for_batch_size

LOGGER = logging.getLogger("mask2former_mt")
# Their messages are shown and recorded.
_LOGGERS = ("fvcore", "detectron2", "mask2former_mt")


@contextlib.contextmanager
def errors_named() -> Iterator[None]:
    """Ends the program with one line and exit code 1 when the user's input is at fault.

    The errors that the package raises name what is wrong, and a traceback would bury it;
    MASK2FORMER_MT_TRACEBACK=1 shows it all the same. Other errors are ours, and keep theirs.
    """
    try:
        yield
    except USER_ERRORS as error:
        if shows_tracebacks():
            raise
        sys.exit(f"error: {line_of(error)}")


def number(kind: type, rule: Rule) -> Callable[[str], float]:
    """For argparse's `type`: a number of the command line that obeys a rule of the config."""

    def parse(text: str) -> float:
        value = kind(text)
        if not rule.holds(value):
            raise argparse.ArgumentTypeError(f"must be {rule.expected}, got {text}")
        return value

    parse.__name__ = kind.__name__  # argparse names it where the text is no number
    return parse


at_least_one = number(int, at_least(1))


def load_config(config_file: str, opts: Sequence[str] = ()) -> CfgNode:
    """Reads a config file, applies overrides, scales the LR and checks the result.

    Datasets need not exist: see `fill_from_datasets`.

    Args:
        config_file: a YAML file; may name a `_BASE_`.
        opts: KEY VALUE KEY VALUE ...

    Returns:
        The frozen config, MODEL.DEVICE resolved.

    Raises:
        FileNotFoundError: no such file.
        KeyError: an unknown config key.
        ValueError: values that do not go together, or an odd number of overrides.
    """
    cfg = get_cfg()
    add_mask2former_mt_config(cfg)
    merge_file(cfg, config_file)
    merge_overrides(cfg, opts)
    replace_gone_values(cfg)
    check_config(cfg)
    say_what_has_no_effect(cfg)
    if cfg.MODEL.DEVICE == "auto":
        cfg.MODEL.DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
    if changes := scale_for_batch_size(cfg, explicit=opts[::2]):
        lines = "".join(f"\n  {key}: {old} -> {new}" for key, (old, new) in changes.items())
        LOGGER.info(
            f"scaled ({cfg.SOLVER.LR_SCALING}) for a batch of {cfg.SOLVER.IMS_PER_BATCH}:{lines}"
        )
    cfg.freeze()
    return cfg


def fill_from_datasets(
    cfg: CfgNode, *, for_training: bool = True, checkpoint: Labels | None = None
) -> CfgNode:
    """Registers DATASETS.FILES and takes classes and subcategories from the training datasets.

    Args:
        cfg: result of `load_config`.
        for_training: whether DATASETS.TRAIN will be asked for its annotations; if not, they are not
            kept in memory.
        checkpoint: labels of the model that is evaluated, in place of the training datasets'.

    Returns:
        A frozen copy with SEM_SEG_HEAD.NUM_CLASSES, SUBCATEGORY.{NAMES, NUM_CLASSES, WITHOUT_NONE}
        and MASK_FORMER.TEST.STUFF_CLASSES filled in.

    Raises:
        ValueError: what the config says differs from the labels, or a test dataset lists what the
            model does not know or has no truth of what it predicts.
    """
    cfg = cfg.clone()
    cfg.defrost()
    train, test = list(cfg.DATASETS.TRAIN), list(cfg.DATASETS.TEST)
    register_dataset_files(cfg.DATASETS.FILES, needed=[*train, *test] if for_training else test)
    if not train and not test:
        raise ValueError("DATASETS.TRAIN and DATASETS.TEST are empty: name a dataset")
    if checkpoint is not None:
        labels, owner, train = checkpoint, "the checkpoint", []
    else:
        labels, owner = labels_of_run(cfg), _named(train or test[:1])
    for dataset in test:
        map_onto(labels, dataset, owner)
    fill_labels(cfg, labels, owner)
    if not cfg.MODEL.MASK_FORMER.TEST.STUFF_CLASSES:
        cfg.MODEL.MASK_FORMER.TEST.STUFF_CLASSES = _stuff_classes(labels, [*train, *test])
    check_config(cfg)
    check_outputs(cfg)
    cfg.freeze()
    return cfg


def labels_of_run(cfg: CfgNode) -> Labels:
    """What a model of this config predicts: all labels of DATASETS.TRAIN, by name.

    Without a training dataset they are those of the first one in DATASETS.TEST.
    """
    return labels_of(*(cfg.DATASETS.TRAIN or cfg.DATASETS.TEST[:1]))


def tell_of_labels(labels: Labels, *, train: Sequence[str] = (), test: Sequence[str] = ()) -> None:
    """Says in the log how the lists of datasets differ from those of the model."""
    for dataset in dict.fromkeys([*train, *test]):
        if difference := differences(labels_of(dataset), labels):
            LOGGER.info(f"dataset {dataset!r} lists {difference}: mapped by name onto the model's")
    for dataset in train:
        listed = labels_of(dataset).class_names
        if missing := [name for name in labels.class_names if name not in listed]:
            LOGGER.warning(
                f"dataset {dataset!r} does not list the classes {shown_names(missing)}: where its "
                "pictures show them, they are learned as background"
            )
    if alike := [f"{what} {names}" for what, names in labels.alike()]:
        LOGGER.warning(
            f"labels that only blanks, case or Unicode form tell apart: {'; '.join(alike)}"
        )


def _named(datasets: Sequence[str]) -> str:
    names = ", ".join(map(repr, datasets))
    return f"dataset {names}" if len(datasets) == 1 else f"the union of datasets {names}"


def _stuff_classes(labels: Labels, datasets: Sequence[str]) -> list[int]:
    """The classes that datasets list and that none of them has among its things.

    detectron2's panoptic datasets list all classes, and map the ids of things only; its semantic
    ones have no things.
    """
    listed, things = set(), set()
    for dataset in datasets:
        metadata = MetadataCatalog.get(dataset)
        listed |= set(labels_of(dataset).class_names)
        class_names = metadata.get("thing_classes", ())
        class_of_id = metadata.get("thing_dataset_id_to_contiguous_id", None)
        indices = range(len(class_names)) if class_of_id is None else class_of_id.values()
        things |= {class_names[index] for index in indices}
    stuff = listed - things
    return [index for index, name in enumerate(labels.class_names) if name in stuff]


def log_to_console() -> None:
    """Shows the log on the console, of the main process only."""
    for name in _LOGGERS:
        setup_logger(distributed_rank=comm.get_rank(), name=name, abbrev_name=name)
    logging.getLogger("detectron2.engine.train_loop").addFilter(without_traceback)


def prepare_run(cfg: CfgNode, config_file: str) -> None:
    """Makes the output folder, starts logging into it, readies the allocator, and seeds."""
    output, rank = cfg.OUTPUT_DIR, comm.get_rank()
    if comm.is_main_process():
        pathlib.Path(output).mkdir(parents=True, exist_ok=True)
    # The console has its handler already; a second one would print every line twice.
    only_file = {"output": str(output), "configure_stdout": False}
    for name in _LOGGERS:
        setup_logger(distributed_rank=rank, name=name, abbrev_name=name, **only_file)
    LOGGER.info(f"config file {config_file}, output folder {output}, device {cfg.MODEL.DEVICE}")
    if cfg.MODEL.DEVICE == "cpu":
        keep_large_blocks()
    # By default workers hand over file descriptors, with a handshake per tensor: 26 milliseconds
    # for a batch of four small pictures, against 6 with file names.
    torch.multiprocessing.set_sharing_strategy("file_system")
    torch.backends.cudnn.benchmark = cfg.CUDNN_BENCHMARK
    seed_all_rng(None if cfg.SEED < 0 else cfg.SEED + rank)


def save_config(cfg: CfgNode) -> None:
    """Writes the config in use to `config.yaml` in the output folder.

    It replaces an earlier run's, so call it when nothing can be refused any more. A device that was
    chosen automatically is saved as "auto", so that the config works on another machine.
    """
    if not comm.is_main_process():
        return
    saved = cfg.clone()
    saved.defrost()
    automatic = "cuda" if torch.cuda.is_available() else "cpu"
    if automatic == saved.MODEL.DEVICE:
        saved.MODEL.DEVICE = "auto"
    write_whole({pathlib.Path(cfg.OUTPUT_DIR) / "config.yaml": saved.dump().encode()})
