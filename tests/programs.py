"""The programs of tools/."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

TOOLS = Path(__file__).parents[1] / "tools"


def load_program(name: str) -> ModuleType:
    """A program of tools/ as a module, made anew by each call."""
    module_spec = importlib.util.spec_from_file_location(f"program_{Path(name).stem}", TOOLS / name)
    module = importlib.util.module_from_spec(module_spec)
    module_spec.loader.exec_module(module)
    return module
