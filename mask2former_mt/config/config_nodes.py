"""Keys of a config by their full names, such as "MODEL.BACKBONE.NAME"."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping

from detectron2.config import CfgNode


def leaves(node: Mapping, section: str = "") -> Iterator[tuple[str, object]]:
    """Full names and values of all keys below a node, whose own full name is `section`."""
    for name, value in node.items():
        key = f"{section}.{name}" if section else name
        if isinstance(value, Mapping):
            yield from leaves(value, key)
        else:
            yield key, value


def value_of(cfg: CfgNode, key: str) -> object:
    """The value of a key."""
    return functools.reduce(getattr, key.split("."), cfg)
