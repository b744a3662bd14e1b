"""Reads every picture of a split with its annotations, several at a time."""

from __future__ import annotations

import collections
import concurrent.futures
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple, TypeVar

from mask2former_mt.check.annotation_rules import (
    MASK_STRIDE,
    Measure,
    is_smaller_than_stride,
    scan_annotation,
)
from mask2former_mt.check.files_to_check import ImageJob
from mask2former_mt.check.findings import WARNING, Finding
from mask2former_mt.check.old_annotation import Coordinates
from mask2former_mt.check.old_document import CocoHeader
from mask2former_mt.check.old_rle import is_int
from mask2former_mt.check.pictures import Picture, scan_image
from mask2former_mt.check.repair import is_double
from mask2former_mt.check.shape_rules import Problem

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
# So many are under way for each thread: enough to keep it busy, few enough to keep in memory.
_UNDER_WAY = 8


class Scanned(NamedTuple):
    """What one picture and its annotations gave.

    Args:
        findings: of the picture and its annotations.
        faulty: annotations with a finding, and the finding.
        picture: the file.
        measures: of the sound annotations.
    """

    findings: list[Finding]
    faulty: list[tuple[Mapping, Finding]]
    picture: Picture
    measures: list[Measure]


def scan_job(
    job: ImageJob, header: CocoHeader | None, coordinates: Coordinates, file: str
) -> Scanned:
    """Checks one picture and all of its annotations; never raises for what they hold.

    Args:
        job: what to check.
        header: None if the file's own is unusable.
        coordinates: what the JSON's numbers are.
        file: the JSON, named where the job has no file of its own.
    """
    place = job.path or file
    picture = Picture(None, -1, None, None)
    problems: list[Problem] = []
    if job.path is not None:
        problems, picture = scan_image(job.path, job.height, job.width)
    findings = [Finding(p.severity, p.kind, place, job.image_id, None, p.message) for p in problems]
    faulty, measures = [], []
    known: dict[tuple, list[Mapping]] = {}
    for entry in job.annotations:
        problems, measure = scan_annotation(
            entry, height=job.height, width=job.width, header=header, coordinates=coordinates
        )
        annotation_id = entry.get("id") if is_int(entry.get("id")) else None
        if measure is not None:
            measures.append(measure)
            if is_smaller_than_stride(measure):
                problems.append(_too_small(measure))
        if is_double(entry, known):
            message = (
                "the same object with the same labels is annotated a second time; remove it, "
                "--write-clean does so"
            )
            problems.append(Problem(WARNING, "duplicate-annotation", message))
        for p in problems:
            finding = Finding(p.severity, p.kind, place, job.image_id, annotation_id, p.message)
            findings.append(finding)
            faulty.append((entry, finding))
    return Scanned(findings, faulty, picture, measures)


def _too_small(measure: Measure) -> Problem:
    message = (
        f"the object has {measure.area:.0f} pixels, less than one cell ({MASK_STRIDE} x "
        f"{MASK_STRIDE}) of the grid on which masks are predicted: train at a larger input size, "
        "or remove it"
    )
    return Problem(WARNING, "smaller-than-stride", message)


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
