"""Scenes of boxes with labels, as ground truth and as predictions, and their evaluation."""

import contextlib
import io
import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as mask_utils
from pycocotools.coco import COCO

from mask2former_mt.dataset.annotation import AnnotationReader
from mask2former_mt.dataset.conventions import COCO_CONVENTIONS
from mask2former_mt.dataset.document import Header
from mask2former_mt.evaluation import joint
from mask2former_mt.evaluation.ground_truth import read_ground_truth
from mask2former_mt.structures import SubcategorySpec

SPEC = SubcategorySpec.from_json(
    [
        {"name": "style", "values": ["photo", "cartoon"]},
        {"name": "ripeness", "values": ["ripe", "unripe"]},
    ]
)
CLASSES = ["apple", "pear"]
APPLE, PEAR = 7, 9  # dataset category ids are not contiguous classes
SIZE = 160
RIGHT = {"style": "photo", "ripeness": "ripe"}


def box_rle(x, y, width=20, height=20, size=(SIZE, SIZE)):
    mask = np.zeros(size, dtype=np.uint8, order="F")
    mask[y : y + height, x : x + width] = 1
    rle = mask_utils.encode(mask)
    return {"size": list(size), "counts": rle["counts"].decode("ascii")}


def truth(x, y=0, labels=None, *, image_id=1, category_id=APPLE, crowd=0, side=20):
    return {
        "image_id": image_id,
        "category_id": category_id,
        "segmentation": box_rle(x, y, side, side),
        "area": side * side,
        "bbox": [x, y, side, side],
        "iscrowd": crowd,
        "subcategories": RIGHT if labels is None else labels,
    }


def found(x, y=0, score=0.9, labels=None, *, image_id=1, category_id=APPLE, side=20, **box):
    return {
        "image_id": image_id,
        "category_id": category_id,
        "segmentation": box_rle(x, y, **({"width": side, "height": side} | box)),
        "score": score,
        "subcategories": {
            name: {"value": value, "score": 0.5} for name, value in (labels or RIGHT).items()
        },
    }


def coco(annotations, num_images=4):
    """The annotations as pycocotools holds them."""
    gt = COCO()
    gt.dataset = {
        "images": [{"id": i + 1, "height": SIZE, "width": SIZE} for i in range(num_images)],
        "categories": [{"id": PEAR, "name": "pear"}, {"id": APPLE, "name": "apple"}],
        "annotations": [{**a, "id": i + 1} for i, a in enumerate(annotations)],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        gt.createIndex()
    return gt


def ground_truth(annotations, num_images=4, spec=SPEC):
    """The annotations as the evaluation holds them; images without any change no metric."""
    header = Header((APPLE, PEAR), tuple(CLASSES), spec)
    reader = AnnotationReader(header, COCO_CONVENTIONS)
    records = [
        {"image_id": i + 1, "file_name": "", "height": SIZE, "width": SIZE, "annotations": []}
        for i in range(num_images)
    ]
    for i, annotation in enumerate(annotations):
        # Some boxes of random scenes leave the image; here that is no fault.
        entry, _ = reader.read({**annotation, "id": i + 1}, SIZE, SIZE)
        records[annotation["image_id"] - 1]["annotations"].append(entry)
    return read_ground_truth(records, header)


def evaluation_of(annotations, results, spec=SPEC, **options):
    """The whole evaluation, with the overlaps that errors need."""
    return joint.evaluate(ground_truth(annotations, spec=spec), results, explain=True, **options)


def evaluate(annotations, results, spec=SPEC, num_images=4, **options):
    """The metrics."""
    return joint.evaluate(ground_truth(annotations, num_images, spec), results, **options).metrics


def write_scene(folder, annotations, results, *, name, class_names=CLASSES, spec=SPEC):
    """A dataset YAML with pictures of all images that occur, and a file of predictions beside it.

    Returns:
        The YAML, and the predictions.
    """
    last = max((entry["image_id"] for entry in [*annotations, *results]), default=1)
    document = coco(annotations, num_images=last).dataset
    names = dict(zip((APPLE, PEAR), class_names, strict=True))
    document["categories"] = [{"id": i, "name": names[i]} for i in (PEAR, APPLE)]
    document["subcategories"] = spec.to_json()
    (folder / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for image in document["images"]:
        image["file_name"] = f"{image['id']}.png"
        pixels = rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "images" / image["file_name"])
    predictions, dataset = folder / "predictions.json", folder / "fruit.yaml"
    (folder / "val.json").write_text(json.dumps(document), encoding="utf-8")
    predictions.write_text(json.dumps(results), encoding="utf-8")
    dataset.write_text(
        f"name: {name}\nroot: .\nval: {{images: images, annotations: val.json}}\n",
        encoding="utf-8",
    )
    return dataset, predictions


def assert_metrics(metrics, **expected):
    """Percentages; names with `_` for `/` and `-`, because keywords cannot hold those."""
    by_name = {key.replace("/", "_").replace("-", "_"): value for key, value in metrics.items()}
    for name, value in expected.items():
        assert by_name[name] == pytest.approx(value, abs=1e-9, nan_ok=True), name


# 20 x 20 pixels each. Side by side with 10 of them in common, the IoU is 200 / 600.
ERROR_SCENE = (
    [truth(0), truth(40), truth(80), truth(120), truth(0, 40), truth(0, 80)],
    [
        found(0, score=0.9),
        found(40, score=0.8, labels={"style": "cartoon", "ripeness": "ripe"}),
        found(80, score=0.7, category_id=PEAR),
        found(130, score=0.6),
        found(10, 40, score=0.5, category_id=PEAR),
        found(0, score=0.4),
        found(100, 100, score=0.3),
    ],
)


def random_labels(rng, unknown=0.0):
    return {
        s.name: s.value_name(int(rng.integers(s.none_index + 1)))
        for s in SPEC
        if rng.random() >= unknown
    }


def random_scene(seed):
    """3 images with a grid of 4 x 4 cells of 40 x 40 pixels.

    Objects stay so far from the neighbouring cells that a detection can match no other object than
    its own.
    """
    rng = np.random.default_rng(seed)
    annotations, results = [], []
    for image_id in (1, 2, 3):
        for cell in rng.permutation(16)[: rng.integers(0 if image_id > 1 else 4, 9)]:
            x, y = 40 * (cell % 4) + 6, 40 * (cell // 4) + 6
            side = int(rng.integers(14, 35))
            annotation = truth(
                x,
                y,
                random_labels(rng, 0.3),
                image_id=image_id,
                category_id=int(rng.choice([APPLE, PEAR])),
                crowd=int(rng.random() < 0.15),
                side=side,
            )
            if not annotation["iscrowd"] and rng.random() < 0.5:
                right, bottom = x + side, y + side
                annotation["segmentation"] = [[x, y, right, y, right, bottom, x, bottom]]
            annotations.append(annotation)
            for _ in range(rng.integers(0, 4)):
                right = {**RIGHT, **annotation["subcategories"]}
                results.append(
                    found(
                        int(x + rng.integers(-2, 3)),
                        int(y + rng.integers(-2, 3)),
                        round(float(rng.random()), 2),  # two decimals: there are equal scores
                        right if rng.random() < 0.6 else random_labels(rng),
                        image_id=image_id,
                        category_id=annotation["category_id"]
                        if rng.random() < 0.8
                        else int(rng.choice([APPLE, PEAR])),
                        side=side + int(rng.integers(-2, 3)),
                    )
                )
    return annotations, results


def crowded_scene(seed):
    """Few places and scores, so that objects overlap, detections compete and scores are equal.

    Areas of all ranges, some of them not the mask's own; crowds; empty masks; images without
    objects or without predictions.
    """
    rng = np.random.default_rng(seed)
    annotations, results = [], []

    def box():
        side = int(rng.choice([8, 24, 40, 100])) + 4 * int(rng.integers(3))
        x, y = (4 * rng.integers(0, (SIZE - side) // 4 + 1, 2)).tolist()
        return x, y, side

    for image_id in (1, 2, 3, 4):
        first = len(annotations)
        for _ in range(rng.integers(0, 8)):
            x, y, side = box()
            if len(annotations) > first and rng.random() < 0.6:
                x, y, side, _ = annotations[rng.integers(first, len(annotations))]["bbox"]
                side = int(side + 2 * rng.integers(2))
                x, y = min(int(x + 2 * rng.integers(2)), SIZE - side), min(y, SIZE - side)
            entry = truth(
                x,
                y,
                random_labels(rng, 0.3),
                image_id=image_id,
                category_id=int(rng.choice([APPLE, PEAR])),
                crowd=int(rng.random() < 0.2),
                side=side,
            )
            if rng.random() < 0.2:
                entry["area"] = float(rng.choice([100, 2000, 20000]))
            annotations.append(entry)
        here = annotations[first:]
        for _ in range(rng.integers(0, 25)):
            x, y, side = box()
            if here and rng.random() < 0.8:
                x, y, side, _ = here[rng.integers(len(here))]["bbox"]
            results.append(
                found(
                    int(x + 2 * rng.integers(0, 3)),
                    int(y),
                    float(rng.integers(10)) / 10,
                    random_labels(rng),
                    image_id=image_id,
                    category_id=int(rng.choice([APPLE, PEAR])),
                    side=0 if rng.random() < 0.05 else int(side + 2 * rng.integers(-2, 3)),
                )
            )
    return annotations, results


def without(entry, key):
    return {k: v for k, v in entry.items() if k != key}
