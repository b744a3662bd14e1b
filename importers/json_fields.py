"""Takes typed values out of JSON objects, with one form of message for all others."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TypeVar

from mask2former_mt.dataset.problems import shown

_Kind = TypeVar("_Kind", dict, list, str)
_NAMES = {dict: "a JSON object", list: "a list", str: "a text"}
_NEEDED = object()


def field(entry: Mapping, key: str, kind: type[_Kind], default: object = _NEEDED) -> _Kind:
    """A field that must be of a type; null and no field are the default.

    Raises:
        ValueError: another type, or neither a field nor a default.
    """
    value = entry.get(key)
    if value is None and default is not _NEEDED:
        return default
    if not isinstance(value, kind):
        raise ValueError(f"{key!r} must be {_NAMES[kind]}, got {shown(value)}")
    return value


def json_objects(entry: Mapping, key: str) -> list[dict]:
    """A field that must be a list of JSON objects; null and no field are the empty list.

    Raises:
        ValueError: anything else.
    """
    entries = field(entry, key, list, [])
    if not all(isinstance(value, dict) for value in entries):
        raise ValueError(f"{key!r} must be a list of JSON objects, got {shown(entries)}")
    return entries


def number(entry: Mapping, key: str, default: float | None = None) -> float:
    """A field that must be a finite number; null and no field are the default.

    Raises:
        ValueError: anything else, or neither a field nor a default.
    """
    value = entry.get(key)
    if value is None and default is not None:
        return default
    try:
        is_sound = not isinstance(value, bool) and math.isfinite(value)
    except (TypeError, OverflowError):
        is_sound = False
    if not is_sound:
        raise ValueError(f"{key!r} must be a number, got {shown(value)}")
    return float(value)
