"""Polygons to masks: how well both rasterizers agree, by size, and how fast they are."""

from __future__ import annotations

import json
import pathlib

import cv2
import numpy as np
import pycocotools.mask as mask_util

from benchmarks.pairs import Settings, alternate
from mask2former_mt.data.rasterize import rasterize

POLYGONS = 600
SIDE = 512
# Polygons of one picture: they are drawn picture by picture.
GROUP = 8
# COCO's bounds of small, medium and large, with the tiniest apart.
BUCKETS = {
    "below 100 px": (1, 100),
    "small": (100, 32**2),
    "medium": (32**2, 96**2),
    "large": (96**2, SIDE**2),
}
DATASETS = pathlib.Path(__file__).resolve().parents[2] / "datasets"


def run(settings: Settings) -> list[dict]:
    """OpenCV's rasterizer against pycocotools', a row per area bucket."""
    sets = {
        f"star-shaped, {name}": polygons for name, polygons in _by_area(make_polygons()).items()
    }
    for json_file in sorted(DATASETS.glob("*/val.json")):
        outlines = dataset_outlines(json_file)
        if outlines:
            sets[f"outlines of {json_file.parent.name}"] = outlines
    rows = []
    for name, polygons in sets.items():
        ours = _drawing(polygons, "opencv")
        peers = {}
        if settings.peer("pycocotools"):
            peers["pycocotools"] = _drawing(polygons, "pycocotools")
        agreement = compare(polygons)
        case = f"{len(polygons)} polygons, {name}, opencv"
        print(
            f"{case} and pycocotools: IoU {agreement['iou']:.4f}, outline moved outwards by "
            f"{agreement['grown_px']:+.3f} px, centre by {agreement['x_px']:+.3f}, "
            f"{agreement['y_px']:+.3f} px"
        )
        rows += [{**row, **agreement} for row in alternate("data", case, ours, peers, settings)]
    return rows


def make_polygons() -> list[np.ndarray]:
    """Stars and blobs of 6 to 120 corners and 6 to 400 px, both log-uniform, float64 (P, 2)."""
    rng = np.random.default_rng(0)
    polygons = []
    for index in range(POLYGONS):
        corners = int(np.exp(rng.uniform(np.log(6), np.log(120))))
        angles = np.sort(rng.uniform(0, 2 * np.pi, corners))
        radii = rng.uniform(0.4, 1, corners)
        if index % 2:
            radii = (np.roll(radii, 1) + radii + np.roll(radii, -1)) / 3
        points = np.stack((np.cos(angles), np.sin(angles)), axis=1) * radii[:, None]
        points *= np.exp(rng.uniform(np.log(6), np.log(400))) / np.ptp(points, axis=0).max()
        points -= points.min(axis=0)
        polygons.append(points + rng.uniform(0, SIDE - points.max(axis=0)))
    return polygons


def dataset_outlines(json_file: pathlib.Path) -> list[np.ndarray]:
    """The outer outlines of a dataset's RLE masks, enlarged or reduced as large-scale jitter does.

    Left as they are, their corners would be pixels' centres, of which nobody can say on which side
    of the outline they are.
    """
    rng = np.random.default_rng(0)
    outlines = []
    for annotation in json.loads(json_file.read_text())["annotations"]:
        rle = annotation["segmentation"]
        if (
            len(outlines) == POLYGONS
            or not isinstance(rle, dict)
            or isinstance(rle["counts"], list)
        ):
            continue
        contours, _ = cv2.findContours(
            np.ascontiguousarray(mask_util.decode(rle)), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
        )
        largest = max(contours, key=cv2.contourArea).reshape(-1, 2)
        if len(largest) >= 3 and max(rle["size"]) <= SIDE:
            scale = rng.uniform(0.3, SIDE / max(rle["size"]))
            outlines.append((largest + 0.5) * scale)
    return outlines


def compare(polygons: list[np.ndarray]) -> dict[str, float]:
    """How OpenCV's masks differ from those of pycocotools.

    Returns:
        `iou`: the mean; `grown_px`: the area that OpenCV's have more, divided by the length of the
        outlines: how far these moved outwards; `x_px`, `y_px`: the mean shift of the centres.
    """
    ours, theirs = (
        rasterize([[p] for p in polygons], size=(SIDE, SIDE), rasterizer=name)
        for name in ("opencv", "pycocotools")
    )
    common, either = (ours & theirs).sum((1, 2)), (ours | theirs).sum((1, 2))
    grown = ours.sum((1, 2)) - theirs.sum((1, 2))
    length = sum(np.linalg.norm(p - np.roll(p, 1, axis=0), axis=1).sum() for p in polygons)
    both = ours.any((1, 2)) & theirs.any((1, 2))
    moved = [_centre(a) - _centre(b) for a, b in zip(ours[both], theirs[both], strict=True)]
    y, x = np.mean(moved, axis=0) if moved else (0.0, 0.0)
    return {
        "iou": float(np.where(either == 0, 1.0, common / np.maximum(either, 1)).mean()),
        "grown_px": float(grown.sum() / length),
        "x_px": float(x),
        "y_px": float(y),
    }


def _centre(mask: np.ndarray) -> np.ndarray:
    return np.array([places.mean() for places in np.nonzero(mask)])


def _by_area(polygons: list[np.ndarray]) -> dict[str, list[np.ndarray]]:
    masks = rasterize([[p] for p in polygons], size=(SIDE, SIDE), rasterizer="pycocotools")
    areas = np.count_nonzero(masks, axis=(1, 2))
    return {
        name: [p for p, area in zip(polygons, areas, strict=True) if low <= area < high]
        for name, (low, high) in BUCKETS.items()
    }


def _drawing(polygons: list[np.ndarray], rasterizer: str):
    # As a JSON gives them.
    flat = [[p.reshape(-1).tolist()] for p in polygons]

    def once():
        for start in range(0, len(flat), GROUP):
            rasterize(flat[start : start + GROUP], size=(SIDE, SIDE), rasterizer=rasterizer)

    return once
