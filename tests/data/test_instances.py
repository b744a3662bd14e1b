"""Which instances a training picture has: enough must be left of each, and labels stay with it."""

from __future__ import annotations

import numpy as np
import pytest
from detectron2.data import transforms as T
from scenes_on_disk import SPEC, annotation, rle

from mask2former_mt.data.instances import TargetMaker, boxes_of, resolve_overlap
from mask2former_mt.data.layer_masks import Layer
from mask2former_mt.structures import Subcategory, SubcategorySpec

SIZE = (20, 30)


def _maker(**fields) -> TargetMaker:
    arguments = {
        "spec": SPEC,
        "min_visible_pixels": 1,
        "min_visible": 0.0,
        "mask_overlap": "keep",
        **fields,
    }
    return TargetMaker(**arguments)


def _square(x0, y0, x1, y1, kind="p"):
    if kind == "p":
        return [[x0, y0, x1, y0, x1, y1, x0, y1]]
    mask = np.zeros(SIZE, bool)
    mask[y0:y1, x0:x1] = True
    return rle(mask)


def _layer(annotations: list, *transforms: T.Transform) -> Layer:
    return Layer(annotations, T.TransformList(transforms), SIZE, "a.png")


@pytest.mark.parametrize("kind", ["p", "r"])
@pytest.mark.parametrize(
    ("min_visible", "expected"),
    [(0.0, [0, 1, 2]), (0.2, [0, 1, 2]), (0.25, [0, 1, 2]), (0.26, [0, 2]), (1.0, [2])],
)
def test_the_share_that_a_crop_leaves(kind, min_visible, expected):
    # Twice as large, then x in [10, 60): of 0 half is left, of 1 a quarter, of 2 all, of 3 nothing.
    transforms = (T.ResizeTransform(20, 30, 40, 60), T.CropTransform(10, 0, 50, 40))
    boxes = [(2, 2, 8, 8), (2, 10, 6, 14), (10, 5, 29, 19), (0, 0, 5, 5)]
    annotations = [
        annotation(_square(*b, kind), category=i, labels=(i % 2, i)) for i, b in enumerate(boxes)
    ]
    instances = (
        _maker(min_visible=min_visible).make([_layer(annotations, *transforms)], (40, 50)).instances
    )
    assert instances.gt_classes.tolist() == expected
    assert instances.gt_subcategories.tolist() == [[i % 2, i] for i in expected]


@pytest.mark.parametrize("kind", ["p", "r"])
def test_what_is_whole_is_never_dropped(kind):
    # Shrunk to a tenth, a thin object has more or fewer pixels than its area says.
    shrink = T.ResizeTransform(20, 30, 2, 3)
    annotations = [annotation(_square(14, 0, 16, 20, kind))]
    instances = _maker(min_visible=1.0).make([_layer(annotations, shrink)], (2, 3)).instances
    assert len(instances) == 1


@pytest.mark.parametrize(
    ("transforms", "expected"),
    [
        ([], [0, 1, 2, -1]),
        ([T.HFlipTransform(30)], [1, 0, 2, -1]),
        ([T.VFlipTransform(20)], [1, 0, 2, -1]),
        # Both flips are half a turn; the same flip twice is nothing.
        ([T.HFlipTransform(30), T.VFlipTransform(20)], [0, 1, 2, -1]),
        ([T.HFlipTransform(30), T.HFlipTransform(30)], [0, 1, 2, -1]),
        ([T.RotationTransform(20, 30, 180)], [0, 1, 2, -1]),
        (
            [
                T.ResizeTransform(20, 30, 40, 60),
                T.HFlipTransform(60),
                T.CropTransform(0, 0, 50, 40),
            ],
            [1, 0, 2, -1],
        ),
    ],
)
@pytest.mark.parametrize("kind", ["p", "r"])
def test_mirrored_objects_exchange_the_values_of_a_flip(kind, transforms, expected):
    side = Subcategory("side", ("left", "right"), flip=(("left", "right"),))
    spec = SubcategorySpec((Subcategory("style", ("photo", "cartoon", "toon")), side))
    annotations = [annotation(_square(9, 6, 18, 12, kind), labels=(0, v)) for v in (0, 1, 2, -1)]
    layer = _layer(annotations, *transforms)
    size = layer.transforms.apply_segmentation(np.zeros(SIZE, np.uint8)).shape
    instances = _maker(spec=spec).make([layer], size).instances
    # None, 2, and unknown stay, and so does what `flip` does not name.
    assert instances.gt_subcategories.tolist() == [[0, label] for label in expected]
    assert [a["subcategories"] for a in annotations] == [[0, v] for v in (0, 1, 2, -1)]


def test_who_has_a_pixel_that_two_claim():
    small, large = (12, 6, 18, 12), (10, 5, 25, 15)
    annotations = [
        annotation(_square(*small), category=0),
        annotation(_square(*large), category=1),
    ]

    def areas(**fields) -> dict[int, int]:
        instances = _maker(**fields).make([_layer(annotations)], SIZE).instances
        counts = instances.gt_masks.flatten(1).sum(1).tolist()
        return dict(zip(instances.gt_classes.tolist(), counts, strict=True))

    assert areas(mask_overlap="keep") == {0: 36, 1: 150}
    assert areas(mask_overlap="smallest_on_top") == {0: 36, 1: 114}
    # The first is hidden altogether, and goes with its labels.
    assert areas(mask_overlap="last") == {1: 150}
    # 114 of 150 pixels are 0.76.
    assert areas(mask_overlap="smallest_on_top", min_visible=0.77) == {0: 36}
    assert areas(mask_overlap="smallest_on_top", min_visible=0.76) == {0: 36, 1: 114}


def test_upper_layers_cover_lower_ones():
    layers = [
        _layer([annotation(_square(0, 0, 10, 10), category=0, labels=(0, 0))]),
        _layer([annotation(_square(5, 0, 15, 10), category=1, labels=(1, 1))]),
        _layer([annotation(_square(0, 5, 20, 10), category=2, labels=(2, 2))]),
    ]
    instances = _maker().make(layers, SIZE).instances
    assert instances.gt_classes.tolist() == [0, 1, 2]
    # 5 * 5 of the first, 10 * 5 of the second, 20 * 5 of the last.
    assert instances.gt_masks.flatten(1).sum(1).tolist() == [25, 50, 100]
    assert instances.gt_masks.int().sum(0).max() == 1
    # Of the first a quarter is left, of the second a half.
    assert _maker(min_visible=0.3).make(layers, SIZE).instances.gt_classes.tolist() == [1, 2]
    assert _maker(min_visible_pixels=51).make(layers, SIZE).instances.gt_subcategories.tolist() == [
        [2, 2]
    ]


def test_no_objects():
    instances = _maker(min_visible=0.5, mask_overlap="last").make([_layer([])], SIZE).instances
    assert instances.gt_masks.shape == (0, *SIZE)
    assert instances.gt_subcategories.shape == (0, 2)
    assert instances.gt_boxes.tensor.shape == (0, 4)


def test_boxes_by_hand():
    masks = np.zeros((2, *SIZE), bool)
    masks[0, 3, 4] = masks[0, 9, 17] = masks[1, :, :] = True
    assert boxes_of(masks).tensor.tolist() == [[4, 3, 18, 10], [0, 0, 30, 20]]


def test_where_each_came_from_and_its_pixels():
    layers = [
        _layer([annotation(_square(0, 0, 4, 4)), annotation(_square(10, 10, 15, 15))]),
        _layer([annotation(_square(20, 0, 22, 2)), annotation(_square(0, 0, 6, 6))]),
    ]
    targets = _maker().make(layers, SIZE)
    # The first of all is hidden by the last.
    assert targets.origins == [(0, 1), (1, 0), (1, 1)]
    assert targets.areas.tolist() == [25, 4, 36]


@pytest.fixture
def row() -> np.ndarray:
    """Masks in one row of 6 pixels: 0 has pixels 0 and 1, 1 has 1 to 4, 2 has 4."""
    masks = np.zeros((3, 1, 6), bool)
    masks[0, 0, 0:2] = masks[1, 0, 1:5] = masks[2, 0, 4:5] = True
    return masks


@pytest.mark.parametrize(
    ("overlap", "owners"),
    [
        # Pixel 1: the later of 0 and 1. Pixel 4: the later of 1 and 2.
        ("last", [0, 1, 1, 1, 2, -1]),
        # Areas 2, 4, 1: the smaller one wins.
        ("smallest_on_top", [0, 0, 1, 1, 2, -1]),
    ],
)
def test_the_policy_decides_who_has_a_pixel(row, overlap, owners):
    before = row.copy()
    resolved = resolve_overlap(row, overlap=overlap)
    for index, mask in enumerate(resolved):
        assert mask[0].tolist() == [owner == index for owner in owners]
    np.testing.assert_array_equal(row, before)
    # Of equal areas the last is on top.
    equal = resolve_overlap(np.ones((3, 2, 2), bool), overlap=overlap)
    assert equal.sum((1, 2)).tolist() == [0, 0, 4]


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"min_visible": 1.5}, r"INPUT.MIN_VISIBLE must be a share in \[0, 1\], got 1.5"),
        ({"min_visible": float("nan")}, "INPUT.MIN_VISIBLE must be a share"),
        ({"min_visible_pixels": 0}, "min_visible_pixels must be at least 1, got 0"),
        ({"mask_overlap": "first"}, r"MASK_OVERLAP\) must be one of \['keep', .*got 'first'"),
    ],
)
def test_values_out_of_range_are_refused(fields, match):
    with pytest.raises(ValueError, match=match):
        _maker(**fields).make([_layer([annotation(_square(1, 1, 4, 5))])], SIZE)
