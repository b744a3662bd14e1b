"""The pictures with the worst and the best predictions, ground truth beside prediction."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence

from mask2former_mt.dataset.images import read_image
from mask2former_mt.evaluation.ground_truth import GroundTruth
from mask2former_mt.evaluation.matching import Matching
from mask2former_mt.evaluation.results_json import read_predictions
from mask2former_mt.evaluation.score_threshold import ImageScores
from mask2former_mt.visualization import LabelNames, SizeLimits, draw_pair
from mask2former_mt.visualization.pages import Panel, encode_jpeg

NUM_PICTURES = 6  # of the worst, and of the best
_SIDE = 720  # pixels of each of the two


def choose_images(scores: ImageScores) -> tuple[list[int], list[int]]:
    """The worst images and the best ones, none of them twice."""
    worst = [int(i) for i in scores.worst_first()[:NUM_PICTURES] if scores.f1[i] < 1]
    best = [int(i) for i in scores.best_first() if i not in worst]
    return worst, best[:NUM_PICTURES]


def draw_images(
    images: Sequence[int],
    scores: ImageScores,
    matching: Matching,
    *,
    predictions: str | os.PathLike,
    threshold: float,
) -> dict[int, Panel]:
    """Draws images with the detections that have at least a score.

    Args:
        images: indices of the ground truth's images.
        scores: for the captions.
        matching: the evaluation.
        predictions: the file that was evaluated, which holds the masks.

    Returns:
        By index. A picture that cannot be read is left out.
    """
    results = _results_of(images, matching, predictions, threshold)
    truth, panels = matching.truth, {}
    for i in images:
        file = truth.file_names[i]
        try:
            picture = draw_pair(
                read_image(file, "RGB"),
                results[i],
                _annotations_of(i, truth),
                LabelNames(truth.class_names, truth.spec, truth.category_ids),
                SizeLimits(max_side=_SIDE),
            )
        except (ValueError, OSError):
            continue  # moved or damaged since; the numbers hold without it
        caption = (
            f"{file}, image {truth.image_ids[i]}: {scores.right[i]} right, "
            f"{scores.wrong[i]} wrong, {scores.missed[i]} missed, F1 {scores.f1[i]:.2f}"
        )
        panels[i] = Panel(encode_jpeg(picture, 2 * _SIDE + 64), caption)
    return panels


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
    images: Sequence[int],
    matching: Matching,
    predictions: str | os.PathLike,
    threshold: float,
) -> dict[int, list[Mapping]]:
    """The entries of these images, the lowest score first, so that the best are drawn last."""
    wanted, detections = {}, matching.detections
    for i in images:
        first, stop = detections.images.searchsorted([i, i + 1])
        for d in range(first, stop):
            if detections.scores[d] >= threshold:
                wanted[int(detections.places[d])] = (i, d)
    found: dict[int, list[Mapping]] = {i: [] for i in images}
    if wanted:
        last = max(wanted)
        for place, entry in enumerate(read_predictions(predictions)):
            if place in wanted:
                i, d = wanted[place]
                found[i].append({**entry, "subcategories": _labels_of(d, matching)})
            if place == last:
                break
    return {i: sorted(entries, key=lambda e: e["score"]) for i, entries in found.items()}
