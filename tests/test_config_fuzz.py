"""Mutated config files: each is refused by name, or what is built from it works.

CONFIG_FUZZ=5000 tries as many, CONFIG_FUZZ_SEED others; the outcomes are printed with -s.
"""

from __future__ import annotations

import copy
import logging
import math
import os
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import yaml
from config_tools import tiny_config
from detectron2.modeling import build_model
from training_files import CONFIG

from mask2former_mt.config.config_nodes import leaves
from mask2former_mt.data.augment import build_test_augmentations, build_train_augmentations
from mask2former_mt.engine.error_lines import USER_ERRORS, line_of
from mask2former_mt.engine.setup import load_config
from mask2former_mt.modeling.inference import build_inference
from mask2former_mt.solver.optimizer import build_optimizer
from mask2former_mt.solver.schedule import build_lr_scheduler
from mask2former_mt.structures import SubcategorySpec

NUM_FILES = int(os.environ.get("CONFIG_FUZZ", "150"))
SEED = int(os.environ.get("CONFIG_FUZZ_SEED", "0"))
DEFAULTS = dict(leaves(tiny_config()))
# Nobody can mean these, whatever the key.
NONSENSE = (None, math.nan, math.inf, -math.inf, {"A": {"B": 1}}, 10**30, -(10**30), 10**400, "\0")
# A value of each type, of which most keys take only one.
OF_TYPES = (
    True,
    False,
    0,
    1,
    -1,
    7,
    0.5,
    -0.5,
    1e-9,
    1e6,
    "x",
    "",
    "1e-3",
    "(1, 2)",
    [],
    [1],
    ["x"],
)
BASE = copy.deepcopy(CONFIG)
BASE["MODEL"]["SEM_SEG_HEAD"]["NUM_CLASSES"] = 3
BASE["MODEL"]["SUBCATEGORY"] = {"NAMES": ["tint", "finish"], "NUM_CLASSES": [2, 3]}


def is_nonsense(key: str, value: object) -> bool:
    """Whether the value of a key, or what stands in the place of one, can't be meant at all."""
    if key not in DEFAULTS:
        return True
    values = value if isinstance(value, (list, tuple)) else [value]
    default = DEFAULTS[key]
    if value is None:
        return default is not None
    for part in values:
        if part is None or isinstance(part, dict):
            return key != "INPUT.AUGMENTATIONS"
        if isinstance(part, float) and not math.isfinite(part):
            return True
        if isinstance(part, int) and abs(part) >= 10**30:
            return True
    # True is no number, and a number neither true nor false.
    return isinstance(default, (bool, int, float)) and (
        isinstance(default, bool) != isinstance(value, bool)
    )


def mutate(rng: np.random.Generator, config: dict) -> tuple[str, object]:
    """Changes a config in place; returns the key, or what was done to it, and the new value."""
    key = str(rng.choice(sorted(DEFAULTS)))
    kind = rng.integers(12)
    if kind == 0:
        # A letter of the name is lost, or one too many.
        at = int(rng.integers(len(key)))
        misspelt = key[:at] + ("" if rng.random() < 0.5 else "Q") + key[at + 1 :]
        put(config, misspelt, copy.deepcopy(DEFAULTS[key]))
        return misspelt, None
    if kind == 1 and "." in key:
        section = key.rpartition(".")[0]
        value = OF_TYPES[rng.integers(len(OF_TYPES))]
        put(config, section, value)
        return section, value
    default = DEFAULTS[key]
    if kind <= 4:
        value = NONSENSE[rng.integers(len(NONSENSE))]
    elif kind <= 6 and isinstance(default, (list, tuple)) and default:
        value = [*default]
        value[rng.integers(len(value))] = NONSENSE[rng.integers(len(NONSENSE))]
    elif kind <= 9 and isinstance(default, (int, float)) and not isinstance(default, bool):
        value = default * float(rng.choice([-1, 0, 2, 0.5, 1.5, 1e9])) if default else -1.0
        value = int(value) if isinstance(default, int) else value
    else:
        value = OF_TYPES[rng.integers(len(OF_TYPES))]
    put(config, key, copy.deepcopy(value))
    return key, value


def put(config: dict, key: str, value: object) -> None:
    *sections, last = key.split(".")
    for section in sections:
        if not isinstance(config.get(section), dict):
            config[section] = {}
        config = config[section]
    config[last] = value


def damaged(rng: np.random.Generator, text: str) -> str:
    """The text of a file with a few characters lost, doubled or replaced."""
    for _ in range(rng.integers(1, 4)):
        at = int(rng.integers(len(text)))
        other = str(rng.choice(["", text[at] * 2, ":", "[", "}", "\t", "&", "é"]))
        text = text[:at] + other + text[at + 1 :]
    return text


def build(cfg) -> None:
    """What a training builds of a config besides its datasets."""
    build_train_augmentations(cfg)
    build_test_augmentations(cfg)
    build_inference(cfg, SubcategorySpec.from_config(cfg.MODEL.SUBCATEGORY))
    model = build_model(cfg)
    build_lr_scheduler(cfg, build_optimizer(cfg, model))


def outcome(file: Path) -> tuple[str, str]:
    """How loading a file and building from it ends: a word, and the message if there is one."""
    try:
        cfg = load_config(str(file))
        build(cfg)
    except USER_ERRORS as error:
        return "named", line_of(error)
    except Exception as error:
        return "traceback", f"{type(error).__name__}: {error}"
    return "accepted", ""


def test_mutated_files_are_named_or_work(tmp_path: Path, caplog):
    rng, counts, faults = np.random.default_rng(SEED), Counter(), []
    file = tmp_path / "c.yaml"
    base = yaml.safe_dump(BASE)
    for number in range(NUM_FILES):
        if number % 5 == 4:
            key, value, text = "", None, damaged(rng, base)
        else:
            config = yaml.safe_load(base)
            key, value = mutate(rng, config)
            text = yaml.safe_dump(config)
        file.write_text(text, encoding="utf-8")
        caplog.clear()
        with caplog.at_level(logging.WARNING), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            how, message = outcome(file)
        if how == "accepted" and key and any(key in text for text in caplog.messages):
            how = "warned"
        if how == "accepted" and key and is_nonsense(key, value):
            how = "nonsense accepted"
        says_key = key.rpartition(".")[2] in message or "there is no config key" in message
        if how == "named" and not says_key:
            how = "named, but not by its key"
        counts[how] += 1
        if how not in ("named", "accepted", "warned"):
            faults.append(f"{how}: {key} {value!r}: {message}\n{'' if key else text}")
    print(dict(counts))
    assert faults == [], "\n".join(faults)
