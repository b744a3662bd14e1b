"""Image and masks move alike, whatever the augmentation; where they do not, it shows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pycocotools.mask as mask_util
import pytest
import torch
from detectron2.data import transforms as T
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scenes_on_disk import HEIGHT, WIDTH, mapper_of, record_of, write_coordinates

from mask2former_mt.check import alignment
from mask2former_mt.check.alignment import measure_alignment, measure_sample, seen_layers
from mask2former_mt.data.augment import named_augmentations
from mask2former_mt.data.seeding import seeded

FLIP, COLOR, PASTE = {"name": "flip"}, {"name": "color"}, {"name": "copy_paste", "prob": 1.0}
LSJ = {"name": "lsj", "size": 128, "min_scale": 0.8, "max_scale": 1.25}
TURN = {"name": "rotate", "max_angle": 180, "prob": 1.0}
GROW = {**TURN, "expand": True}
LISTS = {
    "flip": [{**FLIP, "prob": 1.0}],
    "flip upside down": [{**FLIP, "prob": 1.0, "direction": "vertical"}],
    "color": [{**COLOR, "prob": 1.0}],
    "crop": [{"name": "crop", "size": [70, 200]}],
    "resize": [{"name": "resize", "short_side": [60, 190]}],
    "enlarged": [{**LSJ, "size": 200, "min_scale": 2.0, "max_scale": 4.0}],
    "shrunk": [{**LSJ, "min_scale": 0.1, "max_scale": 0.4}],
    "rotate": [TURN],
    "rotate and grow": [GROW],
    "copy_paste": [PASTE],
    "flip, lsj, color": [FLIP, LSJ, COLOR],
    "rotated first": [GROW, FLIP, LSJ],
    "rotated last": [FLIP, LSJ, TURN],
    "rotated twice": [TURN, LSJ, GROW],
    "pasted first": [PASTE, FLIP, LSJ],
    "pasted last": [FLIP, LSJ, TURN, PASTE],
}
# Kinds of the three objects: p for outlines, r for bitmaps.
KINDS = ["ppp", "prp", "rrr"]
DRAWS = 32


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("pictures")
    return [write_coordinates(folder / name) for name in ("xy.png", "other.png")]


@pytest.fixture
def record(pictures) -> dict:
    return record_of(pictures[0], kinds="prp")


@pytest.fixture
def sample(record) -> dict:
    """Three objects in a frame of 128, the picture's 100x150 fitted to 85x128."""
    return mapper_of([{**LSJ, "min_scale": 1, "max_scale": 1}])(record)


def aligned(mapper, record: dict) -> None:
    """Every instance agrees with its annotation in every pixel that is compared."""
    found = measure_sample(mapper, record, mapper(record))
    assert set(found.ious[~np.isnan(found.ious)]) <= {1.0}
    assert found.fault is None


# 16 lists, 3 kinds, 32 draws: 1536 samples.
@pytest.mark.parametrize("name", LISTS)
def test_each_augmentation_moves_image_and_masks_alike(pictures, name):
    for kinds in KINDS:
        records = [record_of(path, kinds=kinds) for path in pictures]
        mapper = mapper_of(LISTS[name], records=records)
        for draw in range(DRAWS):
            aligned(mapper, {**records[draw % 2], "draw": draw})


ENTRIES = st.one_of(
    st.sampled_from([FLIP, COLOR, PASTE, {**FLIP, "direction": "vertical"}]),
    st.builds(
        lambda size, low, more: {**LSJ, "size": size, "min_scale": low, "max_scale": low + more},
        st.integers(60, 160),
        st.floats(0.5, 1.2),
        st.floats(0.0, 0.8),
    ),
    st.builds(
        lambda h, w: {"name": "crop", "size": [h, w]}, st.integers(50, 170), st.integers(50, 170)
    ),
    st.builds(lambda side: {"name": "resize", "short_side": side}, st.integers(60, 150)),
    st.builds(
        lambda angle, expand: {**TURN, "max_angle": angle, "expand": expand},
        st.floats(1, 90),
        st.booleans(),
    ),
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    entries=st.lists(ENTRIES, min_size=2, max_size=4),
    kinds=st.sampled_from(KINDS),
    draw=st.integers(0, 2**40),
    divisibility=st.sampled_from([0, 32]),
    overlap=st.sampled_from(["keep", "last", "smallest_on_top"]),
)
# Resampled several times after padding, which blends it into the picture from step to step.
@example(
    entries=[
        {**LSJ, "size": 60, "min_scale": 1.0, "max_scale": 1.0},
        {**TURN, "max_angle": 1.0},
        {**LSJ, "size": 76, "min_scale": 0.875, "max_scale": 0.875},
        {"name": "resize", "short_side": 64},
    ],
    kinds="rrr",
    draw=0,
    divisibility=0,
    overlap="keep",
)
# Enlarged, so that the pixels at the border repeat what the crop ends with.
@example(
    entries=[{"name": "crop", "size": [50, 50]}, {"name": "resize", "short_side": 81}],
    kinds="ppp",
    draw=0,
    divisibility=0,
    overlap="keep",
)
def test_all_compositions_move_image_and_masks_alike(
    pictures, entries, kinds, draw, divisibility, overlap
):
    records = [record_of(path, kinds=kinds) for path in pictures]
    mapper = mapper_of(
        entries,
        records=records,
        size_divisibility=divisibility,
        mask_overlap=overlap,
    )
    aligned(mapper, {**records[0], "draw": draw})


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

    def __call__(self, record: dict) -> tuple[T.TransformList, np.ndarray]:
        with seeded(0, record["draw"]):
            transforms, other = (
                self.augmentations(T.AugInput(np.zeros((HEIGHT, WIDTH, 3), np.uint8)))
                for _ in range(2)
            )
        used = transforms if self.same_draw else other
        masks = []
        for annotation in record["annotations"]:
            mask = mask_util.decode(annotation["segmentation"])
            if self.bilinear:
                mask = mask.astype(np.float32)
                for step in used.transforms:
                    # The padding of a picture is 128.
                    if isinstance(step, T.PadTransform):
                        mask = np.pad(mask, ((step.y0, step.y1), (step.x0, step.x1)))
                    else:
                        mask = step.apply_image(mask)
            else:
                mask = used.apply_segmentation(mask) == 1
            masks.append(mask)
        return transforms, np.stack(masks)


ORIGINS = [(0, 0), (0, 1), (0, 2)]


def measured(record: dict, transforms: T.TransformList, masks: np.ndarray, origins=ORIGINS):
    layers = seen_layers(record["annotations"], transforms, (HEIGHT, WIDTH), "xy.png")
    return measure_alignment(masks, layers, origins)


@pytest.mark.parametrize(
    ("same_draw", "bilinear"), [(False, True), (False, False), (True, True), (True, False)]
)
def test_the_classic_failure_is_measured_and_named(pictures, same_draw, bilinear):
    # Crops of random size and place, none flipped: objects still lie about where they should.
    entries = [{**LSJ, "min_scale": 1.0, "max_scale": 1.4}]
    record = record_of(pictures[0], kinds="rrr")
    broken = DrawsTwice(entries, same_draw=same_draw, bilinear=bilinear)
    found = [measured(record, *broken({**record, "draw": draw})) for draw in range(40)]
    alignments = [m.mean for m in found]
    if same_draw:
        # Bitmaps are compared with those that are read at the nearest pixel.
        assert np.mean(alignments) == pytest.approx(1.0, abs=0.005 if bilinear else 0)
    else:
        assert 0.4 < np.mean(alignments) < 0.7
    soft = np.array([m.soft_pixels > 0 for m in found])
    if bilinear:
        # But for pictures that kept their size by chance.
        assert soft.mean() > 0.9
        named = ["masks must be 0 or 1, got other values in" in str(m.fault) for m in found]
        assert named == soft.tolist()
    else:
        assert not soft.any()
        share = np.mean(["mean alignment IoU" in str(m.fault) for m in found])
        assert share == 0 if same_draw else share > 0.9


def of_sample(record: dict, sample: dict, origins=ORIGINS):
    masks = sample["instances"].gt_masks.numpy()
    return measured(record, sample["transforms"], masks, origins)


@pytest.mark.parametrize("shift", [(1, 0), (0, 1), (2, 2)])
def test_a_shift_of_a_pixel_is_found(record, sample, shift):
    assert of_sample(record, sample).mean == 1
    sample["instances"].gt_masks = torch.roll(sample["instances"].gt_masks, shift, (1, 2))
    assert 0.7 < of_sample(record, sample).mean < 0.99


def test_a_shift_of_a_square_of_50_by_hand(record):
    record["annotations"] = [
        {**record["annotations"][0], "segmentation": [[20, 20, 70, 20, 70, 70, 20, 70]]}
    ]
    sample = mapper_of([])(record)
    sample["instances"].gt_masks = torch.roll(sample["instances"].gt_masks, 1, 2)
    found = of_sample(record, sample, [(0, 0)])
    # All pixels are compared but none of them lies on the outline: 50 * 49 of 50 * 51 pixels.
    assert found.ious.tolist() == [pytest.approx(49 / 51)]
    assert found.fault.startswith("mean alignment IoU of image and masks must be 1.000, got 0.961")
    assert (found.areas.tolist(), found.expected_areas.tolist()) == ([2500], [2500])


def test_masks_of_exchanged_instances_are_found(record, sample):
    found = of_sample(record, sample, [(0, 0), (0, 2), (0, 1)])
    # One of three is in its place: (1 + 0 + 0) / 3.
    assert found.mean == pytest.approx(1 / 3)


def test_a_large_object_is_compared_on_a_grid(record, sample, monkeypatch):
    monkeypatch.setattr(alignment, "_MAX_PIXELS", 300)
    whole = of_sample(record, sample)
    assert whole.mean == 1
    # A grid of steps of some pixels stands for all of them: some 698, see below.
    assert whole.areas[1] == pytest.approx(698, abs=80)
    sample["instances"].gt_masks = torch.roll(sample["instances"].gt_masks, 4, 2)
    assert of_sample(record, sample).mean < 0.9


def test_one_wrong_area_among_many_is_found(record, sample, monkeypatch):
    monkeypatch.setattr(alignment, "MIN_ALIGNMENT", 0.0)
    sample["instances"].gt_masks[1] = False
    sample["instances"].gt_masks[1, 20:30, 60:80] = True
    found = of_sample(record, sample)
    # The bar is 71.3 long across (70, 10) and 14 high: 70 * 14 = 980 pixels, times (128 / 150)^2.
    assert found.expected_areas[1] == pytest.approx(980 * (128 / 150) ** 2, abs=20)
    assert found.fault.startswith("instance 1 must have about 698 of the pixels compared")
    assert "where the picture shows its annotation, got 200" in found.fault


@pytest.mark.parametrize("seed", [19, 53, 309, 313])
def test_what_a_pasted_sliver_hides_raises_no_alarm(pictures, seed):
    """Enlarged, it hides other pixels of what lies below than when it was cut out."""
    rng = np.random.default_rng(seed)
    records = [record_of(path) for path in pictures]
    for record in records:
        for annotation in record["annotations"]:
            centre = rng.uniform((0, 0), (WIDTH, HEIGHT))
            corners = (centre + rng.normal(size=(5, 2)) * 15).clip(0, (WIDTH, HEIGHT))
            annotation["segmentation"] = [corners.flatten().tolist()]
    mapper = mapper_of([PASTE, {"name": "lsj", "size": 160}], records=records)
    aligned(mapper, {**records[0], "draw": seed})


def test_pixels_that_two_objects_claim_are_left_out(record):
    # The second covers the first, which keeps nothing of it; the third covers a part of both.
    whole = {**record["annotations"][0], "segmentation": [[0, 0, 150, 0, 150, 100, 0, 100]]}
    record["annotations"].insert(0, whole)
    for overlap in ("keep", "last", "smallest_on_top"):
        mapper = mapper_of([FLIP, LSJ], mask_overlap=overlap)
        for draw in range(4):
            aligned(mapper, {**record, "draw": draw})
    # Taken for objects that may overlap, they do not agree.
    assert of_sample(record, mapper({**record, "draw": 1}), [(0, i) for i in range(4)]).fault


def test_a_sample_without_objects_is_aligned(record):
    record["annotations"] = []
    assert measure_sample(mapper_of([LSJ]), record, mapper_of([LSJ])(record)).mean == 1.0


def test_a_bool_made_of_other_bytes_is_soft(record, sample):
    sample["instances"].gt_masks.numpy().view(np.uint8)[0, 40, 40] = 7
    assert of_sample(record, sample).soft_pixels == 1
