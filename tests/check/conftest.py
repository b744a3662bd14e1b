"""A dataset without a fault, which each test spoils as it needs."""

from __future__ import annotations

from pathlib import Path

import pytest
from dataset_to_check import DatasetToCheck


@pytest.fixture
def dataset(tmp_path: Path) -> DatasetToCheck:
    return DatasetToCheck(tmp_path / "tiny")
