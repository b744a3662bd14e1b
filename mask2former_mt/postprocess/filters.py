"""What leaves out instances: thresholds, areas and overlaps. All off by default, as COCO's AP is
published without any."""

from __future__ import annotations

import dataclasses

import torch

from mask2former_mt.postprocess.mask_nms import NMS_KINDS
from mask2former_mt.postprocess.selection import SelectedQueries

# N instances, S subcategories


@dataclasses.dataclass(frozen=True)
class Filters:
    """Which instances are left out; the defaults leave out none.

    Args:
        score: least score, in [0, 1].
        class_score: least probability of the class, in [0, 1].
        subcategory_scores: least probability of the predicted value, in [0, 1], S of them or none.
        needs_value: whether an instance of which this subcategory is none is left out, S or none.
        num_values: K_s, the index of none, of each subcategory; S where `needs_value` has any.
        min_area: least number of pixels of the mask, in the original image.
        keep: at most so many instances, the best; 0 keeps all.
        nms: for masks that overlap better ones: "none"; "hard" leaves them out; "linear" and
            "gaussian" lower their scores, as SOLOv2's matrix NMS does.
        nms_threshold: "hard": the IoU in [0, 1] above which the worse one is left out.
        nms_sigma: "gaussian": the larger, the less is lowered.
        nms_class_aware: only instances of the same class stand in each other's way.

    Raises:
        ValueError: a number out of its range.
    """

    score: float = 0.0
    class_score: float = 0.0
    subcategory_scores: tuple[float, ...] = ()
    needs_value: tuple[bool, ...] = ()
    num_values: tuple[int, ...] = ()
    min_area: int = 0
    keep: int = 0
    nms: str = "none"
    nms_threshold: float = 0.5
    nms_sigma: float = 0.5
    nms_class_aware: bool = True

    def __post_init__(self) -> None:
        for name in ("score", "class_score", "nms_threshold"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in [0, 1], got {getattr(self, name)}")
        if not all(0 <= threshold <= 1 for threshold in self.subcategory_scores):
            raise ValueError(f"subcategory_scores must be in [0, 1], got {self.subcategory_scores}")
        if self.nms not in NMS_KINDS:
            raise ValueError(f"nms must be one of {list(NMS_KINDS)}, got {self.nms!r}")
        if self.nms_sigma <= 0:
            raise ValueError(f"nms_sigma must be positive, got {self.nms_sigma}")
        if self.min_area < 0 or self.keep < 0:
            raise ValueError(
                f"min_area and keep must not be negative, got {self.min_area} and {self.keep}"
            )
        if any(self.needs_value) and len(self.num_values) != len(self.needs_value):
            raise ValueError(
                f"num_values must hold {len(self.needs_value)} numbers as needs_value does, "
                f"got {self.num_values}"
            )

    @property
    def of_labels(self) -> bool:
        """Whether some instances may be left out by what their queries say, without their masks."""
        return bool(
            self.score or self.class_score or any(self.subcategory_scores) or any(self.needs_value)
        )


def keep_by_labels(selected: SelectedQueries, filters: Filters) -> torch.Tensor:
    """Which instances remain by what is known before their masks.

    A score is at most what an instance is ranked by: the mean probability inside a mask is a factor
    of at most 1. So what is left out here could not reach the score threshold.

    Returns:
        bool (N,).
    """
    keep = (selected.scores >= filters.score) & (selected.class_scores >= filters.class_score)
    for column, threshold in enumerate(filters.subcategory_scores):
        keep &= selected.subcategory_scores[:, column] >= threshold
    for column, needs_value in enumerate(filters.needs_value):
        if needs_value:
            keep &= selected.subcategories[:, column] != filters.num_values[column]
    return keep
