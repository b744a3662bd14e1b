"""AP^J and segm AP against numbers worked out by hand.

COCO reads the precision at the 101 recalls 0, .01, ..., 1, after making it non-increasing from the
right, and takes the mean. So reaching recall .5 with precision p and no more gives 51 p / 101: the
recalls 0, .01, ..., .50 are 51.
"""

import copy
import math

import numpy as np
import pytest
import torch
from evaluation_scenes import (
    PEAR,
    SIZE,
    assert_metrics,
    evaluate,
    found,
    truth,
)

from mask2former_mt.ops.encode_masks import encode_masks


def test_keys_are_those_of_the_results_file():
    coco_keys = ["AP", "AP50", "AP75", "APs", "APm", "APl"]
    coco_keys += ["AR1", "AR10", "AR100", "ARs", "ARm", "ARl", "AP-apple", "AP-pear"]
    labels = ("style", "ripeness")
    kinds = ("", "_lower", "_upper")
    assert list(evaluate([truth(0)], [found(0)])) == [
        *(f"segm/{key}" for key in coco_keys),
        *(f"bbox/{key}" for key in coco_keys),
        "joint/AP",
        "joint/AP50",
        "joint/AP-style",
        "joint/AP-ripeness",
        *(
            f"subcategory/{name}/{key}"
            for name in labels
            for key in ("accuracy", "balanced_accuracy", "macro_f1", "ECE")
        ),
        "calibration/ECE",
        *(f"paco/AP_att{kind}" for kind in kinds),
        *(f"paco/AP_att{kind}-{name}" for name in labels for kind in kinds),
        "fashionpedia/AP_IoU+F1",
        "fashionpedia/AP_IoU50+F1_50",
    ]


# Failure 7 of the past: the evaluator drops the labels.
WRONG_STYLE = {"style": "cartoon", "ripeness": "ripe"}
WRONG_RIPENESS = {"style": "photo", "ripeness": None}
LABEL_SCENES = {
    # Both objects found at recall 1 with precision 1 and every label right.
    "perfect": (
        [truth(0), truth(40)],
        [found(0), found(40, score=0.8)],
        {
            "segm_AP": 100,
            "segm_AP50": 100,
            "segm_AP75": 100,
            "joint_AP": 100,
            "joint_AP50": 100,
            "joint_AP_style": 100,
            "joint_AP_ripeness": 100,
            "subcategory_style_accuracy": 100,
            "subcategory_ripeness_accuracy": 100,
        },
    ),
    # segm: TP TP. joint: FP TP: precision 0, 1/2 at recall 0, 1/2; made monotone 1/2, 1/2.
    # AP^J = 51 * 1/2 / 101. Verifying only the style gives the same, only the ripeness all.
    # One of two matches has the right style.
    "wrong label ranked first": (
        [truth(0), truth(40)],
        [found(0, labels=WRONG_STYLE), found(40, score=0.8)],
        {
            "segm_AP": 100,
            "joint_AP": 100 * 51 / 2 / 101,
            "joint_AP50": 100 * 51 / 2 / 101,
            "joint_AP_style": 100 * 51 / 2 / 101,
            "joint_AP_ripeness": 100,
            "subcategory_style_accuracy": 50,
            "subcategory_ripeness_accuracy": 100,
        },
    ),
    # joint: TP FP: precision 1, 1/2 at recall 1/2, 1/2. AP^J = 51 * 1 / 101.
    "wrong label ranked last": (
        [truth(0), truth(40)],
        [found(0), found(40, score=0.8, labels=WRONG_RIPENESS)],
        {
            "segm_AP": 100,
            "joint_AP": 100 * 51 / 101,
            "joint_AP_style": 100,
            "joint_AP_ripeness": 100 * 51 / 101,
            "subcategory_ripeness_accuracy": 50,
        },
    ),
    # All matches are FP for the joint AP; each subcategory alone is right on one of two:
    # style FP TP: 51 * 1/2 / 101; ripeness TP FP: 51 / 101.
    "each object wrong in another subcategory": (
        [truth(0), truth(40)],
        [found(0, labels=WRONG_STYLE), found(40, score=0.8, labels=WRONG_RIPENESS)],
        {
            "segm_AP": 100,
            "joint_AP": 0,
            "joint_AP_style": 100 * 51 / 2 / 101,
            "joint_AP_ripeness": 100 * 51 / 101,
        },
    ),
    # Only the ripeness is annotated, so whatever the style says, the match stands; and no match
    # tells anything about the style's accuracy.
    "an unknown label is not verified": (
        [truth(0, labels={"style": -1, "ripeness": "ripe"})],
        [found(0, labels=WRONG_STYLE)],
        {
            "joint_AP": 100,
            "joint_AP_style": 100,
            "joint_AP_ripeness": 100,
            "subcategory_style_accuracy": math.nan,
            "subcategory_ripeness_accuracy": 100,
        },
    ),
    # By score: object 1 with the wrong style (.9), object 1 again with the right one (.8),
    # object 2 right (.7).
    # segm: TP FP TP: precision 1, 1/2, 2/3 at recall 1/2, 1/2, 1; monotone 1, 2/3, 2/3.
    #   AP = (51 * 1 + 50 * 2/3) / 101.
    # joint: FP FP TP: precision 0, 0, 1/3 at recall 0, 0, 1/2. AP^J = 51 * 1/3 / 101.
    # (Matching again would have made it FP TP TP, and rewarded the guess.)
    # The duplicate is no match, so it does not count for the accuracy: 1 of 2.
    "a duplicate with right labels repairs nothing": (
        [truth(0), truth(40)],
        [found(0, labels=WRONG_STYLE), found(0, score=0.8), found(40, score=0.7)],
        {
            "segm_AP": 100 * (51 + 50 * 2 / 3) / 101,
            "joint_AP": 100 * 51 / 3 / 101,
            "subcategory_style_accuracy": 50,
            "subcategory_ripeness_accuracy": 100,
        },
    ),
    # One of two objects found, right: precision 1 up to recall 1/2.
    "missed": (
        [truth(0), truth(40)],
        [found(0)],
        {
            "segm_AP": 100 * 51 / 101,
            "joint_AP": 100 * 51 / 101,
            "subcategory_style_accuracy": 100,
        },
    ),
    # The detection on the crowd has the wrong style, but is neither TP nor FP, as for COCO. What
    # remains is one object, found and right.
    "a match with a crowd stays ignored": (
        [truth(0), truth(60, crowd=1, side=60)],
        [found(70, labels=WRONG_STYLE), found(0, score=0.8)],
        {
            "segm_AP": 100,
            "joint_AP": 100,
            "joint_AP_style": 100,
            "subcategory_style_accuracy": 100,
        },
    ),
}


@pytest.mark.parametrize("name", LABEL_SCENES)
def test_failure_7(name):
    annotations, results, expected = LABEL_SCENES[name]
    assert_metrics(evaluate(annotations, results), **expected)


@pytest.mark.parametrize(
    ("annotated", "predicted", "joint"),
    [(None, None, 100), (None, "photo", 0), ("photo", None, 0), (2, None, 100), (0, "photo", 100)],
)
def test_failure_7_none_is_a_value_like_the_others(annotated, predicted, joint):
    # One object, one match: 101 recalls at precision 1 if the style is right, else at 0.
    metrics = evaluate(
        [truth(0, labels={"style": annotated})],
        [found(0, labels={"style": predicted, "ripeness": None})],
    )
    assert_metrics(metrics, segm_AP=100, joint_AP=joint, joint_AP_style=joint)
    assert_metrics(metrics, subcategory_style_accuracy=joint)


def test_matches_are_verified_at_every_iou_threshold():
    # 17 x 19 of 20 x 20 pixels: IoU = 323 / 400 = .8075, a match at .5, .55, ..., .8: 7 of 10.
    metrics = evaluate([truth(0)], [found(0, width=17, height=19)])
    assert_metrics(metrics, segm_AP=70, segm_AP50=100, segm_AP75=100, joint_AP=70, joint_AP50=100)
    # 9 x 20 of 20 x 20 pixels: IoU = .45, no match, so there is nothing to judge the labels by.
    metrics = evaluate([truth(0)], [found(0, width=9, height=20)])
    assert_metrics(metrics, segm_AP=0, joint_AP=0, subcategory_style_accuracy=math.nan)


def test_area_ranges():
    # 20 x 20 = 400 < 32^2 is small, 40 x 40 = 1600 medium; nothing is large.
    # Both found, the small one (ranked last) with wrong labels: joint TP FP, 51 / 101.
    annotations = [truth(0), truth(40, side=40)]
    metrics = evaluate(annotations, [found(0, score=0.8, labels=WRONG_STYLE), found(40, side=40)])
    assert_metrics(metrics, segm_APs=100, segm_APm=100, segm_APl=math.nan, segm_AP=100)
    assert_metrics(metrics, joint_AP=100 * 51 / 101, subcategory_style_accuracy=50)


def test_classes_are_averaged_and_one_without_ground_truth_is_left_out():
    # Apple: found, wrong style. Pear: found, right. AP^J = (0 + 100) / 2.
    metrics = evaluate(
        [truth(0), truth(40, category_id=PEAR)],
        [found(0, labels=WRONG_STYLE), found(40, category_id=PEAR)],
    )
    assert_metrics(metrics, segm_AP_apple=100, segm_AP_pear=100, joint_AP=50)
    # Detections of a class that has no ground truth at all cost COCO nothing.
    metrics = evaluate([truth(0)], [found(0), found(40, category_id=PEAR)])
    assert_metrics(metrics, segm_AP=100, segm_AP_apple=100, segm_AP_pear=math.nan, joint_AP=100)


def test_only_the_highest_scores_count_up_to_max_dets():
    # Two right detections, one counted: recall 1/2.
    annotations, results = [truth(0), truth(40)], [found(0, score=0.8), found(40)]
    assert_metrics(evaluate(annotations, results, max_dets=1), joint_AP=100 * 51 / 101)


def test_more_detections_than_cocos_are_told_apart_from_the_first_100():
    places = [(8 * (k % 20), 8 * (k // 20)) for k in range(150)]
    annotations = [truth(x, y, side=8) for x, y in places]
    results = [found(x, y, score=1 - k / 200, side=8) for k, (x, y) in enumerate(places)]
    # 100 of 150 are found: precision 1 at the recalls 0, 0.01 ... 0.66, 67 of 101.
    first = 100 * 67 / 101
    assert_metrics(evaluate(annotations, results), segm_AP=first, joint_AP=first)
    metrics = evaluate(annotations, results, max_dets=300)
    assert_metrics(metrics, segm_AP=100, joint_AP=100, segm_AR300=100)
    for task in ("segm", "joint"):
        assert metrics[f"{task}/AP@300"] == metrics[f"{task}/AP"]
        assert metrics[f"{task}/AP@100"] == pytest.approx(first)


def test_no_predictions():
    metrics = evaluate([truth(0)], [])
    assert_metrics(metrics, segm_AP=0, segm_APs=0, segm_APl=math.nan, segm_AP_apple=0)
    assert_metrics(metrics, segm_AP_pear=math.nan, joint_AP=0, joint_AP50=0, joint_AP_style=0)
    assert_metrics(metrics, subcategory_style_accuracy=math.nan)


@pytest.mark.parametrize(
    ("annotations", "results", "num_images"),
    [([], [], 0), ([], [], 1), ([], [found(0)], 1), ([truth(0, crowd=1)], [found(0)], 1)],
    ids=["no images", "nothing", "no objects", "only a crowd"],
)
def test_nothing_to_find_is_undefined(annotations, results, num_images):
    metrics = evaluate(annotations, results, num_images=num_images)
    assert all(math.isnan(value) for value in metrics.values())


def test_boxes_of_masks():
    # The detection's mask is two corners of the object's box: 2 * 10 * 10 of 400 pixels, IoU .5, a
    # match at one of ten thresholds. Its box is the object's.
    detection = found(0)
    mask = np.zeros((SIZE, SIZE), dtype=bool)
    mask[:10, :10] = mask[10:20, 10:20] = True
    (detection["segmentation"],) = encode_masks(torch.from_numpy(mask)[None])
    metrics = evaluate([truth(0)], [detection])
    assert_metrics(metrics, segm_AP=10, segm_AP50=100, segm_AP75=0, bbox_AP=100)


def test_predictions_are_not_changed_and_nothing_is_printed(capsys):
    results = [{**found(0), "bbox": [0, 0, 1, 1]}]
    before = copy.deepcopy(results)
    metrics = evaluate([truth(0)], results)
    assert results == before
    assert capsys.readouterr().out == ""
    # The area is the mask's, 400, although the box would make it 1.
    assert_metrics(metrics, segm_AP=100, segm_APs=100)
