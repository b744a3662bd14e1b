"""Checks a whole dataset: every file, every annotation, the labels and the splits together."""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import dataclasses
import functools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, TypeVar

from tqdm import tqdm

from mask2former_mt.check.annotation_rules import problems_by_index, scan_annotations
from mask2former_mt.check.drawings import Faults, draw_faults, draw_samples
from mask2former_mt.check.duplicates import Listing, digest_of, find_copies
from mask2former_mt.check.label_rules import scan_labels, training_split
from mask2former_mt.check.pictures import Picture, scan_picture
from mask2former_mt.check.statistics import Measure, SplitStatistics
from mask2former_mt.check.suggestions import Suggestion, suggest
from mask2former_mt.dataset.catalog import check_headers_agree, read_dataset_file
from mask2former_mt.dataset.problems import ERROR, KINDS, SEVERITIES, WARNING, Problem
from mask2former_mt.dataset.split import Split, SplitFiles, read_split
from mask2former_mt.visualization.pages import Panel

# More threads than this wait for the interpreter more than they decode.
_MAX_WORKERS = 16
# So many pictures are under way for each thread: enough to keep it busy, few enough to keep in
# memory.
_UNDER_WAY = 8
_EXIT_CODES = {ERROR: 2, WARNING: 1}
# What looking for files raises: they are not there or not to be read, or nested too deep.
_UNREADABLE = (ValueError, OSError, RecursionError, MemoryError)

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclasses.dataclass
class CheckResult:
    """What a check found and counted.

    Args:
        dataset: the YAML.
        problems: of the whole dataset.
        statistics: by split; of those whose JSON could be read.
        suggestions: from the training split's numbers.
        samples, faults: pictures; empty unless asked for.
    """

    dataset: Path
    problems: list[Problem] = dataclasses.field(default_factory=list)
    statistics: dict[str, SplitStatistics] = dataclasses.field(default_factory=dict)
    suggestions: list[Suggestion] = dataclasses.field(default_factory=list)
    samples: list[Panel] = dataclasses.field(default_factory=list)
    faults: list[Panel] = dataclasses.field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0 without problems, 1 with warnings only, 2 with errors."""
        return max((_EXIT_CODES[problem.severity] for problem in self.problems), default=0)

    @property
    def counts(self) -> dict[str, int]:
        """How many problems of each severity there are."""
        return {s: sum(problem.severity == s for problem in self.problems) for s in SEVERITIES}

    @property
    def by_severity_and_kind(self) -> dict[str, dict[str, list[Problem]]]:
        """The problems by severity, worst first, and by kind, as `KINDS` orders them."""
        groups = collections.defaultdict(list)
        for problem in self.problems:
            groups[problem.severity, problem.kind].append(problem)
        found = {s: {k: groups[s, k] for k in KINDS if (s, k) in groups} for s in SEVERITIES}
        return {severity: kinds for severity, kinds in found.items() if kinds}


def check_dataset(
    yaml_file: str | Path,
    *,
    num_workers: int | None = None,
    by_content: bool = True,
    draw: bool = False,
    show_progress: bool | None = None,
) -> CheckResult:
    """Checks a dataset to its end, whatever is wrong with it.

    Args:
        yaml_file: a dataset YAML.
        num_workers: threads; None: one for each core that may be used.
        by_content: whether to compare files of equal size by what they hold, to find pictures that
            are there twice.
        draw: whether to make the pictures of a report.
        show_progress: a bar on stderr; None: where that is a terminal.
    """
    yaml_file = Path(os.path.abspath(yaml_file))
    num_workers = num_workers or min(_available_cores(), _MAX_WORKERS)
    files, problems = find_splits(yaml_file)
    result = CheckResult(yaml_file, problems)
    with concurrent.futures.ThreadPoolExecutor(num_workers) as pool:
        run = _Run(result, pool, num_workers, draw, show_progress)
        try:
            for split_files in files:
                run.check_split(read_split(split_files), [f.name for f in files])
            run.compare_splits(by_content)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return result


def find_splits(yaml_file: Path) -> tuple[list[SplitFiles], list[Problem]]:
    """Reads a dataset YAML; splits that cannot be used are left out, each with a problem."""
    files, problems = [], []

    def refuse(error: Exception) -> None:
        problems.append(Problem(ERROR, "bad-dataset-file", str(yaml_file), str(error)))

    try:
        dataset = read_dataset_file(yaml_file)
    except _UNREADABLE as error:
        refuse(error)
        return [], problems
    for split in dataset.entries:
        try:
            files.append(dataset.files_of(split))
        except _UNREADABLE as error:
            refuse(error)
    return files, problems


class _Scanned(NamedTuple):
    """What one picture and its annotations gave.

    Args:
        record: the dataset dict.
        problems: in addition to those of the reader.
        faulty: annotations, each with something that is wrong with it.
        picture: the file.
        measures: of the sound annotations.
    """

    record: dict
    problems: list[Problem]
    faulty: list[tuple[dict, Problem]]
    picture: Picture
    measures: list[Measure]


def _scan(split: Split, told: Mapping[int, list[Problem]], position: int) -> _Scanned:
    """Checks one picture and its annotations; never raises for what they hold.

    Args:
        split: as it was read.
        told: its `problems_by_index`.
        position: of the picture's record.
    """
    record = split.records[position]
    problems, picture = [], Picture()
    if record["file_name"] != str(split.files.image_root):  # or the JSON names no file
        problems, picture = scan_picture(record)
    faulty, measures = [], []
    unsound = split.unsound.get(position, ())
    for annotation, found, area in scan_annotations(record, unsound, told):
        problems += found
        found = [*told.get(annotation.get("index"), ()), *found]
        faulty += [(annotation, problem) for problem in found]
        if area is not None and split.header is not None:
            category, labels = annotation["category_id"], annotation["subcategories"]
            measures.append(Measure(category, labels, area, bool(annotation["iscrowd"])))
    return _Scanned(record, problems, faulty, picture, measures)


@dataclasses.dataclass
class _Run:
    """A check under way.

    Args:
        result: is filled.
        pool: threads.
        num_workers: how many threads.
        draw: whether to make pictures.
        show_progress: as `check_dataset`'s.
        splits: those that can be read, so far.
        listings: their files.
    """

    result: CheckResult
    pool: concurrent.futures.Executor
    num_workers: int
    draw: bool
    show_progress: bool | None
    splits: list[Split] = dataclasses.field(default_factory=list)
    listings: list[Listing] = dataclasses.field(default_factory=list)

    def check_split(self, split: Split, names: list[str]) -> None:
        """Checks one split by itself.

        Args:
            split: as it was read.
            names: of all splits.
        """
        result, files = self.result, split.files
        result.problems += split.problems
        if split.is_unreadable:
            return
        self.splits.append(split)
        statistics = result.statistics[files.name] = SplitStatistics(split.header)
        listing = Listing(files.name, files.image_root)
        self.listings.append(listing)
        faults, drawable = Faults(), []
        positions = range(len(split.records))
        scan = functools.partial(_scan, split, problems_by_index(split))
        scans = in_order(self.pool, self.num_workers, scan, positions)
        with self._bar(scans, len(positions), files.name) as scans:
            for position, scanned in zip(positions, scans, strict=True):
                result.problems += scanned.problems
                record, picture = scanned.record, scanned.picture
                statistics.add(picture, scanned.measures)
                if picture.num_bytes >= 0:
                    listing.add(record["file_name"], record["image_id"], picture.num_bytes)
                if picture.mean is not None:  # there is something to draw on
                    for annotation, problem in scanned.faulty:
                        faults.add(record, annotation, problem)
                    if scanned.measures:
                        drawable.append(position)
        if self.draw:
            result.faults += draw_faults(faults)
            if split.header is not None and files.name == training_split(names):
                result.samples += draw_samples(split, drawable)

    def compare_splits(self, by_content: bool) -> None:
        """Checks what only all splits together show."""
        result = self.result
        usable = [split for split in self.splits if split.header is not None]
        try:
            check_headers_agree(result.dataset, usable)
        except ValueError as error:
            file = str(result.dataset)
            result.problems.append(Problem(ERROR, "splits-differ", file, str(error)))
        result.problems += find_copies(self.listings, self._digest_all if by_content else None)
        files = {split.files.name: str(split.files.json_file) for split in usable}
        result.problems += scan_labels({name: result.statistics[name] for name in files}, files)
        if result.statistics:
            result.suggestions = suggest(result.statistics[training_split([*result.statistics])])

    def _digest_all(self, paths: list[str]) -> list[str | None]:
        digests = in_order(self.pool, self.num_workers, digest_of, paths)
        with self._bar(digests, len(paths), "comparing files") as shown:
            return list(shown)

    @contextlib.contextmanager
    def _bar(self, items: Iterable, total: int, name: str) -> Iterator[Iterable]:
        hide = None if self.show_progress is None else not self.show_progress
        with tqdm(items, total=total, desc=name, unit="image", disable=hide) as bar:
            yield bar


def in_order(
    pool: concurrent.futures.Executor,
    num_workers: int,
    function: Callable[[_Item], _Result],
    items: Iterable[_Item],
) -> Iterator[_Result]:
    """Maps in parallel, in the items' order, with few of them in memory at a time."""
    waiting: collections.deque[concurrent.futures.Future] = collections.deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= _UNDER_WAY * num_workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        # After an interrupt the rest is not wanted.
        for future in waiting:
            future.cancel()


def _available_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
