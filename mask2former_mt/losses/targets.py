"""Ground truth of a batch in the form that matcher and criterion share."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch

from mask2former_mt.structures import UNKNOWN, SubcategorySpec

# B images, N_i instances of image i, S subcategories, K classes


@dataclasses.dataclass
class ImageTargets:
    """The instances of one image.

    Args:
        classes: int64 (N,), in 0..K-1.
        masks: bool (N, H, W) on the padded image.
        subcategories: int64 (N, S), each in {-1, 0..K_s}.
    """

    classes: torch.Tensor
    masks: torch.Tensor
    subcategories: torch.Tensor

    def __len__(self) -> int:
        return len(self.classes)


def check_targets(
    targets: Sequence[ImageTargets], *, num_classes: int, spec: SubcategorySpec
) -> None:
    """Refuses labels that no head has an output for, before they index anything.

    Values are looked at only on the CPU: on a GPU it would wait for the device, and the dataset's
    reader has refused such labels before. Shapes are checked everywhere.

    Raises:
        ValueError: names the subcategory, the allowed range and the label, or the shape.
    """
    for image, target in enumerate(targets):
        expected = (len(target), len(spec))
        if tuple(target.subcategories.shape) != expected:
            raise ValueError(
                f"gt_subcategories of image {image} of the batch must be {expected}, got "
                f"{tuple(target.subcategories.shape)}"
            )
        if target.classes.is_cuda or len(target) == 0:
            continue
        low, high = int(target.classes.min()), int(target.classes.max())
        if low < 0 or high >= num_classes:
            raise ValueError(
                f"gt_classes of image {image} of the batch must be in [0, {num_classes - 1}], "
                f"got {low if low < 0 else high}"
            )
        for column, subcategory in enumerate(spec):
            labels = target.subcategories[:, column]
            low, high = int(labels.min()), int(labels.max())
            if low < UNKNOWN or high > subcategory.none_index:
                raise ValueError(
                    f"gt_subcategories {subcategory.name!r} of image {image} of the batch must be "
                    f"in [-1, {subcategory.none_index}], got {low if low < UNKNOWN else high}"
                )
