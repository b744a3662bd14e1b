"""Every test here leaves the loggers and the registered datasets as they were."""

import pytest
from registered import restored_datasets
from training_files import restored_loggers


@pytest.fixture(autouse=True)
def _leave_no_trace():
    with restored_loggers(), restored_datasets():
        yield
