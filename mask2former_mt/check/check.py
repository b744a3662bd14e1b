"""Checks a whole dataset: every file, every annotation, the labels and the splits together."""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import functools
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from mask2former_mt.check.advice import Suggestion, scan_labels, suggest, training_split
from mask2former_mt.check.alike_labels import find_alike_labels
from mask2former_mt.check.annotation_rules import (
    ScannedAnnotation,
    problems_by_index,
    scan_annotations,
)
from mask2former_mt.check.depth_advice import scan_depths, suggest_depth_range
from mask2former_mt.check.drawings import FaultyAnnotations, draw_faults, draw_samples
from mask2former_mt.check.duplicates import ListedFile, digest_of, find_copies
from mask2former_mt.check.map_values import scan_map
from mask2former_mt.check.mirrored_labels import scan_sides
from mask2former_mt.check.pictures import Picture, scan_picture
from mask2former_mt.check.statistics import SplitStatistics
from mask2former_mt.dataset.catalog import read_dataset_file
from mask2former_mt.dataset.document import UNREADABLE
from mask2former_mt.dataset.map_split import MapFiles, MapSplit, read_map_split
from mask2former_mt.dataset.problems import ERROR, KINDS, SEVERITIES, WARNING, Problem, shown
from mask2former_mt.dataset.split import Split, SplitFiles, read_split
from mask2former_mt.label_lists import map_by_name, union
from mask2former_mt.visualization.pages import Panel

# More threads than this wait for the interpreter more than they decode.
_MAX_WORKERS = 16
# Pictures under way for each thread: enough to keep it busy, few enough to keep in memory.
_UNDER_WAY = 8
_EXIT_CODES = {ERROR: 2, WARNING: 1}

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
    flips: Collection[str] | None = None,
    depth_range: Sequence[float] = (),
) -> CheckResult:
    """Checks a dataset to its end, whatever is wrong with it; a terminal shows how far it is.

    Args:
        yaml_file: a dataset YAML.
        num_workers: threads; None: one for each core that may be used.
        by_content: whether to compare files of equal size by what they hold, to find pictures that
            are there twice.
        draw: whether to make the pictures of a report.
        flips: how training mirrors pictures, as of `scan_sides`; None: not known.
        depth_range: INPUT.DEPTH_RANGE of the training, for pictures deeper than 8 bits.
    """
    yaml_file = Path(os.path.abspath(yaml_file))
    files, problems = find_splits(yaml_file)
    workers = num_workers or _available_cores()
    run = _Run(CheckResult(yaml_file, problems), workers, depth_range)
    sampled = training_split([split.name for split in files]) if draw and files else None
    try:
        for split_files in files:
            if isinstance(split_files, SplitFiles):
                run.check_split(read_split(split_files), draw, split_files.name == sampled)
            else:
                run.check_map_split(read_map_split(split_files))
        run.compare_splits(by_content, flips)
    finally:
        # After an interrupt the rest is not wanted.
        run.pool.shutdown(wait=False, cancel_futures=True)
    return run.result


def find_splits(yaml_file: Path) -> tuple[list[SplitFiles | MapFiles], list[Problem]]:
    """Reads a dataset YAML; splits that cannot be used are left out, each with a problem."""
    try:
        dataset = read_dataset_file(yaml_file)
    except UNREADABLE as error:
        return [], [Problem(ERROR, "bad-dataset-file", str(yaml_file), str(error))]
    files, problems = [], []
    for split in dataset.entries:
        try:
            files.append(dataset.files_of(split))
        except UNREADABLE as error:
            problems.append(Problem(ERROR, "bad-dataset-file", str(yaml_file), str(error)))
    return files, problems


def _scan(
    split: Split,
    told: Mapping[int, list[Problem]],
    unreadable: Mapping[int, str],
    depth_range: Sequence[float],
    position: int,
) -> tuple[dict, list[Problem], Picture, list[ScannedAnnotation]]:
    """Checks the picture of a record and its annotations; never raises for what they hold."""
    record = split.records[position]
    problems, picture = [], Picture()
    header = unreadable.get(record["image_id"])
    if header == "unreadable-image":
        picture = Picture(num_bytes=0)
    elif header is None and record["file_name"] != str(split.files.image_root):  # or no name
        problems, picture = scan_picture(record, depth_range)
    annotations = scan_annotations(record, split.unsound.get(position, ()), told)
    return record, problems, picture, list(annotations)


def _scan_with_map(
    num_subcategories: int,
    unreadable: Collection[int],
    depth_range: Sequence[float],
    record: dict,
) -> tuple[dict, list[Problem], Picture, list[tuple[dict, float]]]:
    """The same for a record with a map."""
    problems, picture = [], Picture()
    if record["image_id"] not in unreadable:
        problems, picture = scan_picture(record, depth_range)
    found, objects = scan_map(record, num_subcategories)
    return record, problems + found, picture, objects


class _Run:
    """A check under way, which fills a result.

    Args:
        result: without splits so far.
        num_workers: threads.
        depth_range: INPUT.DEPTH_RANGE.
    """

    def __init__(self, result: CheckResult, num_workers: int, depth_range: Sequence[float]) -> None:
        self.result = result
        self.pool = concurrent.futures.ThreadPoolExecutor(num_workers)
        self.num_workers = num_workers
        self.depth_range = depth_range
        self.splits: list[Split | MapSplit] = []  # those that can be read
        self.files: list[ListedFile] = []

    def check_split(self, split: Split, draw_faulty: bool, draw_sound: bool) -> None:
        """Checks one split by itself."""
        result, name = self.result, split.files.name
        # Outlines without an inside are found by the scan, too, which draws them.
        by_reader = [p for p in split.problems if (p.kind, p.severity) != ("zero-area", WARNING)]
        result.problems += [*by_reader, *split.image_problems]
        if split.is_unreadable:
            return
        self.splits.append(split)
        statistics = result.statistics[name] = SplitStatistics(split.header)
        faulty, drawable = FaultyAnnotations(), []
        told = problems_by_index(split)
        positions = range(len(split.records))
        unreadable = {
            problem.image_id: problem.kind
            for problem in split.image_problems
            if problem.kind in ("missing-image", "unreadable-image")
        }
        scan = functools.partial(_scan, split, told, unreadable, self.depth_range)
        scans = self._map(scan, positions, name)
        for position, (record, problems, picture, scanned) in enumerate(scans):
            path, image_id = record["file_name"], record["image_id"]
            is_drawable = picture.mean is not None
            result.problems += problems
            sound = []
            for annotation, found, area in scanned:
                result.problems += found
                if area is not None and split.header is not None:
                    sound.append((annotation, area))
                if is_drawable:
                    for problem in (*told.get(annotation.get("index"), ()), *found):
                        faulty.add(record, annotation, problem)
            statistics.add(picture, sound)
            if sound and is_drawable:
                drawable.append(position)
            if picture.num_bytes >= 0:
                file = ListedFile(name, os.path.normpath(path), image_id, picture.num_bytes)
                self.files.append(file)
        if draw_faulty:
            result.faults += draw_faults(faulty, self.depth_range)
        if draw_sound and split.header is not None:
            result.samples += draw_samples(split, drawable, self.depth_range)

    def check_map_split(self, split: MapSplit) -> None:
        """Checks one split of pictures with maps by itself."""
        result, name = self.result, split.files.name
        result.problems += split.problems
        if split.header is None:
            return
        self.splits.append(split)
        statistics = result.statistics[name] = SplitStatistics(split.header)
        unreadable = {
            problem.image_id
            for problem in split.problems
            if problem.kind in ("missing-image", "unreadable-image")
        }
        scan = functools.partial(
            _scan_with_map, len(split.header.spec), unreadable, self.depth_range
        )
        for record, problems, picture, objects in self._map(scan, split.records, name):
            result.problems += problems
            statistics.add(picture, objects)
            if picture.num_bytes >= 0:
                path = os.path.normpath(record["file_name"])
                file = ListedFile(name, path, record["image_id"], picture.num_bytes)
                self.files.append(file)

    def compare_splits(self, by_content: bool, flips: Collection[str] | None) -> None:
        """Checks what only all splits together show."""
        result = self.result
        usable = [split for split in self.splits if split.header is not None]
        result.problems += compare_labels(usable)
        digest_all = functools.partial(self._map, digest_of, name="comparing files")
        result.problems += find_copies(self.files, digest_all if by_content else None)
        result.problems += find_alike_labels(usable)
        result.problems += scan_labels(usable, result.statistics)
        result.problems += scan_sides(usable, flips)
        json_files = {split.files.name: str(split.files.label_file) for split in self.splits}
        result.problems += scan_depths(result.statistics, json_files, self.depth_range)
        if result.statistics:
            result.suggestions = suggest(result.statistics[training_split([*result.statistics])])
            result.suggestions += suggest_depth_range([*result.statistics.values()])

    def _map(self, function: Callable, items: Sequence, name: str) -> Iterable:
        """Maps in parallel, with a bar on stderr where that is a terminal."""
        results = in_order(self.pool, self.num_workers, function, items)
        return tqdm(results, total=len(items), desc=name, unit="image", disable=None)


def compare_labels(splits: Sequence[Split]) -> list[Problem]:
    """Finds splits that list a class, subcategory or value which no training split lists.

    A split whose subcategory applies to other classes than in training is told, too.

    Args:
        splits: of one dataset, each with a usable header.
    """
    if not splits:
        return []
    names = [split.files.name for split in splits]
    training = [s for s in splits if s.files.name.startswith("train")] or splits[:1]
    try:
        learned = union(s.header.labels for s in training)
    except ValueError as error:  # such as values that are exchanged with others in each
        file = str(training[-1].files.label_file)
        return [Problem(ERROR, "splits-differ", file, str(error))]
    learned_name = " and ".join(f"split {s.files.name!r}" for s in training)
    problems = []
    for split, name in zip(splits, names, strict=True):
        file, labels = str(split.files.label_file), split.header.labels
        try:
            map_by_name(labels, learned, source_name=f"split {name!r}", target_name=learned_name)
        except ValueError as error:
            problems.append(Problem(ERROR, "splits-differ", file, str(error)))
            continue
        of_training = {s.name: s for s in learned.spec}
        for s in labels.spec:
            taught = of_training[s.name]
            other = [c for c in labels.class_names if s.applies(c) != taught.applies(c)]
            if other:
                message = (
                    f"whether subcategory {s.name!r} applies to {shown(other)} differs in split "
                    f"{name!r} and {learned_name}"
                )
                remedy = "write the same 'applies_to' into all of them"
                problems.append(Problem(WARNING, "splits-differ", file, message, remedy))
    return problems


def in_order(
    pool: concurrent.futures.Executor,
    num_workers: int,
    function: Callable[[_Item], _Result],
    items: Iterable[_Item],
) -> Iterator[_Result]:
    """Maps in parallel, in the items' order, with few of them in memory at a time."""
    waiting: collections.deque[concurrent.futures.Future] = collections.deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) >= _UNDER_WAY * num_workers:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _available_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return min(len(os.sched_getaffinity(0)), _MAX_WORKERS)
    return min(os.cpu_count() or 1, _MAX_WORKERS)
