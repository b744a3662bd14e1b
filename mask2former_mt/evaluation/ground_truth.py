"""The ground truth as arrays, in the order that COCO evaluates it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from detectron2.data import MetadataCatalog
from pycocotools import mask as mask_utils

from mask2former_mt.dataset.catalog import map_onto, spec_of, split_of
from mask2former_mt.dataset.document import Header
from mask2former_mt.dataset.problems import refuse
from mask2former_mt.label_lists import Labels, map_by_name
from mask2former_mt.structures import UNKNOWN, SubcategorySpec

# I images, K classes, G annotated objects, S subcategories

# pycocotools 2.0.11 refuses the areas of 256 masks and more at once.
_MASKS_AT_ONCE = 200
# COCO leaves such annotations out.
_LEFT_OUT = ("unknown-image", "unknown-category")
_KEYS = ("category_id", "iscrowd", "bbox", "has_bbox", "area", "subcategories")


@dataclasses.dataclass(frozen=True)
class GroundTruth:
    """What there is to find, sorted by image and then as the dataset lists it.

    Args:
        image_ids: I ids of the dataset, sorted, as COCO sorts them.
        file_names: I paths of the pictures.
        sizes: int64 (I, 2), height and width in pixels.
        category_ids: K ids of the dataset, sorted.
        class_names: of the K categories.
        spec: the S subcategories.
        images, classes: int64 (G,), indices of the above; `images` is sorted.
        firsts: int64 (I + 1,): the objects of image i are firsts[i] to firsts[i + 1].
        areas: float64 (G,), pixels, as annotated, else the mask's; decides on small, medium and
            large.
        crowds: bool (G,): a region of many objects, which counts neither way.
        boxes: float64 (G, 4), xywh in pixels, as annotated, else the mask's extent.
        labels: int64 (G, S) in {-1, 0..K_s}; unknown, too, where the object's class has no such
            subcategory: there is nothing to judge.
        rles: G masks as compressed RLE.
        mask_areas: float64 (G,), pixels of the masks.
        extents: float64 (G, 4), xywh of the masks.
    """

    image_ids: list[int]
    file_names: list[str]
    sizes: np.ndarray
    category_ids: list[int]
    class_names: list[str]
    spec: SubcategorySpec
    images: np.ndarray
    classes: np.ndarray
    firsts: np.ndarray
    areas: np.ndarray
    crowds: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    rles: list[dict]
    mask_areas: np.ndarray
    extents: np.ndarray

    def __len__(self) -> int:
        return len(self.rles)

    @property
    def groups(self) -> np.ndarray:
        """int64 (G,): a number for each image and class, in which detections are matched."""
        return self.group_of(self.images, self.classes)

    def group_of(self, images: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """The numbers of these images and classes in `groups`."""
        return images * max(len(self.class_names), 1) + classes

    def per_class(self, chosen_G: np.ndarray) -> np.ndarray:
        """int64 (K,): how many of the chosen objects are of each class."""
        return np.bincount(self.classes[chosen_G], minlength=len(self.class_names))


def ground_truth_of(dataset_name: str, model: Labels | None = None) -> GroundTruth:
    """The ground truth of a registered dataset.

    Args:
        dataset_name: its metadata has `json_file`, `thing_classes` and
            `thing_dataset_id_to_contiguous_id`.
        model: what is predicted, which may be more: the dataset's subcategories get all values that
            the model has for them; None: the dataset's own.

    Raises:
        ValueError: no such dataset, the JSON's categories are not those of the metadata, labels
            that the model does not know, or an error in the JSON; annotations of images or
            categories that are not listed are left out.
    """
    spec, split = spec_of(dataset_name), split_of(dataset_name)
    json_file, image_root = split.files.json_file, split.files.image_root
    metadata = MetadataCatalog.get(dataset_name)
    class_of_id = metadata.thing_dataset_id_to_contiguous_id
    try:
        refuse(split.header_problems, json_file, image_root)
        header = split.header
        if set(class_of_id) != set(header.category_ids):
            raise ValueError(
                f"{json_file} lists the categories {list(header.category_ids)}, but the metadata "
                f"knows {sorted(class_of_id)}; training and evaluation need the same list of "
                "categories"
            )
        # A dataset that others registered has no subcategories, whatever its JSON lists.
        if len(spec) and spec != header.spec:
            raise ValueError(
                f"{json_file} lists the subcategories {header.spec.to_json()}, but the metadata "
                f"knows {spec.to_json()}; it changed since the dataset was registered, start again"
            )
        refuse((p for p in split.problems if p.kind not in _LEFT_OUT), json_file, image_root)
    except ValueError as error:
        raise ValueError(f"dataset {dataset_name!r}: {error}") from error
    class_names = tuple(metadata.thing_classes[class_of_id[i]] for i in header.category_ids)
    header = dataclasses.replace(header, class_names=class_names, spec=spec)
    truth = read_ground_truth(split.records, header)
    if model is None:
        return truth
    map_onto(model, dataset_name, "the model")
    return _with_values_of(truth, header.labels, model)


def _with_values_of(truth: GroundTruth, labels: Labels, model: Labels) -> GroundTruth:
    judged = labels.with_values_of(model)
    to_judged = map_by_name(labels, judged, source_name="the dataset", target_name="the model")
    tables = [np.array(values) for _, values in to_judged.columns]
    labels_GS = truth.labels.copy()
    for column, table in enumerate(tables):
        labels_GS[:, column] = table[labels_GS[:, column]]
    return dataclasses.replace(truth, spec=judged.spec, labels=labels_GS)


def read_ground_truth(records: Iterable[Mapping], header: Header) -> GroundTruth:
    """Arrays of what the reader of datasets has checked.

    Args:
        records: a split's dataset dicts, in any order.
        header: of the split. Where its spec is empty, the records' labels are left out.
    """
    images = []
    # One record at a time: whole, with all their outlines, they would need much memory.
    for record in records:
        size = record["height"], record["width"]
        objects = [
            (to_rle(annotation["segmentation"], *size), *(annotation[key] for key in _KEYS))
            for annotation in record["annotations"]
        ]
        images.append((record["image_id"], record["file_name"], size, objects))
    # COCO's own order, in which equal scores of different images are ranked.
    images.sort(key=lambda image: image[0])
    image_ids, file_names, sizes, objects = zip(*images, strict=True) if images else [()] * 4
    counts_I = [len(of_image) for of_image in objects]
    rows = [row for of_image in objects for row in of_image]
    rles, classes, crowds, boxes, has_box, areas, labels = (
        zip(*rows, strict=True) if rows else [()] * (1 + len(_KEYS))
    )
    mask_areas_G, extents_G4 = measure_masks(rles)
    areas_G = np.array(areas, dtype=np.float64)  # None becomes NaN
    num_labels = len(header.spec)
    labels_GS = np.array([row[:num_labels] for row in labels], dtype=np.int64)
    labels_GS = labels_GS.reshape(len(rows), num_labels)
    classes_G = np.array(classes, dtype=np.int64)
    if header.spec.is_limited:
        labels_GS[~np.array(header.spec.applicable(header.class_names))[classes_G]] = UNKNOWN
    boxes_G4 = np.array(boxes, dtype=np.float64).reshape(-1, 4)
    return GroundTruth(
        image_ids=list(image_ids),
        file_names=list(file_names),
        sizes=np.array(sizes, dtype=np.int64).reshape(-1, 2),
        category_ids=list(header.category_ids),
        class_names=list(header.class_names),
        spec=header.spec,
        images=np.repeat(np.arange(len(images)), counts_I),
        classes=classes_G,
        firsts=np.cumsum([0, *counts_I]),
        areas=np.where(np.isnan(areas_G), mask_areas_G, areas_G),
        crowds=np.array(crowds, dtype=bool),
        boxes=np.where(np.array(has_box, dtype=bool)[:, None], boxes_G4, extents_G4),
        labels=labels_GS,
        rles=list(rles),
        mask_areas=mask_areas_G,
        extents=extents_G4,
    )


def measure_masks(rles: Sequence[Mapping]) -> tuple[np.ndarray, np.ndarray]:
    """Areas, float64 (N,), and extents, float64 (N, 4) xywh, of N compressed RLEs, in pixels."""
    areas, extents = [np.zeros(0)], [np.zeros((0, 4))]
    for start in range(0, len(rles), _MASKS_AT_ONCE):
        part = list(rles[start : start + _MASKS_AT_ONCE])
        areas.append(mask_utils.area(part).astype(np.float64))
        extents.append(mask_utils.toBbox(part))
    return np.concatenate(areas), np.concatenate(extents)


def to_rle(segmentation: list | Mapping, height: int, width: int) -> Mapping:
    """The compressed RLE of polygons, or the compressed RLE that it is already."""
    if isinstance(segmentation, list):
        return mask_utils.merge(mask_utils.frPyObjects(segmentation, height, width))
    return segmentation
