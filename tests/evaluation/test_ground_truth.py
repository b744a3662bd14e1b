"""The ground truth has COCO's order, and COCO's sizes of objects."""

from evaluation_scenes import PEAR, SIZE, box_rle, ground_truth, truth


def test_objects_are_sorted_by_image():
    arrays = ground_truth(
        [
            truth(4, 8, {"style": None}, image_id=2, category_id=PEAR),
            truth(0, image_id=1, crowd=1),
            {**truth(0, image_id=2), "area": 7.5, "bbox": [1, 2, 3, 4]},
        ],
        num_images=3,
    )
    assert arrays.image_ids == [1, 2, 3]
    assert arrays.sizes.tolist() == [[SIZE, SIZE]] * 3
    assert arrays.category_ids == [7, 9]
    assert arrays.images.tolist() == [0, 1, 1]
    assert arrays.firsts.tolist() == [0, 1, 3, 3]
    assert arrays.classes.tolist() == [0, 1, 0]
    assert arrays.groups.tolist() == [0, 3, 2]
    assert arrays.crowds.tolist() == [True, False, False]
    assert arrays.areas.tolist() == [400, 400, 7.5]
    assert arrays.mask_areas.tolist() == [400, 400, 400]
    # The third one's own box is no box of its mask.
    assert arrays.boxes.tolist() == [[0, 0, 20, 20], [4, 8, 20, 20], [0, 0, 20, 20]]
    assert arrays.extents.tolist() == [[0, 0, 20, 20], [4, 8, 20, 20], [0, 0, 20, 20]]
    # none is K_s = 2, a missing key unknown.
    assert arrays.labels.tolist() == [[0, 0], [2, -1], [0, 0]]


def test_an_annotation_without_area_box_or_iscrowd_is_measured_by_its_mask():
    # Whole pixels, as pycocotools draws the outline.
    outline = [[4.3, 8.3, 23.6, 8.3, 23.6, 27.6, 4.3, 27.6]]
    arrays = ground_truth(
        [{"image_id": 1, "category_id": PEAR, "segmentation": s} for s in (outline, box_rle(4, 8))]
    )
    assert arrays.areas.tolist() == [400, 400]
    assert arrays.boxes.tolist() == [[4, 8, 20, 20]] * 2
    assert arrays.crowds.tolist() == [False, False]


def test_an_empty_dataset():
    arrays = ground_truth([], num_images=0)
    assert len(arrays) == 0
    assert arrays.labels.shape == (0, 2)
    assert arrays.extents.shape == (0, 4)
