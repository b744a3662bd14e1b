"""Every error has one kind, and a price in AP^J at IoU .5."""

import numpy as np
import pytest
from evaluation_scenes import (
    APPLE,
    ERROR_SCENE,
    PEAR,
    RIGHT,
    SPEC,
    crowded_scene,
    evaluation_of,
    found,
    truth,
    without,
)

from mask2former_mt.evaluation import errors as error_kinds
from mask2former_mt.evaluation.errors import (
    BACKGROUND,
    BOTH,
    CLASS,
    DUPLICATE,
    KINDS,
    LOCALISATION,
    MISSED,
    NOT_COUNTED,
    SUBCATEGORY,
)
from mask2former_mt.structures import SubcategorySpec


def errors_and_gains(annotations, results, spec=SPEC):
    errors = error_kinds.find_errors(evaluation_of(annotations, results, spec))
    return errors, error_kinds.gains(errors)


def test_each_kind_by_hand():
    errors, gains = errors_and_gains(*ERROR_SCENE)
    codes = [error_kinds.RIGHT, SUBCATEGORY, CLASS, LOCALISATION, BOTH, DUPLICATE, BACKGROUND]
    for place, kind in enumerate(codes):
        assert errors.of(kind).tolist() == [i == place for i in range(7)], kind
    # Nothing is about the background; the duplicate is about the object that it repeats.
    assert errors.objects.tolist() == [0, 1, 2, 3, 4, 0, -1]
    # Objects 2 and 3 are what a wrong class and a wrong place are about.
    assert errors.missed.tolist() == [False, False, False, False, True, True]
    assert errors.counts() == {kind: 2 if kind == MISSED else 1 for kind in KINDS}
    above = errors.counts(np.array([True, True, True, False, False, False, False]))
    expected = {SUBCATEGORY: 1, CLASS: 1, MISSED: 2}
    assert above == {kind: expected.get(kind, 0) for kind in KINDS}

    # 6 apples, of which the first detection finds one: precision 1 at the 17 recalls up to 1/6.
    # Labels repaired: 2 of 6 found by the first two, 34 recalls instead of 17.
    # Class, or place, repaired: the second right one comes third, so at 17 more recalls precision
    # 2/3. What goes stands behind all that is right. Without the missed: 1 of 4, 26 recalls.
    by_hand = {
        SUBCATEGORY: 17,
        CLASS: 17 * 2 / 3,
        LOCALISATION: 17 * 2 / 3,
        BOTH: 0,
        DUPLICATE: 0,
        BACKGROUND: 0,
        MISSED: 9,
    }
    assert gains == pytest.approx({kind: 100 * by_hand[kind] / 101 for kind in KINDS})


def test_a_repaired_class_keeps_its_wrong_labels():
    wrong = {"style": "cartoon", "ripeness": "ripe"}
    results = [found(0, category_id=PEAR, labels=wrong), found(40, score=0.8)]
    errors, gains = errors_and_gains([truth(0), truth(40)], results)
    assert errors.counts()[CLASS] == 1
    # It is an apple then, but a wrong one, and comes first: precision 1/2 instead of 1 at the 51
    # recalls up to 1/2.
    assert gains[CLASS] == pytest.approx(-100 * 51 / 2 / 101)


def test_of_two_that_confuse_the_same_object_one_is_repaired():
    results = [found(0, score=s, category_id=PEAR) for s in (0.9, 0.8)]
    errors, gains = errors_and_gains([truth(0), truth(80, category_id=PEAR)], results)
    assert errors.counts()[CLASS] == 2
    # The better one finds the apple, AP 1 of that class; the other goes; no pear is found.
    assert gains[CLASS] == pytest.approx(100 / 2)


def test_an_object_that_is_found_cannot_be_found_by_repair():
    results = [found(0), found(0, score=0.8, category_id=PEAR)]
    errors, gains = errors_and_gains([truth(0)], results)
    assert errors.counts() == {kind: int(kind == CLASS) for kind in KINDS}
    assert gains == pytest.approx(dict.fromkeys(KINDS, 0))


def test_a_crowd_explains_nothing():
    annotations = [truth(0, crowd=1, side=60), truth(100)]
    results = [found(10, 10), found(20, 20, category_id=PEAR)]
    errors, _ = errors_and_gains(annotations, results)
    assert errors.of(NOT_COUNTED).tolist() == [True, False]
    # A pear within a crowd of apples lies on nothing that is an object.
    assert errors.of(BACKGROUND).tolist() == [False, True]
    assert errors.missed.tolist() == [False, True]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("spec", [SPEC, SubcategorySpec()])
def test_every_detection_has_one_kind_and_repair_never_costs(seed, spec):
    annotations, results = crowded_scene(seed)
    if not len(spec):
        annotations, results = (
            [without(entry, "subcategories") for entry in entries]
            for entries in (annotations, results)
        )
    errors, gains = errors_and_gains(annotations, results, spec)
    kinds = (*KINDS[:-1], error_kinds.RIGHT, NOT_COUNTED)
    assert (sum(errors.of(kind).astype(int) for kind in kinds) == 1).all()
    assert len({kind for kind in kinds if errors.of(kind).any()}) >= 4  # the scene is not trivial
    # Labels repaired, AP^J is the segm AP.
    metrics = errors.matching.metrics
    assert gains[SUBCATEGORY] == pytest.approx(metrics["segm/AP50"] - metrics["joint/AP50"])
    # Fewer false ones, or fewer to find.
    for kind in (BOTH, DUPLICATE, BACKGROUND, MISSED):
        assert gains[kind] >= -1e-9, kind


@pytest.mark.parametrize(("annotations", "results"), [([], []), ([], [found(0)]), ([truth(0)], [])])
def test_nothing_on_one_side(annotations, results):
    errors, gains = errors_and_gains(annotations, results)
    counts = errors.counts()
    assert counts[BACKGROUND] == len(results)
    assert counts[MISSED] == len(annotations)
    # Without objects there is no AP; without the missed there are none either.
    undefined = KINDS if not annotations else [MISSED]
    assert [kind for kind in KINDS if np.isnan(gains[kind])] == list(undefined)


def test_right_labels_are_those_that_are_annotated():
    annotations = [truth(0, labels={"style": "photo"})]
    results = [found(0, labels={**RIGHT, "ripeness": "unripe"}, category_id=APPLE)]
    errors, _ = errors_and_gains(annotations, results)
    assert errors.of(error_kinds.RIGHT).all()
