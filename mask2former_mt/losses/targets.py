"""Ground truth of an image in the form that matcher and criterion share."""

from __future__ import annotations

import dataclasses

import torch

from mask2former_mt.structures import UNKNOWN

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

    def without_labels_of_others(self, applies_KS: torch.Tensor) -> ImageTargets:
        """The same instances, their labels unknown where their class has no such subcategory.

        Their none is by definition: it costs nothing in matching and teaches nothing.

        Args:
            applies_KS: bool, which class has which subcategory.
        """
        applies_NS = applies_KS.to(self.classes.device)[self.classes]
        labels_NS = self.subcategories.masked_fill(~applies_NS, UNKNOWN)
        return dataclasses.replace(self, subcategories=labels_NS)
