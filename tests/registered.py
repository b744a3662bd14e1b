"""What tests register with detectron2, taken off again."""

import contextlib
from collections.abc import Iterator

from detectron2.data import DatasetCatalog, MetadataCatalog


@contextlib.contextmanager
def restored_datasets() -> Iterator[None]:
    """Takes off the datasets that are registered inside: another test may want their names."""
    known = set(DatasetCatalog.list())
    try:
        yield
    finally:
        for name in set(DatasetCatalog.list()) - known:
            DatasetCatalog.remove(name)
            MetadataCatalog.remove(name)
