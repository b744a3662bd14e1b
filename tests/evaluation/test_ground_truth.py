"""The ground truth is read in COCO's order, and what cannot be evaluated is named."""

import math

import pytest
from evaluation_scenes import CLASSES, PEAR, SIZE, SPEC, box_rle, coco, truth, without

from mask2former_mt.evaluation.ground_truth import read_ground_truth


def read(annotations, **options):
    return read_ground_truth(coco(annotations, **options), SPEC, CLASSES)


def test_objects_are_sorted_by_image():
    found = read(
        [
            truth(4, 8, {"style": None}, image_id=2, category_id=PEAR),
            truth(0, image_id=1, crowd=1),
            {**truth(0, image_id=2), "area": 7.5, "bbox": [1, 2, 3, 4]},
        ],
        num_images=3,
        first_id=0,
    )
    assert found.image_ids == [1, 2, 3]
    assert found.sizes.tolist() == [[SIZE, SIZE]] * 3
    assert found.category_ids == [7, 9]
    assert found.annotation_ids == [1, 0, 2]
    assert found.images.tolist() == [0, 1, 1]
    assert found.firsts.tolist() == [0, 1, 3, 3]
    assert found.classes.tolist() == [0, 1, 0]
    assert found.groups.tolist() == [0, 3, 2]
    assert found.crowds.tolist() == [True, False, False]
    assert found.areas.tolist() == [400, 400, 7.5]
    assert found.mask_areas.tolist() == [400, 400, 400]
    assert found.boxes.tolist() == [[0, 0, 20, 20], [4, 8, 20, 20], [1, 2, 3, 4]]
    assert found.extents.tolist() == [[0, 0, 20, 20], [4, 8, 20, 20], [0, 0, 20, 20]]
    # none is K_s = 2, a missing key unknown.
    assert found.labels.tolist() == [[0, 0], [2, -1], [0, 0]]


def test_an_annotation_without_area_box_or_iscrowd_is_measured_by_its_mask():
    entry = truth(4, 8)
    for key in ("area", "bbox", "iscrowd"):
        del entry[key]
    found = read([entry])
    assert found.areas.tolist() == [400]
    assert found.boxes.tolist() == [[4, 8, 20, 20]]
    assert found.crowds.tolist() == [False]


def test_annotations_of_images_and_categories_that_are_not_listed_are_left_out():
    assert read([truth(0, image_id=5), truth(0, category_id=3), truth(40)]).annotation_ids == [3]


def test_an_empty_dataset():
    found = read([], num_images=0)
    assert len(found) == 0
    assert found.labels.shape == (0, 2)
    assert found.extents.shape == (0, 4)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (truth(0, labels={"style": "painting"}), "annotation 6: .*'style' has no value 'painting'"),
        (truth(0, labels={"colour": "red"}), "annotation 6: subcategory 'colour' is not listed"),
        ({**truth(0), "subcategories": None}, "annotation 6: subcategories must be"),
        (without(truth(0), "segmentation"), "annotation 6: no segmentation"),
        ({**truth(0), "segmentation": []}, "annotation 6: no segmentation"),
        (
            {**truth(0), "segmentation": box_rle(0, 0, size=(80, SIZE))},
            r"annotation 6: the mask's size must be \[160, 160\].*got \[80, 160\]",
        ),
        (
            {**truth(0), "segmentation": {"size": [SIZE, SIZE], "counts": "04P"}},
            "annotation 6: RLE counts must be COCO's compressed text.* cut short",
        ),
        (
            {**truth(0), "segmentation": {"size": [SIZE, SIZE], "counts": [5, 5]}},
            "annotation 6: RLE counts must be .* = 25600, got 10",
        ),
        (
            {**truth(0), "segmentation": [[1, 2, 3, 4]]},
            "annotation 6: segmentation must be .*three",
        ),
        ({**truth(0), "segmentation": [[1, 2] * 3, "x"]}, "annotation 6: segmentation must be an"),
        ({**truth(0), "segmentation": [[math.nan] * 6]}, "annotation 6: segmentation must be an"),
        ({**truth(0), "segmentation": "none"}, "annotation 6: segmentation must be an RLE or"),
        ({**truth(0), "bbox": [0, 0, 5]}, r"annotation 6: bbox must be .* got \[0, 0, 5\]"),
        ({**truth(0), "bbox": [0, 0, 5, math.nan]}, "annotation 6: bbox must be"),
        ({**truth(0), "area": "large"}, "annotation 6: area must be a finite number .*'large'"),
    ],
)
def test_ground_truth_that_does_not_fit_is_named(bad, message):
    with pytest.raises(ValueError, match=message):
        read([truth(0), bad], first_id=5)


def test_an_image_without_a_size_is_named():
    gt = coco([truth(0)])
    del gt.dataset["images"][0]["height"]
    with pytest.raises(ValueError, match="image 1 of the ground truth needs height and width"):
        read_ground_truth(gt, SPEC, CLASSES)


@pytest.mark.parametrize("names", [["apple"], ["apple", "apple"]])
def test_class_names_must_be_one_for_each_category(names):
    with pytest.raises(ValueError, match="class_names must be 2 different names"):
        read_ground_truth(coco([truth(0)]), SPEC, names)
