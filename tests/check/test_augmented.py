"""What augmentation takes away and brings is counted, and bad samples are named."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path

import numpy as np
import pytest
from detectron2.data import transforms as T
from scenes_on_disk import HEIGHT, SPEC, mapper_of, record_of, write_coordinates

from mask2former_mt.check.augmented import AugmentedCheck, check_augmented
from mask2former_mt.structures import SubcategorySpec
from mask2former_mt.visualization import LabelNames

PASTE = {"name": "copy_paste", "prob": 1.0}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("pictures")
    return [write_coordinates(folder / name) for name in ("xy.png", "other.png")]


def drawn(mapper, records: list[dict], samples: int) -> AugmentedCheck:
    names = LabelNames(("star", "bar", "hook"), SPEC)
    return check_augmented(mapper, records, samples=samples, names=names)


class LeftHalf(T.Augmentation):
    def get_transform(self, image):
        return T.CropTransform(0, 0, 60, HEIGHT)


def test_what_is_lost_by_hand(pictures):
    record = record_of(pictures[0], kinds="prp")
    mapper = mapper_of([])
    mapper.augmentations = T.AugmentationList([LeftHalf()])
    record["annotations"][0]["subcategories"] = [2, -1]  # none, unknown
    result = drawn(mapper, [record], 3)
    numbers = result.to_json()
    # The star lies left of x = 60, bar and hook right of 69.
    assert numbers["objects"] == {
        "annotated": 9,
        "lost": 6,
        "pasted": 0,
        "classes": {
            "star": {"annotated": 3, "lost": 0},
            "bar": {"annotated": 3, "lost": 3},
            "hook": {"annotated": 3, "lost": 3},
        },
    }
    shares = numbers["shares"]
    assert shares["classes"]["star"] == {"before": pytest.approx(1 / 3), "after": 1.0}
    # style of the others: bar 1, hook 0; size: bar 1, hook 2.
    assert shares["subcategories"]["style"]["(none)"] == shares["classes"]["star"]
    assert shares["subcategories"]["style"]["1"] == {"before": pytest.approx(1 / 3), "after": 0.0}
    assert shares["subcategories"]["size"]["(unknown)"]["after"] == 1.0
    assert numbers["samples"] == 3
    assert numbers["faults"] == []
    assert numbers["alignment"] == {"mean": 1.0, "lowest": 1.0}
    text = result.text()
    assert "lost objects: 6 of 9 annotated; 0 pasted\n    bar: 3 of 3\n" in text
    assert "class star: 33.3%, 100.0%" in text
    assert result.panel.dtype == np.uint8


def test_shares_are_of_the_classes_that_have_the_subcategory_and_flips_move_them(pictures):
    style, size = SPEC.subcategories
    style = dataclasses.replace(style, applies_to=("bar", "hook"), flip=(("0", "1"),))
    spec = SubcategorySpec((style, size))
    record = record_of(pictures[0], kinds="ppp")
    # The star has no style; both others have the first one.
    for annotation, labels in zip(record["annotations"], ([2, 0], [0, 0], [0, 0]), strict=True):
        annotation["subcategories"] = labels
    mapper = mapper_of([{"name": "flip", "prob": 1.0}], spec=spec)
    names = LabelNames(("star", "bar", "hook"), spec)
    styles = check_augmented(mapper, [record], samples=2, names=names).to_json()
    assert styles["shares"]["subcategories"]["style"] == {
        "0": {"before": 1.0, "after": 0.0},
        "1": {"before": 0.0, "after": 1.0},
        "(none)": {"before": 0.0, "after": 0.0},
        "(unknown)": {"before": 0.0, "after": 0.0},
    }


def test_pasted_objects_are_counted_apart(pictures):
    records = [record_of(path) for path in pictures]
    result = drawn(mapper_of([{**PASTE, "max_instances": 1}], records=records), records, 4)
    assert result.pasted == 4
    assert result.to_json()["objects"]["annotated"] == 12
    assert sum(result.after[-1, i] for i in range(3)) == 12 - result.lost.total() + 4


def test_each_record_is_drawn_once_before_any_comes_again(pictures):
    records = [record_of(path) for path in pictures]
    seen = []
    mapper = mapper_of([])
    real = mapper.__call__

    def noting(record):
        seen.append((record["draw"], Path(record["file_name"]).name))
        return real(record)

    noting.targets, noting.image_format, noting.seed = mapper.targets, "RGB", mapper.seed
    noting.paste_from, noting.annotations_of = mapper.paste_from, mapper.annotations_of
    drawn(noting, records, 4)
    assert [draw for draw, _ in seen] == [0, 1, 2, 3]
    assert seen[0][1] == seen[2][1] != seen[1][1] == seen[3][1]


def test_broken_and_misaligned_samples_are_named(pictures, tmp_path):
    records = [record_of(path) for path in pictures]
    records.append({**records[0], "file_name": str(tmp_path / "gone.png")})

    class Shifts(type(mapper_of([]))):
        def __call__(self, record):
            sample = copy.deepcopy(super().__call__(record))
            if record["file_name"] == records[1]["file_name"]:
                sample["instances"].gt_masks = sample["instances"].gt_masks.roll(3, 2)
            return sample

    mapper = Shifts(is_train=True, augmentations=[], image_format="RGB", spec=SPEC)
    result = drawn(mapper, records, 3)
    faults = dict(result.faults)
    assert set(faults) == {records[1]["file_name"], records[2]["file_name"]}
    assert "gone.png does not exist" in faults[records[2]["file_name"]]
    assert "mean alignment IoU" in faults[records[1]["file_name"]]
    numbers = result.to_json()
    assert numbers["samples"] == 2
    assert numbers["alignment"]["lowest"] < 0.9
    assert "error: " in result.text()
