#!/usr/bin/env python3
"""Converts weights between detectron2's form and transformers' folders.

    python tools/convert_weights.py output/model_final.pth folder --to hf
    python tools/convert_weights.py folder model.pth --to detectron2

The published weights of Mask2Former are for non-commercial use (CC BY-NC 4.0), whatever the form.
"""

from __future__ import annotations

import argparse
import pathlib
from collections.abc import Sequence

import torch
import yaml
from detectron2.config import CfgNode

from mask2former_mt.config import fill_labels
from mask2former_mt.engine.checkpoint import read_labels
from mask2former_mt.engine.setup import errors_named, load_config
from mask2former_mt.engine.transformers_folder import CONFIG_FILE, config_overrides, write_folder
from mask2former_mt.engine.weights_file import read_weights
from mask2former_mt.files import write_whole
from mask2former_mt.predict.predictor import build_numbered_labels


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="convert_weights.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", help="checkpoint (.pth, .pkl, .safetensors), or a folder")
    parser.add_argument("target", help="folder (--to hf), or checkpoint .pth (--to detectron2)")
    parser.add_argument("--to", required=True, choices=("hf", "detectron2"))
    parser.add_argument(
        "--config-file",
        metavar="FILE",
        help="config of the checkpoint for --to hf, default the config.yaml beside it",
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    args = build_parser().parse_args(arguments)
    with errors_named():
        if args.to == "hf":
            config = args.config_file or pathlib.Path(args.source).parent / "config.yaml"
            to_folder(args.source, pathlib.Path(args.target), load_config(str(config)))
        else:
            from_folder(pathlib.Path(args.source), pathlib.Path(args.target))


def to_folder(source: str, folder: pathlib.Path, cfg: CfgNode) -> None:
    """Writes a checkpoint as a folder for `from_pretrained`."""
    labels = read_labels(source) or build_numbered_labels(cfg, source)
    cfg = cfg.clone()
    cfg.defrost()
    fill_labels(cfg, labels, source)
    model = {name: torch.as_tensor(value) for name, value in read_weights(source)["model"].items()}
    write_folder(folder, model, cfg, labels)
    print(f"wrote {folder}: Mask2FormerForUniversalSegmentation.from_pretrained reads it")


def from_folder(folder: pathlib.Path, target: pathlib.Path) -> None:
    """Writes a transformers folder as a checkpoint, and what its config says beside it."""
    if not (folder / CONFIG_FILE).is_file():
        raise FileNotFoundError(f"{folder} must be a folder of transformers with {CONFIG_FILE}")
    checkpoint = read_weights(folder / CONFIG_FILE)
    overrides: dict = {"VERSION": 2}
    for key, value in config_overrides(folder).items():
        *sections, name = key.split(".")
        node = overrides
        for section in sections:
            node = node.setdefault(section, {})
        node[name] = value
    torch.save(checkpoint, target)
    config = target.with_suffix(".yaml")
    write_whole({config: yaml.safe_dump(overrides).encode()})
    print(f"wrote {target}, and {config} with the keys that make its model")


if __name__ == "__main__":
    main()
