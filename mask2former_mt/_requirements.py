"""Says what is missing before an import fails somewhere deep inside."""

from __future__ import annotations

import importlib


def check_detectron2() -> None:
    """Checks that detectron2 can be imported.

    Raises:
        ImportError: detectron2 is not installed; says what to do. A package that detectron2 itself
            misses is named by the error that its own import raises.
    """
    try:
        importlib.import_module("detectron2")
    except ModuleNotFoundError as error:
        if error.name != "detectron2":
            raise
        raise ImportError(
            "detectron2 is not installed. Run `make setup`, or in an environment of your own "
            "`python tools/install_detectron2.py`; see README, 'Install'",
            name="detectron2",
        ) from error


# On import: the package's first line, before any of its modules asks for detectron2.
check_detectron2()
