"""A small config and its keys, for the tests of the config."""

from __future__ import annotations

import operator
from collections.abc import Callable

import pytest
from detectron2.config import CfgNode, get_cfg
from training_files import CONFIG

from mask2former_mt.config import add_mask2former_mt_config


def tiny_config() -> CfgNode:
    cfg = get_cfg()
    add_mask2former_mt_config(cfg)
    cfg.merge_from_other_cfg(CfgNode(CONFIG))
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = 3
    cfg.MODEL.SUBCATEGORY.NAMES = ["tint", "finish"]
    cfg.MODEL.SUBCATEGORY.NUM_CLASSES = [2, 3]
    return cfg


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
