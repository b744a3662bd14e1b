"""A small config and its keys, for the tests of the config."""

from __future__ import annotations

from collections.abc import Mapping

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


def leaves(node: Mapping, prefix: str = "") -> dict[str, object]:
    found = {}
    for key, value in node.items():
        if isinstance(value, Mapping):
            found.update(leaves(value, f"{prefix}{key}."))
        else:
            found[prefix + key] = value
    return found


def changed(key: str, value: object, cfg: CfgNode | None = None) -> CfgNode:
    cfg = tiny_config() if cfg is None else cfg
    cfg.merge_from_list([key, value])
    return cfg


def rows(table: list[tuple]):
    return pytest.mark.parametrize(
        ("key", "value", "look", "expected"), table, ids=[row[0] for row in table]
    )
