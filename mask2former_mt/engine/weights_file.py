"""Reads weights from every kind of file that this package knows; no code in a file is ever run."""

from __future__ import annotations

import io
import os
import pathlib
import pickle
from collections.abc import Mapping
from typing import BinaryIO

import numpy as np
import torch
from safetensors.torch import load_file

from mask2former_mt.engine.convert_weights import from_transformers
from mask2former_mt.engine.transformers_folder import (
    CONFIG_FILE,
    is_of_transformers,
    read_folder,
)

# What pickled NumPy arrays and state dicts are made of, in NumPy 1 and 2.
_HARMLESS = {
    *(("numpy", name) for name in ("ndarray", "dtype")),
    *((f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")),
    *((f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")),
    *(("collections", "OrderedDict"), ("_codecs", "encode"), ("torch", "Size")),
    *(("torch._utils", name) for name in ("_rebuild_tensor_v2", "_rebuild_parameter")),
    *(("torch", f"{kind}Storage") for kind in ("Float", "Double", "Half", "Long", "Int", "Byte")),
}


class _WeightsUnpickler(pickle.Unpickler):
    """Refuses everything that weights are not made of, where Python's would import and call it."""

    def find_class(self, module: str, name: str) -> object:
        if (module, name) in _HARMLESS:
            return super().find_class(module, name)
        if (module, name) == ("torch.storage", "_load_from_bytes"):
            return _load_storage
        if module in ("numpy.core.multiarray", "numpy._core.multiarray") and name == "scalar":
            return _scalar
        raise pickle.UnpicklingError(
            f"it asks for {module}.{name}, which weights are not made of; nothing of it was run"
        )


def _load_storage(content: bytes) -> object:
    return torch.load(io.BytesIO(content), weights_only=True)


def _scalar(dtype: np.dtype, content: bytes) -> object:
    """A NumPy number; one of an object would unpickle without these limits."""
    if dtype.hasobject:
        raise pickle.UnpicklingError(f"it holds a scalar of {dtype}, which is no number")
    return np.frombuffer(content, dtype)[0]


def read_weights(path: str | os.PathLike) -> dict:
    """Reads a file of weights as detectron2's checkpointers take it.

    Args:
        path: `.pkl` of detectron2's or Mask2Former's model zoo, `.safetensors`, the `config.json`
            of a transformers folder, or what `torch.save` wrote, ours or of others.

    Returns:
        `model`, arrays or tensors by our names; and what else the file says: `dataset`, the record
        of its labels, `matching_heuristics`, `trainer` and so on.

    Raises:
        OSError: it cannot be opened.
        ValueError: a folder or safetensors that are not of Mask2Former, or a file of something else
            than named tensors.
        SafetensorError: damaged safetensors.
        pickle.UnpicklingError: it asks for anything but numbers.
    """
    checkpoint = _read(pathlib.Path(path))
    model = checkpoint["model"]
    if not isinstance(model, Mapping):
        raise ValueError(f"it must map names to tensors, got {type(model).__name__}")
    for name, value in model.items():
        if not isinstance(value, (torch.Tensor, np.ndarray, np.generic)):
            raise ValueError(f"{name} must be a tensor, got {type(value).__name__}")
    return checkpoint


def _read(path: pathlib.Path) -> dict:
    if path.name == CONFIG_FILE:
        return read_folder(path.parent)
    if path.suffix == ".safetensors":
        tensors = load_file(path)
        converted = from_transformers(tensors) if is_of_transformers(tensors) else tensors
        return {"model": converted}
    if path.suffix == ".pkl":
        with open(path, "rb") as file:
            return _of_model_zoo(_unpickle(file))
    loaded = torch.load(path, map_location="cpu", weights_only=True)
    if path.suffix == ".pyth":  # of pycls
        return {"model": loaded["model_state"], "matching_heuristics": True}
    is_bare = not isinstance(loaded, Mapping) or "model" not in loaded
    return _renamed({"model": loaded} if is_bare else loaded)


def _unpickle(file: BinaryIO) -> object:
    return _WeightsUnpickler(file, encoding="latin1").load()


def _of_model_zoo(content: object) -> dict:
    if not isinstance(content, Mapping):
        return {"model": content}
    if "model" in content and "__author__" in content:
        return _renamed(dict(content))
    # Caffe2's: a detection model has its blobs one level further down.
    blobs = content.get("blobs", content)
    model = {name: blob for name, blob in blobs.items() if not name.endswith("_momentum")}
    return {"model": model, "__author__": "Caffe2", "matching_heuristics": True}


def _renamed(checkpoint: dict) -> dict:
    """Names of Mask2Former's first release, as the published checkpoints have them, to today's."""
    if not isinstance(checkpoint["model"], Mapping):
        return checkpoint
    model = {}
    for name, value in checkpoint["model"].items():
        owner, _, rest = name.partition("sem_seg_head.")
        if not owner and rest and not rest.startswith(("pixel_decoder.", "predictor.")):
            name = f"sem_seg_head.pixel_decoder.{rest}"
        model[name.replace("predictor.static_query.", "predictor.query_feat.")] = value
    return {**checkpoint, "model": model}
