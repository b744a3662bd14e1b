"""Catalogs that forget what a test registers."""

from __future__ import annotations

import pytest
from registered import restored_datasets


@pytest.fixture(autouse=True)
def _forget_datasets():
    with restored_datasets():
        yield
