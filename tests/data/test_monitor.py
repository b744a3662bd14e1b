"""Running shares of classes and values, and the alarm when a class is augmented away."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from detectron2.structures import Instances
from scenes_on_disk import SPEC, mapper_of, record_of, write_coordinates

from mask2former_mt.data.bad_samples import BadSample, BadSampleLedger, TooManyBadSamplesError
from mask2former_mt.data.monitor import ShareWatch, WatchedLoader, count_contents
from mask2former_mt.structures import SubcategorySpec

NAMES = ("cat", "cup")


def sample(classes: list[int], areas: list[int], labels: list[list[int]] | None = None) -> dict:
    """Objects of so many pixels each, in a picture of 10x10."""
    masks = torch.zeros(len(classes), 100, dtype=torch.bool)
    for mask, area in zip(masks, areas, strict=True):
        mask[:area] = True
    instances = Instances((10, 10))
    instances.gt_masks = masks.view(-1, 10, 10)
    instances.gt_classes = torch.tensor(classes, dtype=torch.int64)
    labels = [[-1, -1]] * len(classes) if labels is None else labels
    instances.gt_subcategories = torch.tensor(labels, dtype=torch.int64).reshape(-1, 2)
    return {"instances": instances, "areas": torch.tensor(areas, dtype=torch.int64)}


def watch_of(counts: dict | None = None, alarm: float = 0.5) -> ShareWatch:
    return ShareWatch(NAMES, SPEC, counts or {}, alarm)


def test_shares_by_hand():
    watch = watch_of({0: 3, 1: 1})
    # style: 0, 1, none is 2; size: 0 to 2, none is 3.
    watch.add([sample([0, 1], [30, 10], [[0, -1], [2, 3]]), sample([], [])])
    watch.add([sample([0, 0], [20, 40], [[1, 2], [0, -1]])])
    shares = watch.shares()
    assert shares["pictures"] == 3
    # Three of four instances; 30 + 20 + 40 of 100 pixels.
    cat = {"instances": 0.75, "pixels": 0.9, "dataset_instances": 0.75}
    assert shares["classes"]["cat"] == cat
    assert shares["classes"]["cup"]["pixels"] == 0.1
    style, size = shares["subcategories"]["style"], shares["subcategories"]["size"]
    assert list(style) == ["(unknown)", "0", "1", "(none)"]
    # Instances one and four are 0: 30 + 40 pixels.
    assert style["0"] == {"instances": 0.5, "pixels": 0.7}
    assert style["1"] == {"instances": 0.25, "pixels": 0.2}
    assert style["(none)"] == {"instances": 0.25, "pixels": 0.1}
    assert style["(unknown)"] == {"instances": 0, "pixels": 0}
    assert size["(unknown)"]["instances"] == 0.5
    assert size["2"]["pixels"] == 0.2
    assert size["(none)"]["pixels"] == 0.1


def test_shares_are_of_the_objects_whose_class_has_the_subcategory():
    style, size = SPEC.subcategories
    spec = SubcategorySpec((dataclasses.replace(style, applies_to=("cup",)), size))
    watch = ShareWatch(NAMES, spec, {}, 0.5)
    # A cat, which has no style, and two cups.
    watch.add([sample([0, 1, 1], [30, 10, 40], [[2, 0], [0, 0], [1, 0]])])
    styles = watch.shares()["subcategories"]["style"]
    # One of two cups, 10 of 50 pixels.
    assert styles["0"] == {"instances": 0.5, "pixels": 0.2}
    assert styles["(none)"] == {"instances": 0, "pixels": 0}


def test_nothing_seen_has_no_shares():
    watch = watch_of()
    watch.add([sample([], []), sample([], [])])
    assert set(watch.shares()["classes"]["cat"].values()) == {0}
    assert watch.new_alarms() == []


def test_no_subcategories():
    watch = ShareWatch(NAMES, type(SPEC)(), {}, 0.5)
    plain = sample([0], [1])
    plain["instances"].gt_subcategories = torch.zeros(1, 0, dtype=torch.int64)
    watch.add([plain])
    assert watch.shares()["subcategories"] == {}


def test_the_alarm_comes_once_and_not_before_there_is_evidence():
    watch = watch_of({0: 50, 1: 50})
    few = [sample([0] * 9 + [1], [1] * 10)]
    for _ in range(19):
        watch.add(few)
    # 190 instances, of which 95 cups were to be expected.
    assert watch.new_alarms() == []
    watch.add(few)
    (message,) = watch.new_alarms()
    assert message.startswith(
        "class 'cup' has 10.00% of the training instances so far, 50.00% in the dataset"
    )
    assert "INPUT.MIN_SCALE" in message
    watch.add(few)
    assert watch.new_alarms() == []


@pytest.mark.parametrize(
    ("alarm", "cups", "rings"), [(0.5, 26, False), (0.5, 24, True), (0.4, 24, False), (0, 0, False)]
)
def test_the_alarm_rings_below_its_fraction(alarm, cups, rings):
    watch = watch_of({0: 50, 1: 50}, alarm)
    # Of 100 instances 50 cups were to be expected, ten times.
    for _ in range(10):
        watch.add([sample([0] * (100 - cups) + [1] * cups, [1] * 100)])
    assert bool(watch.new_alarms()) == rings


def test_small_objects_that_are_augmented_away_ring(tmp_path):
    record = record_of(write_coordinates(tmp_path / "a.png"))
    large, _, small = record["annotations"]
    large.update(category_id=0)
    # Two pixels wide: shrunk to less than a fifth it covers no pixel's centre, as a rule.
    small.update(category_id=1, segmentation=[[100.2, 50.2, 102, 50.2, 102, 52, 100.2, 52]])
    record["annotations"] = [large, small]
    watch = watch_of(count_contents([record], SubcategorySpec()).classes)
    shrinking = mapper_of([{"name": "lsj", "size": 100, "min_scale": 0.1, "max_scale": 0.3}])
    for draw in range(250):
        watch.add([shrinking({**record, "draw": draw})])
    (message,) = watch.new_alarms()
    assert "class 'cup'" in message


def test_what_is_in_the_pictures_is_counted_without_crowds():
    spec = SubcategorySpec.from_counts(["style", "tint"], [2, 2])
    annotations = [
        {"category_id": 2, "subcategories": (0, -1)},
        {"category_id": 0, "iscrowd": 1, "subcategories": (1, 1)},
        {"category_id": 2, "subcategories": (2, 1)},
        {"category_id": 1},  # all unknown
    ]
    contents = count_contents([{"annotations": annotations}, {"annotations": []}, {}], spec)
    assert contents.classes == {1: 1, 2: 2}
    assert contents.values == [{0: 1, 2: 1}, {-1: 1, 1: 1}]
    assert contents.per_picture.tolist() == [3, 0]


class Loader:
    def __init__(self, batches):
        self.batches = batches
        self.first = None

    def start_at(self, draw):
        self.first = draw

    def __iter__(self):
        return iter(self.batches)


def test_the_loader_counts_what_passes():
    bad = {**sample([0], [5]), "skipped": [BadSample("a.png", "a.png is gone")]}
    batches = [[sample([0], [3])], [sample([1], [1]), bad]]
    loader = WatchedLoader(Loader(batches), watch_of(), BadSampleLedger(limit=1))
    loader.start_at(8)
    assert loader.loader.first == 8
    for batch, expected in zip(loader, batches, strict=True):
        assert batch is expected
        assert loader.latest is batch
    assert loader.watch.classes.tolist() == [[2, 1], [8, 1]]
    assert loader.ledger.counts == {"a.png is gone": 1}
    strict = WatchedLoader(Loader(batches), watch_of(), BadSampleLedger(limit=0))
    with pytest.raises(TooManyBadSamplesError):
        list(strict)
