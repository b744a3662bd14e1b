"""Outputs in the order of a dataset's classes, for evaluators that know classes by number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from detectron2.evaluation import DatasetEvaluator
from detectron2.structures import Instances
from pycocotools import mask as coco_masks

from mask2former_mt.label_lists import shown_names
from mask2former_mt.structures import PRED_CLASSES, PRED_MASKS, PRED_RLES


class OutputsByName(DatasetEvaluator):
    """Hands outputs on to another evaluator.

    Args:
        evaluator: one of detectron2's, which takes `sem_seg` (K, H, W) or `instances`.
        predicted: names of the model's classes.
        judged: names of the classes that the evaluator judges, at most those of the model. Of other
            classes, scores and instances are left out.
        numbers: the evaluator's number of each of `judged`; None: 0, 1, ...

    Raises:
        ValueError: a class that the model does not know.
    """

    def __init__(
        self,
        evaluator: DatasetEvaluator,
        *,
        predicted: Sequence[str],
        judged: Sequence[str],
        numbers: Sequence[int] | None = None,
    ) -> None:
        unknown = [name for name in judged if name not in predicted]
        if unknown:
            raise ValueError(
                "the dataset's semantic classes must be among the model's "
                f"{shown_names(predicted)}, got {shown_names(unknown)} besides; labels are known "
                "by their names"
            )
        self._evaluator = evaluator
        self._channels = [predicted.index(name) for name in judged]
        # -1: not judged.
        self._number_of_class = torch.full((len(predicted),), -1)
        self._number_of_class[self._channels] = torch.tensor(
            range(len(judged)) if numbers is None else numbers
        )

    def reset(self) -> None:
        self._evaluator.reset()

    def process(self, inputs: Sequence[Mapping], outputs: Sequence[Mapping]) -> None:
        self._evaluator.process(inputs, [self._translated(output) for output in outputs])

    def evaluate(self) -> Mapping | None:
        return self._evaluator.evaluate()

    def _translated(self, output: Mapping) -> dict:
        translated = {}
        if "sem_seg" in output:
            translated["sem_seg"] = output["sem_seg"][self._channels]
        if "instances" in output:
            instances = output["instances"]
            numbers = self._number_of_class.to(instances.pred_classes.device)
            instances = instances[numbers[instances.pred_classes] >= 0]
            instances.set(PRED_CLASSES, numbers[instances.pred_classes])
            if instances.has(PRED_RLES):
                instances.set(PRED_MASKS, _decoded(instances))
            translated["instances"] = instances
        return translated


def _decoded(instances: Instances) -> torch.Tensor:
    """The masks, bool (N, H, W)."""
    rles = list(instances.get(PRED_RLES))
    masks = [torch.from_numpy(coco_masks.decode(rle)).bool() for rle in rles]
    return torch.stack(masks) if masks else torch.zeros(0, *instances.image_size, dtype=torch.bool)
