#!/usr/bin/env python3
"""Imports the datasets of annotation tools as this project's JSON."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from mask2former_mt.importers.attribute_choice import ABSENT_CHOICES, SEVERAL_CHOICES
from mask2former_mt.importers.dataset_import import DEFAULT_SPLIT, FORMATS, by_split, import_dataset
from mask2former_mt.importers.source import UNUSABLE_CHOICES, ImportOptions
from mask2former_mt.importers.yolo import ORIENTED_BOXES_CHOICES

from mask2former_mt.dataset.conventions import CONVENTION_CHOICES
from mask2former_mt.engine.setup import at_least_one, errors_named

DEFAULTS = ImportOptions()
# Formats whose files list the values of their attributes.
_LISTED = ("fashionpedia", "paco")
_WITH_PICTURE_ATTRIBUTES = ("labelme", "label-studio", "cvat", "via")
_WITH_OTHER_KEYS = ("labelme", "label-studio", "via", "coco")
_WITH_CLASSES = ("yolo", "via", "masks")
_WITHOUT_ATTRIBUTES = ("yolo", "masks")


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="import_dataset.py", description=__doc__)
    formats = parser.add_subparsers(dest="format", required=True, metavar="FORMAT")
    for name, (_, text) in FORMATS.items():
        sub = formats.add_parser(name, help=text, description=text)
        sub.add_argument(
            "input",
            nargs="+",
            metavar="[SPLIT=]PATH",
            help="such as train=a.json val=b.json: import all splits together, so that they list "
            f"the same classes and values; a single path without a name is {DEFAULT_SPLIT!r}",
        )
        sub.add_argument(
            "--output", required=True, type=Path, help="folder to write <split>.json to"
        )
        sub.add_argument(
            "--yaml", action="store_true", help="also write the dataset YAML, <name>.yaml"
        )
        sub.add_argument("--name", help="the dataset's name, default the output folder's")
        sub.add_argument("--force", action="store_true", help="replace files that are there")
        sub.add_argument(
            "--unusable",
            choices=UNUSABLE_CHOICES,
            default=DEFAULTS.unusable,
            help="objects without a sound mask, such as boxes: refuse the whole (the default), or "
            "leave them out and say how many",
        )
        if name == "yolo":
            sub.add_argument(
                "--oriented-boxes",
                choices=ORIENTED_BOXES_CHOICES,
                default=DEFAULTS.oriented_boxes,
                help="files in which every line has four corners: refuse them as oriented boxes "
                "(the default), or take them for outlines",
            )
        if name in _WITH_CLASSES:
            sub.add_argument(
                "--classes",
                nargs="+",
                default=[],
                metavar="NAME",
                help="names of the classes, in order, where the files do not have them",
            )
        if name not in _WITHOUT_ATTRIBUTES:
            add_attribute_options(sub, name)
    return parser


def add_attribute_options(parser: argparse.ArgumentParser, format_name: str) -> None:
    parser.add_argument(
        "--images",
        nargs="+",
        default=[],
        metavar="[SPLIT=]DIR",
        help="where the pictures are, if the files do not say; one folder may serve all splits",
    )
    parser.add_argument(
        "--subcategories",
        nargs="+",
        metavar="NAME",
        help="the attributes that become subcategories, in this order; default all that can",
    )
    parser.add_argument(
        "--none-values",
        nargs="+",
        default=[],
        metavar="TEXT",
        help="values that mean 'does not apply', such as n/a; they become none",
    )
    parser.add_argument(
        "--several",
        choices=SEVERAL_CHOICES,
        default=DEFAULTS.several,
        help="an object with several values of one attribute, default unknown",
    )
    if format_name != "paco":
        parser.add_argument(
            "--absent",
            choices=ABSENT_CHOICES,
            default=DEFAULTS.absent,
            help="an object without the attribute: unknown (the default), none, or none where no "
            "object of its class has it",
        )
    if format_name == "via":
        parser.add_argument(
            "--class-attribute",
            metavar="NAME",
            help="the attribute of the regions that is the class",
        )
    if format_name in _WITH_PICTURE_ATTRIBUTES:
        parser.add_argument(
            "--picture-attributes",
            action="store_true",
            help="give the attributes of a whole picture to each of its objects",
        )
    if format_name in _WITH_OTHER_KEYS:
        parser.add_argument(
            "--attributes-key",
            dest="attributes_keys",
            nargs="+",
            default=[],
            metavar="KEY",
            help="further keys of an annotation that are attributes or hold some, such as metadata",
        )
    if format_name not in _LISTED:
        parser.add_argument(
            "--max-values",
            type=at_least_one,
            default=DEFAULTS.max_values,
            help="attributes of more different values are free text; default half as many as "
            "there are objects with the attribute",
        )
    if format_name == "coco" or format_name in _LISTED:
        parser.add_argument(
            "--crowd",
            choices=CONVENTION_CHOICES["crowd"],
            default=DEFAULTS.crowd,
            help="annotations with iscrowd 1: keep them so (training leaves them out; the "
            "default), or make them objects, as CVAT's brush masks are",
        )
        parser.add_argument(
            "--holes",
            choices=CONVENTION_CHOICES["holes"],
            default=DEFAULTS.holes,
            help="a polygon inside another one of the same object: fill it, as COCO does (the "
            "default), or cut it out as a hole",
        )
    if format_name == "paco":
        parser.add_argument(
            "--no-parts", dest="parts", action="store_false", help="leave out the objects' parts"
        )


def options_of(args: argparse.Namespace) -> ImportOptions:
    given = {name: getattr(args, name) for name in vars(DEFAULTS) if hasattr(args, name)}
    for name in ("subcategories", "none_values", "attributes_keys", "classes"):
        if given.get(name) is not None:
            given[name] = tuple(given[name])
    return ImportOptions(**given)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = build_parser()
    args = parser.parse_args(arguments)
    if args.name and not args.yaml:
        parser.error("--name is the YAML's: give --yaml too")
    with errors_named():
        inputs = by_split(args.input, "input")
        images = by_split(getattr(args, "images", []), "--images")
        if len(getattr(args, "images", [])) == 1 and list(images) == [DEFAULT_SPLIT]:
            images = dict.fromkeys(inputs, images[DEFAULT_SPLIT])
        name = (args.name or args.output.resolve().name) if args.yaml else None
        done = import_dataset(
            args.format,
            inputs,
            args.output,
            images=images,
            options=options_of(args),
            dataset_name=name,
            force=args.force,
        )
    for note in done.notes:
        print(f"note: {note}", file=sys.stderr)
    for split, count in done.num_images.items():
        print(f"{split}: {count} pictures, {done.num_instances[split]} instances")
    for subcategory in done.spec:
        print(f"subcategory {subcategory.name!r}: {subcategory.num_values} values")
    print(f"{done.num_classes} classes; wrote {', '.join(map(str, done.files))}")
    if not any(done.num_instances.values()):
        sys.exit(1)


if __name__ == "__main__":
    main()
