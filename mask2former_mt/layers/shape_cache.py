"""Constants that depend on shapes alone, made once."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch


def made_once(function: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """Decorates a function of hashable arguments: its last 64 results are kept.

    Treat the results as read-only. They are made outside inference mode, so that a later training
    step can use them. While PyTorch traces, nothing is kept or looked up: what is made then is a
    symbol, not a tensor.
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
