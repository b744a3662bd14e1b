"""How the time of every stage grows with the objects of a picture and with the classes."""

from __future__ import annotations

import contextlib
import io
import json
import pathlib
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator

import cv2
import numpy as np
import pycocotools.mask as mask_util
import torch
from detectron2.data import transforms as T

from benchmarks.pairs import Settings
from mask2former_mt.check.check import check_dataset
from mask2former_mt.data.mapper import MultiTaskInstanceMapper
from mask2former_mt.dataset.document import read_document
from mask2former_mt.dataset.split import Split, SplitFiles
from mask2former_mt.evaluation.ground_truth import read_ground_truth
from mask2former_mt.evaluation.joint import evaluate
from mask2former_mt.evaluation.matching import MAX_DETS
from mask2former_mt.evaluation.report.report import Run, write_report
from mask2former_mt.losses.criterion import Criterion
from mask2former_mt.losses.matcher import HungarianMatcher, MatchCosts
from mask2former_mt.losses.targets import ImageTargets
from mask2former_mt.structures import (
    GT_CLASSES,
    GT_MASKS,
    GT_SUBCATEGORIES,
    DecoderOutput,
    MaskFactors,
    SubcategorySpec,
)
from mask2former_mt.visualization import LabelNames, draw_results

AXES = {"objects": [1, 10, 100, 1000, 3000, 10_000], "classes": [1, 10, 100, 1203]}
HEIGHT, WIDTH = 1080, 1920
SAMPLE_SIDE = 256  # pixels of a training sample's shorter side
QUERIES, LAYERS, CHANNELS = 100, 3, 64
SPEC = SubcategorySpec.from_json([{"name": "style", "values": ["photo", "cartoon"]}])


def run(settings: Settings) -> list[dict]:
    """Times one picture with 1 to 10,000 objects of 80 classes, then with 100 of 1 to 1,203."""
    rows = []
    for what, sizes in AXES.items():
        if what not in settings.axes:
            continue
        times: dict[str, list[float]] = {}
        for size in sizes:
            counts = {"objects": 100, "classes": 80, what: size}
            for stage, seconds in _stages(**counts, rounds=settings.rounds):
                times.setdefault(stage, []).append(seconds)
        print(f"{'seconds':<12}", *(f"{size:>8}" for size in sizes), f"{what}, exponent")
        for stage, seconds in times.items():
            # Of the larger half: below it what every picture costs decides.
            large = len(sizes) // 2
            exponent = np.polyfit(np.log(sizes[large:]), np.log(seconds[large:]), 1)[0]
            print(f"{stage:<12}", *(f"{s:8.3f}" for s in seconds), f"{exponent:.2f}", flush=True)
            rows += [
                {
                    "benchmark": "growth",
                    "case": f"{stage}, {size} {what}",
                    "peer": None,
                    "ours_s": s,
                    "peer_s": None,
                    "ratio": None,
                }
                for size, s in zip(sizes, seconds, strict=True)
            ]
    return rows


def _stages(objects: int, classes: int, rounds: int) -> Iterator[tuple[str, float]]:
    """The name of each stage and its median time."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        results = _write_dataset(folder, objects, classes)
        files = SplitFiles("val", folder, folder / "val.json")

        def load() -> Split:
            # Not `read_split`, which keeps what it has read.
            split = Split(files, read_document(files.json_file))
            assert not split.problems
            return split

        yield "loading", _median(load, rounds)
        with contextlib.redirect_stderr(io.StringIO()):
            yield "checking", _median(lambda: check_dataset(folder / "val.yaml"), rounds)
        split = load()
        record = split.records[0]
        truth = read_ground_truth(split.records, split.header)
        limits = {"max_dets": max(MAX_DETS, objects), "explain": True}
        yield "evaluating", _median(lambda: evaluate(truth, results, **limits), rounds)
        evaluation = evaluate(truth, results, **limits)
        report = {"predictions": folder / "results.json", "run": Run()}
        yield (
            "reporting",
            _median(lambda: write_report(folder, evaluation, dataset_name="val", **report), rounds),
        )
        names = LabelNames(truth.class_names, SPEC, truth.category_ids)
        image = cv2.imread(record["file_name"])
        yield "drawing", _median(lambda: draw_results(image, results, names), rounds)
        mapper = MultiTaskInstanceMapper(
            is_train=True,
            augmentations=[T.ResizeShortestEdge(SAMPLE_SIDE)],
            image_format="RGB",
            spec=SPEC,
        )
        yield "sample", _median(lambda: mapper({**record, "draw": 0}), rounds)
        instances = mapper({**record, "draw": 0})["instances"]
        fields = [instances.get(field) for field in (GT_CLASSES, GT_MASKS, GT_SUBCATEGORIES)]
        targets, output = [ImageTargets(*fields)], _random_output(classes)
        criterion = _criterion(classes)
        yield "loss", _median(lambda: criterion(output, targets), rounds)


def _median(run: Callable[[], object], rounds: int) -> float:
    run()  # the first run also waits for the memory
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def _write_dataset(folder: pathlib.Path, objects: int, classes: int) -> list[dict]:
    """A picture half covered by outlines, and a prediction near each of them."""
    generator = np.random.default_rng(0)
    cv2.imwrite(str(folder / "0.jpg"), generator.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8))
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    radius = (HEIGHT * WIDTH / 2 / objects / np.pi) ** 0.5
    annotations, results = [], []
    for index in range(objects):
        radii = radius * generator.uniform(0.6, 1.4, (24, 1))
        points = radii * np.stack((np.cos(angles), np.sin(angles)), axis=1)
        points += generator.uniform((0, 0), (WIDTH, HEIGHT))
        outlines = [
            points.clip(0, (WIDTH, HEIGHT)).round(1).reshape(-1).tolist()
            for points in (points, points + 0.1 * radius)
        ]
        rle = mask_util.merge(mask_util.frPyObjects(outlines[1:], HEIGHT, WIDTH))
        common = {"image_id": 0, "category_id": index % classes + 1}
        annotations.append({"id": index + 1, "segmentation": outlines[:1], **common})
        annotations[-1]["subcategories"] = {"style": "photo"}
        results.append(
            {
                **common,
                "segmentation": {"size": [HEIGHT, WIDTH], "counts": rle["counts"].decode()},
                "score": generator.random(),
                "subcategories": {"style": {"value": "photo", "score": 0.8}},
            }
        )
    document = {
        "images": [{"id": 0, "file_name": "0.jpg", "height": HEIGHT, "width": WIDTH}],
        "categories": [{"id": k + 1, "name": str(k)} for k in range(classes)],
        "subcategories": SPEC.to_json(),
        "annotations": annotations,
    }
    (folder / "val.json").write_text(json.dumps(document))
    (folder / "results.json").write_text(json.dumps(results))
    (folder / "val.yaml").write_text("name: d\nroot: .\nval: {images: ., annotations: val.json}\n")
    return results


def _random_output(classes: int) -> DecoderOutput:
    """Predictions of all layers, their mask features shared."""
    generator = torch.Generator().manual_seed(0)
    side = SAMPLE_SIDE // 4
    features = torch.randn(1, CHANNELS, side, side * WIDTH // HEIGHT, generator=generator)
    layers = [
        DecoderOutput(
            pred_logits=torch.randn(1, QUERIES, classes + 1, generator=generator),
            pred_masks=MaskFactors(
                torch.randn(1, QUERIES, CHANNELS, generator=generator), features
            ),
            pred_subcategories={
                s.name: torch.randn(1, QUERIES, s.num_values + 1, generator=generator) for s in SPEC
            },
        )
        for _ in range(LAYERS)
    ]
    layers[-1].aux_outputs = layers[:-1]
    return layers[-1]


def _criterion(classes: int) -> Criterion:
    costs = MatchCosts(class_=2.0, mask=5.0, dice=5.0, subcategories=(1.0,))
    points = {"num_points": 12544, "oversample_ratio": 3.0, "importance_sample_ratio": 0.75}
    return Criterion(
        matcher=HungarianMatcher(costs=costs, spec=SPEC, num_points=points["num_points"]),
        num_classes=classes,
        spec=SPEC,
        no_object_weight=0.1,
        subcategory_no_object_weight=0.1,
        **points,
    )
