"""The guards pass what is right and name what is wrong, the classic failure first of all."""

from __future__ import annotations

import copy

import numpy as np
import pycocotools.mask as mask_util
import pytest
import torch
from detectron2.data import transforms as T
from detectron2.structures import Boxes, Instances
from scenes_on_disk import HEIGHT, SPEC, WIDTH, mapper_of, record_of, write_coordinates

from mask2former_mt.check.alignment import measure
from mask2former_mt.check.ground import ways_of
from mask2former_mt.data import integrity
from mask2former_mt.data.augment import named_augmentations
from mask2former_mt.data.integrity import IntegrityError, check_sample, deep_check
from mask2former_mt.data.seeding import seeded

JITTER = [
    {"name": "flip"},
    {"name": "lsj", "size": 128, "min_scale": 0.8, "max_scale": 1.25},
    {"name": "color"},
]


@pytest.fixture
def record(tmp_path) -> dict:
    return record_of(write_coordinates(tmp_path / "xy.png"), kinds="prp")


@pytest.fixture
def sample(record) -> dict:
    """Three objects in a frame of 128, the picture's 100x150 fitted to 85x128."""
    return mapper_of([{"name": "lsj", "size": 128, "min_scale": 1, "max_scale": 1}])(record)


def check(sample: dict, num_classes: int | None = 3) -> None:
    check_sample(sample, spec=SPEC, num_classes=num_classes)


class DrawsTwice:
    """The failure that nothing reports: image and masks are augmented by draws of their own.

    Args:
        entries: of INPUT.AUGMENTATIONS.
        same_draw: whether the masks get the image's parameters after all.
        bilinear: whether masks are resized as pictures are.
    """

    def __init__(self, entries: list[dict], *, same_draw: bool, bilinear: bool) -> None:
        self.augmentations = T.AugmentationList(named_augmentations(entries, image_format="RGB"))
        self.same_draw = same_draw
        self.bilinear = bilinear

    def __call__(self, record: dict) -> dict:
        with seeded(0, record["draw"]):
            picture = T.AugInput(np.zeros((HEIGHT, WIDTH, 3), np.uint8))
            transforms = self.augmentations(picture)
            other = self.augmentations(T.AugInput(np.zeros((HEIGHT, WIDTH, 3), np.uint8)))
        used = transforms if self.same_draw else other
        masks = []
        for annotation in record["annotations"]:
            mask = mask_util.decode(rle_of(annotation))
            if self.bilinear:
                blended = mask.astype(np.float32)
                for step in used.transforms:
                    # The padding of a picture is 128, and colours do not concern masks.
                    if isinstance(step, T.PadTransform):
                        blended = np.pad(blended, ((step.y0, step.y1), (step.x0, step.x1)))
                    elif not isinstance(step, T.BlendTransform):
                        blended = step.apply_image(blended)
                masks.append(blended)
            else:
                masks.append(used.apply_segmentation(mask) == 1)
        instances = Instances(picture.image.shape[:2])
        instances.gt_masks = torch.from_numpy(np.ascontiguousarray(np.stack(masks)))
        return {**record, "instances": instances, "transforms": transforms}


def rle_of(annotation: dict) -> dict:
    segmentation = annotation["segmentation"]
    if isinstance(segmentation, list):
        return mask_util.merge(mask_util.frPyObjects(segmentation, HEIGHT, WIDTH))
    return segmentation


ORIGINS = [(0, 0), (0, 1), (0, 2)]


@pytest.mark.parametrize(
    ("same_draw", "bilinear"), [(False, True), (False, False), (True, True), (True, False)]
)
def test_the_classic_failure_is_measured_and_stopped(record, same_draw, bilinear):
    # Crops of random size and place, none flipped: objects still lie about where they should.
    entries = [{"name": "lsj", "size": 128, "min_scale": 1.0, "max_scale": 1.4}]
    # Bitmaps, so that the fixed pipeline of this test, which moves bitmaps, is exact.
    for annotation in record["annotations"]:
        annotation["segmentation"] = rle_of(annotation)
    broken = DrawsTwice(entries, same_draw=same_draw, bilinear=bilinear)
    alignments, soft, fired = [], [], []
    for draw in range(40):
        sample = broken({**record, "draw": draw})
        ways = ways_of(record["annotations"], sample["transforms"], (HEIGHT, WIDTH))
        found = measure(sample["instances"].gt_masks.numpy(), ways, ORIGINS)
        alignments.append(found.alignment)
        soft.append(found.soft_fraction)
        try:
            deep_check(sample, record["annotations"], ORIGINS)
            fired.append("")
        except IntegrityError as error:
            fired.append(str(error))
    if same_draw:
        assert np.mean(alignments) == pytest.approx(1.0, abs=5e-4)
    else:
        assert 0.4 < np.mean(alignments) < 0.7
    if bilinear:
        # But for pictures that kept their size by chance.
        assert np.mean(np.array(soft) > 0) > 0.9
        named = ["masks must be 0 or 1, got other values in a fraction of" in m for m in fired]
        assert named == [fraction > 0 for fraction in soft]
    else:
        assert max(soft) == 0
    if not same_draw and not bilinear:
        assert np.mean(["mean alignment IoU" in m for m in fired]) > 0.9
    if same_draw and not bilinear:
        assert set(fired) == {""}


LISTS = {
    "lsj": JITTER,
    "enlarged": [{"name": "lsj", "size": 200, "min_scale": 2.0, "max_scale": 4.0}],
    "shrunk": [{"name": "lsj", "size": 128, "min_scale": 0.1, "max_scale": 0.4}],
    "rotated": [{"name": "rotate", "max_angle": 180, "prob": 1.0, "expand": True}, *JITTER],
    "rotated last": [*JITTER, {"name": "rotate", "max_angle": 30, "prob": 1.0}],
    "pasted": [*JITTER, {"name": "copy_paste", "prob": 1.0}],
    "pasted first": [{"name": "copy_paste", "prob": 1.0}, *JITTER],
    "resized": [{"name": "resize", "short_side": [60, 190]}, {"name": "crop", "size": [90, 140]}],
}


@pytest.mark.parametrize("kinds", ["ppp", "rrr"])
@pytest.mark.parametrize("name", LISTS)
def test_a_right_pipeline_is_aligned_to_three_digits(record, tmp_path, name, kinds):
    record = record_of(record["file_name"], kinds=kinds)
    other = record_of(write_coordinates(tmp_path / "other.png"), kinds=kinds)
    mapper = mapper_of(LISTS[name], deep_check_every=1, records=[record, other])
    found = [mapper({**record, "draw": draw})["measures"] for draw in range(12)]
    assert np.mean([m.alignment for m in found]) > 0.9995
    assert max(m.soft_fraction for m in found) == 0


@pytest.mark.parametrize("seed", [19, 53, 309, 313])
def test_what_a_pasted_sliver_hides_raises_no_alarm(tmp_path, seed):
    """Enlarged, it hides other pixels of what lies below than when it was cut out."""
    rng = np.random.default_rng(seed)
    records = [record_of(write_coordinates(tmp_path / name)) for name in ("a.png", "b.png")]
    for record in records:
        for annotation in record["annotations"]:
            centre = rng.uniform((0, 0), (WIDTH, HEIGHT))
            corners = (centre + rng.normal(size=(5, 2)) * 15).clip(0, (WIDTH, HEIGHT))
            annotation["segmentation"] = [corners.flatten().tolist()]
    entries = [{"name": "copy_paste", "prob": 1.0}, {"name": "lsj", "size": 160}]
    mapper = mapper_of(entries, deep_check_every=1, records=records)
    assert mapper({**records[0], "draw": seed})["measures"].alignment > 0.9995


def test_pixels_that_two_objects_claim_are_left_out(record):
    # The second covers the first, which keeps nothing of it; the third covers a part of both.
    whole = {**record["annotations"][0], "segmentation": [[0, 0, 150, 0, 150, 100, 0, 100]]}
    record["annotations"].insert(0, whole)
    for overlap in ("keep", "last", "smallest_on_top"):
        mapper = mapper_of(JITTER, deep_check_every=1, mask_overlap=overlap)
        for draw in range(4):
            assert mapper({**record, "draw": draw})["measures"].alignment > 0.9995
    sample = mapper({**record, "draw": 1})
    with pytest.raises(IntegrityError, match=r"alignment|area"):
        deep_check(sample, record["annotations"], [(0, i) for i in range(4)])


@pytest.mark.parametrize("shift", [(1, 0), (0, 1), (2, 2)])
def test_a_shift_of_a_pixel_is_found(record, sample, shift):
    sample = copy.deepcopy(sample)
    masks = torch.roll(sample["instances"].gt_masks, shift, (1, 2))
    sample["instances"].gt_masks = masks
    with pytest.raises(IntegrityError, match=r"xy\.png .*mean alignment IoU .* got 0\.[789]"):
        deep_check(sample, record["annotations"], ORIGINS)


def test_masks_of_exchanged_instances_are_found(record, sample):
    with pytest.raises(IntegrityError, match=r"mean alignment IoU .* must be 1.000, got 0\.333"):
        # One of three is in its place: (1 + 0 + 0) / 3.
        deep_check(sample, record["annotations"], [(0, 0), (0, 2), (0, 1)])


def test_a_wrong_area_is_found(record, sample, monkeypatch):
    monkeypatch.setattr(integrity, "MIN_ALIGNMENT", 0.0)
    sample = copy.deepcopy(sample)
    sample["instances"].gt_masks[1] = False
    sample["instances"].gt_masks[1, 20:30, 60:80] = True
    # The bar is 71.3 long across (70, 10) and 14 high: 70 * 14 = 980 pixels, times (128 / 150)^2.
    with pytest.raises(IntegrityError, match=r"instance 1 must have about 71\d pixels.* got 200"):
        deep_check(sample, record["annotations"], ORIGINS)


def test_a_sample_without_objects_is_deeply_right(record):
    record["annotations"] = []
    sample = mapper_of(JITTER, deep_check_every=1)({**record, "draw": 0})
    assert sample["measures"].alignment == 1.0
    assert len(sample["areas"]) == 0


def test_every_so_many_draws_are_checked_deeply(record):
    mapper = mapper_of(JITTER, deep_check_every=3)
    checked = ["measures" in mapper({**record, "draw": draw}) for draw in range(7)]
    assert checked == [True, False, False, True, False, False, True]
    assert "measures" not in mapper(record)
    assert "measures" not in mapper_of(JITTER)({**record, "draw": 0})
    with pytest.raises(ValueError, match=r"INPUT.DEEP_CHECK_EVERY must be .* got -1"):
        mapper_of(JITTER, deep_check_every=-1)


def test_the_mapper_guards_each_sample(record):
    mapper = mapper_of([], num_classes=2)
    with pytest.raises(ValueError, match=r"xy\.png .*classes must lie in \[0, 1\], got 0 to 2"):
        mapper(record)


def test_a_right_sample_passes(record, sample):
    check(sample)
    check(sample, num_classes=None)
    # What others make has no areas and no transforms.
    check({k: v for k, v in sample.items() if k not in ("areas", "transforms", "draw")})
    record["annotations"] = []
    check(mapper_of([])(record))


def spoiled(change):
    """A change of the sample's instances."""

    def spoil(sample):
        change(sample["instances"])

    return spoil


def put(name, value):
    return spoiled(lambda instances: instances.set(name, value(instances.get(name))))


def write(name, index, value):
    """Writes into a field as it is, without telling `areas`."""

    def change(instances):
        field = instances.get(name)
        (field.tensor if isinstance(field, Boxes) else field)[index] = value

    return spoiled(change)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (
            lambda s: s.update(image=s["image"].float()),
            r"image must be torch.uint8 \(3, H, W\), got .*32",
        ),
        (lambda s: s.update(image=s["image"][:1]), r"image must be torch.uint8 .*\(1, 128, 128\)"),
        (lambda s: s.update(image=s["image"].numpy()), r"image must be torch.uint8 .* got ndarray"),
        (lambda s: s.pop("instances"), r"instances must be detectron2 Instances, got NoneT"),
        (
            lambda s: s.update(image=s["image"][:, :100].clone()),
            r"image_size must be the image's \(100, 128\), got \(128, 128\)",
        ),
        (put("gt_masks", lambda m: m.float()), r"gt_masks must be torch.bool \(3, 128, 128\), got"),
        (put("gt_masks", lambda m: m[:, :64].clone()), r"gt_masks .*got torch.bool \(3, 64, 128\)"),
        (
            put("gt_classes", lambda c: c.int()),
            r"gt_classes must be torch.int64 \(3,\), got .*int32",
        ),
        (put("gt_subcategories", lambda x: x[:, :1].clone()), r"gt_subcategories .*\(3, 2\).*3, 1"),
        (spoiled(lambda i: i.remove("gt_boxes")), r"gt_boxes must be detectron2 Boxes, got NoneT"),
        (spoiled(lambda i: i.remove("gt_classes")), r"gt_classes must be .* got NoneType"),
        (write("gt_boxes", (0, 0), 4.5), r"gt_boxes must be whole pixels"),
        # One pixel too small, and too large, on each side.
        *[
            (
                put("gt_boxes", lambda b, side=side, step=step: moved(b, side, step)),
                r"instance 1: the box must be the mask's extent, xyxy \[\d+, \d+, \d+, \d+\] with",
            )
            for side in range(4)
            for step in (-1, 1)
        ],
        # A pixel far outside of the box, which `areas` knows of.
        (
            lambda s: (
                s["instances"].gt_masks[0, 0].index_fill_(0, torch.tensor([120]), True),
                s["areas"].index_add_(0, torch.tensor([0]), torch.tensor([1])),
            ),
            r"instance 0: the box must be the mask's extent",
        ),
        (
            lambda s: (s["instances"].gt_masks[2].fill_(False), s["areas"][2:].fill_(0)),
            r"instance 2: the mask has no pixel",
        ),
    ],
)
def test_what_breaks_the_contract_is_named(sample, change, match):
    sample = copy.deepcopy(sample)
    change(sample)
    with pytest.raises(IntegrityError, match=rf"xy\.png \(draw None\): .*{match}"):
        check(sample)


def moved(boxes: Boxes, side: int, step: int) -> Boxes:
    tensor = boxes.tensor.clone()
    tensor[1, side] += step
    return Boxes(tensor)


def test_an_empty_mask_and_a_stray_pixel_are_found_without_areas(sample):
    del sample["areas"]
    stray = copy.deepcopy(sample)
    stray["instances"].gt_masks[0, 0, 120] = True
    with pytest.raises(IntegrityError, match=r"instance 0: the box must be the mask's extent"):
        check(stray)
    sample["instances"].gt_masks[1] = False
    with pytest.raises(IntegrityError, match=r"instance 1: the mask has no pixel"):
        check(sample)


def test_a_mask_in_the_padding_is_found(sample):
    # The picture, 100x150, becomes 85 rows of 128 pixels; below is padding.
    sample["instances"].gt_masks[1] = False
    sample["instances"].gt_masks[1, 80:86, 10:20] = True
    sample["instances"].gt_boxes.tensor[1] = torch.tensor([10.0, 80.0, 20.0, 86.0])
    sample["areas"][1] = 60
    match = r"instance 1: no mask may reach into the padding, .* \[0, 0, 128, 85\], got .* 86\]"
    with pytest.raises(IntegrityError, match=match):
        check(sample)
    del sample["transforms"]  # then it is not known
    check(sample)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (write("gt_classes", 1, 3), r"classes must lie in \[0, 2\], got 0 to 3"),
        (write("gt_classes", 1, -1), r"classes must lie in \[0, 2\], got -1 to 2"),
        # style has two values: -1 unknown, 0, 1, 2 none.
        (
            write("gt_subcategories", (0, 0), 3),
            r"labels of 'style' must lie in \[-1, 2\] .*got 0 to 3",
        ),
        (
            write("gt_subcategories", (0, 1), -2),
            r"labels of 'size' must lie in \[-1, 3\] .*got -2 to 2",
        ),
    ],
)
def test_labels_out_of_range_are_an_error_of_the_annotations(sample, change, match):
    sample = copy.deepcopy(sample)
    change(sample)
    with pytest.raises(ValueError, match=match) as caught:
        check(sample)
    # So that a run that skips bad samples can skip it.
    assert not isinstance(caught.value, IntegrityError)


def test_the_largest_labels_pass(sample):
    sample["instances"].gt_subcategories[:] = torch.tensor([2, 3])
    check(sample)
    sample["instances"].gt_subcategories[:] = -1
    check(sample)


def test_a_bool_made_of_other_bytes_is_soft(record, sample):
    masks = sample["instances"].gt_masks.numpy()
    masks.view(np.uint8)[0, 40, 40] = 7
    ways = ways_of(record["annotations"], sample["transforms"], (HEIGHT, WIDTH))
    found = measure(masks, ways, ORIGINS)
    # One pixel of 3 * 128 * 128.
    assert found.soft_fraction == pytest.approx(1 / 49152)
