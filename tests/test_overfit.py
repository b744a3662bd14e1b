"""The whole package at once: mapper, model, losses, optimizer, inference and evaluator."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pycocotools.mask as mask_util
import pytest
import torch
from detectron2.data import DatasetCatalog
from detectron2.solver import build_lr_scheduler
from detectron2.utils.env import seed_all_rng
from PIL import Image
from registered import restored_datasets
from tiny import tiny_cfg, tiny_model

from mask2former_mt.data.mapper import MultiTaskInstanceMapper
from mask2former_mt.dataset.catalog import register_dataset_files, spec_of
from mask2former_mt.evaluation.evaluator import JointCOCOEvaluator
from mask2former_mt.evaluation.summary import flat_metrics
from mask2former_mt.solver.optimizer import build_optimizer

SIZE = 96
NUM_SCENES = 8
ITERATIONS = 300
IMAGES_PER_BATCH = 2
SHAPES = ("disc", "square", "triangle")
COLOURS = {"red": (220, 40, 40), "green": (40, 190, 60), "blue": (50, 80, 230)}
FILLS = ("solid", "dark_core", "stripes")
# Objects stand in the quarters of the picture and so do not overlap: (x, y) of their centres.
CENTRES = ((24, 24), (72, 24), (24, 72), (72, 72))


def shape_mask(shape: str, x: float, y: float, radius: float) -> np.ndarray:
    """bool (SIZE, SIZE)."""
    rows, columns = np.mgrid[:SIZE, :SIZE] + 0.5
    dx, dy = columns - x, rows - y
    if shape == "disc":
        return dx**2 + dy**2 <= radius**2
    if shape == "square":
        return np.maximum(abs(dx), abs(dy)) <= 0.85 * radius
    # The apex is up: at height dy below it, half as wide.
    return (dy <= 0.8 * radius) & (abs(dx) <= 0.6 * (dy + radius))


def draw(image: np.ndarray, mask: np.ndarray, colour: str, fill: str | None) -> None:
    rows, columns = np.mgrid[:SIZE, :SIZE]
    image[mask] = COLOURS[colour]
    if fill == "dark_core":
        centre = np.argwhere(mask).mean(0)
        core = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= 6**2
        image[mask & core] = 10
    elif fill == "stripes":
        image[mask & (columns // 4 % 2 == 0)] = 235


def write_dataset(folder: Path) -> Path:
    """8 scenes of 2 to 4 objects; each class, colour and fill comes up about equally often.

    A third of the objects, the triangles, have no fill (none), and every seventh object's colour
    is not annotated (unknown).
    """
    generator = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    images, annotations = [], []
    number = 0
    for scene in range(NUM_SCENES):
        picture = generator.integers(90, 150, (SIZE, SIZE, 3), dtype=np.uint8)
        for x, y in CENTRES[: 2 + scene % 3]:
            shape = SHAPES[number % 3]
            colour = list(COLOURS)[(number // 3) % 3]
            fill = None if shape == "triangle" else FILLS[(number // 2) % 3]
            mask = shape_mask(
                shape, x + generator.integers(-4, 5), y + generator.integers(-4, 5), 17
            )
            draw(picture, mask, colour, fill)
            labels = {"colour": colour, "fill": fill}
            if number % 7 == 6:
                del labels["colour"]
            rle = mask_util.encode(np.asfortranarray(mask))
            annotations.append(
                {
                    "id": number,
                    "image_id": scene,
                    "category_id": SHAPES.index(shape) + 1,
                    "bbox": mask_util.toBbox(rle).tolist(),
                    "area": int(mask_util.area(rle)),
                    "iscrowd": 0,
                    "segmentation": {"size": rle["size"], "counts": rle["counts"].decode()},
                    "subcategories": labels,
                }
            )
            number += 1
        Image.fromarray(picture).save(folder / "images" / f"{scene}.png")
        images.append({"id": scene, "file_name": f"{scene}.png", "height": SIZE, "width": SIZE})
    document = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": i + 1, "name": name} for i, name in enumerate(SHAPES)],
        "subcategories": [
            {"name": "colour", "values": list(COLOURS)},
            {"name": "fill", "values": list(FILLS)},
        ],
    }
    (folder / "all.json").write_text(json.dumps(document), encoding="utf-8")
    path = folder / "shapes.yaml"
    path.write_text(
        "name: overfit\nroot: .\ntrain: {images: images, annotations: all.json}\n",
        encoding="utf-8",
    )
    return path


@pytest.fixture
def dataset(tmp_path: Path):
    with restored_datasets():
        (name,) = register_dataset_files([write_dataset(tmp_path / "shapes")])
        yield name


def overfit(dataset: str, *, seed: int) -> dict[str, float]:
    """Trains on all scenes and evaluates on the same; returns the evaluator's flat metrics."""
    spec = spec_of(dataset)
    cfg = tiny_cfg(
        num_classes=len(SHAPES),
        subcategories=dict(zip(spec.names, spec.num_classes, strict=True)),
        opts={
            "MODEL.SEM_SEG_HEAD.CONVS_DIM": 64,
            "MODEL.SEM_SEG_HEAD.MASK_DIM": 64,
            "MODEL.SEM_SEG_HEAD.DEFORMABLE_TRANSFORMER_ENCODER_DIM_FEEDFORWARD": 128,
            "MODEL.MASK_FORMER.HIDDEN_DIM": 64,
            "MODEL.MASK_FORMER.DIM_FEEDFORWARD": 128,
            "MODEL.MASK_FORMER.DEC_LAYERS": 4,
            "MODEL.MASK_FORMER.NUM_OBJECT_QUERIES": 10,
            "MODEL.MASK_FORMER.CLASS_WEIGHT": 2.0,
            "MODEL.MASK_FORMER.MASK_WEIGHT": 5.0,
            "MODEL.MASK_FORMER.DICE_WEIGHT": 5.0,
            "MODEL.MASK_FORMER.TRAIN_NUM_POINTS": 256,
            "SOLVER.BACKBONE_MULTIPLIER": 1.0,
            "SOLVER.WEIGHT_DECAY": 0.05,
            "SOLVER.MAX_ITER": ITERATIONS,
            "SOLVER.LR_SCHEDULER_NAME": "WarmupCosineLR",
            "SOLVER.WARMUP_ITERS": 10,
            "INPUT.MIN_SIZE_TRAIN": (SIZE,),
            "INPUT.MIN_SIZE_TEST": SIZE,
        },
    )
    seed_all_rng(seed)
    scenes = DatasetCatalog.get(dataset)
    # Without random augmentation, mapping once is mapping every time.
    mapper = MultiTaskInstanceMapper(cfg, is_train=True, spec=spec)
    inputs = [mapper(scene) for scene in scenes]
    model = tiny_model(cfg, seed=seed).train()
    optimizer = build_optimizer(cfg, model)
    scheduler = build_lr_scheduler(cfg, optimizer)
    order = torch.Generator().manual_seed(seed)
    for _ in range(ITERATIONS):
        chosen = torch.randperm(NUM_SCENES, generator=order)[:IMAGES_PER_BATCH].tolist()
        loss = sum(model([inputs[i] for i in chosen]).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()

    model.eval()
    mapper = MultiTaskInstanceMapper(cfg, is_train=False, spec=spec)
    inputs = [mapper(scene) for scene in scenes]
    evaluator = JointCOCOEvaluator(dataset, distributed=False)
    evaluator.reset()
    with torch.no_grad():
        evaluator.process(inputs, model(inputs))
    return flat_metrics(evaluator.evaluate())


def test_failure_6_subcategories_are_learned_and_do_not_fall_to_background(dataset):
    # Tensors this small gain nothing from a second thread, and lose much when a core is taken.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        metrics = overfit(dataset, seed=0)
    finally:
        torch.set_num_threads(threads)
    # An accuracy counts only objects that were found, so they must be found.
    assert metrics["segm/AP50"] >= 90, metrics
    assert metrics["subcategory/colour/accuracy"] >= 95, metrics
    assert metrics["subcategory/fill/accuracy"] >= 95, metrics
