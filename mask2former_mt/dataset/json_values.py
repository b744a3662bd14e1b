"""Integers and ids of a JSON, which some programs write as texts or floats."""

from __future__ import annotations

import re

# Ids have no more digits, and Python does not read any number of them.
_INTEGER = re.compile("-?[0-9]{1,18}")


def is_int(value: object) -> bool:
    """Whether a JSON value is an integer; in Python a bool is one too, which JSON does not mean."""
    return type(value) is int


def as_id(value: object) -> int | None:
    """The integer that a JSON value means: 7 for 7, "7" and 7.0; None if it means none."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        return int(value)
    return value if is_int(value) else None
