"""Pictures for the report: samples with their annotations, and faulty annotations, marked."""

from __future__ import annotations

import collections
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from mask2former_mt.check.files_to_check import ImageJob
from mask2former_mt.check.findings import Finding
from mask2former_mt.check.old_annotation import (
    Coordinates,
    read_annotation,
    scale_box,
    scale_polygons,
)
from mask2former_mt.check.old_document import CocoHeader
from mask2former_mt.check.old_rle import decode_rle
from mask2former_mt.dataset.images import read_image
from mask2former_mt.visualization import LabelNames, draw_ground_truth
from mask2former_mt.visualization.pages import Panel, encode_jpeg

MAX_SAMPLES = 12  # pictures of a split
MAX_FAULTS_OF_A_KIND = 2
MAX_FAULTS = 24
_MAX_SIDE = 640  # pixels of a panel
_MIN_SIDE = 240
_OUTLINE, _BOX = (255, 0, 0), (255, 210, 0)


class _Fault(NamedTuple):
    job: ImageJob
    entry: Mapping
    findings: list[Finding]


class Faults:
    """Remembers the first few annotations of each kind of fault, each with all of its faults."""

    def __init__(self) -> None:
        self.found: dict[int, _Fault] = {}
        self._counts: collections.Counter[str] = collections.Counter()

    def add(self, job: ImageJob, entry: Mapping, finding: Finding) -> None:
        """Remembers the annotation of a finding, unless enough of this kind are remembered."""
        # The entry stays in memory with its fault, so that no other gets its id().
        known = self.found.get(id(entry))
        if known is not None:
            known.findings.append(finding)
        elif len(self.found) < MAX_FAULTS and self._counts[finding.kind] < MAX_FAULTS_OF_A_KIND:
            self.found[id(entry)] = _Fault(job, entry, [finding])
        else:
            return
        self._counts[finding.kind] += 1


def spread(count: int, wanted: int) -> list[int]:
    """At most `wanted` positions in 0..count-1, evenly spaced."""
    wanted = min(count, wanted)
    return [index * count // wanted for index in range(wanted)]


def draw_samples(
    jobs: Sequence[ImageJob], header: CocoHeader, coordinates: Coordinates
) -> list[Panel]:
    """Draws pictures with their annotations; leaves out what cannot be drawn."""
    panels = []
    for job in jobs:
        try:
            image = read_image(job.path, "RGB")
            annotations = [
                read_annotation(
                    {"id": 0, **entry},
                    height=job.height,
                    width=job.width,
                    contiguous_ids=header.contiguous_ids,
                    spec=header.spec,
                    coordinates=coordinates,
                )
                for entry in job.annotations
            ]
            names = LabelNames(header.thing_classes, header.spec)
            picture = draw_ground_truth(image, annotations, names)
        except (ValueError, OSError):
            continue  # a finding says what is wrong with it
        caption = f"{job.path}, image {job.image_id}: {len(annotations)} annotations"
        panels.append(Panel(encode_jpeg(picture, _MAX_SIDE), caption))
    return panels


def draw_faults(faults: Faults, coordinates: Coordinates) -> list[Panel]:
    """Draws each faulty annotation as it stands: outline red, box yellow."""
    panels = []
    for job, entry, findings in faults.found.values():
        try:
            image = np.array(read_image(job.path, "RGB"))  # a copy that can be drawn on
        except (ValueError, OSError):
            continue
        scale = min(max(1.0, _MIN_SIDE / min(image.shape[:2])), _MAX_SIDE / max(image.shape[:2]))
        if scale > 1:
            image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        else:
            scale = 1.0
        _draw_entry(image, entry, job, coordinates, scale)
        messages = ". ".join(finding.message for finding in findings)
        panels.append(Panel(encode_jpeg(image, _MAX_SIDE), f"{findings[0].place}: {messages}"))
    return panels


def _draw_entry(
    image: np.ndarray, entry: Mapping, job: ImageJob, coordinates: Coordinates, scale: float
) -> None:
    # An outline or box that cannot be drawn is left out: the caption tells what is wrong with it.
    thickness = max(1, round(max(image.shape) / 300))
    segmentation, box = entry.get("segmentation"), entry.get("bbox")
    try:
        if isinstance(segmentation, dict):
            mask = decode_rle(segmentation).astype(np.uint8)
            found, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
            rings = [ring[:, 0] + 0.5 for ring in found]
        else:
            if coordinates.polygon_coords == "normalized":
                segmentation = scale_polygons(segmentation, job.height, job.width)
            rings = [np.asarray(p, dtype=np.float64).reshape(-1, 2) for p in segmentation]
        for ring in rings:
            _draw_ring(image, ring * scale, _OUTLINE, thickness)
    except (ValueError, TypeError, OverflowError):
        pass
    try:
        if coordinates.box_coords == "normalized":
            box = scale_box(box, job.height, job.width)
        x, y, w, h = (float(v) * scale for v in box)
        _draw_ring(image, np.array([(x, y), (x + w, y), (x + w, y + h), (x, y + h)]), _BOX, 1)
    except (ValueError, TypeError, OverflowError):
        pass


def _draw_ring(
    image: np.ndarray, points: np.ndarray, colour: tuple[int, int, int], thickness: int
) -> None:
    if len(points) == 0 or not np.isfinite(points).all() or np.abs(points).max() > 30_000:
        return
    fixed = np.rint(points - 0.5).astype(np.int32)
    cv2.polylines(image, [fixed], True, colour, thickness, cv2.LINE_AA)
