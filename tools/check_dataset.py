#!/usr/bin/env python3
"""Checks a dataset before the GPU hours: every picture, every annotation, the labels, the splits.

Exit code: 0 nothing found, 1 warnings only, 2 errors.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from mask2former_mt.check.check import check_dataset, find_splits
from mask2former_mt.check.check_report import report_html, report_json
from mask2former_mt.check.check_summary import problems_text, summary_text
from mask2former_mt.check.repair import write_clean
from mask2former_mt.dataset.split import SplitFiles
from mask2former_mt.files import refuse_inputs, write_whole

REPORT_HTML, REPORT_JSON = "report.html", "report.json"


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {text}")
    return value


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
        type=positive,
        default=5,
        metavar="N",
        help="problems of each kind to print, default 5",
    )
    parser.add_argument(
        "--workers", type=positive, metavar="N", help="threads, default one for each core"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    parser = build_parser()
    args = parser.parse_args(arguments)
    if args.split and not args.write_clean:
        parser.error("--split says what --write-clean repairs; all splits are checked")
    # Before the long part, so that nothing is refused after it.
    splits, _ = find_splits(Path(os.path.abspath(args.dataset)))
    folder = Path(args.output) if args.output else None
    reports = [folder / REPORT_HTML, folder / REPORT_JSON] if folder else []
    clean = Path(args.write_clean) if args.write_clean else None
    try:
        split_to_clean = choose_split(splits, args.split) if clean else None
        inputs = [Path(args.dataset), *(split.json_file for split in splits)]
        refuse_inputs([*reports, *([clean] if clean else [])], inputs)
        for parent in [*([folder] if folder else []), *([clean.parent] if clean else [])]:
            parent.mkdir(parents=True, exist_ok=True)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    result = check_dataset(
        args.dataset,
        num_workers=args.workers,
        by_content=not args.no_hash,
        draw=folder is not None,
    )
    print(problems_text(result, show=args.show))
    print(summary_text(result))
    try:
        if folder:
            write_whole(dict(zip(reports, (report_html(result), report_json(result)), strict=True)))
            print(f"Report: {reports[0]}, {reports[1]}")
        if split_to_clean:
            repairs = write_clean(split_to_clean, clean)
            print(f"Repaired annotations of split {split_to_clean.name!r}: {clean}")
            for repair, count in repairs.items():
                print(f"  {count} x {repair}")
            print("  What is not repaired stays as it is: check the new file in its turn.")
    except (ValueError, OSError) as error:
        parser.exit(2, f"error: {error}\n")
    return result.exit_code


def choose_split(splits: Sequence[SplitFiles], name: str | None) -> SplitFiles | None:
    """The split that --write-clean repairs; None if none can be read, which the check tells."""
    names = [split.name for split in splits]
    if name is None and len(names) > 1:
        raise ValueError(f"--write-clean repairs one split: add --split, one of {names}")
    if name is not None and names and name not in names:
        raise ValueError(f"--split must be one of {names}, got {name!r}")
    return next((split for split in splits if name in (None, split.name)), None)


if __name__ == "__main__":
    # File names may hold what the terminal's encoding does not.
    sys.stdout.reconfigure(errors="backslashreplace")
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("interrupted: nothing was written", file=sys.stderr)
        sys.exit(130)
