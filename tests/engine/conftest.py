"""Every test here leaves the loggers as they were."""

import pytest
from training_files import restored_loggers


@pytest.fixture(autouse=True)
def _restored_loggers():
    with restored_loggers():
        yield
