"""Ground truth of an image in the form that matcher and criterion share."""

from __future__ import annotations

import dataclasses

import torch

# N instances, S subcategories, K classes


@dataclasses.dataclass
class ImageTargets:
    """The instances of one image; the meta-architecture has checked their shapes and labels.

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

    def __getitem__(self, which: slice) -> ImageTargets:
        return ImageTargets(self.classes[which], self.masks[which], self.subcategories[which])
