"""Masks keep their place through padding, resize and crop, there and back."""

from __future__ import annotations

import numpy as np
import pycocotools.mask as mask_util
import pytest
import torch
import torch.nn.functional as F
from detectron2.utils.env import seed_all_rng
from PIL import Image
from tiny import SPEC, rectangles, tiny_cfg, tiny_model
from torch import nn

from mask2former_mt.data.mapper import MultiTaskInstanceMapper
from mask2former_mt.postprocess import InstanceOptions
from mask2former_mt.structures import DecoderOutput

# The oracle knows the mask on the network's image and answers on the stride-4 grid. Upsampled
# bilinearly, pixel centres lie .125, .375, .625 and .875 of a cell from a cell's centre: next to a
# straight edge between two cells the last pixel inside has weight .625 of the inner cell, the first
# one outside has .375. With the logits INSIDE = 1 and -b outside, and edges between cells:
#
# network = original     straight: .625 - .375 b > 0 and .375 - .625 b < 0, so .6 < b < 1.667;
#                        the pixel inside a free corner has weight .625^2 = .3906 of its cell:
#                        .3906 - .6094 b > 0, so b < .641.                      b = .625 does both.
# network = 2 x original the original's pixel is the mean of two: weights .75 inside, .25 outside,
#                        .75^2 = .5625 in the corner: .3333 < b < 1.286.                 b = .625.
# original = 2 x network the original's last pixel inside lies a quarter pixel from the edge:
#                        .75 * .625 + .25 * .375 = .5625, and .4375 outside: .778 < b < 1.286; in
#                        the corner .5625^2 = .3164 needs b < .463. No two levels keep a corner, so
#                        there the masks are bands without one, and b = 1.
INSIDE = 1.0
CASES = {
    # name: (network size / original size, shorter side of the network's image, b)
    "network at the original size": (1.0, 75, 0.625),
    "network at twice the original size": (2.0, 74, 0.625),
    "network at half the original size": (0.5, 75, 1.0),
}
# Width to height of the batch's two images: one lying, one standing, so that both are padded.
LYING, STANDING = (109, 75), (75, 131)


class Oracle(nn.Module):
    """In place of the head: query i has the mask and the labels of the image's instance i."""

    def __init__(self, instances, *, outside: float) -> None:
        super().__init__()
        self.instances = instances
        self.outside = outside

    def forward(self, features) -> DecoderOutput:
        height, width = features["res2"].shape[-2:]
        logits, masks, values = [], [], {name: [] for name in SPEC.names}
        for instances in self.instances:
            inside = instances.gt_masks.float()
            # What a mask does in the padding is up to the oracle: it goes on as at the border.
            right, down = 4 * width - inside.shape[-1], 4 * height - inside.shape[-2]
            cells = F.avg_pool2d(F.pad(inside[None], (0, right, 0, down), mode="replicate"), 4)[0]
            assert ((cells == 0) | (cells == 1)).all(), "the scene is not aligned with the grid"
            masks.append(torch.where(cells == 1, INSIDE, -self.outside))
            logits.append(9.0 * F.one_hot(instances.gt_classes, 4))
            for column, (name, count) in enumerate(zip(SPEC.names, SPEC.num_classes, strict=True)):
                labels = instances.gt_subcategories[:, column]
                values[name].append(9.0 * F.one_hot(labels, count + 1))
        return DecoderOutput(
            pred_logits=torch.stack(logits),
            pred_masks=torch.stack(masks),
            pred_subcategories={name: torch.stack(v) for name, v in values.items()},
        )


def dataset_dict(folder, name: str, masks: torch.Tensor) -> dict:
    """Three objects of classes 0, 1, 2, object c being where channel c of the picture is 255."""
    path = folder / f"{name}.png"
    Image.fromarray((255 * masks.permute(1, 2, 0).numpy()).astype(np.uint8)).save(path)
    annotations = [
        {
            "id": c,
            "category_id": c,
            "iscrowd": 0,
            "segmentation": mask_util.encode(np.asfortranarray(mask.numpy().astype(np.uint8))),
            "subcategories": [c + 1, (c + 1) % 3],
        }
        for c, mask in enumerate(masks)
    ]
    height, width = masks.shape[1:]
    return {
        "file_name": str(path),
        "height": height,
        "width": width,
        "image_id": name,
        "annotations": annotations,
    }


def scene(width: int, height: int, case: str) -> torch.Tensor:
    """bool (3, H, W) at the original size; edges are multiples of 4 pixels of the network's image.

    Args:
        width, height: of the network's image.
    """
    factor = CASES[case][0]
    if factor == 0.5:
        boxes = [(16, 0, 40, height), (0, 24, width, 48), (48, 0, width, height)]
    else:
        # The first is free on all sides, the others go to one and to two borders.
        boxes = [(8, 12, 40, 44), (44, 20, width, 48), (20, 48, width, height)]
    scaled = [tuple(round(edge / factor) for edge in box) for box in boxes]
    return rectangles(round(height / factor), round(width / factor), scaled)


@pytest.mark.parametrize("case", CASES)
def test_failure_5_an_oracle_gets_iou_1_at_the_original_size(tmp_path, case):
    _, shorter, outside = CASES[case]
    cfg = tiny_cfg(
        opts={
            "INPUT.DATASET_MAPPER_NAME": "plain",
            "INPUT.RANDOM_FLIP": "none",
            "INPUT.MIN_SIZE_TRAIN": (shorter,),
            "INPUT.MIN_SIZE_TEST": shorter,
        }
    )
    sizes = [LYING, STANDING] if shorter == 75 else [(110, 74), (74, 122)]
    truth = [scene(width, height, case) for width, height in sizes]
    pictures = [dataset_dict(tmp_path, str(i), masks) for i, masks in enumerate(truth)]
    # What training sees of the masks is what the oracle answers ...
    train_mapper = MultiTaskInstanceMapper(cfg, is_train=True, spec=SPEC)
    instances = [train_mapper(picture)["instances"] for picture in pictures]
    assert [i.image_size for i in instances] == [(height, width) for width, height in sizes]
    # ... to the pictures as evaluation sees them, in one batch.
    test_mapper = MultiTaskInstanceMapper(cfg, is_train=False, spec=SPEC)
    inputs = [test_mapper(picture) for picture in pictures]

    model = tiny_model(cfg).eval()
    # Both pictures are padded: to a common size, and that to multiples of 32.
    padded = model.preprocess(inputs).tensor.shape[-2:]
    assert all(padded != image["image"].shape[-2:] for image in inputs)
    model.sem_seg_head = Oracle(instances, outside=outside)
    model.inference.instances = InstanceOptions(top_k=3)
    with torch.no_grad():
        outputs = model(inputs)

    for masks, output in zip(truth, outputs, strict=True):
        predicted = output["instances"]
        assert predicted.image_size == tuple(masks.shape[1:])
        assert sorted(predicted.pred_classes.tolist()) == [0, 1, 2]
        for i, c in enumerate(predicted.pred_classes.tolist()):
            mask = predicted.pred_masks[i]
            iou = (mask & masks[c]).sum() / (mask | masks[c]).sum()
            assert iou == 1, f"object {c}: IoU {iou:.4f}"
            assert predicted.pred_subcategories[i].tolist() == [c + 1, (c + 1) % 3]
            columns, rows = masks[c].any(0).nonzero(), masks[c].any(1).nonzero()
            assert predicted.pred_boxes.tensor[i].tolist() == [
                columns.min(),
                rows.min(),
                columns.max() + 1,
                rows.max() + 1,
            ]


@pytest.mark.parametrize(
    ("side", "scale"),
    [
        # The picture is 64 x 37. It is made to fit a square of side * scale, then a square of
        # `side` is cut out: 64 -> unchanged and cropped; 128 -> twice as large and cropped;
        # 64 -> unchanged and padded to 96 x 96.
        (32, 2.0),
        (32, 4.0),
        (96, 2 / 3),
    ],
)
def test_failure_5_masks_and_picture_are_cropped_alike(tmp_path, side, scale):
    cfg = tiny_cfg(
        opts={
            "INPUT.DATASET_MAPPER_NAME": "coco_instance_lsj",
            "INPUT.RANDOM_FLIP": "horizontal",
            "INPUT.IMAGE_SIZE": side,
            "INPUT.MIN_SCALE": scale,
            "INPUT.MAX_SCALE": scale,
        }
    )
    mapper = MultiTaskInstanceMapper(cfg, is_train=True, spec=SPEC)
    masks = rectangles(37, 64, [(5, 3, 31, 22), (17, 12, 64, 30), (40, 0, 51, 37)])
    picture = dataset_dict(tmp_path, "picture", masks)
    origins = set()
    for seed in range(8):
        seed_all_rng(seed)
        mapped = mapper(picture)
        image, instances = mapped["image"], mapped["instances"]
        assert image.shape == (3, side, side)
        # Twice as large, bilinearly, a mask's corner pixel is 255 * .75^2 = 143 and one outside an
        # edge 255 * .25 = 64; padding is 128.
        seen = image > 135
        present = instances.gt_classes.tolist()
        assert present == [c for c in range(3) if seen[c].any()]
        for c, mask in zip(present, instances.gt_masks, strict=True):
            assert torch.equal(mask, seen[c])
        origins.add(tuple(seen.flatten(1).sum(1).tolist()))
    # Crops differ from seed to seed; without a crop there is only one picture and its mirror.
    assert len(origins) > 2 if side == 32 else len(origins) == 1
