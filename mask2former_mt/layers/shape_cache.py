"""Constants that depend on shapes alone, made once."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch


def made_once(function: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """Keeps the results of a function of hashable arguments, the last 64; treat them as read-only.

    A result is no inference tensor, which a later training step could not use. Nothing is kept, nor
    looked up, while PyTorch traces: what is made then is no tensor to compute with later.
    """

    @functools.lru_cache(maxsize=64)
    def kept(*args, **kwargs) -> torch.Tensor:
        with torch.inference_mode(False), torch.no_grad():
            return function(*args, **kwargs)

    @functools.wraps(function)
    def wrapper(*args, **kwargs) -> torch.Tensor:
        if torch.compiler.is_compiling():
            return function(*args, **kwargs)
        return kept(*args, **kwargs)

    return wrapper
