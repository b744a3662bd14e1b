"""What a training says before it starts."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from config_tools import changed

from mask2former_mt.data.monitor import Contents
from mask2former_mt.engine.start_warnings import warnings_at_start
from mask2former_mt.label_lists import Labels
from mask2former_mt.structures import SubcategorySpec

LABELS = Labels(
    ("cat", "dog"), SubcategorySpec.from_json([{"name": "style", "values": ["a", "b"]}]), (1, 2)
)
SOUND = Contents(Counter({0: 3, 1: 2}), [Counter({0: 4, 1: 1})], np.array([3, 2]))


def said(contents: Contents = SOUND, *changes) -> list[str]:
    cfg = changed(*changes) if changes else changed("SOLVER.MAX_ITER", 2)
    return list(warnings_at_start(cfg, LABELS, contents))


def test_nothing_is_said_of_what_goes_together():
    assert said() == []


@pytest.mark.parametrize(
    ("key", "consequence"),
    [
        ("MODEL.MASK_FORMER.NUM_OBJECT_QUERIES", "can be neither learned nor found"),
        ("TEST.DETECTIONS_PER_IMAGE", "could not be predicted"),
    ],
)
def test_more_objects_than_queries_are_counted(key, consequence):
    crowded = Contents(SOUND.classes, SOUND.values, np.array([3, 12, 0, 5, 4]))
    (line,) = [line for line in said(crowded, key, 4) if line.startswith(key)]
    # 8 and 1 of 24 are over 4.
    assert line == (
        f"{key} is 4, and 2 of 5 training pictures have more objects, up to 12: 9 of 24 objects "
        f"{consequence}; raise it"
    )


def test_another_model_has_no_queries():
    crowded = Contents(SOUND.classes, SOUND.values, np.array([300]))
    assert len(said(crowded)) == 2
    assert said(crowded, "MODEL.META_ARCHITECTURE", "GeneralizedRCNN") == []


@pytest.mark.parametrize(("warmup", "is_told"), [(1, False), (2, True), (1000, True)])
def test_a_warm_up_as_long_as_the_training_is_told(warmup, is_told):
    lines = said(SOUND, "SOLVER.WARMUP_ITERS", warmup)  # MAX_ITER is 2
    assert len(lines) == is_told
    assert all(f"WARMUP_ITERS is {warmup}, and the training ends after" in line for line in lines)


def test_labels_that_no_object_has_are_listed():
    unseen = Contents(Counter({1: 2}), [Counter({0: 1, -1: 1})], SOUND.per_picture)
    assert said(unseen) == [
        "1 of 2 classes have no object in DATASETS.TRAIN, and are never learned: ['cat']",
        "1 of 2 values of subcategory 'style' have no object in DATASETS.TRAIN, and are never "
        "learned: ['b']",
    ]


def test_pictures_without_any_object_are_told_and_maps_of_classes_are_not():
    nothing = Contents(Counter(), [Counter()], np.array([0, 0]))
    assert [line.partition(" have no object")[0] for line in said(nothing)] == [
        "2 of 2 classes",
        "2 of 2 values of subcategory 'style'",
    ]
    # Nobody has counted the pixels of maps.
    maps = Contents(Counter(), [Counter()], np.array([], dtype=np.int64))
    assert said(maps) == []


def test_another_optimizer_needs_another_rate():
    (line,) = said(SOUND, "SOLVER.OPTIMIZER", "SGD")
    assert line.startswith("SOLVER.OPTIMIZER is 'SGD' (MOMENTUM 0.9, NESTEROV False)")
