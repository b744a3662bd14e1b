"""What holds of AP^J on any scene."""

import math

import pytest
from evaluation_scenes import SPEC, crowded_scene, evaluate, random_scene, without
from hypothesis import given, settings
from hypothesis import strategies as st

from mask2former_mt.structures import SubcategorySpec

SEEDS = st.integers(0, 2**32 - 1)


@settings(max_examples=8, deadline=None)
@given(seed=SEEDS)
def test_without_subcategories_joint_ap_is_segm_ap(seed):
    annotations, results = random_scene(seed)
    annotations = [{**a, "subcategories": {}} for a in annotations]
    results = [without(result, "subcategories") for result in results]
    metrics = evaluate(annotations, results, SubcategorySpec())
    assert metrics["joint/AP"] == pytest.approx(metrics["segm/AP"], abs=0, nan_ok=True)
    assert metrics["joint/AP50"] == pytest.approx(metrics["segm/AP50"], abs=0, nan_ok=True)
    assert not any(
        key.startswith(("joint/AP-", "subcategory/", "paco/", "fash")) for key in metrics
    )


@settings(max_examples=10, deadline=None)
@given(seed=SEEDS)
def test_joint_ap_is_at_most_each_part_and_that_at_most_segm_ap(seed):
    scene = random_scene if seed % 2 else crowded_scene
    metrics = evaluate(*scene(seed))
    if math.isnan(metrics["segm/AP"]):
        assert math.isnan(metrics["joint/AP"])
        return
    for name in SPEC.names:
        assert metrics["joint/AP"] <= metrics[f"joint/AP-{name}"] + 1e-9
        assert metrics[f"joint/AP-{name}"] <= metrics["segm/AP"] + 1e-9
    assert metrics["joint/AP50"] <= metrics["segm/AP50"] + 1e-9


@settings(max_examples=10, deadline=None)
@given(seed=SEEDS, factor=st.floats(0, 1))
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
    before = evaluate(annotations, results)
    after = evaluate(annotations, results + duplicates)
    for key in ("segm/AP", "joint/AP", "joint/AP50", "joint/AP-style", "joint/AP-ripeness"):
        assert math.isnan(before[key]) or after[key] <= before[key] + 1e-9, key


@settings(max_examples=8, deadline=None)
@given(seed=SEEDS)
def test_order_of_images_and_unused_values_do_not_matter(seed):
    annotations, results = random_scene(seed)
    before = evaluate(annotations, results)
    # Another order of images; within an image equal scores keep their order.
    order = {2: 0, 3: 1, 1: 2}
    moved = [sorted(part, key=lambda e: order[e["image_id"]]) for part in (annotations, results)]
    assert evaluate(*moved) == pytest.approx(before, abs=1e-9, nan_ok=True)
    # Fashionpedia's F1 counts an agreement on no as well, of every value there is.
    wider = SubcategorySpec.from_json(
        [{"name": s.name, "values": [*s.values, "unused"]} for s in SPEC]
    )
    after = evaluate(annotations, results, wider)
    for metrics in (before, after):
        del metrics["fashionpedia/AP_IoU+F1"], metrics["fashionpedia/AP_IoU50+F1_50"]
    assert after == pytest.approx(before, abs=1e-9, nan_ok=True)
