"""Checks a whole dataset: every file, every annotation, the labels and the splits together."""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import functools
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from tqdm import tqdm

from mask2former_mt.check.drawings import (
    MAX_SAMPLES,
    Faults,
    Panel,
    draw_faults,
    draw_samples,
    spread,
)
from mask2former_mt.check.duplicates import Listing, find_copies
from mask2former_mt.check.files_to_check import (
    Split,
    compare_headers,
    image_jobs,
    open_dataset,
    open_split,
)
from mask2former_mt.check.findings import Finding
from mask2former_mt.check.label_rules import scan_labels, training_split
from mask2former_mt.check.old_document import CocoHeader
from mask2former_mt.check.scan import in_order, scan_job
from mask2former_mt.check.statistics import SplitStatistics
from mask2former_mt.check.suggestions import Suggestion, suggest

# More threads than this wait for the interpreter more than they decode.
_MAX_WORKERS = 16


@dataclasses.dataclass
class CheckResult:
    """What a check found and counted.

    Args:
        dataset: the YAML.
        splits: those that could be opened.
        findings: of the whole dataset.
        statistics: by split; of those whose JSON could be read.
        suggestions: from the training split's numbers.
        samples, faults: pictures; empty unless asked for.
    """

    dataset: Path
    splits: list[Split] = dataclasses.field(default_factory=list)
    findings: list[Finding] = dataclasses.field(default_factory=list)
    statistics: dict[str, SplitStatistics] = dataclasses.field(default_factory=dict)
    suggestions: list[Suggestion] = dataclasses.field(default_factory=list)
    samples: list[Panel] = dataclasses.field(default_factory=list)
    faults: list[Panel] = dataclasses.field(default_factory=list)


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
    run = _Run(CheckResult(yaml_file), num_workers, draw, show_progress)
    run.result.splits, found = open_dataset(yaml_file)
    run.result.findings += found
    with concurrent.futures.ThreadPoolExecutor(num_workers) as pool:
        try:
            for split in run.result.splits:
                run.check_split(split, pool)
            run.compare_splits(pool, by_content)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return run.result


class _Run:
    """A check under way.

    Args:
        result: is filled.
        num_workers: threads of the pool.
        draw: whether to make pictures.
        show_progress: as `check_dataset`'s.
    """

    def __init__(
        self, result: CheckResult, num_workers: int, draw: bool, show_progress: bool | None
    ) -> None:
        self.result = result
        self.num_workers = num_workers
        self.draw = draw
        self.show_progress = show_progress
        self.headers: dict[str, CocoHeader] = {}
        self.listings: list[Listing] = []

    def check_split(self, split: Split, pool: concurrent.futures.Executor) -> None:
        """Checks one split by itself. Its document is in memory only meanwhile."""
        result = self.result
        document, header, found = open_split(split)
        result.findings += found
        if document is None:
            return
        if header is not None:
            self.headers[split.name] = header
        jobs, found = image_jobs(document, split)
        del document
        result.findings += found
        statistics = result.statistics[split.name] = SplitStatistics(header)
        listing = Listing(split.name, split.image_root)
        self.listings.append(listing)
        faults = Faults()
        scan = functools.partial(
            scan_job, header=header, coordinates=split.coordinates, file=str(split.json_file)
        )
        scans = in_order(pool, self.num_workers, scan, jobs)
        with self._bar(scans, len(jobs), split.name) as scans:
            for job, scanned in zip(jobs, scans, strict=True):
                result.findings += scanned.findings
                statistics.add(scanned.picture, scanned.measures)
                if scanned.picture.num_bytes >= 0:
                    listing.add(job.path, job.image_id, scanned.picture.num_bytes)
                if scanned.picture.mean is not None:  # there is something to draw on
                    for entry, finding in scanned.faulty:
                        faults.add(job, entry, finding)
        if self.draw:
            result.faults += draw_faults(faults, split.coordinates)
            if header is not None and split.name == training_split([s.name for s in result.splits]):
                drawn = [job for job in jobs if job.annotations and job.path is not None]
                sample = [drawn[i] for i in spread(len(drawn), MAX_SAMPLES)]
                result.samples += draw_samples(sample, header, split.coordinates)

    def compare_splits(self, pool: concurrent.futures.Executor, by_content: bool) -> None:
        """Checks what only all splits together show."""
        result = self.result
        splits = {split.name: split for split in result.splits}
        result.findings += compare_headers(result.dataset, splits, self.headers)

        def run(function: Callable[[str], str | None], paths: list[str]) -> Iterable[str | None]:
            digests = in_order(pool, self.num_workers, function, paths)
            with self._bar(digests, len(paths), "comparing files") as shown:
                return list(shown)

        result.findings += find_copies(self.listings, by_content=by_content, run=run)
        usable = {name: result.statistics[name] for name in self.headers}
        files = {name: str(split.json_file) for name, split in splits.items()}
        result.findings += scan_labels(usable, files)
        if result.statistics:
            names = [split.name for split in result.splits if split.name in result.statistics]
            result.suggestions = suggest(result.statistics[training_split(names)])

    @contextlib.contextmanager
    def _bar(self, items: Iterable, total: int, name: str) -> Iterator[Iterable]:
        hide = None if self.show_progress is None else not self.show_progress
        with tqdm(items, total=total, desc=name, unit="image", disable=hide) as bar:
            yield bar


def _available_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
