#!/usr/bin/env python3
"""Checks a dataset before the GPU hours: every picture, every annotation, the labels, the splits.

With --config-file it draws training samples too, as that config augments them, and says whether
image and masks move alike and what augmentation takes away.

Exit code: 0 nothing found, 1 warnings only, 2 errors, a misaligned or broken sample among them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog
from tqdm import tqdm

from mask2former_mt.check.advice import training_split
from mask2former_mt.check.augmented import AugmentedCheck, check_augmented
from mask2former_mt.check.check import CheckResult, check_dataset, find_splits
from mask2former_mt.check.check_report import (
    problems_text,
    report_html,
    report_json,
    summary_text,
)
from mask2former_mt.check.repair import write_clean
from mask2former_mt.data.augment import build_train_augmentations, flips_of
from mask2former_mt.data.mapper import MultiTaskInstanceMapper
from mask2former_mt.data.target_kinds import target_of
from mask2former_mt.dataset.catalog import (
    labels_of,
    read_dataset_file,
    register_dataset_files,
    spec_of,
)
from mask2former_mt.dataset.map_split import MapFiles
from mask2former_mt.dataset.split import SplitFiles
from mask2former_mt.engine.error_lines import USER_ERRORS, line_of
from mask2former_mt.engine.setup import at_least_one, load_config
from mask2former_mt.files import refuse_inputs, write_whole
from mask2former_mt.structures import SubcategorySpec
from mask2former_mt.visualization import LabelNames

REPORT_HTML, REPORT_JSON, SAMPLES_PNG = "report.html", "report.json", "samples.png"
SAMPLES = 200


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="check_dataset.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("dataset", metavar="DATASET.yaml", help="the dataset's YAML")
    parser.add_argument(
        "--output", metavar="DIR", help="folder for report.html and report.json; made if missing"
    )
    parser.add_argument(
        "--write-clean",
        metavar="OUT.json",
        help="write a split's annotations with everything repaired that needs no guess",
    )
    parser.add_argument(
        "--split", metavar="NAME", help="which split --write-clean repairs, if there are several"
    )
    parser.add_argument(
        "--no-hash",
        action="store_true",
        help="do not read files of equal size to find pictures that are there twice",
    )
    parser.add_argument(
        "--show",
        type=at_least_one,
        default=5,
        metavar="N",
        help="problems of each kind to print, default 5",
    )
    parser.add_argument(
        "--workers", type=at_least_one, metavar="N", help="threads, default one for each core"
    )
    parser.add_argument(
        "--config-file",
        metavar="C",
        help="draw training samples with this config's augmentations, and check them; its "
        "INPUT.DEPTH_RANGE says how pictures of more than 8 bits are read",
    )
    parser.add_argument(
        "--samples",
        type=at_least_one,
        metavar="N",
        help=f"how many samples --config-file draws, default {SAMPLES}",
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    parser = build_parser()
    args = parser.parse_args(arguments)
    if args.split and not args.write_clean:
        parser.error("--split says what --write-clean repairs; all splits are checked")
    if args.samples and not args.config_file:
        parser.error("--samples are drawn as a config says: add --config-file")
    # Before the long part, so that nothing is refused after it.
    try:
        config = load_config(args.config_file) if args.config_file else None
        flips = flips_of(build_train_augmentations(config)) if config else None
        split_to_clean = prepare_outputs(args)
    except USER_ERRORS as error:
        parser.error(line_of(error))

    result = check_dataset(
        args.dataset,
        num_workers=args.workers,
        by_content=not args.no_hash,
        draw=bool(args.output),
        flips=flips,
        depth_range=() if config is None else config.INPUT.DEPTH_RANGE,
    )
    print(problems_text(result, show=args.show))
    print(summary_text(result))
    augmented = None
    if config is not None:
        augmented = check_samples(args.dataset, config, args.samples or SAMPLES)
        print(augmented.text())

    try:
        if args.output:
            write_reports(Path(args.output), result, augmented)
        if split_to_clean:
            repair_split(split_to_clean, Path(args.write_clean))
    except USER_ERRORS as error:
        parser.exit(2, f"error: {line_of(error)}\n")
    return 2 if augmented and augmented.faults else result.exit_code


def prepare_outputs(args: argparse.Namespace) -> SplitFiles | None:
    """Makes the folders of all outputs, none of which may replace an input.

    Returns:
        The split that --write-clean repairs; None if there is none.
    """
    splits, _ = find_splits(Path(args.dataset))
    outputs, split_to_clean = [], None
    if args.output:
        names = (REPORT_HTML, REPORT_JSON, SAMPLES_PNG)
        outputs += [Path(args.output, name) for name in names]
    if args.write_clean:
        outputs.append(Path(args.write_clean))
        split_to_clean = choose_split(splits, args.split)
    refuse_inputs(outputs, [Path(args.dataset), *(split.label_file for split in splits)])
    for output in outputs:
        output.parent.mkdir(parents=True, exist_ok=True)
    return split_to_clean


def choose_split(splits: Sequence[SplitFiles | MapFiles], name: str | None) -> SplitFiles | None:
    """The split that --write-clean repairs; None if none can be read, which the check tells."""
    names = [split.name for split in splits]
    if name is None and len(names) > 1:
        raise ValueError(f"--write-clean repairs one split: add --split, one of {names}")
    if name is not None and names and name not in names:
        raise ValueError(f"--split must be one of {names}, got {name!r}")
    chosen = next((split for split in splits if name in (None, split.name)), None)
    if chosen is not None and not isinstance(chosen, SplitFiles):
        raise ValueError(
            f"--write-clean repairs instances, and split {chosen.name!r} has maps; correct its "
            "files as the check says"
        )
    return chosen


def check_samples(yaml_file: str, config: CfgNode, samples: int) -> AugmentedCheck:
    """Draws samples of a dataset's training split, augmented as a config says.

    A split that training refuses is a fault like that of a sample.
    """
    try:
        register_dataset_files([yaml_file])
        dataset = read_dataset_file(Path(yaml_file))
        name = f"{dataset.name}_{training_split(list(dataset.entries))}"
        records, spec = DatasetCatalog.get(name), spec_of(name)
        target = target_of(config.INPUT.DATASET_MAPPER_NAME, records)
        mapper = MultiTaskInstanceMapper(config, is_train=True, spec=spec, target=target)
    except (ValueError, OSError) as error:
        names = LabelNames((), SubcategorySpec())
        return AugmentedCheck(names, faults=[(yaml_file, f"no samples were drawn: {error}")])
    return check_augmented(
        mapper,
        records,
        samples=samples if len(records) else 0,
        names=LabelNames(labels_of(name).class_names, spec),
        progress=lambda draws: tqdm(draws, desc="samples", unit="sample", disable=None),
    )


def write_reports(folder: Path, result: CheckResult, augmented: AugmentedCheck | None) -> None:
    """Writes the report's files, all of them or none."""
    numbers = augmented.to_json() if augmented else None
    contents = {
        folder / REPORT_HTML: report_html(result),
        folder / REPORT_JSON: report_json(result, numbers),
    }
    if augmented and augmented.panel is not None:
        _, png = cv2.imencode(".png", augmented.panel[..., ::-1])
        contents[folder / SAMPLES_PNG] = png.tobytes()
    write_whole(contents)
    print(f"Report: {', '.join(map(str, contents))}")


def repair_split(split: SplitFiles, output: Path) -> None:
    """Writes a split's repaired annotations and says what was done."""
    repairs = write_clean(split, output)
    print(f"Repaired annotations of split {split.name!r}: {output}")
    for repair, count in repairs.items():
        print(f"  {count} x {repair}")
    print("  What is not repaired stays as it is: check the new file in its turn.")


if __name__ == "__main__":
    # File names may hold what the terminal's encoding does not.
    sys.stdout.reconfigure(errors="backslashreplace")
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("interrupted: nothing was written", file=sys.stderr)
        sys.exit(130)
