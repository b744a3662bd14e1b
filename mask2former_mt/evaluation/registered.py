"""The ground truth of a dataset that is registered with detectron2."""

from __future__ import annotations

import contextlib
import io

from detectron2.data import MetadataCatalog
from pycocotools.coco import COCO

from mask2former_mt.check.old_catalog import document_to_pixels
from mask2former_mt.dataset.catalog import spec_of
from mask2former_mt.evaluation.ground_truth import GroundTruth, read_ground_truth


def ground_truth_of(dataset_name: str) -> GroundTruth:
    """Reads a registered dataset's annotations and checks them.

    Args:
        dataset_name: its metadata has `json_file`, `thing_classes` and
            `thing_dataset_id_to_contiguous_id`.

    Raises:
        ValueError: no such dataset, the JSON's categories are not those of the metadata, or an
            annotation that cannot be evaluated.
    """
    spec = spec_of(dataset_name)
    metadata = MetadataCatalog.get(dataset_name)
    with contextlib.redirect_stdout(io.StringIO()):
        coco_gt = COCO(metadata.json_file)
    document_to_pixels(dataset_name, coco_gt.dataset)
    class_of_id = metadata.thing_dataset_id_to_contiguous_id
    if set(class_of_id) != set(coco_gt.cats):
        raise ValueError(
            f"dataset {dataset_name!r}: {metadata.json_file} lists the categories "
            f"{sorted(coco_gt.cats)}, but the metadata knows {sorted(class_of_id)}; "
            "training and evaluation need the same list of categories"
        )
    class_names = [metadata.thing_classes[class_of_id[i]] for i in sorted(class_of_id)]
    try:
        return read_ground_truth(coco_gt, spec, class_names)
    except ValueError as error:
        raise ValueError(f"dataset {dataset_name!r}: {metadata.json_file}: {error}") from error
