"""Training samples side by side: in RGB, with their masks, large and empty ones too."""

import numpy as np
import torch
from detectron2.structures import Instances
from training_files import CLASSES, SUBCATEGORIES

from mask2former_mt.structures import SubcategorySpec
from mask2former_mt.visualization.label_text import LabelNames
from mask2former_mt.visualization.sample_panel import sample_panel


def test_a_panel_shows_image_and_masks_in_rgb():
    names = LabelNames(CLASSES, SubcategorySpec.from_json(SUBCATEGORIES))
    image = torch.zeros(3, 600, 300, dtype=torch.uint8)
    image[0] = 200  # blue, as the samples are BGR
    instances = Instances((600, 300))
    instances.gt_masks = torch.zeros(1, 600, 300, dtype=torch.bool)
    instances.gt_masks[0, 100:300, 50:250] = True
    instances.gt_classes = torch.tensor([1])
    instances.gt_subcategories = torch.tensor([[0, -1]])
    empty = Instances((600, 300))
    empty.gt_masks = torch.zeros(0, 600, 300, dtype=torch.bool)
    empty.gt_classes = torch.zeros(0, dtype=torch.int64)
    empty.gt_subcategories = torch.zeros(0, 2, dtype=torch.int64)
    batch = [
        {"image": image, "instances": made, "file_name": "folder/a.png", "draw": 7}
        for made in (instances, empty)
    ]
    panel = sample_panel(batch, names, "BGR")
    assert panel.dtype == np.uint8
    assert panel.shape[2] == 3
    # The empty picture, in the second of two columns of 512, is blue at its bottom right.
    assert panel[-20, -30].tolist() == [0, 0, 200]
    # The first one differs from it where the mask is.
    left, right = panel[:, : panel.shape[1] // 2], panel[:, panel.shape[1] // 2 :]
    assert (left[:, : right.shape[1]] != right[:, : left.shape[1]]).any()
    assert sample_panel(batch * 9, names, "RGB").size
