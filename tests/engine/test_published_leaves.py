"""The published configs of pictures load, learn and predict; those of videos are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from published_leaves import (
    BACKBONES_OF,
    BASE,
    BASE_21K,
    LARGE,
    LEAVES,
    R50,
    R101,
    SMALL,
    TINY,
    outputs_of,
    write_leaf,
)

from mask2former_mt.data.mapper import MultiTaskInstanceMapper
from mask2former_mt.data.target_kinds import target_of
from mask2former_mt.engine.setup import load_config
from mask2former_mt.modeling.whole_model import build_whole_model
from mask2former_mt.solver.optimizer import build_optimizer
from mask2former_mt.solver.schedule import build_lr_scheduler
from mask2former_mt.structures import SubcategorySpec

SIDE = 64
SMALL_PICTURES = {
    "MODEL.DEVICE": "cpu",
    "SOLVER.IMS_PER_BATCH": 2,
    "INPUT.IMAGE_SIZE": SIDE,
    "INPUT.MIN_SIZE_TRAIN": (SIDE,),
    "INPUT.MIN_SIZE_TEST": SIDE,
    "INPUT.CROP.TYPE": "absolute",
    "INPUT.CROP.SIZE": [SIDE, SIDE],
    "INPUT.SIZE_DIVISIBILITY": SIDE,
}
# Keys of size alone.
SMALL_MODEL = {
    "MODEL.SEM_SEG_HEAD.TRANSFORMER_ENC_LAYERS": 1,
    "MODEL.MASK_FORMER.DEC_LAYERS": 3,
    "MODEL.MASK_FORMER.DIM_FEEDFORWARD": 64,
    "MODEL.MASK_FORMER.TRAIN_NUM_POINTS": 64,
}
# One of each task; together they have every backbone.
FEW = list(
    zip(
        BACKBONES_OF,
        (TINY, R101, R50, LARGE, BASE, SMALL, BASE_21K, R50, LARGE, R50),
        strict=True,
    )
)


def named(part: str) -> str:
    return part.replace("/", "-")


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """A picture whose left half is of class 0 and right half of class 1, in all three kinds."""
    folder = tmp_path_factory.mktemp("picture")
    pixels = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    classes = np.zeros((SIDE, SIDE), np.uint8)
    classes[:, SIDE // 2 :] = 1
    ids = np.stack([classes + 1, classes * 0, classes * 0], axis=-1)
    for name, picture in (("picture", pixels), ("classes", classes), ("ids", ids)):
        Image.fromarray(picture).save(folder / f"{name}.png")
    half = SIDE // 2
    return {
        "file_name": str(folder / "picture.png"),
        "image_id": 1,
        "height": SIDE,
        "width": SIDE,
        "annotations": [
            {
                "category_id": category,
                "bbox": [left, 0, half, SIDE],
                "bbox_mode": 1,
                "iscrowd": 0,
                "segmentation": [[left, 0, left + half, 0, left + half, SIDE, left, SIDE]],
            }
            for category, left in enumerate((0, half))
        ],
        "sem_seg_file_name": str(folder / "classes.png"),
        "pan_seg_file_name": str(folder / "ids.png"),
        "segments_info": [{"id": c + 1, "category_id": c, "iscrowd": 0} for c in range(2)],
    }


def learn_and_predict(leaf: Path, record: dict, overrides: dict) -> dict:
    """One training step on two samples of a picture, and its prediction."""
    keys = [str(text) for pair in overrides.items() for text in pair]
    cfg = load_config(str(leaf), keys)
    torch.manual_seed(0)
    model = build_whole_model(cfg)
    target = target_of(cfg.INPUT.DATASET_MAPPER_NAME, [record])
    mapper = MultiTaskInstanceMapper(cfg, is_train=True, spec=SubcategorySpec(), target=target)
    optimizer = build_optimizer(cfg, model)
    scheduler = build_lr_scheduler(cfg, optimizer)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    loss = sum(model([mapper(record), mapper(record)]).values())
    loss.backward()
    optimizer.step()
    scheduler.step()
    assert loss.isfinite()
    moved = [not torch.equal(*pair) for pair in zip(before, model.parameters(), strict=True)]
    assert sum(moved) > len(moved) / 2
    mapper = MultiTaskInstanceMapper(cfg, is_train=False, spec=SubcategorySpec())
    with torch.no_grad():
        (output,) = model.eval()([mapper(record)])
    return output


def small_model(leaf: Path) -> dict:
    """`SMALL_MODEL`, and of a Swin two blocks a stage and heads of 4 channels."""
    model = load_config(str(leaf)).MODEL
    if model.BACKBONE.NAME != "D2SwinTransformer":
        return SMALL_MODEL
    width = 4 * model.SWIN.NUM_HEADS[0]
    return {**SMALL_MODEL, "MODEL.SWIN.EMBED_DIM": width, "MODEL.SWIN.DEPTHS": [2, 2, 2, 2]}


def check_output(output: dict, task: str, leaf: Path) -> None:
    assert set(output) == outputs_of(task)
    classes = load_config(str(leaf)).MODEL.SEM_SEG_HEAD.NUM_CLASSES
    if "sem_seg" in output:
        assert output["sem_seg"].shape == (classes, SIDE, SIDE)
    if "panoptic_seg" in output:
        assert output["panoptic_seg"][0].shape == (SIDE, SIDE)
    if "instances" in output:
        assert output["instances"].pred_masks.shape == (100, SIDE, SIDE)


def test_there_are_47_leaves():
    # Seven each of COCO, eleven of ADE20K, eighteen of Cityscapes, four of Mapillary Vistas.
    assert len(LEAVES) == len(set(LEAVES)) == 2 * 7 + 11 + 18 + 4 == 47
    assert {backbone for _, backbone in FEW} == {backbone for _, backbone in LEAVES}


@pytest.mark.parametrize(("task", "backbone"), LEAVES, ids=named)
def test_each_leaf_loads_as_it_is(tmp_path, task, backbone):
    cfg = load_config(str(write_leaf(tmp_path, task, backbone)))
    if task.startswith("coco"):
        assert cfg.SOLVER.LR_SCHEDULER_NAME == "WarmupMultiStepLR"
    else:
        shorter = cfg.INPUT.MIN_SIZE_TEST
        # From half of it, in tenths, to twice as much.
        assert tuple(int(x * 0.1 * shorter) for x in range(5, 21)) == cfg.INPUT.MIN_SIZE_TRAIN
        assert cfg.SOLVER.LR_SCHEDULER_NAME == "WarmupPolyLR"
    assert (cfg.MODEL.RESNETS.DEPTH == 101) == (backbone == R101)
    queries = 200 if backbone == LARGE and not task.endswith("semantic") else 100
    assert queries == cfg.MODEL.MASK_FORMER.NUM_OBJECT_QUERIES


@pytest.mark.parametrize(("task", "backbone"), FEW, ids=named)
def test_leaves_learn_and_predict_in_small(tmp_path, record, task, backbone):
    leaf = write_leaf(tmp_path, task, backbone)
    output = learn_and_predict(leaf, record, {**SMALL_PICTURES, **small_model(leaf)})
    check_output(output, task, leaf)


@pytest.mark.slow
@pytest.mark.parametrize(("task", "backbone"), LEAVES, ids=named)
def test_every_leaf_learns_and_predicts_at_its_size(tmp_path, record, task, backbone):
    leaf = write_leaf(tmp_path, task, backbone)
    check_output(learn_and_predict(leaf, record, SMALL_PICTURES), task, leaf)


@pytest.mark.parametrize("keys", ["", ", SEM_SEG_HEAD: {NUM_CLASSES: 40}"])
def test_configs_of_videos_are_refused(tmp_path, keys):
    base = "INPUT: {SAMPLING_FRAME_NUM: 2, RANDOM_FLIP: flip_by_clip}\nMODEL: {BACKBONE: {}}\n"
    (tmp_path / "base.yaml").write_text(base, encoding="utf-8")
    leaf = tmp_path / "video.yaml"
    leaf.write_text(
        f"_BASE_: base.yaml\nMODEL: {{META_ARCHITECTURE: VideoMaskFormer{keys}}}\n",
        encoding="utf-8",
    )
    message = r"video.yaml is of videos \(MODEL.META_ARCHITECTURE 'VideoMaskFormer'\), and this"
    with pytest.raises(ValueError, match=message):
        load_config(str(leaf))
