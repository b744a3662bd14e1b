"""Panoptic quality by its definition, for where the package panopticapi is not installed.

It stands behind the same two modules that detectron2's evaluator imports. Written from the formula
(Kirillov et al., "Panoptic Segmentation", eq. 1), without crowds.
"""

from __future__ import annotations

import json
import sys
import types
from collections import defaultdict
from pathlib import Path

import numpy as np
from PIL import Image


def id2rgb(ids: np.ndarray) -> np.ndarray:
    """Ids (H, W) as the colours that COCO's panoptic format writes: R + 256 G + 65536 B."""
    return np.stack([ids // 256**i % 256 for i in range(3)], axis=-1).astype(np.uint8)


def read_ids(file: Path) -> np.ndarray:
    return np.asarray(Image.open(file).convert("RGB")).astype(np.int64) @ [1, 256, 65536]


def pq_compute(gt_json_file, pred_json_file, gt_folder, pred_folder) -> dict:
    truth, predicted = (
        json.loads(Path(file).read_text(encoding="utf-8"))
        for file in (gt_json_file, pred_json_file)
    )
    answers = {entry["image_id"]: entry for entry in predicted["annotations"]}
    counts = defaultdict(lambda: {"iou": 0.0, "tp": 0, "fp": 0, "fn": 0})
    for entry in truth["annotations"]:
        answer = answers[entry["image_id"]]
        gt = read_ids(Path(gt_folder) / entry["file_name"])
        ours = read_ids(Path(pred_folder) / answer["file_name"])
        # What is listed is in the picture, and the other way round.
        assert {s["id"] for s in answer["segments_info"]} == set(np.unique(ours)) - {0}
        matched = set()
        for true in entry["segments_info"]:
            found = None
            for segment in answer["segments_info"]:
                one, other = gt == true["id"], (ours == segment["id"])
                # Pixels of no ground truth take no part.
                union = (one | (other & (gt != 0))).sum()
                iou = (one & other).sum() / union
                # No two segments can have more than half of the same one.
                if segment["category_id"] == true["category_id"] and iou > 0.5:
                    found = segment["id"], iou
            row = counts[true["category_id"]]
            if found is None:
                row["fn"] += 1
            else:
                matched.add(found[0])
                row["tp"] += 1
                row["iou"] += found[1]
        for segment in answer["segments_info"]:
            if segment["id"] not in matched:
                counts[segment["category_id"]]["fp"] += 1

    def mean(keep) -> dict:
        rows = []
        for category in truth["categories"]:
            row = counts.get(category["id"])
            if row and keep(bool(category["isthing"])):
                quality = row["tp"] / (row["tp"] + 0.5 * row["fp"] + 0.5 * row["fn"])
                iou = row["iou"] / row["tp"] if row["tp"] else 0.0
                rows.append((iou * quality, iou, quality))
        means = np.mean(rows, axis=0) if rows else (0.0, 0.0, 0.0)
        return {**dict(zip(("pq", "sq", "rq"), means, strict=True)), "n": len(rows)}

    return {
        "All": mean(lambda thing: True),
        "Things": mean(lambda thing: thing),
        "Stuff": mean(lambda thing: not thing),
    }


def install(monkeypatch) -> None:
    """Lets `import panopticapi.utils` and `panopticapi.evaluation` find this module's functions."""
    package = types.ModuleType("panopticapi")
    package.utils = types.ModuleType("panopticapi.utils")
    package.utils.id2rgb = id2rgb
    package.evaluation = types.ModuleType("panopticapi.evaluation")
    package.evaluation.pq_compute = pq_compute
    for module in (package, package.utils, package.evaluation):
        monkeypatch.setitem(sys.modules, module.__name__, module)
