"""What is refused before a label indexes a head's outputs."""

import pytest
import torch

from mask2former_mt.losses.targets import ImageTargets, check_targets
from mask2former_mt.structures import SubcategorySpec

# K = 4 classes; ink has 3 values (none is 3), size has 1 (none is 1).
NUM_CLASSES = 4
SPEC = SubcategorySpec.from_counts(["ink", "size"], [3, 1])


def image(classes, subcategories):
    labels = torch.tensor(subcategories, dtype=torch.int64).view(len(classes), -1)
    return ImageTargets(
        classes=torch.tensor(classes, dtype=torch.int64),
        masks=torch.zeros(len(classes), 4, 6, dtype=torch.bool),
        subcategories=labels,
    )


def empty_image(num_subcategories=2):
    return ImageTargets(
        classes=torch.zeros(0, dtype=torch.int64),
        masks=torch.zeros(0, 4, 6, dtype=torch.bool),
        subcategories=torch.zeros(0, num_subcategories, dtype=torch.int64),
    )


def check(*targets, spec=SPEC):
    check_targets(targets, num_classes=NUM_CLASSES, spec=spec)


def test_the_number_of_instances_is_the_length():
    assert len(image([0, 3], [[0, 0], [2, 1]])) == 2
    assert len(empty_image()) == 0


def test_every_label_of_the_ranges_is_accepted():
    # Classes 0..3, ink -1..3, size -1..1.
    check(image([0, 1, 2, 3, 0], [[-1, -1], [0, 0], [1, 1], [2, 0], [3, 0]]))


def test_no_images_and_images_without_instances_are_accepted():
    check()
    check(empty_image(), image([1], [[0, 0]]), empty_image())


def test_no_subcategories():
    nothing = SubcategorySpec()
    check(
        ImageTargets(
            classes=torch.tensor([0, 3]),
            masks=torch.zeros(2, 4, 6, dtype=torch.bool),
            subcategories=torch.zeros(2, 0, dtype=torch.int64),
        ),
        spec=nothing,
    )
    check(empty_image(0), spec=nothing)


def test_strided_labels_are_checked_too():
    target = image([0, 1], [[0, 0], [2, 1]])
    target.subcategories = torch.tensor([[0, 2], [0, 2]]).t()
    assert not target.subcategories.is_contiguous()
    # Column 1 is (0, 2), and size has the labels -1..1.
    with pytest.raises(ValueError, match=r"gt_subcategories 'size' of image 0 .* got 2"):
        check(target)


@pytest.mark.parametrize(("label", "got"), [(-1, "-1"), (4, "4"), (255, "255")])
def test_a_class_outside_its_range_is_refused(label, got):
    good = image([0], [[0, 0]])
    message = rf"gt_classes of image 1 of the batch must be in \[0, 3\], got {got}$"
    with pytest.raises(ValueError, match=message):
        check(good, image([2, label], [[0, 0], [0, 0]]))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        # The label of a head without a background slot: ink's none is 3, 4 is nothing.
        ([4, 0], r"gt_subcategories 'ink' of image 1 of the batch must be in \[-1, 3\], got 4$"),
        ([-2, 0], r"gt_subcategories 'ink' of image 1 of the batch must be in \[-1, 3\], got -2$"),
        ([0, 2], r"gt_subcategories 'size' of image 1 of the batch must be in \[-1, 1\], got 2$"),
        ([3, -5], r"gt_subcategories 'size' of image 1 of the batch must be in \[-1, 1\], got -5$"),
    ],
)
def test_a_subcategory_label_outside_its_range_is_refused(labels, message):
    good = image([0], [[0, 0]])
    with pytest.raises(ValueError, match=message):
        check(good, image([2, 1], [[0, 0], labels]))


def test_another_number_of_columns_is_refused():
    message = r"gt_subcategories of image 0 of the batch must be \(2, 2\), got \(2, 1\)"
    with pytest.raises(ValueError, match=message):
        check(image([0, 1], [[0], [1]]))


def test_another_number_of_columns_is_refused_without_instances_too():
    # It could not be put beside the other images' labels.
    message = r"gt_subcategories of image 1 of the batch must be \(0, 2\), got \(0, 3\)"
    with pytest.raises(ValueError, match=message):
        check(image([0], [[0, 0]]), empty_image(3))


def test_another_number_of_rows_is_refused():
    target = image([0, 1], [[0, 0], [1, 1]])
    target.subcategories = target.subcategories[:1]
    message = r"gt_subcategories of image 0 of the batch must be \(2, 2\), got \(1, 2\)"
    with pytest.raises(ValueError, match=message):
        check(target)
