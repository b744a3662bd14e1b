"""detectron2's evaluator of semantic segmentation, which names what does not fit."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import numpy as np
from detectron2.data import MetadataCatalog
from detectron2.evaluation import SemSegEvaluator

from mask2former_mt.dataset.label_maps import read_class_map


class SemanticEvaluator(SemSegEvaluator):
    """Computes mIoU, fwIoU and pixel accuracy; see `SemSegEvaluator`.

    It reads the maps itself: detectron2's way fails with NumPy 2, and it counts a pixel of a class
    that there is not as one of another class.

    Args:
        dataset_name: its records have `sem_seg_file_name`, an image with a class (contiguous) or
            the metadata's `ignore_label` for each pixel; the metadata has `stuff_classes`.
        output_dir: see `SemSegEvaluator`.
        distributed: gather from all processes; False evaluates what this process has seen.
    """

    def __init__(
        self, dataset_name: str, *, output_dir: str | None = None, distributed: bool = True
    ) -> None:
        super().__init__(
            dataset_name,
            output_dir=output_dir,
            distributed=distributed,
            sem_seg_loading_fn=self._read,
        )
        metadata = MetadataCatalog.get(dataset_name)
        self._classes, self._ignored = len(metadata.stuff_classes), metadata.ignore_label
        self._size = (0, 0)

    def process(self, inputs: Sequence[Mapping], outputs: Sequence[Mapping]) -> None:
        """Counts a batch.

        Args:
            inputs: per image a dict with `file_name`.
            outputs: per image `sem_seg` (K, H, W), scores at the original size.

        Raises:
            FileNotFoundError: a map that is not there.
            ValueError: a map that cannot be read, of another size, or with a class that there is
                not; names the file.
        """
        for image_input, output in zip(inputs, outputs, strict=True):
            self._size = tuple(output["sem_seg"].shape[1:])
            super().process([image_input], [output])

    def _read(self, path: str | os.PathLike, dtype: type) -> np.ndarray:
        classes_HW = read_class_map(path).astype(dtype)
        if classes_HW.shape != self._size:
            raise ValueError(
                f"{path} must hold a class for each pixel of its picture, {self._size}, got "
                f"{classes_HW.shape}"
            )
        strange = (classes_HW >= self._classes) & (classes_HW != self._ignored)
        if strange.any():
            raise ValueError(
                f"{path} must hold classes below {self._classes}, and {self._ignored} for pixels "
                f"to ignore, got {classes_HW[strange][0]}"
            )
        return classes_HW
