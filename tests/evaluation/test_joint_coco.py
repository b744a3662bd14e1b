"""AP^J against numbers worked out by hand, and segm AP against pycocotools itself.

COCO reads the precision at the 101 recalls 0, .01, ..., 1, after making it non-increasing from the
right, and takes the mean. So reaching recall .5 with precision p and no more gives 51 p / 101: the
recalls 0, .01, ..., .50 are 51.
"""

import contextlib
import copy
import io
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as mask_utils
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mask2former_mt.evaluation.joint_coco import evaluate_joint
from mask2former_mt.structures import SubcategorySpec

SPEC = SubcategorySpec.from_json(
    [
        {"name": "style", "values": ["photo", "cartoon"]},
        {"name": "ripeness", "values": ["ripe", "unripe"]},
    ]
)
CLASSES = ["apple", "pear"]
APPLE, PEAR = 7, 9  # dataset category ids are not contiguous classes
SIZE = 160
RIGHT = {"style": "photo", "ripeness": "ripe"}


def box_rle(x, y, width=20, height=20, size=(SIZE, SIZE)):
    mask = np.zeros(size, dtype=np.uint8, order="F")
    mask[y : y + height, x : x + width] = 1
    rle = mask_utils.encode(mask)
    return {"size": list(size), "counts": rle["counts"].decode("ascii")}


def truth(x, y=0, labels=None, *, image_id=1, category_id=APPLE, crowd=0, side=20):
    return {
        "image_id": image_id,
        "category_id": category_id,
        "segmentation": box_rle(x, y, side, side),
        "area": side * side,
        "bbox": [x, y, side, side],
        "iscrowd": crowd,
        "subcategories": RIGHT if labels is None else labels,
    }


def found(x, y=0, score=0.9, labels=None, *, image_id=1, category_id=APPLE, side=20, **box):
    return {
        "image_id": image_id,
        "category_id": category_id,
        "segmentation": box_rle(x, y, **({"width": side, "height": side} | box)),
        "score": score,
        "subcategories": {
            name: {"value": value, "score": 0.5} for name, value in (labels or RIGHT).items()
        },
    }


def coco(annotations, num_images=1, first_id=1):
    gt = COCO()
    gt.dataset = {
        "images": [{"id": i + 1, "height": SIZE, "width": SIZE} for i in range(num_images)],
        "categories": [{"id": PEAR, "name": "pear"}, {"id": APPLE, "name": "apple"}],
        "annotations": [{**a, "id": first_id + i} for i, a in enumerate(annotations)],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        gt.createIndex()
    return gt


def evaluate(annotations, results, spec=SPEC, **options):
    return evaluate_joint(coco(annotations), results, spec, CLASSES, **options)


def assert_metrics(metrics, **expected):
    """Percentages; names with `_` for `/` and `-`, because keywords cannot hold those."""
    by_name = {key.replace("/", "_").replace("-", "_"): value for key, value in metrics.items()}
    for name, value in expected.items():
        assert by_name[name] == pytest.approx(value, abs=1e-9, nan_ok=True), name


def test_keys_are_those_of_the_results_file():
    assert list(evaluate([truth(0)], [found(0)])) == [
        "segm/AP",
        "segm/AP50",
        "segm/AP75",
        "segm/APs",
        "segm/APm",
        "segm/APl",
        "segm/AP-apple",
        "segm/AP-pear",
        "joint/AP",
        "joint/AP50",
        "joint/AP-style",
        "joint/AP-ripeness",
        "subcategory/style/accuracy",
        "subcategory/ripeness/accuracy",
    ]


# Failures of the past, 7: the evaluator drops the labels.


def test_failure_7_perfect():
    # Both objects found at recall 1 with precision 1 and every label right.
    metrics = evaluate([truth(0), truth(40)], [found(0), found(40, score=0.8)])
    assert_metrics(metrics, segm_AP=100, segm_AP50=100, segm_AP75=100, joint_AP=100, joint_AP50=100)
    assert_metrics(metrics, joint_AP_style=100, joint_AP_ripeness=100)
    assert_metrics(metrics, subcategory_style_accuracy=100, subcategory_ripeness_accuracy=100)


def test_failure_7_one_wrong_subcategory_ranked_first():
    # By score: a match with the wrong style (.9), a right one (.8).
    # segm: TP TP. joint: FP TP: precision 0, 1/2 at recall 0, 1/2; made monotone 1/2, 1/2.
    # AP^J = 51 * 1/2 / 101. Verifying only the style gives the same, only the ripeness all.
    wrong = {"style": "cartoon", "ripeness": "ripe"}
    metrics = evaluate([truth(0), truth(40)], [found(0, labels=wrong), found(40, score=0.8)])
    joint = 100 * 51 * 0.5 / 101
    assert_metrics(metrics, segm_AP=100, joint_AP=joint, joint_AP50=joint)
    assert_metrics(metrics, joint_AP_style=joint, joint_AP_ripeness=100)
    # One of two matches has the right style.
    assert_metrics(metrics, subcategory_style_accuracy=50, subcategory_ripeness_accuracy=100)


def test_failure_7_one_wrong_subcategory_ranked_last():
    # joint: TP FP: precision 1, 1/2 at recall 1/2, 1/2. AP^J = 51 * 1 / 101.
    wrong = {"style": "photo", "ripeness": None}
    metrics = evaluate([truth(0), truth(40)], [found(0), found(40, score=0.8, labels=wrong)])
    assert_metrics(metrics, segm_AP=100, joint_AP=100 * 51 / 101, joint_AP_style=100)
    assert_metrics(metrics, joint_AP_ripeness=100 * 51 / 101, subcategory_ripeness_accuracy=50)


def test_failure_7_each_object_wrong_in_another_subcategory():
    # All matches are FP for the joint AP; each subcategory alone is right on one of two:
    # style FP TP: 51 * 1/2 / 101; ripeness TP FP: 51 / 101.
    metrics = evaluate(
        [truth(0), truth(40)],
        [
            found(0, labels={"style": "cartoon", "ripeness": "ripe"}),
            found(40, score=0.8, labels={"style": "photo", "ripeness": "unripe"}),
        ],
    )
    assert_metrics(metrics, segm_AP=100, joint_AP=0, joint_AP_style=100 * 51 * 0.5 / 101)
    assert_metrics(metrics, joint_AP_ripeness=100 * 51 / 101)


def test_failure_7_unknown_label_is_not_verified():
    # Only the ripeness is annotated, so whatever the style says, the match stands; and no match
    # tells anything about the style's accuracy.
    metrics = evaluate(
        [truth(0, labels={"ripeness": "ripe"})],
        [found(0, labels={"style": "cartoon", "ripeness": "ripe"})],
    )
    assert_metrics(metrics, joint_AP=100, joint_AP_style=100, joint_AP_ripeness=100)
    assert_metrics(metrics, subcategory_style_accuracy=math.nan, subcategory_ripeness_accuracy=100)


@pytest.mark.parametrize("unknown", [{}, {"style": -1, "ripeness": -1}])
def test_failure_7_nothing_annotated_verifies_nothing(unknown):
    metrics = evaluate([truth(0, labels=unknown)], [found(0)])
    assert_metrics(metrics, segm_AP=100, joint_AP=100, subcategory_style_accuracy=math.nan)


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


def test_failure_7_duplicate_with_right_labels_repairs_nothing():
    # By score: object 1 with the wrong style (.9), object 1 again with the right one (.8),
    # object 2 right (.7).
    # segm: TP FP TP: precision 1, 1/2, 2/3 at recall 1/2, 1/2, 1; monotone 1, 2/3, 2/3.
    #   AP = (51 * 1 + 50 * 2/3) / 101.
    # joint: FP FP TP: precision 0, 0, 1/3 at recall 0, 0, 1/2. AP^J = 51 * 1/3 / 101.
    # (Matching again would have made it FP TP TP, and rewarded the guess.)
    metrics = evaluate(
        [truth(0), truth(40)],
        [
            found(0, labels={"style": "cartoon", "ripeness": "ripe"}),
            found(0, score=0.8),
            found(40, score=0.7),
        ],
    )
    assert_metrics(metrics, segm_AP=100 * (51 + 50 * 2 / 3) / 101, joint_AP=100 * 51 / 3 / 101)
    # The duplicate is no match, so it does not count for the accuracy: 1 of 2.
    assert_metrics(metrics, subcategory_style_accuracy=50, subcategory_ripeness_accuracy=100)


def test_failure_7_missed():
    # One of two objects found, right: precision 1 up to recall 1/2.
    metrics = evaluate([truth(0), truth(40)], [found(0)])
    assert_metrics(metrics, segm_AP=100 * 51 / 101, joint_AP=100 * 51 / 101)
    assert_metrics(metrics, subcategory_style_accuracy=100)


def test_failure_7_crowd_match_stays_ignored():
    # The detection on the crowd has the wrong style, but is neither TP nor FP, as for COCO. What
    # remains is one object, found and right.
    wrong = {"style": "cartoon", "ripeness": "unripe"}
    metrics = evaluate(
        [truth(0), truth(60, crowd=1, side=60)], [found(70, labels=wrong), found(0, score=0.8)]
    )
    assert_metrics(metrics, segm_AP=100, joint_AP=100, joint_AP_style=100)
    assert_metrics(metrics, subcategory_style_accuracy=100)


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
    wrong = {"style": "cartoon", "ripeness": "ripe"}
    annotations = [truth(0), truth(40, side=40)]
    metrics = evaluate(annotations, [found(0, score=0.8, labels=wrong), found(40, side=40)])
    assert_metrics(metrics, segm_APs=100, segm_APm=100, segm_APl=math.nan, segm_AP=100)
    assert_metrics(metrics, joint_AP=100 * 51 / 101, subcategory_style_accuracy=50)
    # Only the small one found.
    metrics = evaluate(annotations, [found(0)])
    assert_metrics(metrics, segm_APs=100, segm_APm=0, segm_APl=math.nan, segm_AP=100 * 51 / 101)


def test_classes_are_averaged_and_one_without_ground_truth_is_left_out():
    # Apple: found, wrong style. Pear: found, right. AP^J = (0 + 100) / 2.
    wrong = {"style": "cartoon", "ripeness": "ripe"}
    metrics = evaluate(
        [truth(0), truth(40, category_id=PEAR)],
        [found(0, labels=wrong), found(40, category_id=PEAR)],
    )
    assert_metrics(metrics, segm_AP_apple=100, segm_AP_pear=100, joint_AP=50)
    # Detections of a class that has no ground truth at all cost COCO nothing.
    metrics = evaluate([truth(0)], [found(0), found(40, category_id=PEAR)])
    assert_metrics(metrics, segm_AP=100, segm_AP_apple=100, segm_AP_pear=math.nan, joint_AP=100)


def test_only_the_highest_scores_count_up_to_max_dets():
    # Two right detections, one counted: recall 1/2.
    annotations, results = [truth(0), truth(40)], [found(0, score=0.8), found(40)]
    assert_metrics(evaluate(annotations, results, max_dets=1), joint_AP=100 * 51 / 101)


def test_annotation_id_0_is_found_like_the_others():
    # COCOeval's arrays of matches use 0 for "no match".
    gt = coco([truth(0), truth(40)], first_id=0)
    wrong = {"style": "cartoon", "ripeness": "ripe"}
    metrics = evaluate_joint(gt, [found(0), found(40, score=0.8)], SPEC, CLASSES)
    assert_metrics(metrics, segm_AP=100, joint_AP=100)
    metrics = evaluate_joint(gt, [found(0, labels=wrong), found(40, score=0.8)], SPEC, CLASSES)
    assert_metrics(metrics, segm_AP=100, joint_AP=100 * 51 * 0.5 / 101)
    assert_metrics(metrics, subcategory_style_accuracy=50)


def test_no_predictions():
    metrics = evaluate([truth(0)], [])
    assert_metrics(metrics, segm_AP=0, segm_APs=0, segm_APl=math.nan, segm_AP_apple=0)
    assert_metrics(metrics, segm_AP_pear=math.nan, joint_AP=0, joint_AP50=0, joint_AP_style=0)
    assert_metrics(metrics, subcategory_style_accuracy=math.nan)


@pytest.mark.parametrize("results", [[], [found(0)]])
def test_no_ground_truth_is_undefined(results):
    assert all(math.isnan(value) for value in evaluate([], results).values())


def test_only_crowd_is_undefined():
    assert all(math.isnan(value) for value in evaluate([truth(0, crowd=1)], [found(0)]).values())


def test_no_images():
    metrics = evaluate_joint(coco([], num_images=0), [], SPEC, CLASSES)
    assert all(math.isnan(value) for value in metrics.values())


def test_an_annotation_without_area_or_iscrowd_counts_by_its_mask():
    annotation = truth(0)
    del annotation["area"], annotation["iscrowd"]
    # 400 pixels: small.
    assert_metrics(evaluate([annotation], [found(0)]), segm_APs=100, segm_APm=math.nan)


def test_neither_side_is_changed_and_nothing_is_printed(capsys):
    gt, results = coco([truth(0)], first_id=0), [{**found(0), "bbox": [0, 0, 1, 1]}]
    dataset_before, results_before = copy.deepcopy(gt.dataset), copy.deepcopy(results)
    metrics = evaluate_joint(gt, results, SPEC, CLASSES)
    assert (gt.dataset, results) == (dataset_before, results_before)
    assert capsys.readouterr().out == ""
    # The area is the mask's, 400, although the box would make it 1.
    assert_metrics(metrics, segm_AP=100, segm_APs=100)


# Properties, on generated scenes: 3 images with a grid of 4 x 4 cells of 40 x 40 pixels. Objects
# stay so far from the neighbouring cells that a detection can match no other object than its own.


def random_scene(seed):
    rng = np.random.default_rng(seed)

    def labels(unknown=0.0):
        return {
            s.name: s.value_name(int(rng.integers(s.none_index + 1)))
            for s in SPEC
            if rng.random() >= unknown
        }

    annotations, results = [], []
    for image_id in (1, 2, 3):
        for cell in rng.permutation(16)[: rng.integers(0 if image_id > 1 else 4, 9)]:
            x, y = 40 * (cell % 4) + 6, 40 * (cell // 4) + 6
            side = int(rng.integers(14, 35))
            annotation = truth(
                x,
                y,
                labels(unknown=0.3),
                image_id=image_id,
                category_id=int(rng.choice([APPLE, PEAR])),
                crowd=int(rng.random() < 0.15),
                side=side,
            )
            if not annotation["iscrowd"] and rng.random() < 0.5:
                right, bottom = x + side, y + side
                annotation["segmentation"] = [[x, y, right, y, right, bottom, x, bottom]]
            annotations.append(annotation)
            for _ in range(rng.integers(0, 4)):
                right = {**RIGHT, **annotation["subcategories"]}
                results.append(
                    found(
                        int(x + rng.integers(-2, 3)),
                        int(y + rng.integers(-2, 3)),
                        round(float(rng.random()), 2),  # two decimals: there are equal scores
                        right if rng.random() < 0.6 else labels(),
                        image_id=image_id,
                        category_id=annotation["category_id"]
                        if rng.random() < 0.8
                        else int(rng.choice([APPLE, PEAR])),
                        side=side + int(rng.integers(-2, 3)),
                    )
                )
    return annotations, results


def evaluate_scene(annotations, results, spec=SPEC):
    return evaluate_joint(coco(annotations, num_images=3), results, spec, CLASSES)


@pytest.mark.parametrize("seed", range(6))
def test_segm_ap_is_that_of_pycocotools(seed):
    annotations, results = random_scene(seed)
    with contextlib.redirect_stdout(io.StringIO()):
        gt = coco(annotations, num_images=3)
        plain = [{k: r[k] for k in r if k != "subcategories"} for r in copy.deepcopy(results)]
        reference = COCOeval(gt, gt.loadRes(plain), "segm")
        reference.evaluate()
        reference.accumulate()
        reference.summarize()
    metrics = evaluate_scene(annotations, results)
    names = ("AP", "AP50", "AP75", "APs", "APm", "APl")
    ours = [metrics[f"segm/{name}"] for name in names]
    expected = [math.nan if value == -1 else 100 * value for value in reference.stats[:6]]
    assert ours == pytest.approx(expected, abs=1e-9, nan_ok=True)
    assert 0 < metrics["segm/AP"] < 100, "the scene must not be trivial"


@pytest.mark.parametrize("seed", range(3))
def test_without_subcategories_joint_ap_is_segm_ap(seed):
    annotations, results = random_scene(seed)
    annotations = [{**a, "subcategories": {}} for a in annotations]
    results = [{k: r[k] for k in r if k != "subcategories"} for r in results]
    metrics = evaluate_scene(annotations, results, SubcategorySpec())
    assert metrics["joint/AP"] == metrics["segm/AP"]
    assert metrics["joint/AP50"] == metrics["segm/AP50"]
    assert not any(key.startswith(("joint/AP-", "subcategory/")) for key in metrics)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_joint_ap_is_at_most_each_part_and_that_at_most_segm_ap(seed):
    metrics = evaluate_scene(*random_scene(seed))
    if math.isnan(metrics["segm/AP"]):
        assert math.isnan(metrics["joint/AP"])
        return
    for name in SPEC.names:
        assert metrics["joint/AP"] <= metrics[f"joint/AP-{name}"] + 1e-9
        assert metrics[f"joint/AP-{name}"] <= metrics["segm/AP"] + 1e-9
    assert metrics["joint/AP50"] <= metrics["segm/AP50"] + 1e-9


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), factor=st.floats(0, 1))
def test_adding_duplicates_never_helps(seed, factor):
    annotations, results = random_scene(seed)
    # The same masks once more, ranked no higher, guessing other labels.
    guesses = {"style": "cartoon", "ripeness": "ripe"}
    duplicates = [
        {
            **result,
            "score": result["score"] * factor,
            "subcategories": {name: {"value": value} for name, value in guesses.items()},
        }
        for result in results
    ]
    before = evaluate_scene(annotations, results)
    after = evaluate_scene(annotations, results + duplicates)
    for key in ("segm/AP", "joint/AP", "joint/AP50", "joint/AP-style", "joint/AP-ripeness"):
        assert math.isnan(before[key]) or after[key] <= before[key] + 1e-9, key


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_order_of_images_and_unused_values_do_not_matter(seed):
    annotations, results = random_scene(seed)
    before = evaluate_scene(annotations, results)
    # Another order of images; within an image equal scores keep their order.
    order = {2: 0, 3: 1, 1: 2}
    moved = [sorted(part, key=lambda e: order[e["image_id"]]) for part in (annotations, results)]
    assert evaluate_scene(*moved) == pytest.approx(before, abs=1e-9, nan_ok=True)
    wider = SubcategorySpec.from_json(
        [{"name": s.name, "values": [*s.values, "unused"]} for s in SPEC]
    )
    assert evaluate_scene(annotations, results, wider) == pytest.approx(
        before, abs=1e-9, nan_ok=True
    )


# Bad input: an error that names the entry.


def without(result, key):
    return {k: v for k, v in result.items() if k != key}


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (without(found(0), "score"), r"results\[1\]: no 'score'"),
        (found(0, image_id=99), r"results\[1\]: image_id 99 is not one of the 1 images"),
        (found(0, category_id=0), r"results\[1\]: category_id 0 is not in .* \[7, 9\]"),
        (found(0, score=math.nan), r"results\[1\]: image 1: score must be a finite .* nan"),
        (found(0, score=math.inf), r"score must be a finite number, got inf"),
        (found(0, score="0.9"), r"score must be a finite number, got '0\.9'"),
        (
            {**found(0), "segmentation": box_rle(0, 0, size=(SIZE, 80))},
            r"results\[1\]: image 1: the mask's size must be \[160, 160\].*got \[160, 80\]",
        ),
        (
            {**found(0), "segmentation": [[0, 0, 20, 0, 20, 20]]},
            r"results\[1\]: image 1: segmentation must be a compressed RLE",
        ),
        (
            found(0, labels={"style": "painting", "ripeness": None}),
            r"results\[1\]: subcategory 'style' has no value 'painting'",
        ),
        (
            found(0, labels={**RIGHT, "colour": "red"}),
            r"results\[1\]: subcategory 'colour' is not listed",
        ),
        (found(0, labels={"style": "photo"}), r"results\[1\]: no value of .* 'ripeness'"),
        (found(0, labels={"style": -1, "ripeness": None}), r"no value of .* 'style'"),
        (without(found(0), "subcategories"), r"results\[1\]: no value of .* 'style'"),
        ({**found(0), "subcategories": RIGHT}, r"results\[1\]: subcategories must be"),
    ],
)
def test_a_result_that_does_not_fit_is_named(bad, message):
    with pytest.raises(ValueError, match=message):
        evaluate([truth(0)], [found(0), bad])


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
    ],
)
def test_ground_truth_that_does_not_fit_is_named(bad, message):
    with pytest.raises(ValueError, match=message):
        evaluate_joint(coco([truth(0), bad], first_id=5), [], SPEC, CLASSES)


def test_an_image_without_a_size_is_named():
    gt = coco([truth(0)])
    del gt.dataset["images"][0]["height"]
    with pytest.raises(ValueError, match="image 1 of the ground truth needs height and width"):
        evaluate_joint(gt, [], SPEC, CLASSES)


@pytest.mark.parametrize("names", [["apple"], ["apple", "apple"]])
def test_class_names_must_be_one_for_each_category(names):
    with pytest.raises(ValueError, match="class_names must be 2 different names"):
        evaluate_joint(coco([truth(0)]), [], SPEC, names)
