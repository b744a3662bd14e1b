"""Our numbers are those of pycocotools, to 1e-9."""

import contextlib
import copy
import io
import math

import numpy as np
import pytest
from evaluation_scenes import (
    CLASSES,
    coco,
    crowded_scene,
    evaluate,
    ground_truth,
    random_scene,
    without,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as mask_utils
from pycocotools.cocoeval import COCOeval

from mask2former_mt.evaluation import joint
from mask2former_mt.evaluation.coco import ENGINES, match_results
from mask2former_mt.evaluation.matching import NONE

TWELVE = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
SCENES = {"random": random_scene, "crowded": crowded_scene}


def pycocotools_numbers(annotations, results, task):
    """COCO's twelve numbers and AP per class, in percent, NaN where undefined."""
    entries = [without(result, "subcategories") for result in copy.deepcopy(results)]
    if task == "bbox":
        for entry in entries:
            entry["bbox"] = mask_utils.toBbox(entry.pop("segmentation")).tolist()
    with contextlib.redirect_stdout(io.StringIO()):
        gt = coco(copy.deepcopy(annotations))
        reference = COCOeval(gt, gt.loadRes(entries), task)
        reference.evaluate()
        reference.accumulate()
        reference.summarize()
    numbers = [math.nan if value == -1 else 100 * value for value in reference.stats]
    for k in range(len(CLASSES)):
        precision = reference.eval["precision"][:, :, k, 0, -1]
        defined = precision[precision > -1]
        numbers.append(100 * defined.mean() if defined.size else math.nan)
    return numbers


@pytest.mark.parametrize("scene", sorted(SCENES))
@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_numbers_are_those_of_pycocotools(scene, seed):
    annotations, results = SCENES[scene](seed)
    if not results:
        return  # `loadRes` refuses them
    metrics = evaluate(annotations, results)
    for task in ("segm", "bbox"):
        ours = [metrics[f"{task}/{name}"] for name in TWELVE]
        ours += [metrics[f"{task}/AP-{name}"] for name in CLASSES]
        expected = pycocotools_numbers(annotations, results, task)
        assert ours == pytest.approx(expected, abs=1e-9, nan_ok=True)


def test_the_scenes_are_not_trivial():
    for scene in SCENES.values():
        numbers = [pycocotools_numbers(*scene(seed), "segm") for seed in range(4)]
        defined = [ap for ap, *_ in numbers if not math.isnan(ap)]
        assert 5 < np.mean(defined) < 95


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), max_dets=st.sampled_from([1, 2, 5, 100]))
def test_the_first_detections_are_matched_as_if_there_were_no_others(seed, max_dets):
    annotations, results = crowded_scene(seed)
    truth = ground_truth(annotations)
    whole, _, _ = match_results("own", truth, results, max_dets=1000)
    alone, _, _ = match_results("own", truth, results, max_dets=max_dets)
    first = whole.of_first(max_dets)
    np.testing.assert_array_equal(first.statuses, alone.statuses)
    np.testing.assert_array_equal(first.area_counts, alone.area_counts)
    assert first.max_dets == max_dets


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), max_dets=st.sampled_from([1, 2, 5, 100]))
def test_the_engines_find_the_same(seed, max_dets):
    annotations, results = crowded_scene(seed)
    truth = ground_truth(annotations)
    (own, *own_curves), (reference, *reference_curves) = (
        match_results(engine, truth, results, max_dets=max_dets) for engine in ENGINES
    )
    # What both ignore may be matched or not: only detections that count are compared.
    np.testing.assert_array_equal(own.area_statuses, reference.area_statuses)
    np.testing.assert_array_equal(own.objects, reference.objects)
    groups = np.isin(truth.groups, truth.group_of(own.detections.images, own.detections.classes))
    np.testing.assert_array_equal(own.area_counts[:, groups], reference.area_counts[:, groups])
    for ours, theirs in zip(own_curves, reference_curves, strict=True):
        np.testing.assert_array_equal(ours.precisions, theirs.precisions)
        np.testing.assert_array_equal(ours.recalls, theirs.recalls)
        for limit, recalls in ours.recalls_of_first.items():
            np.testing.assert_array_equal(recalls, theirs.recalls_of_first[limit])
    metrics = [
        joint.evaluate(truth, results, engine=engine, max_dets=max_dets).metrics
        for engine in ENGINES
    ]
    assert metrics[0] == pytest.approx(metrics[1], abs=1e-9, nan_ok=True)
    # More overlaps, to explain errors with, change no number.
    more = joint.evaluate(truth, results, max_dets=max_dets, explain=True)
    assert more.metrics == pytest.approx(metrics[0], abs=0, nan_ok=True)
    assert len(more.pairs.ious) >= len(own.pairs.ious)


def test_many_objects_overlap_with_each_detection():
    # The scene is what it says: at least one detection has several candidates, so that the choice
    # among them is tested.
    most = 0
    for seed in range(10):
        annotations, results = crowded_scene(seed)
        matching, _, _ = match_results("own", ground_truth(annotations), results)
        most = max(most, *np.bincount(matching.pairs.detections, minlength=1))
        assert (matching.objects != NONE).any()
    assert most >= 3


def test_options_that_do_not_exist_are_named():
    with pytest.raises(ValueError, match=r"one of \['own', 'pycocotools'\], got 'coco'"):
        evaluate([], [], engine="coco")
    with pytest.raises(ValueError, match="max_dets must be at least 1, got 0"):
        evaluate([], [], max_dets=0)
