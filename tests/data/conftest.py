"""A small dataset on disk that each test bends as it needs, and catalogs that forget it again."""

from __future__ import annotations

from pathlib import Path

import pytest
from dataset_on_disk import DatasetOnDisk
from registered import restored_datasets


@pytest.fixture
def dataset(tmp_path: Path) -> DatasetOnDisk:
    return DatasetOnDisk(tmp_path / "tiny")


@pytest.fixture(autouse=True)
def _forget_datasets():
    with restored_datasets():
        yield
