"""Tests of runs leave the loggers as they found them."""

import pytest
from predict_tools import pictures, trained  # noqa: F401 (fixtures)
from training_files import restored_loggers


@pytest.fixture(autouse=True)
def _restored_loggers():
    with restored_loggers():
        yield
