"""The ground truth as arrays, checked once, in the order that COCO evaluates it."""

from __future__ import annotations

import dataclasses
import math
import numbers
from collections.abc import Mapping, Sequence

import numpy as np
from pycocotools import mask as mask_utils
from pycocotools.coco import COCO

from mask2former_mt.dataset.rle import decode_rle
from mask2former_mt.structures import SubcategorySpec

# I images, K classes, G annotated objects, S subcategories

# pycocotools 2.0.11 refuses the areas of 256 masks and more at once.
_MASKS_AT_ONCE = 200


@dataclasses.dataclass(frozen=True)
class GroundTruth:
    """What there is to find, sorted by image and then as the dataset lists it.

    Args:
        image_ids: I ids of the dataset, sorted, as COCO sorts them.
        file_names: I names, as the dataset lists them; empty where it does not.
        sizes: int64 (I, 2), height and width in pixels.
        category_ids: K ids of the dataset, sorted.
        class_names: of the K categories.
        spec: the S subcategories.
        annotation_ids: G ids of the dataset.
        images, classes: int64 (G,), indices of the above; `images` is sorted.
        firsts: int64 (I + 1,): the objects of image i are firsts[i] to firsts[i + 1].
        areas: float64 (G,), pixels, as annotated, which decides on small, medium and large.
        crowds: bool (G,): a region of many objects, which counts neither way.
        boxes: float64 (G, 4), xywh in pixels, as annotated, else the mask's extent.
        labels: int64 (G, S) in {-1, 0..K_s}.
        rles: G masks as compressed RLE.
        mask_areas: float64 (G,), pixels of the masks.
        extents: float64 (G, 4), xywh of the masks.
    """

    image_ids: list
    file_names: list[str]
    sizes: np.ndarray
    category_ids: list
    class_names: list[str]
    spec: SubcategorySpec
    annotation_ids: list
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
        """G."""
        return len(self.annotation_ids)

    @property
    def groups(self) -> np.ndarray:
        """int64 (G,): a number for each image and class, in which detections are matched."""
        return self.group_of(self.images, self.classes)

    def group_of(self, images: np.ndarray, classes: np.ndarray) -> np.ndarray:
        return images * max(len(self.class_names), 1) + classes


def read_ground_truth(
    coco_gt: COCO, spec: SubcategorySpec, class_names: Sequence[str]
) -> GroundTruth:
    """Checks a dataset's annotations and reads them.

    Args:
        coco_gt: not changed. An annotation's `"subcategories"` may miss keys (unknown) and hold
            null (none); annotations of images or categories that are not listed are left out, as
            COCO does.
        spec: the S subcategories.
        class_names: of the categories in the order of their ids.

    Raises:
        ValueError: names the first image or annotation that cannot be evaluated; or class names
            that are not as many as the categories, or not unique.
    """
    if len(class_names) != len(coco_gt.cats) or len(set(class_names)) != len(class_names):
        raise ValueError(
            f"class_names must be {len(coco_gt.cats)} different names, one for each of the "
            f"categories {sorted(coco_gt.cats)}, got {list(class_names)}"
        )
    for image in coco_gt.imgs.values():
        if "height" not in image or "width" not in image:
            raise ValueError(f"image {image['id']!r} of the ground truth needs height and width")
    # COCO's own order, in which equal scores of different images are ranked.
    image_ids = sorted(coco_gt.imgs, key=lambda image_id: (isinstance(image_id, str), image_id))
    category_ids = sorted(coco_gt.cats)
    image_of = {image_id: i for i, image_id in enumerate(image_ids)}
    class_of = {category_id: k for k, category_id in enumerate(category_ids)}
    entries, rles, measures, labels = [], [], [], []
    for entry in coco_gt.dataset.get("annotations", []):
        if entry["image_id"] not in image_of or entry["category_id"] not in class_of:
            continue
        try:
            rles.append(_mask_of(coco_gt, entry))
            measures.append(_box_and_area(entry, rles[-1]))
            subcategories = entry.get("subcategories", {})
            if not isinstance(subcategories, Mapping):
                raise ValueError("subcategories must be {name: value or null}")
            labels.append(spec.labels_of(subcategories))
        except ValueError as error:
            raise ValueError(f"annotation {entry['id']!r}: {error}") from error
        entries.append(entry)
    order = np.argsort([image_of[entry["image_id"]] for entry in entries], kind="stable")
    entries, rles = [entries[i] for i in order], [rles[i] for i in order]
    measures_G5 = np.array(measures, dtype=np.float64).reshape(-1, 5)[order]
    images_G = np.array([image_of[entry["image_id"]] for entry in entries], dtype=np.int64)
    mask_areas_G, extents_G4 = measure_masks(rles)
    return GroundTruth(
        image_ids=image_ids,
        file_names=[str(coco_gt.imgs[i].get("file_name", "")) for i in image_ids],
        sizes=np.array(
            [[coco_gt.imgs[i]["height"], coco_gt.imgs[i]["width"]] for i in image_ids],
            dtype=np.int64,
        ).reshape(-1, 2),
        category_ids=category_ids,
        class_names=list(class_names),
        spec=spec,
        annotation_ids=[entry["id"] for entry in entries],
        images=images_G,
        classes=np.array([class_of[e["category_id"]] for e in entries], dtype=np.int64),
        firsts=np.searchsorted(images_G, np.arange(len(image_ids) + 1)),
        areas=measures_G5[:, 4],
        crowds=np.array([bool(e.get("iscrowd", 0)) for e in entries], dtype=bool),
        boxes=measures_G5[:, :4],
        labels=np.array(labels, dtype=np.int64).reshape(len(entries), len(spec))[order],
        rles=rles,
        mask_areas=mask_areas_G,
        extents=extents_G4,
    )


def measure_masks(rles: Sequence[Mapping]) -> tuple[np.ndarray, np.ndarray]:
    """Areas, float64 (N,), and extents, float64 (N, 4) xywh, of N compressed RLEs, in pixels."""
    areas, extents = [np.zeros(0)], [np.zeros((0, 4))]
    for start in range(0, len(rles), _MASKS_AT_ONCE):
        part = rles[start : start + _MASKS_AT_ONCE]
        areas.append(mask_utils.area(part).astype(np.float64))
        extents.append(mask_utils.toBbox(part))
    return np.concatenate(areas), np.concatenate(extents)


def _mask_of(coco_gt: COCO, entry: Mapping) -> dict:
    """The mask as compressed RLE, checked first: pycocotools reads what it is given unchecked."""
    segmentation, image = entry.get("segmentation"), coco_gt.imgs[entry["image_id"]]
    if not segmentation:
        raise ValueError("no segmentation; segm AP needs a mask of every object")
    if isinstance(segmentation, Mapping):
        size = [image["height"], image["width"]]
        # COCOeval would find no overlap with a mask of another size, and say nothing.
        if list(segmentation.get("size") or ()) != size:
            raise ValueError(
                f"the mask's size must be {size} (height, width) like its image's, "
                f"got {segmentation.get('size')}"
            )
        decode_rle(segmentation)
    elif not isinstance(segmentation, list) or not all(map(_is_polygon, segmentation)):
        raise ValueError(
            "segmentation must be an RLE or polygons [x1, y1, x2, y2, ...] of at least three "
            f"points, got {str(segmentation)[:80]}"
        )
    return coco_gt.annToRLE(entry)


def _is_polygon(value: object) -> bool:
    is_pairs = isinstance(value, list) and len(value) >= 6 and len(value) % 2 == 0
    return is_pairs and all(map(_is_finite, value))


def _box_and_area(entry: Mapping, rle: Mapping) -> list[float]:
    """x, y, width, height and area in pixels, as annotated, or else the mask's."""
    box = entry["bbox"] if "bbox" in entry else mask_utils.toBbox(rle).tolist()
    area = entry["area"] if "area" in entry else float(mask_utils.area(rle))
    if not isinstance(box, (list, tuple)) or len(box) != 4 or not all(map(_is_finite, box)):
        raise ValueError(f"bbox must be [x, y, width, height] in pixels, got {box!r}")
    if not _is_finite(area):
        raise ValueError(f"area must be a finite number of pixels, got {area!r}")
    return [*box, area]


def _is_finite(value: object) -> bool:
    return isinstance(value, numbers.Real) and math.isfinite(value)
