"""From bool masks to COCO's numbers: encoding, matching and accumulating."""

from __future__ import annotations

import contextlib
import io
import json
import pathlib
import resource
import tempfile
import time
from collections.abc import Callable

import cv2
import numpy as np
import torch
from detectron2.structures import Instances
from pycocotools import mask as mask_utils
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from benchmarks.pairs import Settings, alternate, profile
from mask2former_mt.dataset.document import read_document
from mask2former_mt.dataset.split import Split, SplitFiles
from mask2former_mt.evaluation.ground_truth import read_ground_truth
from mask2former_mt.evaluation.joint import evaluate
from mask2former_mt.evaluation.prediction_store import PredictionStore
from mask2former_mt.evaluation.results_json import instances_to_results
from mask2former_mt.structures import SubcategorySpec

NUM_CLASSES = 80
HEIGHT, WIDTH = 480, 640
# Different images; more of them are these again, under other ids.
NUM_SCENES = 20
SPEC = SubcategorySpec.from_json(
    [
        {"name": "style", "values": ["photo", "cartoon"]},
        {"name": "ripeness", "values": ["ripe", "unripe", "rotten"]},
    ]
)
# COCO's numbers; the rest of ours has no counterpart.
TWELVE = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")


class Outline:
    """A star-shaped outline: objects of many sizes, and the same again, a little off."""

    def __init__(self, generator: np.random.Generator) -> None:
        noise = np.convolve(generator.normal(size=26), np.ones(3) / 3, "valid")
        self.radii = np.exp(generator.uniform(np.log(10), np.log(200))) * (1 + 0.25 * noise)
        self.centre = generator.random(2) * (WIDTH, HEIGHT)

    def draw(self, generator: np.random.Generator, off: float = 0.0) -> np.ndarray:
        """A bool mask; `off` says how far from the outline, as a share of its radius."""
        radii = (
            self.radii * (1 + off * generator.normal(size=24)) * np.exp(off * generator.normal())
        )
        angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
        points = np.stack([radii * np.cos(angles), 0.8 * radii * np.sin(angles)], axis=1)
        points += self.centre + off * self.radii.mean() * generator.normal(size=2)
        mask = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
        cv2.fillPoly(mask, [points.round().astype(np.int32)], 1)
        return mask.astype(bool)


def scene(seed: int, num_objects: int, num_predictions: int) -> tuple[list, Instances]:
    """Objects (mask, class, labels) of one image, and as many predictions as a model gives.

    Half of the predictions are objects, most of them well found and in their class; the others are
    anywhere, with lower scores.
    """
    generator = np.random.default_rng(seed)
    present = generator.integers(0, NUM_CLASSES, 3)
    objects = []
    for _ in range(num_objects):
        labels = [int(generator.integers(s.none_index + 1)) for s in SPEC]
        outline = Outline(generator)
        objects.append((outline, outline.draw(generator), int(generator.choice(present)), labels))
    masks, classes, scores, values = [], [], [], []
    for i in range(num_predictions):
        _, _, class_, labels = target = objects[generator.integers(num_objects)]
        if i % 2:
            masks.append(target[0].draw(generator, generator.exponential(0.08)))
            scores.append(generator.beta(2, 2))
        else:
            masks.append(Outline(generator).draw(generator))
            scores.append(generator.beta(1, 5))
        classes.append(class_ if generator.random() < 0.7 else int(generator.integers(NUM_CLASSES)))
        values.append(labels if generator.random() < 0.7 else [0] * len(SPEC))
    instances = Instances(
        (HEIGHT, WIDTH),
        pred_masks=torch.from_numpy(np.stack(masks)),
        scores=torch.tensor(scores, dtype=torch.float32),
        pred_classes=torch.tensor(classes),
        pred_subcategories=torch.tensor(values),
        subcategory_scores=torch.full((num_predictions, len(SPEC)), 0.8),
    )
    return [o[1:] for o in objects], instances


def ground_truth(scenes: list, num_images: int) -> dict:
    """A COCO document in which every 50th object is a crowd."""
    annotations = []
    for image in range(num_images):
        for mask, class_, labels in scenes[image % len(scenes)][0]:
            rle = _rle(mask)
            named = zip(SPEC, labels, strict=True)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image + 1,
                    "category_id": class_ + 1,
                    "segmentation": rle,
                    "area": float(mask_utils.area(rle)),
                    "bbox": mask_utils.toBbox(rle).tolist(),
                    "iscrowd": int(len(annotations) % 50 == 49),
                    "subcategories": {s.name: s.value_name(label) for s, label in named},
                }
            )
    return {
        "images": [
            {"id": i + 1, "file_name": f"{i + 1}.jpg", "height": HEIGHT, "width": WIDTH}
            for i in range(num_images)
        ],
        "categories": [{"id": k + 1, "name": str(k)} for k in range(NUM_CLASSES)],
        "subcategories": SPEC.to_json(),
        "annotations": annotations,
    }


def _rle(mask: np.ndarray) -> dict:
    rle = mask_utils.encode(np.asfortranarray(mask.view(np.uint8)))
    return {**rle, "counts": rle["counts"].decode()}


def run(settings: Settings) -> list[dict]:
    """Masks as a model gives them to metrics.

    Ours writes the predictions to disk, reads them again and computes every metric, by masks and by
    boxes. The peers compute the twelve numbers by masks: each mask encoded by pycocotools, the
    predictions as a list, then `loadRes`, `evaluate`, `accumulate`. Their numbers have to be ours.
    """
    scenes = [scene(i, settings.objects, settings.keep) for i in range(NUM_SCENES)]
    num_images = settings.images
    document = ground_truth(scenes, num_images)
    numbers: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "ground_truth.json"
        path.write_text(json.dumps(document), encoding="utf-8")
        sides = {}
        for name in ("pycocotools", "faster-coco-eval", "hotcoco"):
            if settings.peer(name):
                sides[name] = _peer(name, path, scenes, num_images, numbers)
        ours = _ours(path, scenes, num_images, numbers)
        if settings.profile:
            profile(ours, settings.device)
            return []
        case = f"{num_images} images x {settings.keep} predictions, {HEIGHT}x{WIDTH}"
        rows = alternate("eval", case, ours, sides, settings)
    for name, twelve in numbers.items():
        difference = np.abs(np.subtract(twelve, numbers["ours"])).max()
        print(f"{name}: AP {twelve[0]:.4f}, differs from ours by at most {difference:.1e}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # MiB on Linux
    print(f"peak memory of the process: {peak:.0f} MiB")
    return rows


def _ours(path: pathlib.Path, scenes: list, num_images: int, numbers: dict) -> Callable[[], None]:
    def run_ours() -> None:
        started = time.perf_counter()
        # Not `read_split`, which remembers it from round to round.
        split = Split(SplitFiles("val", path.parent, path), read_document(path))
        truth = read_ground_truth(split.records, split.header)
        store = PredictionStore()
        for i in range(num_images):
            _, instances = scenes[i % len(scenes)]
            results = instances_to_results(
                instances, i + 1, spec=SPEC, category_ids=range(1, NUM_CLASSES + 1)
            )
            store.add(i + 1, results)
        encoded = time.perf_counter()
        metrics = evaluate(truth, store.entries(truth.image_ids)).metrics
        numbers["ours"] = [metrics[f"segm/{name}"] for name in TWELVE]
        print(
            f"ours: encode and write {encoded - started:.1f} s, read and evaluate "
            f"{time.perf_counter() - encoded:.1f} s",
            flush=True,
        )

    return run_ours


def _peer(
    name: str, path: pathlib.Path, scenes: list, num_images: int, numbers: dict
) -> Callable[[], None]:
    def run_peer() -> None:
        started = time.perf_counter()
        results = []
        for i in range(num_images):
            _, instances = scenes[i % len(scenes)]
            scores, classes = instances.scores.tolist(), instances.pred_classes.tolist()
            masks = instances.pred_masks.numpy()
            results += [
                {
                    "image_id": i + 1,
                    "category_id": class_ + 1,
                    "segmentation": _rle(mask),
                    "score": score,
                }
                for mask, class_, score in zip(masks, classes, scores, strict=True)
            ]
        encoded = time.perf_counter()
        coco_class, eval_class = _classes(name)
        coco_gt = _quietly(coco_class, str(path))
        coco_eval = eval_class(coco_gt, _quietly(coco_gt.loadRes, results), "segm")
        for step in (coco_eval.evaluate, coco_eval.accumulate, coco_eval.summarize):
            _quietly(step)
        numbers[name] = (100 * np.asarray(coco_eval.stats)[: len(TWELVE)]).tolist()
        print(
            f"{name}: encode {encoded - started:.1f} s, evaluate "
            f"{time.perf_counter() - encoded:.1f} s",
            flush=True,
        )

    return run_peer


def _classes(name: str) -> tuple[type, type]:
    if name == "pycocotools":
        return COCO, COCOeval
    if name == "hotcoco":
        import hotcoco

        return hotcoco.COCO, hotcoco.COCOeval
    import faster_coco_eval

    return faster_coco_eval.COCO, faster_coco_eval.COCOeval_faster


def _quietly(function: Callable, *arguments):
    with contextlib.redirect_stdout(io.StringIO()):
        return function(*arguments)
