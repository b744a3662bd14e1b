"""Merges config files and overrides of the command line into a config, and names what is wrong."""

from __future__ import annotations

import ast
import difflib
import io
import pathlib
import re
from collections.abc import Mapping, Sequence

import yaml
from detectron2.config import CfgNode

from mask2former_mt.config.config_nodes import leaves
from mask2former_mt.config.config_rules import is_list, rule_of_kind

# What yaml, fvcore and detectron2 raise on files that are no configs; a ValueError is a YAMLError
# of the constructor, of a date that is none.
_UNREADABLE = (
    *(yaml.YAMLError, ValueError, TypeError, AttributeError, AssertionError, KeyError),
    RecursionError,
)

# Published files write the sizes of their training pictures as Python code, all in this form. It is
# read as the list that it stands for; no text of a file is ever run.
_SIZES = re.compile(
    r"!!python/object/apply:eval\s*\[\s*(?P<quote>[\"'])"
    r"\[int\(x \* (?P<factor>\d+\.\d+) \* (?P<size>\d{1,5})\)"
    r" for x in range\((?P<low>\d{1,5}), (?P<high>\d{1,5})\)\]"
    r"(?P=quote)\s*\]"
)
_MOST_SIZES = 1000
# The model of the configs published for YouTubeVIS.
_OF_VIDEOS = "VideoMaskFormer"


def merge_file(cfg: CfgNode, config_file: str) -> None:
    """Merges a YAML file and what it names as `_BASE_`, changing `cfg` in place.

    Raises:
        OSError: no such file, or it cannot be opened.
        ValueError: no valid YAML, no config, one of videos, or a value of another type than the
            key's.
        KeyError: an unknown key.
    """
    if "://" not in config_file and not pathlib.Path(config_file).is_file():
        kind = "is a folder" if pathlib.Path(config_file).is_dir() else "does not exist"
        raise FileNotFoundError(f"config file {config_file} {kind}; expected a YAML file")
    where = f"config file {config_file}"
    try:
        # By default detectron2 would run Python code that a YAML file asks for.
        loaded = _with_bases(config_file)
    except _UNREADABLE as error:
        raise ValueError(f"{where} is not valid YAML: {_one_line(error)}") from error
    if not isinstance(loaded, dict):
        raise ValueError(
            f"{where} must hold keys such as 'MODEL:' and 'SOLVER:', got {type(loaded).__name__}"
        )
    model = loaded.get("MODEL")
    if isinstance(model, dict) and model.get("META_ARCHITECTURE") == _OF_VIDEOS:
        raise ValueError(
            f"{where} is of videos (MODEL.META_ARCHITECTURE {_OF_VIDEOS!r}), and this package is "
            "for pictures: take one of Mask2Former's configs of pictures, such as COCO's; "
            "tools/predict.py goes through the frames of a video one by one"
        )
    version = loaded.get("VERSION", cfg.VERSION)
    if version == 1:
        # Of detectron2's first months, with other names of keys, which it translates.
        try:
            cfg.merge_from_file(config_file, allow_unsafe=False)
        except _UNREADABLE as error:
            raise ValueError(
                f"{where} says VERSION 1, detectron2's first keys: {_one_line(error)}; of the "
                f"present keys it is VERSION {cfg.VERSION}"
            ) from error
        return
    if type(version) is int and version != cfg.VERSION:
        raise ValueError(f"{where}: VERSION must be {cfg.VERSION}, as detectron2's, got {version}")
    _merge(cfg, loaded, cfg, where=where)


def merge_overrides(cfg: CfgNode, opts: Sequence[str]) -> None:
    """Merges KEY VALUE KEY VALUE ... of a command line, changing `cfg` in place.

    Raises:
        ValueError: an odd number of texts, or a value of another type than the key's.
        KeyError: an unknown key.
    """
    if len(opts) % 2:
        raise ValueError(f"overrides must be KEY VALUE pairs, got {list(opts)}")
    for key, value in zip(opts[::2], opts[1::2], strict=True):
        nested: object = value
        for name in reversed(str(key).split(".")):
            nested = {name: nested}
        _merge(cfg, nested, cfg, where="the command line")


class _ConfigFile(CfgNode):
    """Reads YAML files with their `_BASE_`, and published ones with their list of sizes."""

    @classmethod
    def _open_cfg(cls, filename: str) -> io.StringIO:
        with super()._open_cfg(filename) as file:
            text = io.StringIO(_SIZES.sub(_written_out, file.read()))
        text.name = filename  # for the parser's messages
        return text


def _written_out(match: re.Match) -> str:
    """The list that a published expression stands for."""
    multiples = range(int(match["low"]), int(match["high"]))[:_MOST_SIZES]
    return str([int(x * float(match["factor"]) * int(match["size"])) for x in multiples])


def _with_bases(config_file: str) -> object:
    if "://" not in config_file:
        # fvcore looks for `_BASE_` in whatever it is.
        with _ConfigFile._open_cfg(config_file) as text:
            content = yaml.safe_load(text)
        if not isinstance(content, dict):
            return content
    return _ConfigFile.load_yaml_with_base(config_file, allow_unsafe=False)


def _merge(node: CfgNode, values: Mapping, cfg: CfgNode, *, where: str, section: str = "") -> None:
    """Merges nested values into a node of the config `cfg`, whose full name is `section`."""
    for name, value in values.items():
        key = f"{section}.{name}" if section else str(name)
        if name not in node:
            # It says so itself.
            if cfg.key_is_deprecated(key):
                continue
            raise KeyError(f"{where}: there is no config key {key}{_similar(key, cfg)}")
        current = node[name]
        if isinstance(current, Mapping):
            if not isinstance(value, Mapping):
                example = next(iter(current))
                raise ValueError(
                    f"{where}: {key} is a section with keys such as {key}.{example}, got {value!r}"
                )
            _merge(current, value, cfg, where=where, section=key)
            continue
        value = _decoded(value, current)
        rule = rule_of_kind(current)
        if not rule.holds(value):
            raise ValueError(f"{where}: {key} must be {rule.expected}, got {value!r}")
        if isinstance(current, float):
            value = float(value)
        elif is_list(current):
            value = type(current)(value)
        node[name] = value


def _decoded(value: object, current: object) -> object:
    """A text's Python literal, such as "(1, 2)" of a YAML file, unless the key holds texts."""
    if not isinstance(value, str):
        return value
    try:
        literal = ast.literal_eval(value)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return value
    return value if isinstance(current, str) and not isinstance(literal, str) else literal


def _similar(key: str, cfg: CfgNode) -> str:
    """The known keys that an unknown one may have meant, for its message."""
    known = [full for full, _ in leaves(cfg)]
    last = key.rpartition(".")[2]
    same = [full for full in known if full.rpartition(".")[2] == last]
    similar = same or difflib.get_close_matches(key, known, n=2)
    return f"; did you mean {' or '.join(similar[:3])}?" if similar else ""


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
