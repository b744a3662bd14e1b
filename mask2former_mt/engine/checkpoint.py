"""Checkpoints that store their dataset's names, and loading that reports on every parameter."""

from __future__ import annotations

import dataclasses
import logging
import pickle
from collections.abc import Iterable

import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.checkpoint.c2_model_loading import align_and_update_state_dicts
from torch import nn

LOGGER = logging.getLogger("mask2former_mt")

# One row per query, so they can be taken over into another number of queries.
_QUERY_PARAMETERS = ("query_feat.weight", "query_embed.weight")


@dataclasses.dataclass
class LoadReport:
    """Names of parameters by what loading did with them.

    Args:
        loaded: taken as they are.
        resized: taken with another number of queries; with both shapes.
        skipped: of another shape in the model, by another number of classes, say; with both shapes.
        missing: in the model only.
        unused: in the checkpoint only.
    """

    loaded: list[str] = dataclasses.field(default_factory=list)
    resized: list[str] = dataclasses.field(default_factory=list)
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
            + line("skipped, of another shape", self.skipped)
            + line("not in the checkpoint, left as initialised", self.missing)
            + line("in the checkpoint only, unused", self.unused)
        )


def fit_state_dict(
    source: dict[str, torch.Tensor], model: nn.Module
) -> tuple[dict[str, torch.Tensor], LoadReport]:
    """Selects the parameters that fit the model, and changes the number of queries to its number.

    More queries repeat the checkpoint's from the first on, fewer keep the first ones.

    Returns:
        A state dict for `load_state_dict(strict=False)`, and the report.
    """
    report, fitted = LoadReport(), {}
    own = model.state_dict()
    for name, tensor in own.items():
        if name not in source:
            # BN's step counter: frozen norms do not have it, and nothing depends on it.
            if not name.endswith("num_batches_tracked"):
                report.missing.append(name)
            continue
        value = torch.as_tensor(source[name])
        shapes = f"{name} {tuple(value.shape)} -> {tuple(tensor.shape)}"
        if value.shape == tensor.shape:
            fitted[name] = value
            report.loaded.append(name)
        elif name.endswith(_QUERY_PARAMETERS) and value.shape[1:] == tensor.shape[1:]:
            fitted[name] = value[torch.arange(len(tensor)) % len(value)]
            report.resized.append(shapes)
        else:
            report.skipped.append(shapes)
    report.unused = [name for name in source if name not in own]
    return fitted, report


class MultiTaskCheckpointer(DetectionCheckpointer):
    """detectron2's checkpointer; stores the dataset's names and reports what it loads.

    Args:
        model, save_dir, checkpointables: as for `DetectionCheckpointer`.
        dataset: result of `engine.setup.dataset_description`, stored under "dataset"; None: nothing
            is stored.
        strict: whether a checkpoint is refused that does not fit entirely.
    """

    def __init__(
        self,
        model: nn.Module,
        save_dir: str = "",
        *,
        dataset: dict | None = None,
        strict: bool = False,
        **checkpointables,
    ) -> None:
        super().__init__(model, save_dir, **checkpointables)
        self.dataset = dataset
        self.strict = strict
        self.report: LoadReport | None = None
        self._path = ""

    def save(self, name: str, **kwargs) -> None:
        if self.dataset is not None:
            kwargs["dataset"] = self.dataset
        super().save(name, **kwargs)

    def load(self, path: str, *args, **kwargs) -> dict:
        """Loads as detectron2 does; `report` then says what was loaded.

        Raises:
            ValueError: the file cannot be read or nothing in it fits; with `strict`, something in
                it does not fit.
        """
        self._path = path
        return super().load(path, *args, **kwargs)

    def _torch_load(self, f):
        try:
            return super()._torch_load(f)
        except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
            raise ValueError(
                f"checkpoint {self._path} cannot be read, it may be cut short or no checkpoint at "
                f"all: {error}"
            ) from error

    def _load_model(self, checkpoint):
        source = checkpoint.pop("model")
        self._convert_ndarray_to_tensor(source)
        if checkpoint.get("matching_heuristics", False):
            # Backbone weights of detectron2's model zoo, under other names.
            source = align_and_update_state_dicts(
                self.model.state_dict(),
                source,
                c2_conversion=checkpoint.get("__author__") == "Caffe2",
            )
        fitted, self.report = fit_state_dict(source, self.model)
        if self.strict and not self.report.complete:
            raise ValueError(
                f"checkpoint {self._path} does not fit the model; use the config.yaml saved beside "
                f"it, and its dataset. {self.report}"
            )
        if not self.report.loaded:
            raise ValueError(f"nothing in checkpoint {self._path} fits the model. {self.report}")
        LOGGER.info(str(self.report))
        self.model.load_state_dict(fitted, strict=False)
