"""Checkpoints that record their labels, and loading that reports on every parameter."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
import os
import pathlib
import pickle
import re
from collections.abc import Iterable, Iterator, Mapping

import torch
import torch.nn.functional as F
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.checkpoint.c2_model_loading import align_and_update_state_dicts
from detectron2.utils.file_io import PathManager
from safetensors import SafetensorError
from torch import nn

from mask2former_mt.engine.head_rows import describe_rows, rows_of, take_rows
from mask2former_mt.engine.transformers_folder import CONFIG_FILE
from mask2former_mt.engine.weights_file import read_weights
from mask2former_mt.label_lists import Labels, shown_names

LOGGER = logging.getLogger("mask2former_mt")

# What reading raises for a damaged file, or one of another kind.
_UNREADABLE = (
    *(RuntimeError, EOFError, pickle.UnpicklingError, LookupError, ValueError, TypeError),
    *(AttributeError, ImportError, AssertionError, OSError, SafetensorError),
)
# One row per query, so they can be taken over into another number of queries.
_QUERY_PARAMETERS = ("query_feat.weight", "query_embed.weight")

# Of a Swin: a row per offset inside a window.
_BIAS_TABLE = "relative_position_bias_table"
# The step counter of a batch norm, which frozen ones do not have and nothing depends on; and the
# index into the biases, which follows from the window's size.
_CONSTANTS = ("num_batches_tracked", "relative_position_index")


@dataclasses.dataclass
class LoadReport:
    """Names of parameters by what loading did with them.

    Args:
        loaded: taken as they are.
        resized: taken with another number of queries; with both shapes.
        by_name: heads of which the rows of labels with the same name were taken.
        skipped: of another shape in the model, by another number of classes, say; with both shapes.
        missing: in the model only.
        unused: in the checkpoint only.
    """

    loaded: list[str] = dataclasses.field(default_factory=list)
    resized: list[str] = dataclasses.field(default_factory=list)
    by_name: list[str] = dataclasses.field(default_factory=list)
    skipped: list[str] = dataclasses.field(default_factory=list)
    missing: list[str] = dataclasses.field(default_factory=list)
    unused: list[str] = dataclasses.field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether every parameter of the model was taken as it is."""
        return not (self.resized or self.skipped or self.missing)

    def __str__(self) -> str:
        def line(title: str, names: Iterable[str]) -> str:
            names = list(names)
            shown = ", ".join(names[:8]) + (f", ... ({len(names)} in all)" if names[8:] else "")
            return f"\n  {title}: {shown}" if names else ""

        return (
            f"{len(self.loaded)} parameters loaded"
            + line("resized", self.resized)
            + line("rows of labels with the same name", self.by_name)
            + line("skipped, of another shape", self.skipped)
            + line("not in the checkpoint, left as initialised", self.missing)
            + line("in the checkpoint only, unused", self.unused)
        )


def fit_state_dict(
    source: Mapping[str, torch.Tensor],
    model: nn.Module,
    heads: Mapping[str, torch.Tensor] | None = None,
) -> tuple[dict[str, torch.Tensor], LoadReport]:
    """Selects the parameters that fit the model, with its number of queries and size of windows.

    More queries repeat the checkpoint's from the first on, fewer keep the first ones. Swin's biases
    of relative positions are interpolated for another window.

    Args:
        source: the checkpoint's parameters.
        model: gets them.
        heads: parameters to take in place of the source's, as `take_rows` gives them.

    Returns:
        A state dict for `load_state_dict(strict=False)`, and the report.
    """
    report, fitted = LoadReport(), {}
    own = model.state_dict()
    for name, tensor in own.items():
        if name not in source:
            if not name.endswith(_CONSTANTS):
                report.missing.append(name)
            continue
        if heads and name in heads:
            fitted[name] = heads[name]
            report.by_name.append(name)
            continue
        value = torch.as_tensor(source[name])
        shapes = f"{name} {tuple(value.shape)} -> {tuple(tensor.shape)}"
        if value.shape == tensor.shape:
            fitted[name] = value
            report.loaded.append(name)
        elif name.endswith(_QUERY_PARAMETERS) and value.shape[1:] == tensor.shape[1:]:
            fitted[name] = value[torch.arange(len(tensor)) % len(value)]
            report.resized.append(shapes)
        elif name.endswith(_BIAS_TABLE) and value.shape[1:] == tensor.shape[1:]:
            fitted[name] = _of_window(value, len(tensor))
            report.resized.append(shapes)
        elif not name.endswith(_CONSTANTS):
            report.skipped.append(shapes)
    report.unused = [name for name in source if name not in own]
    return fitted, report


def _of_window(table: torch.Tensor, rows: int) -> torch.Tensor:
    """Biases (R, heads) of offsets in a window, for another window of which there are `rows`."""
    before, after = (math.isqrt(count) for count in (len(table), rows))
    grid = table.T.reshape(1, -1, before, before).float()
    resized = F.interpolate(grid, size=(after, after), mode="bicubic", align_corners=False)
    return resized.flatten(2)[0].T.to(table.dtype)


def read_labels(weights: str) -> Labels | None:
    """The labels that a checkpoint's weights were trained for, read without the weights.

    Args:
        weights: a path, or a URL that detectron2 knows.

    Returns:
        None for a checkpoint that others have written: nobody knows its labels by name.

    Raises:
        FileNotFoundError: no such checkpoint.
        ValueError: it cannot be read, or is one of ours without its record of labels.
    """
    with _reading(f"weights {weights}"):
        path = _file_of(PathManager.get_local_path(weights))
    if not os.path.isfile(path):
        what = f"are a folder without {CONFIG_FILE}" if os.path.isdir(weights) else "do not exist"
        raise FileNotFoundError(f"weights {weights} {what}; expected a checkpoint file")
    if path.endswith((".pkl", ".pyth", ".safetensors")):
        return None  # formats of others
    with _reading(f"weights {weights}"):
        is_folder = os.path.basename(path) == CONFIG_FILE
        checkpoint = read_weights(path) if is_folder else _load_without_weights(path)
    return recorded_labels(checkpoint, weights) if isinstance(checkpoint, Mapping) else None


def _file_of(weights: str) -> str:
    """The file itself; of a folder of transformers its config."""
    return os.path.join(weights, CONFIG_FILE) if os.path.isdir(weights) else weights


@contextlib.contextmanager
def _reading(file: str) -> Iterator[None]:
    """Names the file in errors of those who read it.

    Raises:
        ValueError: what is in the block cannot read it.
    """
    try:
        yield
    except _UNREADABLE as error:
        if isinstance(error, (FileNotFoundError, PermissionError)):
            raise  # they name the file themselves
        # PyTorch goes on to advise what is dangerous with such a file.
        reason = re.split(r"\.\s|\n", str(error).strip())[0]
        raise ValueError(
            f"{file} cannot be read, it may be cut short or no checkpoint at all: "
            f"{type(error).__name__} {reason}"
        ) from error


def _load_without_weights(path: str) -> object:
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except RuntimeError:  # an older format, which cannot be mapped, or a damaged file
        return torch.load(path, map_location="cpu", weights_only=True)


def recorded_labels(checkpoint: Mapping, path: str) -> Labels | None:
    """The labels that a checkpoint records; None for one that others have written.

    Raises:
        ValueError: one of ours, which always have the record, without it or with a damaged one.
    """
    if "dataset" in checkpoint:
        try:
            return Labels.from_record(checkpoint["dataset"])
        except ValueError as error:
            raise ValueError(f"checkpoint {path}: {error}") from error
    trainer = checkpoint.get("trainer")
    if isinstance(trainer, Mapping) and "train_seconds" in trainer:
        raise ValueError(
            f"checkpoint {path} has lost the record of its labels, the key 'dataset': nobody can "
            "say which class and value each of its outputs is; use an unchanged checkpoint"
        )
    return None


class MultiTaskCheckpointer(DetectionCheckpointer):
    """detectron2's checkpointer; records the model's labels and reports what it loads.

    Args:
        model, save_dir, checkpointables: as for `DetectionCheckpointer`.
        labels: what the model's outputs stand for, recorded under "dataset" and compared with the
            record of what is loaded; None: neither.
        strict: whether a checkpoint is refused that does not fit entirely, with the same labels in
            the same order; else heads take over the rows of labels with the same name.
    """

    def __init__(
        self,
        model: nn.Module,
        save_dir: str = "",
        *,
        labels: Labels | None = None,
        strict: bool = False,
        **checkpointables,
    ) -> None:
        super().__init__(model, save_dir, **checkpointables)
        self.labels = labels
        self.strict = strict
        self.report: LoadReport | None = None
        self._path = ""

    def save(self, name: str, **kwargs) -> None:
        if self.labels is not None:
            kwargs["dataset"] = self.labels.to_record()
        super().save(name, **kwargs)

    def get_checkpoint_file(self) -> str:
        """The file that `last_checkpoint` in the output folder names.

        Raises:
            ValueError: it names none, or one that is not there.
        """
        path = pathlib.Path(super().get_checkpoint_file())
        if path.is_file():
            return str(path)
        marker = pathlib.Path(self.save_dir, "last_checkpoint")
        there = sorted(file.name for file in marker.parent.glob("*.pth"))
        raise ValueError(
            f"{marker} must name a checkpoint beside it, got {marker.read_text().strip()!r}; write "
            f"one of {there} into it, or remove it to start anew"
        )

    def forget_last(self) -> None:
        """Has a later `--resume` not take up what an earlier run left; its checkpoints stay."""
        mark = pathlib.Path(self.save_dir, "last_checkpoint")
        if self.save_to_disk and mark.is_file():
            mark.unlink()
            LOGGER.info(f"{self.save_dir} has checkpoints of an earlier run; --resume skips them")

    def load(self, path: str, *args, **kwargs) -> dict:
        """Loads as detectron2 does; `report` then says what was loaded.

        Raises:
            ValueError: the file cannot be read or nothing in it fits; with `strict`, something in
                it does not fit.
        """
        self._path = path
        if path:
            with _reading(f"checkpoint {path}"):
                PathManager.get_local_path(path)
        return super().load(_file_of(path), *args, **kwargs)

    def _load_file(self, filename: str) -> dict:
        with _reading(f"checkpoint {self._path}"):
            return read_weights(filename)

    def _load_model(self, checkpoint):
        missing = [name for name in self.checkpointables if name not in checkpoint]
        if self.strict and missing:
            raise ValueError(
                f"checkpoint {self._path} has no state of {missing} to go on from; start a new "
                "training with it in MODEL.WEIGHTS"
            )
        source = checkpoint.pop("model")
        self._convert_ndarray_to_tensor(source)
        if checkpoint.get("matching_heuristics", False):
            # Backbone weights of detectron2's model zoo, under other names.
            source = align_and_update_state_dicts(
                self.model.state_dict(),
                source,
                c2_conversion=checkpoint.get("__author__") == "Caffe2",
            )
        fitted, self.report = fit_state_dict(source, self.model, self._heads(checkpoint, source))
        if self.strict and not self.report.complete:
            raise ValueError(
                f"checkpoint {self._path} does not fit the model; use the config.yaml saved beside "
                f"it, and its dataset. {self.report}"
            )
        if not self.report.loaded:
            raise ValueError(f"nothing in checkpoint {self._path} fits the model. {self.report}")
        LOGGER.info(str(self.report))
        self._tell_of_unknown_labels(checkpoint)
        self.model.load_state_dict(fitted, strict=False)

    def _heads(self, checkpoint: Mapping, source: Mapping) -> dict[str, torch.Tensor]:
        """The heads, row by row, where the checkpoint's labels are not the model's."""
        theirs = recorded_labels(checkpoint, self._path)
        if self.labels is None or theirs is None:
            return {}
        if theirs.lists == self.labels.lists:
            if theirs.spec != self.labels.spec:
                LOGGER.warning(
                    f"checkpoint {self._path} was trained with other rules of its subcategories, "
                    f"{theirs.spec.to_json()}; it goes on with {self.labels.spec.to_json()}"
                )
            return {}
        if self.strict:
            raise ValueError(_say_they_differ(self._path, theirs, self.labels))
        LOGGER.info(
            f"labels of checkpoint {self._path} taken over by name:\n"
            f"{describe_rows(theirs, self.labels)}"
        )
        return take_rows(source, self.model.state_dict(), theirs, self.labels)

    def _tell_of_unknown_labels(self, checkpoint: Mapping) -> None:
        if self.labels is None or recorded_labels(checkpoint, self._path) is not None:
            return
        if any(rows_of(name, self.labels) is not None for name in self.report.loaded):
            LOGGER.warning(
                f"checkpoint {self._path} does not say what its labels are called: they are taken "
                f"by number, as {shown_names(self.labels.class_names)}"
            )


def _say_they_differ(path: str, theirs: Labels, ours: Labels) -> str:
    pairs = {
        what: (theirs.lists.get(what, ()), ours.lists.get(what, ()))
        for what in {**theirs.lists, **ours.lists}
    }
    lists = [
        f"{what} {shown_names(there)} there, {shown_names(here)} here"
        for what, (there, here) in pairs.items()
        if there != here
    ]
    return (
        f"checkpoint {path} was trained with other labels: {'; '.join(lists)}; put the dataset's "
        "lists back, or start a new training with it in MODEL.WEIGHTS, which takes over by name"
    )
