"""Pictures for the report: samples with their annotations, and faulty annotations, marked."""

from __future__ import annotations

import collections
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from mask2former_mt.dataset.images import read_image
from mask2former_mt.dataset.problems import Problem
from mask2former_mt.dataset.rle import decode_rle
from mask2former_mt.dataset.split import Split
from mask2former_mt.visualization import LabelNames, draw_ground_truth
from mask2former_mt.visualization.pages import Panel, encode_jpeg

_MAX_SAMPLES = 12  # pictures of a split
_MAX_FAULTS_OF_A_KIND = 2
_MAX_FAULTS = 24
_MAX_SIDE = 640  # pixels of a panel
_MIN_SIDE = 240
_MAX_COORDINATE = 30_000  # that OpenCV draws to
_OUTLINE, _BOX = (255, 0, 0), (255, 210, 0)


class _Fault(NamedTuple):
    record: Mapping
    annotation: Mapping
    problems: list[Problem]


class Faults:
    """Remembers the first few annotations of each kind of fault, each with all of its faults."""

    def __init__(self) -> None:
        self.found: dict[int, _Fault] = {}
        self._counts: collections.Counter[str] = collections.Counter()

    def add(self, record: Mapping, annotation: Mapping, problem: Problem) -> None:
        """Remembers the annotation of a problem, unless enough of this kind are remembered."""
        # The annotation stays in memory with its fault, so that no other gets its id().
        known = self.found.get(id(annotation))
        if known is not None:
            known.problems.append(problem)
        elif len(self.found) < _MAX_FAULTS and self._counts[problem.kind] < _MAX_FAULTS_OF_A_KIND:
            self.found[id(annotation)] = _Fault(record, annotation, [problem])
        else:
            return
        self._counts[problem.kind] += 1


def draw_samples(split: Split, positions: Sequence[int]) -> list[Panel]:
    """Draws some pictures with their sound annotations; leaves out what cannot be drawn.

    Args:
        split: with a usable header.
        positions: of the records to choose from, evenly spaced.
    """
    names = LabelNames(split.header.class_names, split.header.spec)
    num_drawn = min(len(positions), _MAX_SAMPLES)
    panels = []
    for number in range(num_drawn):
        record = split.records[positions[number * len(positions) // num_drawn]]
        annotations = record["annotations"]
        try:
            image = read_image(record["file_name"], "RGB")
            picture = draw_ground_truth(image, annotations, names)
        except (ValueError, OSError):
            continue  # a problem says what is wrong with it
        place = f"{record['file_name']}, image {record['image_id']}"
        caption = f"{place}: {len(annotations)} annotations"
        panels.append(Panel(encode_jpeg(picture, _MAX_SIDE), caption))
    return panels


def draw_faults(faults: Faults) -> list[Panel]:
    """Draws each faulty annotation as far as it could be read: outline red, box yellow."""
    panels = []
    for record, annotation, problems in faults.found.values():
        try:
            image = np.array(read_image(record["file_name"], "RGB"))  # a copy that can be drawn on
        except (ValueError, OSError):
            continue
        scale = min(max(1.0, _MIN_SIDE / min(image.shape[:2])), _MAX_SIDE / max(image.shape[:2]))
        if scale > 1:
            image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        else:
            scale = 1.0
        _draw_annotation(image, annotation, scale)
        texts = ". ".join(problem.text for problem in problems)
        panels.append(Panel(encode_jpeg(image, _MAX_SIDE), f"{problems[0].place}: {texts}"))
    return panels


def _draw_annotation(image: np.ndarray, annotation: Mapping, scale: float) -> None:
    # What could not be read is left out: the caption tells what is wrong with it.
    segmentation, box = annotation["segmentation"], annotation["bbox"]
    rings = []
    if isinstance(segmentation, dict):
        mask = decode_rle(segmentation).astype(np.uint8)
        contours, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        rings = [ring[:, 0] + 0.5 for ring in contours]
    elif segmentation is not None:
        rings = [np.array(p, dtype=np.float64).reshape(-1, 2) for p in segmentation]
    thickness = max(1, round(max(image.shape) / 300))
    for ring in rings:
        _draw_ring(image, ring * scale, _OUTLINE, thickness)
    if box is not None:
        x, y, w, h = (float(v) for v in box)
        corners = np.array([(x, y), (x + w, y), (x + w, y + h), (x, y + h)])
        _draw_ring(image, corners * scale, _BOX, 1)


def _draw_ring(
    image: np.ndarray, points: np.ndarray, colour: tuple[int, int, int], thickness: int
) -> None:
    if np.abs(points).max() <= _MAX_COORDINATE:
        fixed = np.rint(points - 0.5).astype(np.int32)
        cv2.polylines(image, [fixed], True, colour, thickness, cv2.LINE_AA)
