"""A small config and its keys, for the tests of the config."""

from __future__ import annotations

import operator
from collections.abc import Callable

import pytest
from detectron2.config import CfgNode
from tiny import tiny_cfg


def tiny_config() -> CfgNode:
    names = {"tint": 2, "finish": 3}
    return tiny_cfg(subcategories=names, opts={"MODEL.TIMM.NORM": "FrozenBN"})


def changed(key: str, value: object, cfg: CfgNode | None = None) -> CfgNode:
    cfg = tiny_config() if cfg is None else cfg
    cfg.merge_from_list([key, value])
    return cfg


def rows(table: list[tuple]):
    """Parametrizes a test by key, new value, how to look at what is built, and what to see then.

    Args:
        table: rows (key, value, look) or (key, value, look, expected). `look` is a function, or the
            path of an attribute; where nothing else is expected, it is the value itself.
    """
    whole = [(*row, row[1])[:4] for row in table]
    return pytest.mark.parametrize(
        ("key", "value", "look", "expected"),
        [(key, value, looking(look), expected) for key, value, look, expected in whole],
        ids=[row[0] for row in table],
    )


def looking(look: str | Callable) -> Callable:
    return operator.attrgetter(look) if isinstance(look, str) else look
