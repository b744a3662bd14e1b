"""All that is random in a sample follows from its seed and its draw."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator

import numpy as np
import torch

# detectron2's augmentations draw from NumPy's global generator, a user's own perhaps from Python's
# or PyTorch's; a generator of our own would reach none of them.
# ruff: noqa: NPY002


@contextlib.contextmanager
def seeded(*numbers: int) -> Iterator[None]:
    """Seeds the global generators of NumPy, Python and PyTorch's CPU, and puts them back after.

    Args:
        numbers: each at least 0; different numbers give unrelated streams.

    Raises:
        ValueError: a negative number.
    """
    if min(numbers) < 0:
        raise ValueError(f"seed and draw must be at least 0, got {numbers}")
    # The count comes first: for a SeedSequence (1, 2) and (1, 2, 0) are the same.
    words = np.random.SeedSequence((len(numbers), *numbers)).generate_state(4)
    before = np.random.get_state(), random.getstate(), torch.default_generator.get_state()
    np.random.seed(words)
    random.seed(int(words[0]))
    torch.default_generator.manual_seed(int(words[1]))
    try:
        yield
    finally:
        np.random.set_state(before[0])
        random.setstate(before[1])
        torch.default_generator.set_state(before[2])
