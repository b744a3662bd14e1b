"""The pictures with the worst and the best predictions, ground truth beside prediction."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Sequence
from typing import NamedTuple

from mask2former_mt.dataset.images import read_image
from mask2former_mt.evaluation.ground_truth import GroundTruth
from mask2former_mt.evaluation.matching import Matching
from mask2former_mt.evaluation.results_json import read_predictions
from mask2former_mt.evaluation.score_threshold import ImageScores
from mask2former_mt.visualization import LabelNames, SizeLimits, draw_pair
from mask2former_mt.visualization.pages import Panel, encode_jpeg

NUM_PICTURES = 6  # of the worst images, and of the best
_SIDE = 720  # pixels of each half of a picture


class ExamplePictures(NamedTuple):
    """Pictures of the worst and of the best images, and the number that could not be read."""

    worst: list[Panel]
    best: list[Panel]
    num_unreadable: int


def draw_examples(
    matching: Matching,
    scores: ImageScores,
    *,
    predictions: str | os.PathLike,
    threshold: float,
    depth_range: Sequence[float] = (),
) -> ExamplePictures:
    """Draws the worst and the best images, none of them twice.

    Args:
        matching: the evaluation.
        scores: by which the images are chosen; the captions tell them.
        predictions: the file that was evaluated, which holds the masks.
        threshold: least score of the detections that are drawn.
        depth_range: as of `read_image`.
    """
    worst = [int(i) for i in scores.worst_first()[:NUM_PICTURES] if scores.f1[i] < 1]
    best = [int(i) for i in scores.best_first() if i not in worst][:NUM_PICTURES]
    results = _results_of([*worst, *best], matching, predictions, threshold)
    panels = {i: _draw(i, matching.truth, results[i], scores, depth_range) for i in results}
    return ExamplePictures(
        [panels[i] for i in worst if panels[i] is not None],
        [panels[i] for i in best if panels[i] is not None],
        sum(panel is None for panel in panels.values()),
    )


def _draw(
    i: int,
    truth: GroundTruth,
    results: list[dict],
    scores: ImageScores,
    depth_range: Sequence[float],
) -> Panel | None:
    """The picture of one image; None where it was moved or damaged since the evaluation."""
    file, names = truth.file_names[i], LabelNames(truth.class_names, truth.spec, truth.category_ids)
    try:
        image = read_image(file, "RGB", depth_range)
        limits = SizeLimits(max_side=_SIDE)
        picture = draw_pair(image, results, _annotations_of(i, truth), names, limits)
    except (ValueError, OSError):
        return None
    caption = (
        f"{file}, image {truth.image_ids[i]}: {scores.right[i]} right, "
        f"{scores.wrong[i]} wrong, {scores.missed[i]} missed, F1 {scores.f1[i]:.2f}"
    )
    return Panel(encode_jpeg(picture, 2 * _SIDE + 64), caption)


def _annotations_of(i: int, truth: GroundTruth) -> list[dict]:
    return [
        {
            "segmentation": truth.rles[g],
            "category_id": int(truth.classes[g]),
            "subcategories": truth.labels[g].tolist(),
            "iscrowd": bool(truth.crowds[g]),
        }
        for g in range(truth.firsts[i], truth.firsts[i + 1])
    ]


def _labels_of(d: int, matching: Matching) -> dict[str, dict]:
    """A detection's subcategories in full: a results JSON may leave scores out."""
    labels, detections = {}, matching.detections
    for column, s in enumerate(matching.truth.spec):
        score = float(detections.label_scores[d, column])
        value = s.value_name(int(detections.labels[d, column]))
        labels[s.name] = {"value": value, "score": None if math.isnan(score) else score}
    return labels


def _results_of(
    images: Sequence[int], matching: Matching, predictions: str | os.PathLike, threshold: float
) -> dict[int, list[dict]]:
    """The results JSON's entries of each image, the lowest score first."""
    wanted, detections = {}, matching.detections
    for i in images:
        first, stop = detections.images.searchsorted([i, i + 1])
        for d in range(first, stop):
            if detections.scores[d] >= threshold:
                wanted[int(detections.places[d])] = (i, d)
    results: dict[int, list[dict]] = {i: [] for i in images}
    if wanted:
        # Nothing behind the last wanted entry is read.
        for place, entry in enumerate(
            itertools.islice(read_predictions(predictions), max(wanted) + 1)
        ):
            if place in wanted:
                i, d = wanted[place]
                results[i].append({**entry, "subcategories": _labels_of(d, matching)})
    return {i: sorted(entries, key=lambda e: e["score"]) for i, entries in results.items()}
