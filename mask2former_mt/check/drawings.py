"""Pictures for the report: samples with their annotations, and faulty annotations, marked."""

from __future__ import annotations

import collections
from collections.abc import Mapping, Sequence

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


class FaultyAnnotations:
    """Remembers the first few annotations of each kind of fault, each with all of its faults.

    Attributes:
        found: records, annotations and problems, by `id` of the annotation; it stays in memory, so
            that no other gets its id.
    """

    def __init__(self) -> None:
        self.found: dict[int, tuple[Mapping, Mapping, list[Problem]]] = {}
        self._counts: collections.Counter[str] = collections.Counter()

    def add(self, record: Mapping, annotation: Mapping, problem: Problem) -> None:
        """Remembers the annotation of a problem, unless enough of this kind are remembered."""
        if id(annotation) in self.found:
            self.found[id(annotation)][2].append(problem)
        elif len(self.found) < _MAX_FAULTS and self._counts[problem.kind] < _MAX_FAULTS_OF_A_KIND:
            self.found[id(annotation)] = (record, annotation, [problem])
        else:
            return
        self._counts[problem.kind] += 1


def draw_samples(
    split: Split, positions: Sequence[int], depth_range: Sequence[float] = ()
) -> list[Panel]:
    """Draws some pictures with their sound annotations; leaves out what cannot be drawn.

    Args:
        split: with a usable header.
        positions: of the records to choose from, evenly spaced.
        depth_range: as of `read_image`.
    """
    names = LabelNames(split.header.class_names, split.header.spec)
    num_drawn = min(len(positions), _MAX_SAMPLES)
    panels = []
    for number in range(num_drawn):
        record = split.records[positions[number * len(positions) // num_drawn]]
        annotations = record["annotations"]
        try:
            image = read_image(record["file_name"], "RGB", depth_range)
            picture = draw_ground_truth(image, annotations, names)
        except (ValueError, OSError):
            continue  # a problem says what is wrong with it
        caption = (
            f"{record['file_name']}, image {record['image_id']}: {len(annotations)} annotations"
        )
        panels.append(Panel(encode_jpeg(picture, _MAX_SIDE), caption))
    return panels


def draw_faults(faulty: FaultyAnnotations, depth_range: Sequence[float] = ()) -> list[Panel]:
    """Draws each faulty annotation as far as it could be read: outline red, box yellow."""
    panels = []
    for record, annotation, problems in faulty.found.values():
        try:
            image = read_image(record["file_name"], "RGB", depth_range)
        except (ValueError, OSError):
            continue
        height, width = image.shape[:2]
        scale = max(1.0, min(_MIN_SIDE / min(height, width), _MAX_SIDE / max(height, width)))
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        _draw_annotation(image, annotation, scale)
        texts = ". ".join(problem.text for problem in problems)
        panels.append(Panel(encode_jpeg(image, _MAX_SIDE), f"{problems[0].place}: {texts}"))
    return panels


def _draw_annotation(image: np.ndarray, annotation: Mapping, scale: float) -> None:
    # What could not be read is left out: the caption tells what is wrong with it.
    segmentation, box = annotation["segmentation"], annotation["bbox"]
    if isinstance(segmentation, dict):
        mask = decode_rle(segmentation).astype(np.uint8)
        contours, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        rings = [ring[:, 0] + 0.5 for ring in contours]
    else:
        rings = [np.array(p, dtype=np.float64).reshape(-1, 2) for p in segmentation or ()]
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
